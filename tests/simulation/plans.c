/* Which of cuDNN's plans are asked for ahead of a run, and which its tasks need: the same, each
 * before its first task.
 *
 *   plans SIZE HEIGHT WIDTH FRAMES TILE STRATEGY DEVICES GROUPS
 *
 * A run of a published size with few layers on simulated GPUs: two steps and the decode. TILE
 * pixels of a tile of the decode, 0: whole frames; GROUPS 2: the last GPU decodes, the others
 * denoise, and it takes a share of their heads while it is idle (Aco). The linker puts functions of
 * this file in front of those that insert tasks (--wrap). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/jobs/job.h"
#include "graph/pipeline.h"
#include "kernels/cuda/scratch.h"
#include "runtime/cuda.h"
#include "tests/simulation/program.h"

enum { MOST = 1000 };

static struct list {
    int count;
    struct sdt_cuda_shape shape[MOST];
} asked, needed;

static int wrong;

static bool same(const struct sdt_cuda_shape *a, const struct sdt_cuda_shape *b) {
    const struct sdt_conv *x = &a->conv, *y = &b->conv;
    if (a->is_conv != b->is_conv)
        return false;
    if (a->is_conv)
        return a->residual == b->residual && x->in == y->in && x->out == y->out && x->kt == y->kt &&
               x->ks == y->ks && x->height == y->height && x->width == y->width &&
               x->upsample == y->upsample && x->replicate == y->replicate;
    return a->heads == b->heads && a->rows == b->rows && a->e == b->e && a->tile == b->tile &&
           a->keys == b->keys && a->log_sums == b->log_sums;
}

static void print(const char *what, const struct sdt_cuda_shape *s) {
    const struct sdt_conv *c = &s->conv;
    if (s->is_conv)
        printf("%s: convolution %d -> %d, (%d,%d,%d), %d x %d%s%s\n", what, c->in, c->out, c->kt,
               c->ks, c->ks, c->height, c->width, c->upsample ? " enlarged" : "",
               s->residual ? ", residual" : "");
    else
        printf("%s: attention of %d heads, %d x %d, %lld keys%s\n", what, s->heads, s->rows, s->e,
               (long long)s->keys, s->log_sums ? ", log-sum-exp" : "");
}

static bool has(const struct list *list, const struct sdt_cuda_shape *shape) {
    int i = 0;
    while (i < list->count && !same(&list->shape[i], shape))
        i++;
    return i < list->count;
}

static void add(struct list *list, const struct sdt_cuda_shape *shape) {
    if (shape->is_conv && !sdt__cudnn_takes(&shape->conv))
        return;
    if (!has(list, shape) && list->count < MOST)
        list->shape[list->count++] = *shape;
}

/* A task that is about to be inserted. */
static void need(const struct sdt_cuda_shape *shape) {
    if (shape->is_conv && !sdt__cudnn_takes(&shape->conv))
        return;
    if (!has(&needed, shape) && !has(&asked, shape)) {
        print("not asked for", shape);
        wrong++;
    }
    add(&needed, shape);
}

/* ---- in front of the library's --------------------------------------------------------------- */

void __wrap_sdt__cuda_plan_ahead(const struct sdt_place *place, const struct sdt_cuda_shape *shape);
void __wrap_sdt__cuda_plan_ahead(const struct sdt_place *place,
                                 const struct sdt_cuda_shape *shape) {
    if (place->kind == SDT_DEVICE_CUDA)
        add(&asked, shape);
}

#define CONV                                                                                       \
    struct sdt_flow *flow, const char *name, const struct sdt_conv *conv,                          \
        const struct sdt_conv_part *part, const sdt_handle *x, sdt_handle w, sdt_handle bias,      \
        sdt_handle residual, sdt_handle y
void __real_sdt_insert_conv(CONV);
void __wrap_sdt_insert_conv(CONV);
void __wrap_sdt_insert_conv(CONV) {
    if (flow->place->kind == SDT_DEVICE_CUDA)
        need(&(struct sdt_cuda_shape){.is_conv = true, .conv = *conv, .residual = residual});
    __real_sdt_insert_conv(flow, name, conv, part, x, w, bias, residual, y);
}

#define TIME                                                                                       \
    struct sdt_flow *flow, const char *name, int height, int width, int channels,                  \
        const sdt_handle *x, sdt_handle w, sdt_handle bias, sdt_handle first, sdt_handle second
