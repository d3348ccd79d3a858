/* Rounds of transfers that all ranks take part in: rendezvous, order, deferred end. */
#include "codelets/collective.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "codelets/cuda.h"

#if defined HAVE_CUDA && defined HAVE_NCCL
#define GPU_ROUNDS 1
#include <cuda_runtime.h>
#include <nccl.h>
#endif

/* One transfer of a round. Pointers are filled by the rank that knows them. */
struct part {
    int from, to;
    size_t bytes;
    const void *source;
    void *landing;
};

struct round {
    struct sdt_collective *collective;
    int ranks, arrived;           /* that take part, and are there */
    struct starpu_task **waiting; /* [ranks]: their tasks, which have returned but not ended */
    int count;
    struct part part[];
};

/* A rank's part of a round that is on its way, oldest first. */
struct flight {
    struct flight *next;
    struct starpu_task *task;
    void *cl_arg;
    int rank;
    double since; /* seconds */
#ifdef GPU_ROUNDS
    cudaEvent_t landed;
#endif
};

struct sdt_collective {
    const struct sdt_place *place; /* [ranks] */
    int ranks;
    double stall_seconds;
    starpu_data_handle_t *token;  /* [ranks]: one order of rounds on each */
    starpu_data_handle_t gate;    /* written by the rendezvous of a round, read by its parts */
    starpu_pthread_mutex_t mutex; /* of all that follows, and of the rounds */
    double bytes;
    int nothing;                  /* what gate and tokens hold */
#ifdef GPU_ROUNDS
    starpu_pthread_cond_t changed;
    struct flight *first, **last;
    bool closing, broken; /* broken: the communicators have been aborted */
    pthread_t watcher;
    int gpus;             /* ranks whose stream and communicator exist */
    cudaStream_t *stream; /* [ranks] */
    ncclComm_t *comm;     /* [ranks] */
#endif
};

/* ---- sdt_insert_round: a rank's part ------------------------------------------------------------ */

struct buffer {
    int part;
    int index;    /* of the task's buffers */
    bool landing; /* else source */
};

struct share {
    struct round *round;
    int rank;
    int count;
    struct buffer buffer[];
};

static void note_pointers(const struct share *a, void *const *buffers) {
    for (int b = 0; b < a->count; b++) {
        struct part *part = &a->round->part[a->buffer[b].part];
        void *pointer = sdt__pointer(buffers, a->buffer[b].index);
        if (a->buffer[b].landing)
            part->landing = pointer;
        else
            part->source = pointer;
    }
}

static void round_free(struct round *round) {
    free(round->waiting);
    free(round);
}

/* The last rank copies for all, then lets the others' tasks end. */
static void round_cpu(void *buffers[], void *cl_arg) {
    const struct share *a = sdt__task_args_always(cl_arg);
    struct round *round = a->round;
    struct sdt_collective *collective = round->collective;

    starpu_pthread_mutex_lock(&collective->mutex);
    note_pointers(a, buffers);
    bool last = ++round->arrived == round->ranks;
    if (!last) {
        struct starpu_task *task = starpu_task_get_current();
        starpu_task_end_dep_add(task, 1);
        round->waiting[round->arrived - 1] = task;
    }
    starpu_pthread_mutex_unlock(&collective->mutex);
    if (!last)
        return;
    for (int p = 0; p < round->count; p++)
        if (round->part[p].landing && round->part[p].source) /* else the round was given up */
            memcpy(round->part[p].landing, round->part[p].source, round->part[p].bytes);
    for (int r = 0; r + 1 < round->ranks; r++)
        starpu_task_end_dep_release(round->waiting[r]);
    round_free(round);
}

