/* Command lines from tables, and the one-line messages of the programs. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/options.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#include <starpu.h>

#include "config.h"
#include "stardit/ranks.h"

#define NAME_LENGTH 64
#define HELP_COLUMN 30
#define HELP_WIDTH 96

int app_usage(const char *program, const char *format, ...) {
    struct sdt_error err;
    char text[sizeof err.message];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    sdt_fail(&err, SDT_ERROR_USAGE, "%s", text); /* makes control characters harmless */
    return app_report(program, &err);
}

/* Of a rank other than 0, which only rank 0 says. */
static struct sdt_error reported;

const struct sdt_error *app_reported(void) { return &reported; }

/* Whoever reads messages may be gone: the exit code is not to be that of SIGPIPE then. */
int app_report(const char *program, const struct sdt_error *err) {
    signal(SIGPIPE, SIG_IGN);
    reported = *err;
    if (sdt_rank() == 0)
        fprintf(stderr, "%s: %s\n", program, err->message);
    return sdt_status_exit_code(err->status);
}

bool app_given(const struct app_program *program, const char *name) {
    for (size_t i = 0; i < program->count; i++)
        if (program->options[i].name && !strcmp(program->options[i].name, name))
            return program->options[i].given;
    return false;
}

int app_refuse_idle(const struct app_program *program, const struct app_idle *idle, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (idle[i].idle && app_given(program, idle[i].option))
            return app_usage(program->name, "--%s: %s", idle[i].option, idle[i].why);
    return -1;
}

/* ---- help ------------------------------------------------------------------------------------ */

/* Prints `text` broken at spaces; the cursor stands at column `at`, further lines start at
 * `indent`.
 */
static void print_wrapped(const char *text, int at, int indent) {
    const char *word = text;
    bool first = true;

    while (*word) {
        int length = (int)strcspn(word, " ");
        if (!first && at + 1 + length > HELP_WIDTH) {
            printf("\n%*s", indent, "");
            at = indent;
            first = true;
        }
        printf("%s%.*s", first ? "" : " ", length, word);
        at += length + (first ? 0 : 1);
        first = false;
        word += length;
        word += strspn(word, " ");
    }
    printf("\n");
}

static void print_option(const struct app_program *program, const char *name, const char *operand,
                         const char *help) {
    int at = printf("  --%s", name);
    for (const struct app_alias *a = program->aliases; a && a->alias; a++)
        if (!strcmp(a->name, name))
            at += printf(", -%s%s", a->alias[1] ? "-" : "", a->alias);
    at += printf("%s%s", operand ? " " : "", operand ? operand : "");
    if (at > HELP_COLUMN - 2) {
        printf("\n");
        at = 0;
    }
    printf("%*s", HELP_COLUMN - at, "");
    print_wrapped(help, HELP_COLUMN, HELP_COLUMN);
}

static void print_help(const struct app_program *program) {
    printf("Usage: %s %s\n\n", program->name, program->usage);
    print_wrapped(program->summary, 0, 0);
    for (size_t i = 0; i < program->count; i++) {
        const struct app_option *option = &program->options[i];
        if (option->type == APP_SECTION)
            printf("\n%s:\n", option->help);
        else
            print_option(program, option->name, option->operand, option->help);
    }
    printf("\nHelp:\n");
    print_option(program, "help", NULL, "print this text");
    print_option(program, "version", NULL, "print the versions of stardit and StarPU");
    if (program->notes) {
        printf("\n");
        print_wrapped(program->notes, 0, 0);
    }
}

static void print_version(const struct app_program *program) {
    int major, minor, release;
    starpu_get_version(&major, &minor, &release);
    printf("%s %s (StarPU %d.%d.%d)\n", program->name, PACKAGE_VERSION, major, minor, release);
}

/* ---- parsing --------------------------------------------------------------------------------- */

