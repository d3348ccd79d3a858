/* Attention as a cuDNN graph: its one fused operation where the library has it (9.13.1 and later),
 * else the chain of products, reductions and element-wise operations that older ones turn into the
 * same kernel. Both are FlashAttention in float32 arithmetic with the log-sum-exp as natural
 * logarithm, for head sizes up to 128 that are multiples of 8, from compute capability 8.0 on. */
#include "kernels/cuda/attend.h"
#include "kernels/cuda/cudnn.h"

#include <stdio.h>
#include <string.h>

#ifndef HAVE_CUDNN

enum sdt_status sdt__cudnn_attend(struct sdt_cuda *, const struct attention_call *, bool *done) {
    *done = false;
    return SDT_OK;
}

struct sdt__cudnn_graph *sdt__cudnn_attention(struct sdt_cuda *, const struct attention_call *) {
    return NULL;
}

#else

/* Tensors of the graph; those up to SCALE get memory. */
enum { Q = 1, K, V, O, LSE, SCALE, SCORES, SCALED, LARGEST, LESS, POWERS, SUM, LOG, WEIGHTS };

struct shape {
    int64_t heads, rows, keys, e;
    struct attention_call call;
};

/* [1, heads, a, b] with the head's stride, or dense. */
static sdt__part tensor(struct sdt__cudnn_graph *graph, int id, cudnnDataType_t type,
                        enum sdt__cudnn_home home, int64_t heads, int64_t head, int64_t a,
                        int64_t a_stride, int64_t b, int64_t b_stride) {
    const int64_t size[4] = {1, heads, a, b}, stride[4] = {heads * head, head, a_stride, b_stride};
    return sdt__cudnn_tensor(graph, id, type, home, 4, size, stride);
}

static sdt__part between(struct sdt__cudnn_graph *graph, const struct shape *shape, int id,
                         cudnnDataType_t type, int64_t columns) {
    return tensor(graph, id, type, SDT__CUDNN_VIRTUAL, shape->heads, shape->rows * columns,
                  shape->rows, columns, columns, 1);
}

static sdt__part scalar(struct sdt__cudnn_graph *graph, int id) {
    const int64_t one[4] = {1, 1, 1, 1};
    return sdt__cudnn_tensor(graph, id, CUDNN_DATA_FLOAT, SDT__CUDNN_VALUE, 4, one, one);
}

static sdt__part log_sums(struct sdt__cudnn_graph *graph, const struct shape *shape) {
    return tensor(graph, LSE, CUDNN_DATA_FLOAT,
                  shape->call.lse ? SDT__CUDNN_MEMORY : SDT__CUDNN_VIRTUAL, shape->heads,
                  shape->rows, shape->rows, 1, 1, 1);
}

static sdt__part matrix(struct sdt__cudnn_graph *graph, const struct shape *shape, int id,
                        int64_t rows, int64_t head, int64_t row) {
    return tensor(graph, id, CUDNN_DATA_BFLOAT16, SDT__CUDNN_MEMORY, shape->heads, head, rows, row,
                  shape->e, 1);
}

#if CUDNN_VERSION >= 91301
static void build_one(struct sdt__cudnn_graph *graph, const struct shape *shape) {
    const struct attention_call *c = &shape->call;
    sdt__part q = matrix(graph, shape, Q, shape->rows, c->q_head, c->q_row);
    sdt__part k = matrix(graph, shape, K, shape->keys, c->k_head, c->k_row);
    sdt__part v = matrix(graph, shape, V, shape->keys, c->k_head, c->k_row);
    sdt__part o = matrix(graph, shape, O, shape->rows, c->o_head, c->o_row);
    sdt__part scale = scalar(graph, SCALE);
    sdt__part lse = c->lse ? log_sums(graph, shape) : NULL;
    sdt__part all =
        sdt__cudnn_part(graph, CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR, "the fused operation");
    const struct {
        cudnnBackendAttributeName_t name;
        sdt__part part;
    } attributes[] = {{CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, q},
                      {CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, k},
                      {CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, v},
                      {CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, o},
                      {CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, scale},
                      {CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC, lse}};
    for (const auto &attribute : attributes)
        if (attribute.part || attribute.name != CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC)
            sdt__cudnn_set(graph, all, attribute.name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                           &attribute.part);
    sdt__cudnn_operation(graph, all);
}
#endif