#ifdef GPU_ROUNDS
static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Queues this rank's sends and receives; the watcher ends the task when they have landed. */
static void round_cuda(void *buffers[], void *cl_arg) {
    const struct share *a = sdt__task_args_always(cl_arg);
    struct round *round = a->round;
    struct sdt_collective *collective = round->collective;
    ncclComm_t comm = collective->comm[a->rank];
    cudaStream_t stream = collective->stream[a->rank];
    struct flight *flight = calloc(1, sizeof *flight);
    ncclResult_t result = ncclSuccess;
    bool queued = false;

    starpu_pthread_mutex_lock(&collective->mutex);
    note_pointers(a, buffers);
    bool broken = collective->broken;
    starpu_pthread_mutex_unlock(&collective->mutex);
    if (!broken && flight &&
        cudaEventCreateWithFlags(&flight->landed, cudaEventDisableTiming) == cudaSuccess) {
        result = ncclGroupStart();
        for (int b = 0; b < a->count && result == ncclSuccess; b++) {
            const struct part *part = &round->part[a->buffer[b].part];
            if (a->buffer[b].landing)
                result = ncclRecv(part->landing, part->bytes, ncclInt8, part->from, comm, stream);
            else
                result = ncclSend(part->source, part->bytes, ncclInt8, part->to, comm, stream);
        }
        ncclResult_t ended = ncclGroupEnd();
        result = result == ncclSuccess ? ended : result;
        queued = result == ncclSuccess && cudaEventRecord(flight->landed, stream) == cudaSuccess;
        if (!queued)
            cudaEventDestroy(flight->landed);
    }
    if (!queued && !broken)
        sdt__task_fail(cl_arg, SDT_ERROR_DEVICE,
                       result != ncclSuccess ? ncclGetErrorString(result)
                                             : "an NCCL round could not be queued");
    starpu_pthread_mutex_lock(&collective->mutex);
    if (queued) {
        flight->task = starpu_task_get_current();
        flight->cl_arg = cl_arg;
        flight->rank = a->rank;
        flight->since = seconds_now();
        starpu_task_end_dep_add(flight->task, 1);
        *collective->last = flight;
        collective->last = &flight->next;
        starpu_pthread_cond_signal(&collective->changed);
        flight = NULL;
    }
    bool all = ++round->arrived == round->ranks;
    starpu_pthread_mutex_unlock(&collective->mutex);
    free(flight);
    if (all) /* pointers have been handed over: nobody looks at the round again */
        round_free(round);
}

/* Has this part landed, or must it be given up? */
static bool over(struct sdt_collective *collective, struct flight *flight) {
    char text[160];
    cudaError_t error = cudaEventQuery(flight->landed);
    ncclResult_t state = ncclSuccess;

    if (collective->broken || error == cudaSuccess)
        return true;
    ncclCommGetAsyncError(collective->comm[flight->rank], &state);
    double waited = seconds_now() - flight->since;
    if (error != cudaErrorNotReady)
        snprintf(text, sizeof text, "an NCCL round failed: %s", cudaGetErrorString(error));
    else if (state != ncclSuccess && state != ncclInProgress)
        snprintf(text, sizeof text, "an NCCL round failed: %s", ncclGetErrorString(state));
    else if (collective->stall_seconds > 0.0 && waited >= collective->stall_seconds)
        snprintf(text, sizeof text, "an NCCL round has not ended for %.0f s; it was aborted",
                 waited);
    else
        return false;
    sdt__task_fail(flight->cl_arg, SDT_ERROR_DEVICE, text);
    for (int r = 0; r < collective->gpus; r++)
        ncclCommAbort(collective->comm[r]);
    collective->broken = true;
    return true;
}

static void *watch(void *arg) {
    struct sdt_collective *collective = arg;

    starpu_pthread_mutex_lock(&collective->mutex);
    while (!collective->closing || collective->first) {
        bool any = false;
        for (struct flight **at = &collective->first; *at;) {
            struct flight *flight = *at;
            if (!over(collective, flight)) {
                at = &flight->next;
                continue;
            }
            *at = flight->next;
            if (collective->last == &flight->next)
                collective->last = at;
            any = true;
            starpu_pthread_mutex_unlock(&collective->mutex);
            cudaEventDestroy(flight->landed);
            starpu_task_end_dep_release(flight->task);
            free(flight);
            starpu_pthread_mutex_lock(&collective->mutex);
            break; /* the list may have changed */
        }
        if (any)
            continue;
        if (!collective->first && !collective->closing) {
            starpu_pthread_cond_wait(&collective->changed, &collective->mutex);
            continue;
        }
        starpu_pthread_mutex_unlock(&collective->mutex);
        struct timespec pause = {.tv_nsec = 10000};
        nanosleep(&pause, NULL);
        starpu_pthread_mutex_lock(&collective->mutex);
    }
    starpu_pthread_mutex_unlock(&collective->mutex);
    return NULL;
}
#else
#define round_cuda round_cpu
#endif