void __real_sdt_insert_time_upsample(TIME);
void __wrap_sdt_insert_time_upsample(TIME);
void __wrap_sdt_insert_time_upsample(TIME) {
    if (flow->place->kind == SDT_DEVICE_CUDA)
        need(&(struct sdt_cuda_shape){.is_conv = true,
                                      .conv = sdt__time_half(height, width, channels)});
    __real_sdt_insert_time_upsample(flow, name, height, width, channels, x, w, bias, first, second);
}

#define ATTENTION                                                                                  \
    struct sdt_flow *flow, const char *name, const struct sdt_token_groups *groups, int heads,     \
        int rows, int e, int tile, int64_t keys, float scale, sdt_handle q, sdt_handle k,          \
        sdt_handle v, sdt_handle o, sdt_handle lse, bool merge
void __real_sdt_insert_group_attention(ATTENTION);
void __wrap_sdt_insert_group_attention(ATTENTION);
void __wrap_sdt_insert_group_attention(ATTENTION) {
    /* Groups are our own kernels'; shapes of partial results are many (graph/jobs/denoise.c). */
    if (flow->place->kind == SDT_DEVICE_CUDA && (!groups || groups->count == 1) && !lse)
        need(&(struct sdt_cuda_shape){
            .heads = heads, .rows = rows, .e = e, .tile = tile, .keys = keys});
    __real_sdt_insert_group_attention(flow, name, groups, heads, rows, e, tile, keys, scale, q, k,
                                      v, o, lse, merge);
}

/* ---- a run ----------------------------------------------------------------------------------- */

static struct sdt_platform platform_of(char **argv) {
    return (struct sdt_platform){.kinds = 1,
                                 .kind = {{.memory_gb = 1000.0}},
                                 .devices = atoi(argv[7]),
                                 .link_gbps = 300.0,
                                 .host_gbps = 50.0};
}

static void deliver(void *arg, int request, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    (void)arg;
    (void)request;
    (void)result;
    if (status != SDT_OK) {
        fprintf(stderr, "%s\n", err->message);
        wrong++;
    }
}

static enum sdt_status serve(char **argv, struct sdt_machine *machine, struct sdt_error *err) {
    int devices = atoi(argv[7]), tile = atoi(argv[5]), decoders = atoi(argv[8]) == 2 ? 1 : 0;
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_service *service = NULL;
    struct sdt_service_options options = {0};
    const struct sdt_job_options job = {.deliver = deliver};
    struct sdt_request request;

    if (decoders) {
        options.placement.aco = SDT_ACO_STATIC;
        options.placement.dit_devices = devices - 1;
        options.placement.vae_devices = 1;
        options.placement.vae[0] = devices - 1;
        for (int d = 0; d < devices - 1; d++)
            options.placement.dit[d] = d;
    }
    enum sdt_status status = sdt__pipeline_imagine(argv[1], 4, &pipeline, err);
    if (status == SDT_OK)
        status = sdt_pipeline_defaults(pipeline, &request, err);
    if (status != SDT_OK)
        return status;
    request.prompt = "a boat on a lake";
    request.height = atoi(argv[2]);
    request.width = atoi(argv[3]);
    request.num_frames = atoi(argv[4]);
    request.steps = 2;
    request.strategy = sdt_strategy_find(argv[6]);
    request.tiling = (struct sdt_vae_tiling){tile, tile, tile * 3 / 4, tile * 3 / 4};
    status = sdt_service_open(pipeline, machine, &options, &service, err);
    if (status == SDT_OK)
        status = sdt_service_submit(service, &request, &job, NULL, err);
    if (status == SDT_OK)
        status = sdt_service_close(service, err);
    return status;
}

static const char usage[] = "SIZE HEIGHT WIDTH FRAMES TILE STRATEGY DEVICES GROUPS";
static const int arguments = 8;

static int run(struct sdt_machine *machine, char **argv) {
    struct sdt_error err = {0};
    if (serve(argv, machine, &err) != SDT_OK) {
        fprintf(stderr, "%s\n", err.message);
        wrong++;
    }
    for (int i = 0; i < asked.count; i++)
        if (!has(&needed, &asked.shape[i])) {
            print("not needed", &asked.shape[i]);
            wrong++;
        }
    int convs = 0;
    for (int i = 0; i < needed.count; i++)
        convs += needed.shape[i].is_conv;
    printf("%d convolutions and %d attentions: %d wrong\n", convs, needed.count - convs, wrong);
    return wrong > 0;
}
