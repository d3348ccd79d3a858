/* Loaded before stardit-serve by tests/serve/signals.sh: stops it, by SIGTERM, when it has come to
 * the stage that STAGE names, and holds the thread that is there until the file STAGE_GATE is made.
 * So a signal meets a stage that lasts a moment, whatever the machine is busy with.
 *
 *   text, step, decode: while a task of it is inserted; of step 7
 *   write:              before the video gets its name */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <starpu.h>

#include "stardit/tag.h"

static void meet(const char *name) {
    static atomic_flag sent = ATOMIC_FLAG_INIT;
    const char *wanted = getenv("STAGE"), *gate = getenv("STAGE_GATE");
    if (!wanted || !gate || strcmp(wanted, name) != 0 || atomic_flag_test_and_set(&sent))
        return;
    fprintf(stderr, "SIGTERM in %s\n", name);
    kill(getpid(), SIGTERM);
    while (access(gate, F_OK) != 0)
        usleep(1000);
}

int starpu_task_submit(struct starpu_task *task) {
    static atomic_int texts, decodes;
    int (*submit)(struct starpu_task *) =
        (int (*)(struct starpu_task *))dlsym(RTLD_NEXT, "starpu_task_submit");
    const struct sdt_tag *tag = task->cl_arg_size >= sizeof *tag ? task->cl_arg : NULL;
    if (tag && tag->mark == SDT_TAG_MARK) {
        if (tag->role == SDT_ROLE_TEXT && atomic_fetch_add(&texts, 1) == 3)
            meet("text");
        if (tag->role == SDT_ROLE_DENOISE && tag->step == 7)
            meet("step");
        if (tag->role == SDT_ROLE_VAE && atomic_fetch_add(&decodes, 1) == 3)
            meet("decode");
    }
    return submit(task);
}

int rename(const char *from, const char *to) {
    int (*next)(const char *, const char *) =
        (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    const size_t length = strlen(to);
    if (length > 4 && !strcmp(to + length - 4, ".mp4"))
        meet("write");
    return next(from, to);
}