struct starpu_codelet sdt__round_codelet = {
    .name = "round",
    SDT_ON_BOTH(round_cpu, round_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

/* ---- sdt_insert_round: the rendezvous ------------------------------------------------------------ */

static struct starpu_codelet rendezvous_codelet = {
    .name = "rendezvous",
    .where = STARPU_NOWHERE,
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

static void insert_rendezvous(struct sdt_flow *flow, struct sdt_collective *collective, int count,
                              const struct sdt_transfer *transfer) {
    struct sdt_recorder *recorder = flow->recorder;
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    for (int i = 0; i < count; i++)
        sdt__task_read(&task, transfer[i].source);
    sdt__task_write(&task, collective->gate);
    flow->recorder = NULL; /* it runs on no device */
    sdt__task_submit(&task, &rendezvous_codelet, "rendezvous", 0.0, 0.0, NULL, 0);
    flow->recorder = recorder;
}

static void insert_share(struct sdt_flow *flow, struct sdt_collective *collective, const char *name,
                         struct round *round, int rank, struct share *share,
                         const struct sdt_transfer *transfer) {
    double bytes = 0.0;
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    share->round = round;
    share->rank = rank;
    share->count = 0;
    sdt__task_read(&task, collective->gate);
    sdt__task_update(&task, collective->token[rank]);
    for (int i = 0; i < round->count; i++) {
        if (transfer[i].from == rank)
            share->buffer[share->count++] =
                (struct buffer){i, sdt__task_read(&task, transfer[i].source), false};
        if (transfer[i].to == rank)
            share->buffer[share->count++] =
                (struct buffer){i, sdt__task_write(&task, transfer[i].landing), true};
        if (transfer[i].from == rank || transfer[i].to == rank)
            bytes += (double)round->part[i].bytes;
    }
    flow->place = &collective->place[rank];
    sdt__task_submit(&task, &sdt__round_codelet, name, 0.0, bytes, share,
                     sizeof *share + (size_t)share->count * sizeof share->buffer[0]);
}

/* Only the first `inserted` parts exist: they must not wait for the others. */
static void give_up(struct round *round, int inserted) {
    struct sdt_collective *collective = round->collective;

    starpu_pthread_mutex_lock(&collective->mutex);
#ifdef GPU_ROUNDS
    if (inserted > 0 && collective->gpus && !collective->broken) {
        for (int r = 0; r < collective->gpus; r++)
            ncclCommAbort(collective->comm[r]);
        collective->broken = true;
    }
#endif
    round->ranks = inserted;
    bool all = round->arrived == inserted;
    starpu_pthread_mutex_unlock(&collective->mutex);
    if (!all)
        return; /* the last to arrive does the rest */
    for (int r = 0; r < inserted; r++)
        if (round->waiting[r])
            starpu_task_end_dep_release(round->waiting[r]);
    round_free(round);
}

static bool takes_part(int rank, int count, const struct sdt_transfer *transfer) {
    for (int i = 0; i < count; i++)
        if (transfer[i].from == rank || transfer[i].to == rank)
            return true;
    return false;
}

void sdt_insert_round(struct sdt_flow *flow, struct sdt_collective *collective, const char *name,
                      int count, const struct sdt_transfer *transfer) {
    struct round *round = NULL;
    struct share *share = NULL;

    if (count == 0 || flow->error.status != SDT_OK)
        return;
    round = calloc(1, sizeof *round + (size_t)count * sizeof round->part[0]);
    share = malloc(sizeof *share + 2 * (size_t)count * sizeof share->buffer[0]);
    if (round)
        round->waiting = calloc((size_t)collective->ranks, sizeof *round->waiting);
    if (!round || !share || !round->waiting) {
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for an exchange of %d pieces",
                 count);
        goto out;
    }
    round->collective = collective;
    round->count = count;
    for (int i = 0; i < count; i++) {
        size_t bytes = transfer[i].count * (size_t)sdt__element(transfer[i].source);
        round->part[i] =
            (struct part){.from = transfer[i].from, .to = transfer[i].to, .bytes = bytes};
        if (transfer[i].from != transfer[i].to)
            collective->bytes += (double)bytes;
    }
    for (int r = 0; r < collective->ranks; r++)
        round->ranks += takes_part(r, count, transfer);
    const struct sdt_place *place = flow->place;
    int inserted = 0;
    insert_rendezvous(flow, collective, count, transfer);
    for (int r = 0; r < collective->ranks; r++) {
        if (!takes_part(r, count, transfer))
            continue;
        insert_share(flow, collective, name, round, r, share, transfer);
        if (flow->error.status != SDT_OK)
            break;
        inserted++;
    }
    flow->place = place;
    if (flow->error.status != SDT_OK)
        give_up(round, inserted);
    free(share);
    return; /* the last rank to arrive frees the round */
out:
    if (round)
        free(round->waiting);
    free(round);
    free(share);
}

/* ---- ranks --------------------------------------------------------------------------------------- */

#ifdef GPU_ROUNDS
static enum sdt_status nccl_failed(struct sdt_error *err, const char *what, ncclResult_t result) {
    return sdt_fail(err, SDT_ERROR_DEVICE, "NCCL: %s: %s; --transport starpu would work", what,
                    ncclGetErrorString(result));
}

/* Every pair sends once: connections are made here, where no task can be waiting for another. */
static ncclResult_t greet(struct sdt_collective *collective, char **room /* [ranks] */) {
    ncclResult_t result = ncclGroupStart();
    for (int r = 0; r < collective->ranks && result == ncclSuccess; r++)
        for (int peer = 0; peer < collective->ranks && result == ncclSuccess; peer++) {
            result =
                ncclSend(room[r], 1, ncclInt8, peer, collective->comm[r], collective->stream[r]);
            if (result == ncclSuccess)
                result = ncclRecv(room[r] + 256 * (peer + 1), 1, ncclInt8, peer,
                                  collective->comm[r], collective->stream[r]);
        }
    ncclResult_t ended = ncclGroupEnd();
    return result == ncclSuccess ? ended : result;
}

static enum sdt_status open_gpus(struct sdt_collective *collective, struct sdt_error *err) {
    int ranks = collective->ranks, device[STARPU_MAXNODES], before = 0;
    char *room[STARPU_MAXNODES] = {NULL};
    enum sdt_status status = SDT_OK;

    cudaGetDevice(&before);
    for (int r = 0; r < ranks; r++)
        device[r] = starpu_worker_get_devid(collective->place[r].first_worker);
    ncclResult_t result = ncclCommInitAll(collective->comm, ranks, device);
    if (result != ncclSuccess)
        return nccl_failed(err, "no communicator over these GPUs", result);
    for (int r = 0; r < ranks; r++) {
        cudaError_t error = cudaSetDevice(device[r]);
        if (error == cudaSuccess)
            error = cudaStreamCreateWithFlags(&collective->stream[r], cudaStreamNonBlocking);
        if (error == cudaSuccess)
            error = cudaMalloc((void **)&room[r], 256 * ((size_t)ranks + 1));
        collective->gpus++;
        if (error != cudaSuccess) {
            status = sdt_fail(err, SDT_ERROR_DEVICE, "cuda:%d: no stream for exchanges: %s",
                              device[r], cudaGetErrorString(error));
            goto out;
        }
    }
    result = greet(collective, room);
    if (result != ncclSuccess)
        status = nccl_failed(err, "the GPUs cannot send to one another", result);
    for (int r = 0; r < ranks && status == SDT_OK; r++)
        if (cudaSetDevice(device[r]) != cudaSuccess ||
            cudaStreamSynchronize(collective->stream[r]) != cudaSuccess)
            status = sdt_fail(err, SDT_ERROR_DEVICE, "cuda:%d: its first NCCL exchange failed",
                              device[r]);
out:
    for (int r = 0; r < ranks; r++)
        if (room[r] && cudaSetDevice(device[r]) == cudaSuccess)
            cudaFree(room[r]);
    cudaSetDevice(before);
    return status;
}

static void close_gpus(struct sdt_collective *collective) {
    int before = 0;
    cudaGetDevice(&before);
    for (int r = 0; r < collective->gpus; r++) {
        cudaSetDevice(starpu_worker_get_devid(collective->place[r].first_worker));
        if (!collective->broken)
            ncclCommDestroy(collective->comm[r]);
        if (collective->stream[r])
            cudaStreamDestroy(collective->stream[r]);
    }
    cudaSetDevice(before);
}
#endif

enum sdt_status sdt__collective_open(const struct sdt_place *place, int ranks, double stall_seconds,
                                     struct sdt_collective **out, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    bool gpus = place[0].kind == SDT_DEVICE_CUDA;
    struct sdt_collective *collective = calloc(1, sizeof *collective);

    *out = NULL;
    if (!collective)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d ranks", ranks);
    collective->place = place;
    collective->ranks = ranks;
    collective->stall_seconds = stall_seconds;
    starpu_pthread_mutex_init(&collective->mutex, NULL);
    collective->token = calloc((size_t)ranks, sizeof *collective->token);
#ifdef STARPU_SIMGRID
    status = sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                      "simulated time knows StarPU's own transfers only: --transport starpu");
#endif
    if (!collective->token)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d ranks", ranks);
#ifdef GPU_ROUNDS
    collective->last = &collective->first;
    starpu_pthread_cond_init(&collective->changed, NULL);
    collective->stream = calloc((size_t)ranks, sizeof(cudaStream_t));
    collective->comm = calloc((size_t)ranks, sizeof(ncclComm_t));
    if (status == SDT_OK && (!collective->stream || !collective->comm))
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d ranks", ranks);
    if (status == SDT_OK && gpus)
        status = open_gpus(collective, err);
    if (status == SDT_OK && gpus && pthread_create(&collective->watcher, NULL, watch, collective))
        status = sdt_fail(err, SDT_ERROR_MEMORY, "no thread to watch NCCL: %s", strerror(errno));
    else if (status == SDT_OK && gpus)
        collective->gpus = ranks;
#else
    if (status == SDT_OK && gpus)
        status = sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                          "this build has no NCCL; --transport starpu works");
#endif
    if (status == SDT_OK) {
        starpu_variable_data_register(&collective->gate, STARPU_MAIN_RAM,
                                      (uintptr_t)&collective->nothing,
                                      sizeof collective->nothing);
        for (int r = 0; r < ranks; r++)
            starpu_variable_data_register(&collective->token[r], STARPU_MAIN_RAM,
                                          (uintptr_t)&collective->nothing,
                                          sizeof collective->nothing);
    } else {
        sdt__collective_close(collective);
        collective = NULL;
    }
    *out = collective;
    return status;
}

void sdt__collective_close(struct sdt_collective *collective) {
    if (!collective)
        return;
#ifdef GPU_ROUNDS
    if (collective->gate && collective->gpus) { /* the watcher has been started */
        starpu_pthread_mutex_lock(&collective->mutex);
        collective->closing = true;
        starpu_pthread_cond_signal(&collective->changed);
        starpu_pthread_mutex_unlock(&collective->mutex);
        pthread_join(collective->watcher, NULL);
    }
    if (collective->stream && collective->comm)
        close_gpus(collective);
    free(collective->stream);
    free(collective->comm);
    starpu_pthread_cond_destroy(&collective->changed);
#endif
    for (int r = 0; collective->token && r < collective->ranks; r++)
        if (collective->token[r])
            starpu_data_unregister(collective->token[r]);
    if (collective->gate)
        starpu_data_unregister(collective->gate);
    free(collective->token);
    starpu_pthread_mutex_destroy(&collective->mutex);
    free(collective);
}

double sdt__collective_bytes(const struct sdt_collective *collective) { return collective->bytes; }
