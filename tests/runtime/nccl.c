/* How communicators end, with an NCCL that waits as its guide says that it may (fake_nccl.c): all
 * ranks of one thread finalise, and abort, in one group; an end that never comes is left behind
 * after its limit, and the program goes on. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>

#include "runtime/nccl.h"
#include "tests/check.h"

#if defined HAVE_CUDA && defined HAVE_NCCL
#include <dlfcn.h>
#include <string.h>

enum { FINALIZE, DESTROY, ABORT };
/* Long enough for a busy machine: only a broken end uses it up. */
static const double LIMIT = 60.0;

static int (*ended)(int kind);
static void (*never)(int yes);

static void find(void *library, const char *name, void *place) {
    void *symbol = dlsym(library, name);
    memcpy(place, &symbol, sizeof symbol);
    CHECK(symbol != NULL, "the false NCCL lacks %s", name);
}

static void end_clique(const struct sdt__nccl *nccl, int ranks, bool aborting) {
    const char *how = aborting ? "aborted" : "finalised and destroyed";
    ncclComm_t comm[8];
    int finalized = ended(FINALIZE), destroyed = ended(DESTROY), aborted = ended(ABORT);
    nccl->init_all(comm, ranks, NULL);
    bool over = sdt__nccl_end(nccl, ranks, comm, aborting, LIMIT);
    printf("%d ranks, %s: %s\n", ranks, how, over ? "ended" : "not ended");
    CHECK(over, "%d ranks cannot be %s", ranks, how);
    CHECK(ended(FINALIZE) - finalized == !aborting && ended(DESTROY) - destroyed == !aborting &&
              ended(ABORT) - aborted == aborting,
          "%d ranks were not %s once", ranks, how);
}

int main(void) {
    struct sdt__nccl nccl;
    struct sdt_error error = {0};
    ncclComm_t comm[2];
    void *fake = dlopen(FAKE_NCCL, RTLD_NOW | RTLD_GLOBAL); /* its name is taken from now on */
    if (!fake) {
        printf("%s\n", dlerror());
        return 1;
    }
    find(fake, "fake_nccl_ended", &ended);
    find(fake, "fake_nccl_never", &never);
    if (sdt__nccl_load(&nccl, &error) != SDT_OK) {
        printf("%s\n", error.message);
        return 1;
    }
    for (int ranks = 1; ranks <= 8 && !failures; ranks++) {
        end_clique(&nccl, ranks, false);
        end_clique(&nccl, ranks, true);
    }
    if (failures)
        return 1;
    never(1);
    nccl.init_all(comm, 2, NULL);
    bool over = sdt__nccl_end(&nccl, 2, comm, false, 0.1);
    printf("an end that never comes: %s\n", over ? "ended" : "left after its limit");
    CHECK(!over, "an end that never comes was waited for");
    never(0);
    return failures > 0;
}
#else
int main(void) {
    printf("skipped: built without CUDA or NCCL\n");
    return 77;
}
#endif
