/* Rounds of transfers that all ranks take part in: rendezvous, order, deferred end. */
#include "runtime/collective.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/clock.h"
#include "runtime/cuda.h"
#include "schedulers/policies.h"

#if defined HAVE_CUDA && defined HAVE_NCCL
#define GPU_ROUNDS 1
#include "runtime/nccl.h"
#include <cuda_runtime.h>
#include <sys/prctl.h>

/* Ending communicators may take so long, in seconds, before they are left alone. */
static const double END_SECONDS = 10.0;
/* Polls of a round that is younger than this, in seconds, do not sleep: most have landed by then,
 * and a sleep is longer than what it waits for. */
static const double YOUNG_SECONDS = 200e-6;
#endif

/* One transfer of a round. Pointers are filled by the rank that knows them. */
struct part {
    int from, to;
    size_t bytes;
    const void *source;
    void *landing;
};

struct round {
    struct round *next; /* on its way: queued later */
    struct sdt_collective *collective;
    int ranks, arrived;           /* that take part, and are there */
    struct starpu_task **waiting; /* [arrived] their tasks, which have returned but not ended */
    int *rank;                    /* [arrived] whose these are */
    double since;                 /* seconds; when it was queued */
    int count;
    struct part part[];
};

struct sdt_collective {
    const struct sdt_place *place; /* [ranks] */
    int ranks;
    double stall_seconds;
    starpu_data_handle_t *token; /* [ranks]: one order of rounds on each */
    starpu_data_handle_t gate;   /* written by the rendezvous of a round, read by its parts */
    /* of all that follows, of the rounds, and of every call of NCCL */
    starpu_pthread_mutex_t mutex;
    double bytes;
    float nothing; /* what gate and tokens hold */
#ifdef GPU_ROUNDS
    starpu_pthread_cond_t changed;
    struct round *first, **last; /* on their way, oldest first */
    bool closing, broken;        /* broken: the communicators have been aborted */
    bool stuck;                  /* their end did not come: what they use stays */
    bool watched;                /* the watcher has been started */
    pthread_t watcher;
    struct sdt__nccl nccl;
    int gpus;             /* ranks whose communicator exists */
    cudaStream_t *stream; /* [ranks] */
    cudaEvent_t *landed;  /* [ranks]: of the rank's one round that is on its way */
    ncclComm_t *comm;     /* [ranks] */
#endif
};

/* ---- sdt_insert_round: a rank's part --------------------------------------------------------- */

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
    free(round->rank);
    free(round);
}

/* All transfers have ended, or never began. Without the mutex: tasks that follow may start at
 * once. */
static void round_over(struct round *round) {
    for (int r = 0; r < round->arrived; r++)
        starpu_task_end_dep_release(round->waiting[r]);
    round_free(round);
}

/* A rank is there; its task ends with the round. Returns the round to the last one, who sends all
 * of it off: until then no device waits for another, and what has failed or was never inserted
 * holds up nothing. */
static struct round *arrive(void *buffers[], void *cl_arg) {
    const struct share *a = sdt__task_args_always(cl_arg);
    struct round *round = a->round;
    struct starpu_task *task = starpu_task_get_current();

    starpu_pthread_mutex_lock(&round->collective->mutex);
    note_pointers(a, buffers);
    starpu_task_end_dep_add(task, 1);
    round->waiting[round->arrived] = task;
    round->rank[round->arrived] = a->rank;
    bool last = ++round->arrived == round->ranks;
    starpu_pthread_mutex_unlock(&round->collective->mutex);
    return last ? round : NULL;
}

static void round_cpu(void *buffers[], void *cl_arg) {
    struct round *round = arrive(buffers, cl_arg);
    if (!round)
        return;
    for (int p = 0; p < round->count; p++)
        if (round->part[p].landing && round->part[p].source) /* else the round was given up */
            memcpy(round->part[p].landing, round->part[p].source, round->part[p].bytes);
    round_over(round);
}

#ifdef GPU_ROUNDS
static int device_of(const struct sdt_collective *collective, int rank) {
    return (int)starpu_worker_get_devid(collective->place[rank].first_worker);
}

/* Nothing of NCCL is used any more. */
static void end_communicators(struct sdt_collective *collective, bool aborting) {
    collective->stuck = !sdt__nccl_end(&collective->nccl, collective->gpus, collective->comm,
                                       aborting, END_SECONDS);
    collective->broken = true;
}

/* The run fails, with the round's first task. With the mutex. */
static void break_off(struct sdt_collective *collective, const struct round *round,
                      const char *why) {
    if (collective->broken)
        return;
    sdt__task_fail(round->waiting[0]->cl_arg, SDT_ERROR_DEVICE, why);
    end_communicators(collective, true);
}