/* softmax as o = (e^(s - max) / sum) v, lse = max + log(sum); keys are read transposed. */
static void build_chain(struct sdt__cudnn_graph *graph, const struct shape *shape) {
    const struct attention_call *c = &shape->call;
    const cudnnDataType_t single = CUDNN_DATA_FLOAT;
    sdt__part q = matrix(graph, shape, Q, shape->rows, c->q_head, c->q_row);
    sdt__part k = tensor(graph, K, CUDNN_DATA_BFLOAT16, SDT__CUDNN_MEMORY, shape->heads, c->k_head,
                         shape->e, 1, shape->keys, c->k_row);
    sdt__part v = matrix(graph, shape, V, shape->keys, c->k_head, c->k_row);
    sdt__part o = matrix(graph, shape, O, shape->rows, c->o_head, c->o_row);
    sdt__part scale = scalar(graph, SCALE);
    sdt__part lse = log_sums(graph, shape);
    sdt__part scores = between(graph, shape, SCORES, single, shape->keys);
    sdt__part scaled = between(graph, shape, SCALED, single, shape->keys);
    sdt__part largest = between(graph, shape, LARGEST, single, 1);
    sdt__part less = between(graph, shape, LESS, single, shape->keys);
    sdt__part powers = between(graph, shape, POWERS, single, shape->keys);
    sdt__part sum = between(graph, shape, SUM, single, 1);
    sdt__part log = between(graph, shape, LOG, single, 1);
    sdt__part weights = between(graph, shape, WEIGHTS, CUDNN_DATA_BFLOAT16, shape->keys);
    sdt__cudnn_matmul(graph, q, k, scores);
    sdt__cudnn_pointwise(graph, CUDNN_POINTWISE_MUL, scores, scale, scaled);
    sdt__cudnn_reduction(graph, CUDNN_REDUCE_TENSOR_MAX, scaled, largest);
    sdt__cudnn_pointwise(graph, CUDNN_POINTWISE_SUB, scaled, largest, less);
    sdt__cudnn_pointwise(graph, CUDNN_POINTWISE_EXP, less, NULL, powers);
    sdt__cudnn_reduction(graph, CUDNN_REDUCE_TENSOR_ADD, powers, sum);
    sdt__cudnn_pointwise(graph, CUDNN_POINTWISE_LOG, sum, NULL, log);
    sdt__cudnn_pointwise(graph, CUDNN_POINTWISE_ADD, largest, log, lse);
    sdt__cudnn_pointwise(graph, CUDNN_POINTWISE_DIV, powers, sum, weights);
    sdt__cudnn_matmul(graph, weights, v, o);
}

/* A plan for the shape, or the reason that there is none, for whoever asks the context. */
static void plan(struct sdt_cuda *cuda, struct sdt__cudnn_graph *graph, const void *arg) {
    const struct shape *shape = (const struct shape *)arg;
    char one[64] = "", chain[64] = "";
#if CUDNN_VERSION >= 91301
    if (cuda->cudnn->version >= 91301) {
        build_one(graph, shape);
        if (sdt__cudnn_plan(graph))
            return;
        sdt__cudnn_reason(graph, one, sizeof one);
        cuda->lacking = graph->lacking;
        sdt__cudnn_clear(graph);
    }
#endif
    if (!cuda->lacking) {
        build_chain(graph, shape);
        if (sdt__cudnn_plan(graph))
            return;
        sdt__cudnn_reason(graph, chain, sizeof chain);
        cuda->lacking = graph->lacking;
        sdt__cudnn_clear(graph);
    }
    cudaGetLastError(); /* of tries that failed: not the next launch's */
    snprintf(cuda->cudnn_why, sizeof cuda->cudnn_why,
             "no plan for attention %d x %d x %d, %lld keys: %s%s%s", (int)shape->heads,
             (int)shape->rows, (int)shape->e, (long long)shape->keys, one,
             *one && *chain ? "; " : "", chain);
}

static bool aligned(const struct attention_call *call) {
    return call->e % 8 == 0 && call->e <= 128 && body_aligned(call->q) && body_aligned(call->k) &&
           body_aligned(call->v) && body_aligned(call->o) && body_aligned(call->lse);
}

struct sdt__cudnn_graph *sdt__cudnn_attention(struct sdt_cuda *cuda,
                                              const struct attention_call *call) {
    if (!aligned(call))
        return NULL;
    struct shape shape = {call->heads, call->rows, call->keys, call->e, *call};
    const int64_t key[SDT__CUDNN_KEY] = {SDT__CUDNN_ATTENTION, call->heads,  call->rows,
                                         call->keys,           call->e,      call->q_head,
                                         call->q_row,          call->k_head, call->k_row,
                                         call->o_head,         call->o_row,  call->lse != NULL};
    return sdt__cudnn_planned(cuda, key, plan, &shape);
}

enum sdt_status sdt__cudnn_attend(struct sdt_cuda *cuda, const struct attention_call *call,
                                  bool *done) {
    cuda->lacking = false;
    struct sdt__cudnn_graph *graph = sdt__cudnn_attention(cuda, call);
    *done = false;
    if (!graph)
        return cuda->lacking ? sdt__cudnn_lacking(cuda) : SDT_OK;
    float scale = call->scale;
    const int64_t ids[] = {Q, K, V, O, SCALE, LSE};
    void *const memory[] = {(void *)call->q, (void *)call->k, (void *)call->v,
                            call->o,         &scale,          call->lse};
    return sdt__cudnn_run(cuda, graph, call->lse ? 6 : 5, ids, memory, done);
}

#endif