/* Edits that turn a into b: insertions, deletions, replacements. */
static int distance(const char *a, const char *b) {
    size_t n = strlen(b);
    int row[NAME_LENGTH + 1];

    if (n > NAME_LENGTH)
        return NAME_LENGTH;
    for (size_t j = 0; j <= n; j++)
        row[j] = (int)j;
    for (size_t i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= n; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

static int unknown_option(const struct app_program *program, const char *name) {
    for (const struct app_alias *hint = program->hints; hint && hint->alias; hint++)
        if (!strcmp(name, hint->alias))
            return app_usage(program->name, "unknown option --%s; %s", name, hint->name);
    const char *nearest = NULL;
    int best = (int)strlen(name) / 3 + 2;

    for (size_t i = 0; i < program->count + 2; i++) {
        const char *candidate = i < program->count    ? program->options[i].name
                                : i == program->count ? "help"
                                                      : "version";
        if (!candidate)
            continue;
        /* A beginning or an end of a name ("steps") is nearer than any spelling mistake. */
        const char *part = strlen(name) >= 3 ? strstr(candidate, name) : NULL;
        bool whole = part && (part == candidate || part[-1] == '-') &&
                     (!part[strlen(name)] || part[strlen(name)] == '-');
        int edits = whole ? 1 : distance(name, candidate);
        if (edits < best) {
            best = edits;
            nearest = candidate;
        }
    }
    if (nearest)
        return app_usage(program->name,
                         "unknown option --%s; did you mean --%s? (--help lists all)", name,
                         nearest);
    return app_usage(program->name, "unknown option --%s (--help lists all)", name);
}

static bool is_choice(const char *choices, const char *text) {
    size_t length = strlen(text);
    for (const char *c = choices; c; c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL)
        if (strcspn(c, "|") == length && !strncmp(c, text, length))
            return true;
    return false;
}

/* Where the option's value goes. */
static void *place_of(const struct app_program *program, const struct app_option *option) {
    return program->settings ? (char *)program->settings + (size_t)option->value : option->value;
}

/* SDT_ERROR_USAGE for a value that the option does not take. */
static enum sdt_status set_value(const struct app_program *program, const struct app_option *option,
                                 const char *text, struct sdt_error *err) {
    void *place = place_of(program, option);
    char *end = NULL;

    errno = 0;
    switch (option->type) {
    case APP_FLAG:
        *(bool *)place = true;
        return SDT_OK;
    case APP_STRING:
        if (option->choices && !is_choice(option->choices, text))
            return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: must be one of %s", option->name, text,
                            option->choices);
        *(const char **)place = text;
        return SDT_OK;
    case APP_STRINGS: {
        struct app_strings *strings = place;
        if (strings->count == APP_MOST_STRINGS)
            return sdt_fail(err, SDT_ERROR_USAGE, "--%s: given more than %d times", option->name,
                            APP_MOST_STRINGS);
        strings->item[strings->count++] = text;
        return SDT_OK;
    }
    case APP_INT: {
        long value = strtol(text, &end, 10);
        if (end == text || *end)
            return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: must be an integer, %.0f to %.0f",
                            option->name, text, option->min, option->max);
        if (errno || (double)value < option->min || (double)value > option->max)
            return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: out of range, must be %.0f to %.0f",
                            option->name, text, option->min, option->max);
        *(int *)place = (int)value;
        return SDT_OK;
    }
    case APP_DOUBLE: {
        double value = strtod(text, &end);
        if (end == text || *end || !isfinite(value))
            return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: must be a number, %g to %g",
                            option->name, text, option->min, option->max);
        if (value < option->min || value > option->max)
            return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: out of range, must be %g to %g",
                            option->name, text, option->min, option->max);
        *(double *)place = value;
        return SDT_OK;
    }
    case APP_SEED: {
        if (!strcmp(text, "-1")) {
            uint32_t seed = 0;
            if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
                return sdt_fail(err, SDT_ERROR_USAGE, "--%s -1: the system has no random number",
                                option->name);
            *(uint64_t *)place = seed;
            return SDT_OK;
        }
        bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
        unsigned long long value = strtoull(text, &end, hex ? 16 : 10);
        if (end == text || *end || errno || text[0] < '0' || text[0] > '9')
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s %s: must be an integer, 0 to %llu, or -1 for one at random",
                            option->name, text, (unsigned long long)UINT64_MAX);
        *(uint64_t *)place = value;
        return SDT_OK;
    }
    default:
        return SDT_OK;
    }
}

static struct app_option *find_option(const struct app_program *program, const char *name) {
    for (const struct app_alias *a = program->aliases; a && a->alias; a++)
        if (!strcmp(a->alias, name))
            name = a->name;
    for (size_t i = 0; i < program->count; i++)
        if (program->options[i].name && !strcmp(program->options[i].name, name))
            return &program->options[i];
    return NULL;
}

int app_take(const struct app_program *program, const char *where, const char *name,
             const char *text) {
    struct app_option *option = find_option(program, name);
    struct sdt_error err;
    if (set_value(program, option, text, &err) != SDT_OK)
        return app_usage(program->name, "%s says %s", where, err.message);
    option->given = true;
    return -1;
}

