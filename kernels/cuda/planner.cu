/* A thread that makes cuDNN's plans ahead of the tasks that need them, and what all threads know of
 * plans (plans.h). */
#include "kernels/cuda/planner.h"

#include "kernels/cuda/attend.h"
#include "kernels/cuda/convolve.h"
#include "kernels/cuda/plans.h"

#include <pthread.h>
#include <stdlib.h>

struct wish {
    struct wish *next;
    int device;
    struct sdt_cuda_shape shape;
};

/* What the thread has for a device. */
struct desk {
    struct desk *next;
    struct sdt_cuda cuda; /* `cudnn` NULL: there is none */
};

struct sdt_planner {
    struct sdt__plans *plans;
    sdt__cudnn_open open;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct wish *first, **last;
    bool started, busy, closing;
    pthread_t thread;
    struct desk *desks; /* of the thread */
};

struct sdt__plans *sdt__planner_plans(struct sdt_planner *planner) {
    return planner->plans;
}

#ifdef HAVE_CUDNN

static struct sdt__cudnn *open_device(int device, char *why, size_t size) {
    cudaError_t error = cudaSetDevice(device);
    if (error == cudaSuccess)
        return sdt__cudnn_new(NULL, why, size);
    snprintf(why, size, "cuda:%d: %s", device, cudaGetErrorString(error));
    return NULL;
}

/* The thread's for a device; NULL: no memory. */
static struct desk *desk_of(struct sdt_planner *planner, int device) {
    struct desk *desk = planner->desks;
    while (desk && desk->cuda.device != device)
        desk = desk->next;
    if (desk || !(desk = (struct desk *)calloc(1, sizeof *desk)))
        return desk;
    desk->cuda.device = device;
    desk->cuda.plans = planner->plans;
    desk->cuda.ahead = true;
    desk->cuda.cudnn = planner->open(device, desk->cuda.cudnn_why, sizeof desk->cuda.cudnn_why);
    desk->next = planner->desks;
    planner->desks = desk;
    return desk;
}

/* A plan only depends on whether addresses are aligned. */
static void plan_attention(struct sdt_cuda *cuda, const struct sdt_cuda_shape *shape) {
    alignas(16) static const char somewhere[16] = {0};
    struct attention_call call =
        by_heads(shape->heads, shape->rows, shape->e, somewhere, shape->tile, shape->keys,
                 somewhere, somewhere, (void *)somewhere);
    call.lse = shape->log_sums ? (float *)somewhere : NULL;
    sdt__cudnn_attention(cuda, &call);
}

static void fulfil(struct sdt_planner *planner, const struct wish *wish) {
    struct desk *desk = desk_of(planner, wish->device);
    if (!desk || !desk->cuda.cudnn)
        return;
    if (wish->shape.is_conv)
        sdt__cudnn_convolution_of(&desk->cuda, &wish->shape.conv, wish->shape.residual);
    else
        plan_attention(&desk->cuda, &wish->shape);
    sdt__cudnn_drop(desk->cuda.cudnn); /* its text is what others take */
}

static void *plan_all(void *arg) {
    struct sdt_planner *planner = (struct sdt_planner *)arg;
    pthread_mutex_lock(&planner->mutex);
    while (!planner->closing) {
        struct wish *wish = planner->first;
        planner->busy = wish != NULL;
        if (!wish) {
            pthread_cond_broadcast(&planner->changed);
            pthread_cond_wait(&planner->changed, &planner->mutex);
            continue;
        }
        planner->first = wish->next;
        if (!planner->first)
            planner->last = &planner->first;
        pthread_mutex_unlock(&planner->mutex);
        fulfil(planner, wish);
        free(wish);
        pthread_mutex_lock(&planner->mutex);
    }
    planner->busy = false;
    pthread_mutex_unlock(&planner->mutex);
    while (planner->desks) {
        struct desk *next = planner->desks->next;
        sdt__cudnn_free(planner->desks->cuda.cudnn);
        free(planner->desks);
        planner->desks = next;
    }
    return NULL;
}

void sdt_planner_ahead(struct sdt_planner *planner, int device,
                       const struct sdt_cuda_shape *shape) {
    struct wish *wish = (struct wish *)calloc(1, sizeof *wish);
    if (!wish) /* then the task plans */
        return;
    wish->device = device;
    wish->shape = *shape;
    pthread_mutex_lock(&planner->mutex);
    if (!planner->started)
        planner->started = !pthread_create(&planner->thread, NULL, plan_all, planner);
    if (planner->started) {
        *planner->last = wish;
        planner->last = &wish->next;
        planner->busy = true;
        wish = NULL;
        pthread_cond_broadcast(&planner->changed);
    }
    pthread_mutex_unlock(&planner->mutex);
    free(wish);
}

#else

static struct sdt__cudnn *open_device(int, char *why, size_t size) {
    snprintf(why, size, "built without cuDNN");
    return NULL;
}
void sdt_planner_ahead(struct sdt_planner *, int, const struct sdt_cuda_shape *) {}

#endif

void sdt__planner_wait(struct sdt_planner *planner) {
    pthread_mutex_lock(&planner->mutex);
    while (planner->busy)
        pthread_cond_wait(&planner->changed, &planner->mutex);
    pthread_mutex_unlock(&planner->mutex);
}

struct sdt_planner *sdt__planner_new(const char *folder, sdt__cudnn_open open) {
    struct sdt_planner *planner = (struct sdt_planner *)calloc(1, sizeof *planner);
    if (!planner)
        return NULL;
    planner->open = open;
    planner->last = &planner->first;
    planner->plans = sdt__plans_new(folder);
    if (!planner->plans) {
        free(planner);
        return NULL;
    }
    pthread_mutex_init(&planner->mutex, NULL);
    pthread_cond_init(&planner->changed, NULL);
    return planner;
}

struct sdt_planner *sdt_planner_new(void) {
    char *folder = sdt__plans_folder();
    struct sdt_planner *planner = sdt__planner_new(folder, open_device);
    free(folder);
    return planner;
}

void sdt_planner_free(struct sdt_planner *planner) {
    if (!planner)
        return;
    pthread_mutex_lock(&planner->mutex);
    planner->closing = true;
    pthread_cond_broadcast(&planner->changed);
    pthread_mutex_unlock(&planner->mutex);
    if (planner->started)
        pthread_join(planner->thread, NULL);
    while (planner->first) {
        struct wish *next = planner->first->next;
        free(planner->first);
        planner->first = next;
    }
    pthread_cond_destroy(&planner->changed);
    pthread_mutex_destroy(&planner->mutex);
    sdt__plans_free(planner->plans);
    free(planner);
}

struct sdt_cuda_plans sdt_planner_count(struct sdt_planner *planner) {
    struct sdt__plans_count count = sdt__plans_count(planner->plans);
    struct sdt_cuda_plans plans = {};
    plans.made = count.made;
    plans.ahead = count.ahead;
    plans.read = count.read;
    plans.none = count.none;
    plans.seconds = count.seconds;
    snprintf(plans.why, sizeof plans.why, "%s", count.first_none);
    return plans;
}

void sdt_cuda_share(struct sdt_cuda *cuda, struct sdt_planner *planner) {
    cuda->plans = planner ? planner->plans : NULL;
}
