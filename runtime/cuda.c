/* The contexts of the CUDA workers: StarPU's stream, and the handles and plans that kernels
 * keep. */
#include "runtime/cuda.h"

#ifdef HAVE_CUDA
#include "runtime/busy.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

cudaStream_t starpu_cuda_get_local_stream(void);

/* By worker; each used by its worker alone. StarPU calls a codelet with its buffers and the task's
 * argument: what belongs to the worker is found by its number, and one StarPU runs in a process. */
static struct sdt_cuda *context[STARPU_NMAXWORKERS];
static struct sdt__busy *busy[STARPU_NMAXWORKERS]; /* while a benchmark times them */
/* What they share: cuDNN's plans. */
static struct sdt_planner *planner;

/* What went wrong while workers opened, each on its own thread. */
struct opening {
    starpu_pthread_mutex_t mutex;
    struct sdt_error error; /* the first */
};

static void open_worker(void *arg) {
    struct opening *opening = arg;
    struct sdt_error error = {0};
    int worker = starpu_worker_get_id();
    char name[64];
    if (sdt_cuda_new(starpu_cuda_get_local_stream(), &context[worker], &error) == SDT_OK) {
        sdt_cuda_share(context[worker], planner);
        return;
    }
    context[worker] = NULL;
    starpu_worker_get_name(worker, name, sizeof name);
    starpu_pthread_mutex_lock(&opening->mutex);
    if (opening->error.status == SDT_OK)
        sdt_fail(&opening->error, error.status, "%s: %s", name, error.message);
    starpu_pthread_mutex_unlock(&opening->mutex);
}

static void close_worker(void *arg) {
    int worker = starpu_worker_get_id();
    (void)arg;
    sdt_cuda_free(context[worker]);
    context[worker] = NULL;
}

enum sdt_status sdt__cuda_workers_open(struct sdt_error *err) {
    struct opening opening = {.error = {0}};
    memset(context, 0, sizeof context);
    if (starpu_cuda_worker_get_count() == 0)
        return SDT_OK;
    planner = sdt_planner_new(); /* NULL: each context plans for itself */
    starpu_pthread_mutex_init(&opening.mutex, NULL);
    starpu_execute_on_each_worker(open_worker, &opening, STARPU_CUDA);
    starpu_pthread_mutex_destroy(&opening.mutex);
    if (opening.error.status != SDT_OK) {
        sdt__cuda_workers_close();
        if (err)
            *err = opening.error;
    }
    return opening.error.status;
}

void sdt__cuda_workers_close(void) {
    if (starpu_cuda_worker_get_count() == 0)
        return;
    starpu_execute_on_each_worker(close_worker, NULL, STARPU_CUDA);
    sdt_planner_free(planner);
    planner = NULL;
}

void sdt__cuda_plan_ahead(const struct sdt_place *place, const struct sdt_cuda_shape *shape) {
    if (place->here && place->kind == SDT_DEVICE_CUDA && planner && context[place->first_worker])
        sdt_planner_ahead(planner, (int)starpu_worker_get_devid(place->first_worker), shape);
}

struct sdt_cuda *sdt__cuda(void) {
    /* Not ours: of an allocation of StarPU's that failed and was made elsewhere. */
    (void)cudaGetLastError();
    int worker = starpu_worker_get_id();
    if (busy[worker])
        sdt__busy_begin(busy[worker]);
    return context[worker];
}

void sdt__cuda_done(void *cl_arg, enum sdt_status status) {
    int worker = starpu_worker_get_id();
    if (busy[worker])
        sdt__busy_end(busy[worker]);
    if (status != SDT_OK)
        sdt__task_fail(cl_arg, status, sdt_cuda_error(context[worker])->message);
}

/* ---- busy seconds ---------------------------------------------------------------------------- */

static void start_busy(void *arg) {
    int worker = starpu_worker_get_id();
    (void)arg;
    sdt__busy_free(busy[worker]);
    busy[worker] = sdt__busy_new(starpu_cuda_get_local_stream());
}

void sdt__cuda_busy_start(void) {
    if (starpu_cuda_worker_get_count() > 0)
        starpu_execute_on_each_worker(start_busy, NULL, STARPU_CUDA);
}

/* Each into its place of arg. */
static void end_busy(void *arg) {
    int worker = starpu_worker_get_id();
    double *seconds = arg; /* [STARPU_NMAXWORKERS] */
    seconds[worker] = busy[worker] ? sdt__busy_seconds(busy[worker]) : NAN;
    sdt__busy_free(busy[worker]);
    busy[worker] = NULL;
}

double sdt__cuda_busy_end(void) {
    double seconds[STARPU_NMAXWORKERS] = {0.0}, sum = 0.0;
    if (starpu_cuda_worker_get_count() > 0)
        starpu_execute_on_each_worker(end_busy, seconds, STARPU_CUDA);
    for (int w = 0; w < STARPU_NMAXWORKERS; w++)
        sum += seconds[w];
    return sum;
}

void sdt__cuda_check_finite(void *cl_arg, enum sdt_dtype dtype, size_t n, const void *x) {
    sdt__task_found(cl_arg, sdt_cuda_found(sdt__cuda()));
    sdt__cuda_done(cl_arg, sdt_cuda_check_finite(sdt__cuda(), dtype, n, x));
}

void sdt__cuda_use(struct sdt_cudnn_use *use) {
    for (int w = 0; w < STARPU_NMAXWORKERS; w++) {
        const char *why = NULL, *version = context[w] ? sdt_cuda_cudnn(context[w], &why) : NULL;
        if (!context[w])
            continue;
        if (use->gpus++ == 0 && version)
            snprintf(use->version, sizeof use->version, "%s", version);
        if (why && !use->why[0])
            snprintf(use->why, sizeof use->why, "%s", why);
    }
    if (!planner)
        return;
    struct sdt_cuda_plans plans = sdt_planner_count(planner);
    use->made = plans.made;
    use->ahead = plans.ahead;
    use->read = plans.read;
    use->none = plans.none;
    use->seconds = plans.seconds;
    if (plans.why[0])
        snprintf(use->why, sizeof use->why, "%s", plans.why);
}

#else

void sdt__cuda_use(struct sdt_cudnn_use *use) { (void)use; }
void sdt__cuda_busy_start(void) {}
double sdt__cuda_busy_end(void) { return 0.0; }

enum sdt_status sdt__cuda_workers_open(struct sdt_error *err) {
    (void)err;
    return SDT_OK;
}

void sdt__cuda_workers_close(void) {}

void sdt__cuda_plan_ahead(const struct sdt_place *place, const struct sdt_cuda_shape *shape) {
    (void)place;
    (void)shape;
}
#endif
