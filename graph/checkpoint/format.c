/* Telling files apart, and refusing those that are not read. */
#define _GNU_SOURCE
#include "graph/checkpoint/format.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/checkpoint/untrusted.h"

#define HEADER_LIMIT 100000000u /* of safetensors */

static bool ends_in(const char *text, const char *ending) {
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && !strcasecmp(text + n - m, ending);
}

enum sdt_file_format sdt_file_format_of_name(const char *name) {
    static const struct {
        const char *ending;
        enum sdt_file_format format;
    } table[] = {
        {".safetensors", SDT_FILE_SAFETENSORS},
        {".gguf", SDT_FILE_GGUF},
        {".pth", SDT_FILE_PICKLE},
        {".pt", SDT_FILE_PICKLE},
        {".bin", SDT_FILE_PICKLE},
        {".ckpt", SDT_FILE_PICKLE},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (ends_in(name, table[i].ending))
            return table[i].format;
    return SDT_FILE_OTHER;
}

/* A pickle begins with its protocol; torch.save puts it into a zip archive, whose first member is
 * named after data.pkl. */
static bool is_pickle(const unsigned char *head, size_t size) {
    bool zip = size > 30 && !memcmp(head, "PK\3\4", 4);
    return (size > 2 && head[0] == 0x80 && head[1] >= 2 && head[1] <= 5) ||
           (zip && (memmem(head, size, "data.pkl", 8) || memmem(head, size, "/version", 8)));
}

static bool is_safetensors(const unsigned char *head, size_t size) {
    uint64_t length;
    if (size < sizeof length + 1)
        return false;
    memcpy(&length, head, sizeof length);
    return length > 0 && length <= HEADER_LIMIT && head[sizeof length] == '{';
}

enum sdt_status sdt_file_format(const char *path, enum sdt_file_format *format,
                                struct sdt_error *err) {
    const char *shown = sdt__path_tail(path);
    unsigned char head[256];
    struct stat info;
    /* O_NONBLOCK: opening a FIFO would otherwise wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return sdt_fail(err, errno == ENOENT ? SDT_ERROR_MISSING : SDT_ERROR_IO, "%s: %s", shown,
                        strerror(errno));
    ssize_t size =
        fstat(fd, &info) == 0 && S_ISREG(info.st_mode) ? read(fd, head, sizeof head) : -1;
    close(fd);
    if (size < 0)
        return sdt_fail(err, SDT_ERROR_IO, "%s: not a regular file that can be read", shown);
    /* safetensors before pickles: a header of 640 bytes begins as a pickle does. */
    *format = (size >= 4 && !memcmp(head, "GGUF", 4)) ? SDT_FILE_GGUF
              : is_safetensors(head, (size_t)size)    ? SDT_FILE_SAFETENSORS
              : is_pickle(head, (size_t)size)         ? SDT_FILE_PICKLE
                                                      : sdt_file_format_of_name(path);
    return SDT_OK;
}

enum sdt_status sdt_file_refuse(const char *shown, enum sdt_file_format format,
                                struct sdt_error *err) {
    const char *slash = strrchr(shown, '/'), *name = slash ? slash + 1 : shown;
    const char *dot = strrchr(name, '.');
    int stem = dot && dot > name ? (int)(dot - name) : (int)strlen(name);

    switch (format) {
    case SDT_FILE_GGUF:
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s is GGUF, which is not read; the same model's .safetensors in BF16 or "
                        "F16 would be",
                        shown);
    case SDT_FILE_PICKLE:
        return sdt_fail(
            err, SDT_ERROR_UNSUPPORTED,
            "%.240s is a PyTorch pickle, which can run code; convert it once, where torch is: "
            "python3 -c \"import torch, safetensors.torch as s; s.save_file(torch.load('%.60s', "
            "'cpu', weights_only=True), '%.*s.safetensors')\"",
            shown, name, stem < 60 ? stem : 60, name);
    default:
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s is not safetensors; only such files hold weights that are read", shown);
    }
}

/* ---- GGUF ------------------------------------------------------------------------------------ */

/* What is left of the file's beginning. */
struct reader {
    const unsigned char *next;
    size_t left;
};

static bool take(struct reader *r, void *value, size_t size) {
    if (r->left < size)
        return false;
    memcpy(value, r->next, size);
    r->next += size;
    r->left -= size;
    return true;
}

/* *text points into the file. */
static bool take_string(struct reader *r, const char **text, uint64_t *length) {
    if (!take(r, length, sizeof *length) || r->left < *length)
        return false;
    *text = (const char *)r->next;
    r->next += *length;
    r->left -= *length;
    return true;
}

enum { GGUF_STRING = 8, GGUF_ARRAY = 9 };

/* Skips values of a type that is no array. */
static bool skip(struct reader *r, uint32_t type, uint64_t count) {
    static const unsigned char size[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    if (type == GGUF_STRING) {
        const char *text;
        uint64_t length;
        bool good = true;
        while (good && count-- > 0) /* each takes eight bytes at least: a wrong count soon ends */
            good = take_string(r, &text, &length);
        return good;
    }
    if (type >= sizeof size || type == GGUF_ARRAY || count > r->left / size[type])
        return false;
    r->next += size[type] * count;
    r->left -= size[type] * count;
    return true;
}

static bool skip_value(struct reader *r, uint32_t type) {
    uint32_t element;
    uint64_t count;
    if (type != GGUF_ARRAY)
        return skip(r, type, 1);
    return take(r, &element, sizeof element) && take(r, &count, sizeof count) &&
           skip(r, element, count);
}

enum sdt_status sdt_gguf_read(const char *path, struct sdt_gguf *gguf, struct sdt_error *err) {
    static const char wanted[] = "general.architecture";
    struct sdt__map map;
    uint64_t entries = 0;
    enum sdt_status status = sdt__map_file(path, 0, &map, err);
    bool good;

    *gguf = (struct sdt_gguf){0};
    if (status != SDT_OK)
        return status;
    struct reader r = {map.bytes, map.size};
    char magic[4];
    good = take(&r, magic, sizeof magic) && take(&r, &gguf->version, sizeof gguf->version) &&
           take(&r, &gguf->tensors, sizeof gguf->tensors) && take(&r, &entries, sizeof entries) &&
           !memcmp(magic, "GGUF", 4);
    for (uint64_t i = 0; good && i < entries && !gguf->architecture[0]; i++) {
        const char *key, *text;
        uint64_t length, size;
        uint32_t type;
        good = take_string(&r, &key, &length) && take(&r, &type, sizeof type);
        if (good && type == GGUF_STRING && length == strlen(wanted) &&
            !memcmp(key, wanted, length)) {
            good = take_string(&r, &text, &size);
            if (good)
                snprintf(gguf->architecture, sizeof gguf->architecture, "%.*s",
                         size < sizeof gguf->architecture ? (int)size : 63, text);
        } else {
            good = good && skip_value(&r, type);
        }
    }
    sdt__unmap(&map);
    return good ? SDT_OK
                : sdt_fail(err, SDT_ERROR_FORMAT, "%s: GGUF, and its head is cut or damaged",
                           sdt__path_tail(path));
}