/* Queues all sends and receives of all ranks. NULL, or what failed. With the mutex. */
static const char *send_off(const struct round *round) {
    const struct sdt_collective *collective = round->collective;
    const struct sdt__nccl *nccl = &collective->nccl;
    cudaError_t error = cudaSuccess;
    int before = 0;

    ncclResult_t result = nccl->group_start();
    for (int p = 0; p < round->count && result == ncclSuccess; p++) {
        const struct part *part = &round->part[p];
        int from = part->from, to = part->to;
        result = nccl->send(part->source, part->bytes, ncclInt8, to, collective->comm[from],
                            collective->stream[from]);
        if (result == ncclSuccess)
            result = nccl->receive(part->landing, part->bytes, ncclInt8, from, collective->comm[to],
                                   collective->stream[to]);
    }
    ncclResult_t ended = nccl->group_end();
    result = result == ncclSuccess ? ended : result;
    cudaGetDevice(&before);
    for (int r = 0; r < round->ranks && result == ncclSuccess && error == cudaSuccess; r++) {
        int rank = round->rank[r];
        error = cudaSetDevice(device_of(collective, rank));
        if (error == cudaSuccess)
            error = cudaEventRecord(collective->landed[rank], collective->stream[rank]);
    }
    cudaSetDevice(before);
    return result != ncclSuccess  ? nccl->error_string(result)
           : error != cudaSuccess ? cudaGetErrorString(error)
                                  : NULL;
}

static void round_cuda(void *buffers[], void *cl_arg) {
    struct round *round = arrive(buffers, cl_arg);
    if (!round)
        return;
    struct sdt_collective *collective = round->collective;
    starpu_pthread_mutex_lock(&collective->mutex);
    bool whole = !collective->broken;
    for (int p = 0; p < round->count; p++) /* else the round was given up */
        whole = whole && round->part[p].landing && round->part[p].source;
    const char *why = whole ? send_off(round) : NULL;
    if (why)
        break_off(collective, round, why);
    else if (whole) {
        round->since = sdt__now();
        *collective->last = round;
        collective->last = &round->next;
        starpu_pthread_cond_signal(&collective->changed);
        round = NULL;
    }
    starpu_pthread_mutex_unlock(&collective->mutex);
    if (round)
        round_over(round);
}

/* Has a round landed everywhere, or must it be given up? With the mutex. */
static bool over(struct sdt_collective *collective, const struct round *round) {
    char text[160];
    cudaError_t error = cudaSuccess;
    ncclResult_t state = ncclSuccess;

    if (collective->broken)
        return true;
    for (int r = 0; r < round->ranks && error == cudaSuccess; r++)
        error = cudaEventQuery(collective->landed[round->rank[r]]);
    if (error == cudaSuccess)
        return true;
    for (int r = 0; r < round->ranks && state == ncclSuccess; r++)
        collective->nccl.async_error(collective->comm[round->rank[r]], &state);
    double waited = sdt__now() - round->since;
    if (error != cudaErrorNotReady)
        snprintf(text, sizeof text, "an NCCL round failed: %s", cudaGetErrorString(error));
    else if (state != ncclSuccess && state != ncclInProgress)
        snprintf(text, sizeof text, "an NCCL round failed: %s",
                 collective->nccl.error_string(state));
    else if (collective->stall_seconds > 0.0 && waited >= collective->stall_seconds)
        snprintf(text, sizeof text, "an NCCL round has not ended for %.0f s; it was aborted",
                 waited);
    else
        return false;
    break_off(collective, round, text);
    return true;
}

/* Before the rounds on their way, the newest of them queued at `since`, are asked again. */
static void pause_watch(double since) {
    static const struct timespec pause = {.tv_nsec = 10000};
    if (sdt__now() - since < YOUNG_SECONDS)
        sched_yield();
    else
        nanosleep(&pause, NULL);
}

