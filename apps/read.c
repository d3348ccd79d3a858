/* Reading what options point to: prompts, token ids, tensors, tile sizes. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/read.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_PROMPT_FILE 65536

enum sdt_status app_read_text(const char *option, const char *path, char **text,
                              struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    FILE *file = fopen(path, "re");

    if (!file)
        return sdt_fail(err, SDT_ERROR_USAGE, "--%s: %s: %s", option, path, strerror(errno));
    *text = malloc(MAX_PROMPT_FILE + 1);
    if (!*text) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for the prompt");
        goto out;
    }
    size_t length = fread(*text, 1, MAX_PROMPT_FILE + 1, file);
    const int reason = errno;
    if (ferror(file) && reason == EISDIR)
        status = sdt_fail(err, SDT_ERROR_USAGE, "--%s: %s: is a folder; a text file works", option,
                          path);
    else if (ferror(file))
        status = sdt_fail(err, SDT_ERROR_USAGE, "--%s: %s: %s", option, path, strerror(reason));
    else if (length > MAX_PROMPT_FILE)
        status = sdt_fail(err, SDT_ERROR_USAGE, "--%s: %s: more than %d bytes", option, path,
                          MAX_PROMPT_FILE);
    else if (memchr(*text, 0, length))
        status = sdt_fail(err, SDT_ERROR_USAGE, "--%s: %s: not a text file (it holds a zero byte)",
                          option, path);
    else
        (*text)[length] = 0;
    if (status == SDT_OK && !strncmp(*text, "\xef\xbb\xbf", 3)) /* a byte order mark is no text */
        memmove(*text, *text + 3, length - 2);
out:
    fclose(file);
    return status;
}

bool app_is_utf8(const char *text) {
    json_t *value = json_string(text); /* which checks */
    json_decref(value);
    return value;
}

const char *app_prompt_file(const char *text) {
    return text && text[0] == '@' && text[1] != '@' ? text + 1 : NULL;
}

enum sdt_status app_read_prompt(const char *option, const char *text, char **file_text,
                                const char **prompt, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    const char *file = app_prompt_file(text);

    *prompt = text + (text[0] == '@' && !file); /* of two, one is meant */
    if (file && !*file)
        return sdt_fail(err, SDT_ERROR_USAGE, "--%s @: @FILE reads a file, @@ is an @", option);
    if (file) {
        status = app_read_text(option, file, file_text, err);
        *prompt = *file_text;
    }
    if (status == SDT_OK && !app_is_utf8(*prompt))
        status =
            sdt_fail(err, SDT_ERROR_USAGE, "--%s%s%s: is not UTF-8; iconv -t UTF-8 makes it so",
                     option, file ? ": " : "", file ? file : "");
    return status;
}

enum sdt_status app_read_lines(const char *option, const char *path, int most, char **file_text,
                               const char **lines, int *count, struct sdt_error *err) {
    int number = 1;

    *count = 0;
    enum sdt_status status = app_read_text(option, path, file_text, err);
    if (status != SDT_OK)
        return status;
    for (char *line = *file_text, *next; line; line = next, number++) {
        next = line + strcspn(line, "\r\n");
        char *end = next;
        next = *end ? end + 1 + (end[0] == '\r' && end[1] == '\n') : NULL;
        *end = '\0';
        if (!line[strspn(line, " \t")])
            continue;
        if (!app_is_utf8(line))
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s: %s: line %d is not UTF-8; iconv -t UTF-8 makes it so", option,
                            path, number);
        if (*count == most)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s %s: more than %d prompts; parts of it would work, one after the "
                            "other",
                            option, path, most);
        lines[(*count)++] = line;
    }
    if (!*count)
        return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: holds no prompt", option, path);
    return SDT_OK;
}

enum sdt_status app_read_ids(const char *option, const char *text, int vocabulary, int32_t **ids,
                             int *count, struct sdt_error *err) {
    const char *at = text;

    *count = 0;
    *ids = calloc(APP_MOST_TOKENS, sizeof **ids);
    if (!*ids)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for the token ids");
    for (;;) {
        char *end;
        errno = 0;
        long id = strtol(at, &end, 10);
        if (end == at || errno || (*end && *end != ','))
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s %.80s: must be numbers with commas between them", option, text);
        if (id < 0 || id >= vocabulary)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s: %ld is not 0 to %d, the ids of this text encoder", option, id,
                            vocabulary - 1);
        if (*count == APP_MOST_TOKENS)
            return sdt_fail(err, SDT_ERROR_USAGE, "--%s: more than %d ids", option,
                            APP_MOST_TOKENS);
        (*ids)[(*count)++] = (int32_t)id;
        if (!*end)
            return SDT_OK;
        at = end + 1;
    }
}

enum sdt_status app_check_floats(const char *what, const struct sdt_stored *tensor,
                                 struct sdt_error *err) {
    if (tensor->dtype == SDT_F32 || tensor->dtype == SDT_F16 || tensor->dtype == SDT_BF16 ||
        tensor->dtype == SDT_F64)
        return SDT_OK;
    return sdt_fail(err, SDT_ERROR_FORMAT,
                    "%s: tensor %.80s is %s; it must be F32, F16, BF16 or F64", what, tensor->name,
                    sdt_dtype_name(tensor->dtype));
}

enum sdt_status app_read_tensor(const char *option, const char *path, const char *name,
                                struct sdt_safetensors **file, const struct sdt_stored **tensor,
                                struct sdt_error *err) {
    struct sdt_error found;
    enum sdt_status status = sdt_safetensors_open(path, file, &found);
    if (status != SDT_OK)
        return sdt_fail(err, status, "--%s %s", option, found.message);
    *tensor = sdt_safetensors_find(*file, name);
    if (!*tensor && sdt_safetensors_count(*file) == 1)
        *tensor = sdt_safetensors_at(*file, 0);
    if (!*tensor)
        return sdt_fail(err, SDT_ERROR_MISSING, "--%s %s: holds %zu tensors and none is named %s",
                        option, path, sdt_safetensors_count(*file), name);
    char what[300];
    snprintf(what, sizeof what, "--%s %s", option, path);
    return app_check_floats(what, *tensor, err);
}

enum sdt_status app_read_tile(const char *option, const char *text, int *rows, int *columns,
                              struct sdt_error *err) {
    enum { MOST = 65536 };
    char *end;
    long value[2];

    value[0] = value[1] = strtol(text, &end, 10); /* what is too long for it is the largest */
    if (end > text && *end == 'x') {
        const char *second = end + 1;
        value[1] = strtol(second, &end, 10);
        end = end > second ? end : (char *)text;
    }
    if (end == text || *end || value[0] < 1 || value[1] < 1 || value[0] > MOST || value[1] > MOST)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--%s %s: must be one number of pixels, or rows x columns as in 256x192, "
                        "each at most %d",
                        option, text, MOST);
    *rows = (int)value[0];
    *columns = (int)value[1];
    return SDT_OK;
}
