/* The queues by name, a line each; and those of modules. */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "stardit/stardit.h"

#define QUEUES(X)                                                                                  \
    X(fcfs)                                                                                        \
    X(priority)                                                                                    \
    X(edf)                                                                                         \
    X(srtf)                                                                                        \
    X(sjf)                                                                                         \
    X(edf_best_fit)                                                                                \
    X(genserve)

#define DECLARE(name) extern const struct sdt_queue sdt__queue_##name;
QUEUES(DECLARE)

#define LIST(name) &sdt__queue_##name,
static const struct sdt_queue *const queues[] = {QUEUES(LIST) NULL};

const char *sdt_queue_name(int index) {
    for (int i = 0; queues[i]; i++)
        if (i == index)
            return queues[i]->name;
    return NULL;
}

static bool is_module(const char *name) {
    const char *ending = strrchr(name, '.');
    return ending && !strcmp(ending, ".so");
}

/* Of a module, which stays loaded. */
static enum sdt_status load(const char *path, const struct sdt_queue **out, struct sdt_error *err) {
    char at[4096];
    const struct sdt_queue *queue = NULL, *(*get)(void);
    enum sdt_status status = SDT_OK;
    /* Without a "/" the loader would look elsewhere. */
    snprintf(at, sizeof at, "%s%s", strchr(path, '/') ? "" : "./", path);
    void *module = dlopen(at, RTLD_NOW | RTLD_LOCAL);
    if (!module)
        return sdt_fail(err, SDT_ERROR_USAGE, "queue %s", dlerror());
    void *symbol = dlsym(module, "sdt_queue_module");
    memcpy(&get, &symbol, sizeof get);
    if (get)
        queue = get();
    if (!queue)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "queue %s: no queue is in there: it must have sdt_queue_module of "
                          "stardit/queue.h",
                          path);
    else if (queue->abi != SDT_QUEUE_ABI)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "queue %s: made for version %d of stardit/queue.h, and this stardit has "
                          "%d; compile it again",
                          path, queue->abi, SDT_QUEUE_ABI);
    else if (!queue->name || (!queue->choose && !queue->share))
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "queue %s: it must have a name, and one of choose and share", path);
    if (status == SDT_OK)
        *out = queue;
    else
        dlclose(module);
    return status;
}

enum sdt_status sdt_queue_open(const char *name, const struct sdt_queue **out,
                               struct sdt_error *err) {
    char known[200] = "";
    *out = NULL;
    if (is_module(name))
        return load(name, out, err);
    for (int i = 0; queues[i]; i++) {
        size_t length = strlen(known);
        if (!strcmp(queues[i]->name, name)) {
            *out = queues[i];
            return SDT_OK;
        }
        snprintf(known + length, sizeof known - length, "%s%s", i ? ", " : "", queues[i]->name);
    }
    return sdt_fail(err, SDT_ERROR_USAGE,
                    "queue %s: known are %s, and a module's path, as ./mine.so", name, known);
}