void app_value(const struct app_program *program, const char *name, char *text, size_t size) {
    const struct app_option *option = find_option(program, name);
    const void *place = place_of(program, option);
    text[0] = '\0';
    if (option->type == APP_INT)
        snprintf(text, size, "%d", *(const int *)place);
    else if (option->type == APP_DOUBLE)
        snprintf(text, size, "%.17g", *(const double *)place);
    else if (option->type == APP_SEED)
        snprintf(text, size, "%llu", (unsigned long long)*(const uint64_t *)place);
    else if (option->type == APP_STRING)
        snprintf(text, size, "%s", *(const char *const *)place);
}

/* "-p TEXT" and "-pTEXT": the letter as a name, and the value behind it, if there is one. */
static bool is_letter(const struct app_program *program, const char *argument, char name[2],
                      const char **value) {
    if (argument[0] != '-' || !argument[1] || argument[1] == '-')
        return false;
    name[0] = argument[1];
    name[1] = '\0';
    *value = argument[2] ? argument + 2 + (argument[2] == '=') : NULL;
    return find_option(program, name);
}

/* Threads get the same; below, some end in a fault instead of a message. */
static int check_stack(const struct app_program *program) {
    const rlim_t least = (rlim_t)256 << 10;
    struct rlimit limit;
    struct sdt_error err;
    if (getrlimit(RLIMIT_STACK, &limit) || limit.rlim_cur >= least)
        return -1;
    sdt_fail(&err, SDT_ERROR_LIMIT, "stacks of %llu KB are too small; ulimit -s %llu works",
             (unsigned long long)limit.rlim_cur >> 10, (unsigned long long)least >> 10);
    return app_report(program->name, &err);
}

/* Files that are opened would take the place of standard ones that are closed, and get what is
 * printed there. In place of stdout comes one that cannot be written, so that it is told. */
static void hold_standard_files(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY); /* the lowest free number is fd */
}

int app_parse(const struct app_program *program, int argc, char **argv) {
    const int stack = check_stack(program);
    struct sdt_error err;
    hold_standard_files();
    if (stack >= 0)
        return stack;
    for (size_t i = 0; i < program->count; i++)
        program->options[i].given = false;
    for (int i = 1; i < argc; i++) {
        const char *argument = argv[i];
        char name[NAME_LENGTH];

        const char *value = NULL;
        if (!strcmp(argument, "-h"))
            argument = "--help";
        if (!is_letter(program, argument, name, &value)) {
            if (argument[0] != '-' && program->argument && !*program->argument) {
                *program->argument = argument;
                continue;
            }
            if (argument[0] != '-' || argument[1] != '-')
                return app_usage(program->name, "unexpected argument '%s' (usage: %s %s)", argument,
                                 program->name, program->usage);
            size_t length = strcspn(argument + 2, "=");
            value = argument[2 + length] ? argument + 2 + length + 1 : NULL;
            if (length < 2 || length >= sizeof name)
                return app_usage(program->name, "'%.80s' is not an option (--help lists all)",
                                 argument);
            memcpy(name, argument + 2, length);
            name[length] = 0;
            for (size_t c = 0; c < length; c++)
                if (name[c] == '_')
                    name[c] = '-';
        }

        struct app_option *option = find_option(program, name);
        bool own = !strcmp(name, "help") || !strcmp(name, "version");
        if (!option && !own)
            return unknown_option(program, name);
        if (own || option->type == APP_FLAG) {
            if (value)
                return app_usage(program->name, "--%s takes no value", name);
            if (own) {
                if (!strcmp(name, "help"))
                    print_help(program);
                else
                    print_version(program);
                return app_flush(program->name);
            }
            *(bool *)place_of(program, option) = true;
        } else {
            if (!value && i + 1 == argc)
                return app_usage(program->name, "--%s needs a value: --%s %s", option->name,
                                 option->name, option->operand);
            if (!value && !strncmp(argv[i + 1], "--", 2))
                return app_usage(program->name,
                                 "--%s needs a value before %s (--%s=%s if it is one)", name,
                                 argv[i + 1], name, argv[i + 1]);
            if (!value)
                value = argv[++i];
            if (set_value(program, option, value, &err) != SDT_OK)
                return app_report(program->name, &err);
        }
        option->given = true;
    }
    return -1;
}

int app_flush(const char *name) {
    if (!fflush(stdout) && !ferror(stdout))
        return 0;
    signal(SIGPIPE, SIG_IGN);
    fprintf(stderr, "%s: standard output cannot be written\n", name);
    return 1;
}