/* A thread of its own: ends the tasks of rounds whose transfers have ended. */
static void *watch(void *arg) {
    struct sdt_collective *collective = arg;
    double newest = 0.0;

    prctl(PR_SET_TIMERSLACK, 1UL); /* of this thread: sleeps end in time, not 50 us later */
    starpu_pthread_mutex_lock(&collective->mutex);
    while (!collective->closing || collective->first) {
        struct round **at = &collective->first;
        while (*at && !over(collective, *at))
            at = &(*at)->next;
        struct round *round = *at;
        if (round) {
            *at = round->next;
            if (collective->last == &round->next)
                collective->last = at;
        } else if (!collective->first && !collective->closing) {
            starpu_pthread_cond_wait(&collective->changed, &collective->mutex);
            continue;
        }
        for (const struct round *r = collective->first; r; r = r->next)
            newest = r->since;
        starpu_pthread_mutex_unlock(&collective->mutex);
        if (round)
            round_over(round);
        else
            pause_watch(newest);
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

/* ---- sdt_insert_round: the rendezvous -------------------------------------------------------- */

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
    starpu_pthread_mutex_lock(&round->collective->mutex);
    round->ranks = inserted;
    bool all = round->arrived == inserted;
    starpu_pthread_mutex_unlock(&round->collective->mutex);
    if (all) /* else the last to arrive finds pointers missing, and sends nothing off */
        round_over(round);
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
    if (flow->lane && flow->lane->fixed && flow->lane->most <= collective->ranks) {
        sdt_fail(
            &flow->error, SDT_ERROR_LIMIT,
            "transport nccl on %d devices needs more than %d pending tasks: %d or more would do",
            collective->ranks, flow->lane->most, collective->ranks + 1);
        return;
    }
    round = calloc(1, sizeof *round + (size_t)count * sizeof round->part[0]);
    share = malloc(sizeof *share + 2 * (size_t)count * sizeof share->buffer[0]);
    if (round) {
        round->waiting = calloc((size_t)collective->ranks, sizeof *round->waiting);
        round->rank = calloc((size_t)collective->ranks, sizeof *round->rank);
    }
    if (!round || !share || !round->waiting || !round->rank) {
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
    round = NULL; /* the last rank to arrive frees it */
out:
    if (round)
        round_free(round);
    free(share);
}

/* ---- ranks ----------------------------------------------------------------------------------- */

#ifdef GPU_ROUNDS
static enum sdt_status nccl_failed(struct sdt_error *err, const char *what, const char *why) {
    return sdt_fail(err, SDT_ERROR_DEVICE, "NCCL: %s: %s; --transport starpu would work", what,
                    why);
}

/* Every pair sends once: connections are made here, where no task can be waiting for another. */
static ncclResult_t greet(struct sdt_collective *collective, char **room /* [ranks] */) {
    const struct sdt__nccl *nccl = &collective->nccl;
    ncclResult_t result = nccl->group_start();
    for (int r = 0; r < collective->ranks && result == ncclSuccess; r++)
        for (int peer = 0; peer < collective->ranks && result == ncclSuccess; peer++) {
            result =
                nccl->send(room[r], 1, ncclInt8, peer, collective->comm[r], collective->stream[r]);
            if (result == ncclSuccess)
                result = nccl->receive(room[r] + 256 * (peer + 1), 1, ncclInt8, peer,
                                       collective->comm[r], collective->stream[r]);
        }
    ncclResult_t ended = nccl->group_end();
    return result == ncclSuccess ? ended : result;
}

/* A high priority: transfers that wait behind the blocks of an attention kernel would hide behind
 * nothing. */
static cudaError_t open_rank(struct sdt_collective *collective, int rank, char **room) {
    int low = 0, high = 0;
    cudaError_t error = cudaSetDevice(device_of(collective, rank));
    if (error == cudaSuccess)
        error = cudaDeviceGetStreamPriorityRange(&low, &high);
    if (error == cudaSuccess)
        error =
            cudaStreamCreateWithPriority(&collective->stream[rank], cudaStreamNonBlocking, high);
    if (error == cudaSuccess)
        error = cudaEventCreateWithFlags(&collective->landed[rank], cudaEventDisableTiming);
    if (error == cudaSuccess)
        error = cudaMalloc((void **)room, 256 * ((size_t)collective->ranks + 1));
    return error;
}

/* Rounds end in NCCL's own time, not in the worker. */
static enum sdt_status check_policy(struct sdt_error *err) {
    const struct starpu_sched_policy *policy = starpu_sched_ctx_get_sched_policy(0);
    char ours[160] = "";
    if (sdt_policy_any_thread(policy))
        return SDT_OK;
    for (int i = 0, at = 0; sdt_policies[i] && at < (int)sizeof ours; i++)
        if (sdt_policy_any_thread(sdt_policies[i]))
            at +=
                snprintf(ours + at, sizeof ours - (size_t)at, "%s, ", sdt_policies[i]->policy_name);
    return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                    "transport nccl on GPUs does not go with scheduler %s; %sand lws work",
                    policy->policy_name, ours);
}

static enum sdt_status open_gpus(struct sdt_collective *collective, struct sdt_error *err) {
    int ranks = collective->ranks, device[STARPU_MAXNODES], before = 0;
    char *room[STARPU_MAXNODES] = {NULL};
    const struct sdt__nccl *nccl = &collective->nccl;
    struct sdt_error missing;
    enum sdt_status status = check_policy(err);

    if (status != SDT_OK)
        return status;
    if (sdt__nccl_load(&collective->nccl, &missing) != SDT_OK)
        return nccl_failed(err, "not here", missing.message);
    cudaGetDevice(&before);
    for (int r = 0; r < ranks; r++)
        device[r] = device_of(collective, r);
    ncclResult_t result = nccl->init_all(collective->comm, ranks, device);
    if (result != ncclSuccess)
        return nccl_failed(err, "no communicator over these GPUs", nccl->error_string(result));
    collective->gpus = ranks;
    for (int r = 0; r < ranks && status == SDT_OK; r++) {
        cudaError_t error = open_rank(collective, r, &room[r]);
        if (error != cudaSuccess)
            status = sdt_fail(err, SDT_ERROR_DEVICE, "cuda:%d: no stream for exchanges: %s",
                              device[r], cudaGetErrorString(error));
    }
    if (status == SDT_OK && (result = greet(collective, room)) != ncclSuccess)
        status =
            nccl_failed(err, "the GPUs cannot send to one another", nccl->error_string(result));
    for (int r = 0; r < ranks && status == SDT_OK; r++)
        if (cudaSetDevice(device[r]) != cudaSuccess ||
            cudaStreamSynchronize(collective->stream[r]) != cudaSuccess)
            status = sdt_fail(err, SDT_ERROR_DEVICE, "cuda:%d: its first NCCL exchange failed",
                              device[r]);
    if (status != SDT_OK)
        end_communicators(collective, true);
    for (int r = 0; r < ranks && !collective->stuck; r++)
        if (room[r] && cudaSetDevice(device[r]) == cudaSuccess)
            cudaFree(room[r]);
    cudaSetDevice(before);
    return status;
}

static enum sdt_status start_watcher(struct sdt_collective *collective, struct sdt_error *err) {
    int error = pthread_create(&collective->watcher, NULL, watch, collective);
    collective->watched = !error;
    return error ? sdt_fail(err, SDT_ERROR_MEMORY, "no thread to watch NCCL: %s", strerror(error))
                 : SDT_OK;
}

static void close_gpus(struct sdt_collective *collective) {
    int before = 0;
    if (collective->watched) {
        starpu_pthread_mutex_lock(&collective->mutex);
        collective->closing = true;
        starpu_pthread_cond_signal(&collective->changed);
        starpu_pthread_mutex_unlock(&collective->mutex);
        pthread_join(collective->watcher, NULL);
    }
    if (collective->gpus && !collective->broken)
        end_communicators(collective, false);
    cudaGetDevice(&before);
    for (int r = 0; r < collective->gpus && !collective->stuck; r++) {
        cudaSetDevice(device_of(collective, r));
        if (collective->landed[r])
            cudaEventDestroy(collective->landed[r]);
        if (collective->stream[r])
            cudaStreamDestroy(collective->stream[r]);
    }
    if (collective->gpus)
        cudaSetDevice(before);
}
#endif

enum sdt_status sdt__collective_open(struct sdt_flow *flow, const struct sdt_place *place,
                                     int ranks, double stall_seconds, struct sdt_collective **out,
                                     struct sdt_error *err) {
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
    collective->landed = calloc((size_t)ranks, sizeof(cudaEvent_t));
    collective->comm = calloc((size_t)ranks, sizeof(ncclComm_t));
    if (status == SDT_OK && (!collective->stream || !collective->landed || !collective->comm))
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d ranks", ranks);
    if (status == SDT_OK && gpus)
        status = open_gpus(collective, err);
    if (status == SDT_OK && gpus)
        status = start_watcher(collective, err);
#else
    if (status == SDT_OK && gpus)
        status = sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                          "this build has no NCCL; --transport starpu works");
#endif
    if (status == SDT_OK) {
        collective->gate = sdt__host_vector(flow, &collective->nothing, 1, "gate");
        for (int r = 0; r < ranks; r++)
            collective->token[r] =
                sdt__register(flow, &place[r], SDT_F32, 1, &collective->nothing, "token");
        status = flow->error.status;
        if (status != SDT_OK && err != &flow->error)
            *err = flow->error;
    }
    if (status != SDT_OK) {
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
    close_gpus(collective);
    free(collective->stream);
    free(collective->landed);
    free(collective->comm);
    starpu_pthread_cond_destroy(&collective->changed);
#endif
    for (int r = 0; collective->token && r < collective->ranks; r++)
        sdt__unregister(collective->token[r]);
    sdt__unregister(collective->gate);
    free(collective->token);
    starpu_pthread_mutex_destroy(&collective->mutex);
    free(collective);
}

double sdt__collective_bytes(const struct sdt_collective *collective) { return collective->bytes; }
