#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/outputs.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/target.h"

/* ---- one file -------------------------------------------------------------------------------- */

enum sdt_status app_check_target(const char *option, const char *path, bool force,
                                 struct sdt_error *err) {
    struct stat st;
    enum sdt_status status = SDT_OK;
    char *folder = NULL;

    if (!path)
        return SDT_OK;
    if (!*path)
        return sdt_fail(err, SDT_ERROR_USAGE, "--%s: the file name is empty", option);
    if (!strcmp(path, "-"))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--%s -: is not written to standard output; give it a name (./- is one)",
                        option);
    if (stat(path, &st) == 0) {
        if (!S_ISREG(st.st_mode))
            return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: is there and is not a regular file",
                            option, path);
        if (!force)
            return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: exists already (--force replaces it)",
                            option, path);
    }
    const char *slash = strrchr(path, '/');
    if (slash && !slash[1])
        return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: must be a file, not a folder", option,
                        path);
    folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    if (!folder)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while reading the options");
    if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode))
        status =
            sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: there is no folder %s", option, path, folder);
    else if (access(folder, W_OK | X_OK) != 0)
        status = sdt_fail(err, SDT_ERROR_USAGE, "--%s %s: the folder %s is not writable", option,
                          path, folder);
    free(folder);
    return status;
}

/* ---- all of a run ---------------------------------------------------------------------------- */

struct placed {
    const struct app_file *file;
    char *place; /* malloc'ed */
};

static int by_place(const void *a, const void *b) {
    const struct placed *x = a, *y = b;
    int order = strcmp(x->place, y->place);
    /* Outputs come first, then in the order of the list. */
    if (!order)
        order = (x->file->use == APP_FILE_READ) - (y->file->use == APP_FILE_READ);
    return order ? order : (x->file > y->file) - (x->file < y->file);
}

/* Both lie in one place. */
static enum sdt_status check_pair(const struct app_file *a, const struct app_file *b,
                                  struct sdt_error *err) {
    if (a->use == APP_FILE_READ || (a->use == APP_FILE_KEPT && !strcmp(b->option, "resume")))
        return SDT_OK;
    if (b->use == APP_FILE_READ)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--%s %s: would replace what --%s reads; give it a name of its own",
                        a->option, a->path, b->option);
    if (!strcmp(a->path, b->path))
        return sdt_fail(err, SDT_ERROR_USAGE, "--%s and --%s are one file, %s", a->option,
                        b->option, a->path);
    return sdt_fail(err, SDT_ERROR_USAGE, "--%s %s and --%s %s are one file", a->option, a->path,
                    b->option, b->path);
}

/* What checkpoints consist of; people's videos may lie beside. */
static bool is_of_checkpoint(const char *path) {
    static const char *const ending[] = {".safetensors", ".json", ".model", ".txt", ".bin"};
    const size_t length = strlen(path);
    for (size_t i = 0; i < sizeof ending / sizeof ending[0]; i++) {
        const size_t of = strlen(ending[i]);
        if (length > of && !strcasecmp(path + length - of, ending[i]))
            return true;
    }
    return false;
}

/* An output that is there already, in a folder that is read. */
static enum sdt_status check_folder(const struct app_file *folder, const struct app_file *file,
                                    size_t count, struct sdt_error *err) {
    char top[PATH_MAX], there[PATH_MAX];
    if (!realpath(folder->path, top))
        return SDT_OK;
    const size_t length = strlen(top);
    for (size_t i = 0; i < count; i++)
        if (file[i].use != APP_FILE_READ && file[i].path && realpath(file[i].path, there) &&
            !strncmp(there, top, length) && there[length] == '/' && is_of_checkpoint(there))
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s %s: would replace a file of the folder that --%s reads; give it "
                            "a name of its own",
                            file[i].option, file[i].path, folder->option);
    return SDT_OK;
}

enum sdt_status app_check_files(const struct app_file *file, size_t count, struct sdt_error *err) {
    struct placed *placed = calloc(count + 1, sizeof *placed);
    enum sdt_status status = SDT_OK;
    struct stat info;
    size_t known = 0;

    if (!placed)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %zu file names", count);
    for (size_t i = 0; status == SDT_OK && i < count; i++) {
        if (!file[i].path || !*file[i].path || !strcmp(file[i].path, "-"))
            continue;
        if (file[i].use == APP_FILE_READ && stat(file[i].path, &info) == 0 && S_ISDIR(info.st_mode))
            status = check_folder(&file[i], file, count, err);
        placed[known].file = &file[i];
        placed[known].place = sdt__target_place(file[i].path);
        known += placed[known].place != NULL;
    }
    qsort(placed, known, sizeof *placed, by_place);
    for (size_t i = 1; status == SDT_OK && i < known; i++)
        if (!strcmp(placed[i - 1].place, placed[i].place))
            status = check_pair(placed[i - 1].file, placed[i].file, err);
    for (size_t i = 0; i < known; i++)
        free(placed[i].place);
    free(placed);
    return status;
}
