/* Loading NCCL, and ending its communicators. */
#include "runtime/nccl.h"

#if defined HAVE_CUDA && defined HAVE_NCCL
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- the library ----------------------------------------------------------------------------- */

#define TEXT_OF(x) #x
#define NAME_OF(major) "libnccl.so." TEXT_OF(major)

enum sdt_status sdt__nccl_load(struct sdt__nccl *nccl, struct sdt_error *err) {
    const char *missing = NULL, *name = NAME_OF(NCCL_MAJOR);
    void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL), *symbol;

    *nccl = (struct sdt__nccl){.found = library};
    if (!library)
        return sdt_fail(err, SDT_ERROR_DEVICE, "NCCL cannot be loaded: %.200s", dlerror());
#define FIND(field, function)                                                                      \
    symbol = dlsym(library, #function);                                                            \
    memcpy(&nccl->field, &symbol, sizeof symbol);                                                  \
    if (!symbol && !missing)                                                                       \
        missing = #function;
    SDT__NCCL_FUNCTIONS(FIND)
    if (missing)
        return sdt_fail(err, SDT_ERROR_DEVICE, "%s lacks %s; NCCL %d.14 and later have it", name,
                        missing, NCCL_MAJOR);
    if (nccl->get_version(&nccl->version) != ncclSuccess)
        return sdt_fail(err, SDT_ERROR_DEVICE, "%s does not tell its version", name);
    return SDT_OK;
}

/* ---- the end of communicators ---------------------------------------------------------------- */

/* Belongs to both threads; the last to leave frees it. */
struct ending {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool over, left; /* the calls have returned; nobody waits any more */
    bool aborting;
    struct sdt__nccl nccl;
    int ranks;
    ncclComm_t comm[];
};

static void ending_free(struct ending *ending) {
    pthread_cond_destroy(&ending->changed);
    pthread_mutex_destroy(&ending->mutex);
    free(ending);
}

/* One kind of call for all ranks: each may wait for the others. */
static void call_all(const struct ending *ending, __typeof__(ncclCommAbort) *call) {
    ending->nccl.group_start();
    for (int r = 0; r < ending->ranks; r++)
        call(ending->comm[r]);
    ending->nccl.group_end();
}

static void *end_all(void *arg) {
    struct ending *ending = arg;
    if (ending->aborting) {
        call_all(ending, ending->nccl.abort);
    } else {
        call_all(ending, ending->nccl.finalize);
        call_all(ending, ending->nccl.destroy);
    }
    pthread_mutex_lock(&ending->mutex);
    ending->over = true;
    bool mine = ending->left;
    pthread_cond_signal(&ending->changed);
    pthread_mutex_unlock(&ending->mutex);
    if (mine)
        ending_free(ending);
    return NULL;
}

static struct ending *ending_new(const struct sdt__nccl *nccl, int ranks, const ncclComm_t *comm,
                                 bool aborting) {
    struct ending *ending = calloc(1, sizeof *ending + (size_t)ranks * sizeof *comm);
    pthread_condattr_t attributes;
    if (!ending)
        return NULL;
    ending->aborting = aborting;
    ending->nccl = *nccl;
    ending->ranks = ranks;
    memcpy(ending->comm, comm, (size_t)ranks * sizeof *comm);
    pthread_mutex_init(&ending->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&ending->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return ending;
}

bool sdt__nccl_end(const struct sdt__nccl *nccl, int ranks, const ncclComm_t *comm, bool aborting,
                   double seconds) {
    struct ending *ending = ending_new(nccl, ranks, comm, aborting);
    struct timespec until;
    pthread_t thread;
    int error = 0;

    if (!ending)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)seconds;
    until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    if (pthread_create(&thread, NULL, end_all, ending)) {
        ending_free(ending);
        return false;
    }
    pthread_detach(thread);
    pthread_mutex_lock(&ending->mutex);
    while (!ending->over && error != ETIMEDOUT)
        error = seconds > 0.0 ? pthread_cond_timedwait(&ending->changed, &ending->mutex, &until)
                              : pthread_cond_wait(&ending->changed, &ending->mutex);
    bool over = ending->over;
    ending->left = true;
    pthread_mutex_unlock(&ending->mutex);
    if (over)
        ending_free(ending);
    return over;
}
#endif
