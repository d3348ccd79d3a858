/* Checkpoints of parts that stand apart in the source folder. */
#ifndef STARDIT_TESTS_LINKED_H
#define STARDIT_TESTS_LINKED_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "stardit/stardit.h"

static inline void linked_leave(const char *message) {
    printf("%s: FAIL\n", message);
    exit(1);
}

static inline const char *linked_source(void) {
    const char *source = getenv("STARDIT_SOURCE_DIR");
    return source ? source : ".";
}

/* Opens {from, to}..., from the source folder, to a name in the checkpoint, up to NULL: by a folder
 * of links, which is gone again. */
static inline struct sdt_pipeline *linked_open(const char *const (*part)[2]) {
    const char *tmp = getenv("TMPDIR");
    char folder[4096], here[4096], from[8192], to[8192];
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_error err = {0};
    snprintf(folder, sizeof folder, "%s/linked-%ld", tmp && *tmp ? tmp : "/tmp", (long)getpid());
    if (!realpath(linked_source(), here) || mkdir(folder, 0700))
        linked_leave(folder);
    for (int i = 0; part[i][0]; i++) {
        snprintf(from, sizeof from, "%s/%s", here, part[i][0]);
        snprintf(to, sizeof to, "%s/%s", folder, part[i][1]);
        if (symlink(from, to))
            linked_leave(to);
    }
    if (sdt_pipeline_open(folder, &pipeline, &err) != SDT_OK)
        linked_leave(err.message);
    for (int i = 0; part[i][0]; i++) {
        snprintf(to, sizeof to, "%s/%s", folder, part[i][1]);
        unlink(to);
    }
    rmdir(folder);
    return pipeline;
}
#endif
