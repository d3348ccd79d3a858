/* The process as one of several, over MPI. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/ranks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "config.h"

#include <starpu.h>

#include "base/digest.h"

#if defined HAVE_MPI && !defined STARPU_SIMGRID
#define WITH_MPI 1
#include <starpu_mpi.h>
#endif

/* What MPI is of: the process. */
static struct {
    int count, me; /* count 0: nobody has joined */
    char name[96];
#ifdef WITH_MPI
    MPI_Comm talk; /* so that StarPU-MPI does not take what is said for data */
#endif
} process;

int sdt_ranks(void) { return process.count > 0 ? process.count : 1; }

int sdt_rank(void) { return process.me; }

const char *sdt_rank_name(void) { return process.name[0] ? process.name : "rank 0"; }

/* How many processes were started together, as far as their starter says; *name: who. */
static int started(const char **name) {
    static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const char *text = getenv(sizes[i]);
        *name = sizes[i];
        if (text && atoi(text) > 0)
            return atoi(text);
    }
    *name = "PMIX_RANK";
    return getenv("PMIX_RANK") ? 2 : 1; /* srun: how many, MPI knows */
}

#ifdef WITH_MPI

enum sdt_status sdt_ranks_join(struct sdt_error *err) {
    const char *name;
    int provided = 0;
    char host[64] = "?";
    if (process.count > 0 || started(&name) < 2)
        return SDT_OK;
    /* As root of a container: mpirun was told so already. */
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_MULTIPLE, &provided) != MPI_SUCCESS)
        return sdt_fail(err, SDT_ERROR_DEVICE, "MPI does not start");
    MPI_Comm_size(MPI_COMM_WORLD, &process.count);
    MPI_Comm_rank(MPI_COMM_WORLD, &process.me);
    MPI_Comm_dup(MPI_COMM_WORLD, &process.talk);
    gethostname(host, sizeof host - 1);
    snprintf(process.name, sizeof process.name, "rank %d (%.60s)", process.me, host);
    if (process.count > 1 && provided < MPI_THREAD_MULTIPLE)
        return sdt_fail(err, SDT_ERROR_DEVICE,
                        "this MPI lets one thread call it (level %d); stardit needs "
                        "MPI_THREAD_MULTIPLE",
                        provided);
    if (process.count > SDT_MAX_RANKS)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d ranks; at most %d work", process.count,
                        SDT_MAX_RANKS);
    return SDT_OK;
}

/* MPI's own waits take a core each. */
static void await(MPI_Request *request) {
    struct timespec pause = {0, 20 * 1000};
    int done = 0;
    for (;;) {
        MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (done)
            return;
        nanosleep(&pause, NULL);
        if (pause.tv_nsec < 1000 * 1000)
            pause.tv_nsec *= 2;
    }
}

static void send_to(int rank, int talk, const void *bytes, size_t size) {
    MPI_Request request;
    MPI_Isend(bytes, (int)size, MPI_BYTE, rank, talk, process.talk, &request);
    await(&request);
}

static void receive_from(int rank, int talk, void *bytes, size_t size) {
    MPI_Request request;
    MPI_Irecv(bytes, (int)size, MPI_BYTE, rank, talk, process.talk, &request);
    await(&request);
}

void sdt__ranks_hear(int talk, void *bytes, size_t size) {
    if (process.me > 0)
        receive_from(0, talk, bytes, size);
    for (int r = 1; process.me == 0 && r < sdt_ranks(); r++)
        send_to(r, talk, bytes, size);
}

void sdt__ranks_collect(int talk, const void *mine, size_t size, void *all) {
    if (process.me > 0)
        send_to(0, talk, mine, size);
    else
        memcpy(all, mine, size);
    for (int r = 1; process.me == 0 && r < sdt_ranks(); r++)
        receive_from(r, talk, (char *)all + (size_t)r * size, size);
    sdt__ranks_hear(talk, all, (size_t)sdt_ranks() * size);
}

void sdt_ranks_leave(void) {
    if (process.count < 1)
        return;
    MPI_Comm_free(&process.talk);
    MPI_Finalize();
    process.count = 0;
}

