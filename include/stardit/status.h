/* How stardit reports failure: a status code, and one line of text with the offending value.
 *
 * Every function that can fail returns `enum sdt_status` and takes a `struct sdt_error *` as its
 * last parameter (NULL: the text is not wanted). On SDT_OK the error is left untouched. The
 * library never exits, prints or aborts; the programs print `message` and leave with the exit
 * code of the status. */
#ifndef STARDIT_STATUS_H
#define STARDIT_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/* name, exit code of a program that fails with it, what it means */
#define SDT_STATUS_TABLE(X)                                                                        \
    X(OK, 0, "done")                                                                               \
    X(ERROR_USAGE, 2, "the request itself is wrong: an option, a size, a combination")             \
    X(ERROR_IO, 1, "the operating system refused a file operation")                                \
    X(ERROR_FORMAT, 1, "a file does not hold what its format requires")                            \
    X(ERROR_MISSING, 1, "a file, tensor or key that is needed is not there")                       \
    X(ERROR_UNSUPPORTED, 1, "valid, but not something stardit can run")                            \
    X(ERROR_MEMORY, 1, "an allocation failed")                                                     \
    X(ERROR_LIMIT, 1, "the work does not fit a limit of the machine")                              \
    X(ERROR_DEVICE, 1, "StarPU or a device failed")                                                \
    X(ERROR_NOT_FINITE, 1, "a weight, an input or a result is NaN or infinite")                    \
    X(ERROR_STALLED, 1, "no task finished for too long")                                           \
    X(ERROR_INTERRUPTED, 1, "stopped on request")

enum sdt_status {
#define SDT_STATUS_ENUM(name, exit_code, meaning) SDT_##name,
    SDT_STATUS_TABLE(SDT_STATUS_ENUM)
#undef SDT_STATUS_ENUM
};

struct sdt_error {
    enum sdt_status status;
    char message[600]; /* one line, no newline: what, where, which limit, what would work */
};

/* "SDT_ERROR_IO" and so on; never NULL. */
const char *sdt_status_name(enum sdt_status status);
/* The meaning column of the table; never NULL. */
const char *sdt_status_meaning(enum sdt_status status);
int sdt_status_exit_code(enum sdt_status status);

/* Fills *err (when not NULL) and returns `status`, so that a caller writes
 * `return sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));`. Text that does not fit
 * is cut; control characters (file names and JSON are untrusted) become '?'. */
enum sdt_status sdt_fail(struct sdt_error *err, enum sdt_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
