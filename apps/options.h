/* The command line of every stardit program: one table per program says each option's name, type,
 * range and help text; parsing, error messages and --help all come from it. */
#ifndef STARDIT_APPS_OPTIONS_H
#define STARDIT_APPS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "stardit/status.h"

/* what `value` points to */
enum app_type {
    APP_SECTION, /* no option: `help` is a heading of --help */
    APP_FLAG,    /* bool */
    APP_STRING,  /* const char *, borrowed from argv; may be restricted by `choices` */
    APP_STRINGS, /* struct app_strings: each time the option is given adds one */
    APP_INT,     /* int within min..max */
    APP_DOUBLE,  /* double within min..max */
    APP_SEED     /* uint64_t, decimal or 0x hexadecimal; -1: one of 2^32 at random */
};

#define APP_MOST_STRINGS 256
#define APP_MOST_PROMPTS 4096 /* of one run */
struct app_strings {
    const char *item[APP_MOST_STRINGS]; /* borrowed from argv */
    int count;
};

struct app_option {
    enum app_type type;
    const char *name;    /* with '-', without the leading "--"; '_' is accepted for '-' */
    const char *operand; /* "FILE", "N": what --help shows behind the name; NULL for a flag */
    const char *help;    /* what it does, unit and default */
    void *value; /* where it goes; in a program with `settings`, an offset into them: APP_AT() */
    double min, max;
    const char *choices; /* "auto|bar|plain|none"; NULL: any */
    bool given;          /* set by the parser */
};

/* A field of the program's settings. */
#define APP_AT(type, field) ((void *)offsetof(type, field))

/* One line of a table each. */
#define APP_OPTION(t, n, o, v, ...)                                                                \
    { .type = (t), .name = (n), .operand = (o), .value = (v), .help = __VA_ARGS__ }
#define APP_HEADING(text)                                                                          \
    { .type = APP_SECTION, .help = (text) }
#define APP_FLAG_OPTION(n, v, h) APP_OPTION(APP_FLAG, n, NULL, v, h)
#define APP_STRING_OPTION(n, o, v, h) APP_OPTION(APP_STRING, n, o, v, h)
#define APP_STRINGS_OPTION(n, o, v, h) APP_OPTION(APP_STRINGS, n, o, v, h)
#define APP_CHOICE_OPTION(n, c, v, h) APP_OPTION(APP_STRING, n, c, v, h, .choices = (c))
#define APP_INT_OPTION(n, o, v, low, high, h)                                                      \
    APP_OPTION(APP_INT, n, o, v, h, .min = (low), .max = (high))
#define APP_DOUBLE_OPTION(n, o, v, low, high, h)                                                   \
    APP_OPTION(APP_DOUBLE, n, o, v, h, .min = (low), .max = (high))
#define APP_SEED_OPTION(n, o, v, h) APP_OPTION(APP_SEED, n, o, v, h)

/* Another name of an option, as other programs call it; of one letter: "-p". */
struct app_alias {
    const char *alias, *name;
};

struct app_program {
    const char *name;    /* "stardit-info" */
    const char *usage;   /* behind the name in "Usage:" */
    const char *summary; /* a sentence or two */
    struct app_option *options;
    size_t count;
    void *settings; /* what the options' values are offsets into; NULL: they are pointers */
    const struct app_alias *aliases; /* up to one without a name; or NULL */
    const struct app_alias *hints;   /* names that people try, and what to say to them; likewise */
    const char *notes;               /* below the options, or NULL */
    const char **argument; /* where one argument that is no option goes; NULL: none is taken */
};

/* Reads argv[1..]; --help and --version are known to every program. -1: go on. Otherwise the exit
 * code: 0 after help or version, 2 after one line on stderr about what is wrong. An option given
 * twice: the last one counts, but for APP_STRINGS. */
int app_parse(const struct app_program *program, int argc, char **argv);

/* Prints "program: message" as one line on stderr and returns the exit code of err's status. */
int app_report(const char *program, const struct sdt_error *err);
/* The last such error: of several ranks, only rank 0 prints. */
const struct sdt_error *app_reported(void);
/* 0, or 1 after a message where what was printed on standard output could not be written. */
int app_flush(const char *program);
/* The same for a wrong command line: returns 2. */
int app_usage(const char *program, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* True if the option was on the command line, or has been taken. */
bool app_given(const struct app_program *program, const char *name);
/* An option that would be taken and change nothing, where `idle` is true. */
struct app_idle {
    const char *option;
    bool idle;
    const char *why; /* "goes with --contact-sheet" */
};
/* Refuses the first of them that was given: 2 after a message; -1: none was. */
int app_refuse_idle(const struct app_program *program, const struct app_idle *idle, size_t count);
/* As if `text`, which is borrowed, stood behind the option on the command line. -1, or the exit
 * code after a message, which names `where` it stands: "--resume FILE". */
int app_take(const struct app_program *program, const char *where, const char *name,
             const char *text);
/* What an option that was given has, a number as states write it ("%.17g"); "" of a flag. */
void app_value(const struct app_program *program, const char *name, char *text, size_t size);
#endif