void sdt_ranks_abort(int code) {
    fflush(NULL);
    if (process.count > 1)
        MPI_Abort(MPI_COMM_WORLD, code);
}

int sdt__ranks_start(struct starpu_conf *conf) {
    const char *workers = getenv("STARPU_NCPU");
    if (sdt_ranks() == 1)
        return starpu_init(conf);
    /* Which core its thread gets is the system's business, as where stand-ins run. */
    setenv("STARPU_MPI_NOBIND", "1", 0);
    if (workers) /* else it takes one off for its own thread */
        conf->ncpus = atoi(workers);
    return starpu_mpi_init_conf(NULL, NULL, 0, MPI_COMM_WORLD, conf);
}

void sdt__ranks_stop(void) {
    if (sdt_ranks() == 1)
        starpu_shutdown();
    else
        starpu_mpi_shutdown();
}

#else

enum sdt_status sdt_ranks_join(struct sdt_error *err) {
    const char *name;
    int count = started(&name);
    if (count > 1)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "started as one of several ranks (%s), and this stardit was built without "
                        "MPI, which ./quickstart build uses where mpicc is",
                        name);
    return SDT_OK;
}

void sdt__ranks_hear(int talk, void *bytes, size_t size) {
    (void)talk;
    (void)bytes;
    (void)size;
}

void sdt__ranks_collect(int talk, const void *mine, size_t size, void *all) {
    (void)talk;
    memcpy(all, mine, size);
}

void sdt_ranks_leave(void) {}

void sdt_ranks_abort(int code) { (void)code; }

int sdt__ranks_start(struct starpu_conf *conf) { return starpu_init(conf); }

void sdt__ranks_stop(void) { starpu_shutdown(); }

#endif

/* ---- agreement ------------------------------------------------------------------------------- */

void sdt_ranks_share(void *bytes, size_t size) {
    if (sdt_ranks() > 1)
        sdt__ranks_hear(SDT_TALK_MAIN, bytes, size);
}

/* What a rank says of how it went. */
struct report {
    struct sdt_error error;
    char name[sizeof process.name];
};

enum sdt_status sdt__ranks_settle(int talk, enum sdt_status status, struct sdt_error *err) {
    struct report mine = {0}, all[SDT_MAX_RANKS];
    if (sdt_ranks() == 1)
        return status;
    if (status != SDT_OK && err)
        mine.error = *err;
    mine.error.status = status;
    snprintf(mine.name, sizeof mine.name, "%s", sdt_rank_name());
    sdt__ranks_collect(talk, &mine, sizeof mine, all);
    for (int r = 0; r < sdt_ranks(); r++)
        if (all[r].error.status != SDT_OK)
            return sdt_fail(err, all[r].error.status, "%s%s%s", r ? all[r].name : "", r ? ": " : "",
                            all[r].error.message);
    return SDT_OK;
}

enum sdt_status sdt_ranks_settle(enum sdt_status status, struct sdt_error *err) {
    return sdt__ranks_settle(SDT_TALK_MAIN, status, err);
}

bool sdt__ranks_any(int talk, bool here) {
    bool all[SDT_MAX_RANKS], any = here;
    if (sdt_ranks() == 1)
        return here;
    sdt__ranks_collect(talk, &here, sizeof here, all);
    for (int r = 0; r < sdt_ranks(); r++)
        any = any || all[r];
    return any;
}

enum sdt_status sdt_ranks_same(const char *what, const void *value, size_t size,
                               struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    uint64_t own = sdt__digest(SDT__DIGEST_BEGIN, value, size), first = own;
    struct sdt_error error = {0};
    if (sdt_ranks() == 1)
        return SDT_OK;
    sdt__ranks_hear(SDT_TALK_MAIN, &first, sizeof first);
    if (own != first)
        status = sdt_fail(&error, SDT_ERROR_USAGE,
                          "%s differs from rank 0's; all ranks need the same", what);
    status = sdt_ranks_settle(status, &error);
    if (status != SDT_OK && err)
        *err = error;
    return status;
}
