/* An NCCL without GPUs, strict about what its guide says: finalising, destroying and aborting are
 * calls of all ranks of a clique, and one thread that makes them for several ranks must put them
 * into one group. A call outside of a group waits until all ranks have called: with one thread, for
 * ever. tests/runtime/nccl loads it as libnccl.so.2. */
#include <pthread.h>
#include <string.h>

/* As nccl.h has them. */
enum { SUCCESS = 0, INVALID_USAGE = 5 };
enum { MOST = 16 };
enum kind { FINALIZE, DESTROY, ABORT, KINDS };

struct comm {
    int rank, ranks;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct comm comms[MOST];
static int called[KINDS];          /* ranks that have made this call */
static int ended[KINDS];           /* cliques for which all have */
static _Thread_local int depth;    /* of groups */
static _Thread_local int in_group; /* calls of this group */
static _Thread_local enum kind kind_of_group;
static int never; /* no end of a clique returns */

/* For the test: how often a clique was ended in each way, whether it shall never end. */
int fake_nccl_ended(int kind);
int fake_nccl_ended(int kind) {
    pthread_mutex_lock(&mutex);
    int count = ended[kind];
    pthread_mutex_unlock(&mutex);
    return count;
}
void fake_nccl_never(int yes);
void fake_nccl_never(int yes) {
    pthread_mutex_lock(&mutex);
    never = yes;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&mutex);
}

/* `count` more ranks have called; returns when all of the clique have. */
static void meet(enum kind kind, int count) {
    pthread_mutex_lock(&mutex);
    int before = ended[kind];
    called[kind] += count;
    if (called[kind] == comms[0].ranks) {
        called[kind] = 0;
        ended[kind]++;
        pthread_cond_broadcast(&changed);
    }
    while (ended[kind] == before || never)
        pthread_cond_wait(&changed, &mutex);
    pthread_mutex_unlock(&mutex);
}

static int end(enum kind kind) {
    if (depth == 0) {
        meet(kind, 1);
        return SUCCESS;
    }
    if (in_group > 0 && kind != kind_of_group)
        return INVALID_USAGE;
    kind_of_group = kind;
    in_group++;
    return SUCCESS;
}

int ncclGetVersion(int *version);
int ncclGetVersion(int *version) {
    *version = 22809;
    return SUCCESS;
}
const char *ncclGetErrorString(int result);
const char *ncclGetErrorString(int result) { return result == SUCCESS ? "no error" : "an error"; }
int ncclCommInitAll(struct comm **comm, int ranks, const int *device);
int ncclCommInitAll(struct comm **comm, int ranks, const int *device) {
    (void)device;
    memset(called, 0, sizeof called);
    for (int r = 0; r < ranks; r++) {
        comms[r] = (struct comm){r, ranks};
        comm[r] = &comms[r];
    }
    return SUCCESS;
}
int ncclGroupStart(void);
int ncclGroupStart(void) {
    depth++;
    return SUCCESS;
}
int ncclGroupEnd(void);
int ncclGroupEnd(void) {
    int count = in_group;
    if (--depth == 0 && count > 0) {
        in_group = 0;
        meet(kind_of_group, count);
    }
    return SUCCESS;
}
int ncclCommFinalize(struct comm *comm);
int ncclCommFinalize(struct comm *comm) { return comm ? end(FINALIZE) : INVALID_USAGE; }
int ncclCommDestroy(struct comm *comm);
int ncclCommDestroy(struct comm *comm) { return comm ? end(DESTROY) : INVALID_USAGE; }
int ncclCommAbort(struct comm *comm);
int ncclCommAbort(struct comm *comm) { return comm ? end(ABORT) : INVALID_USAGE; }

/* Looked for when it is loaded, not used without a GPU. */
int ncclCommGetAsyncError(void);
int ncclCommGetAsyncError(void) { return INVALID_USAGE; }
int ncclSend(void);
int ncclSend(void) { return INVALID_USAGE; }
int ncclRecv(void);
int ncclRecv(void) { return INVALID_USAGE; }
