/* Linear layers: cuBLASLt, with bias and GELU in its epilogue where that is exact enough; an own
 * plain kernel for the shapes that it does not take. */
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/plain.h"
#include "kernels/cuda/product.h"

/* ---- plans ----------------------------------------------------------------------------------- */

/* The algorithm is what the heuristic names first for a shape; nothing is ever measured, so that
 * bits do not depend on time. */
struct plan {
    struct sdt__product product;
    bool usable; /* false: cuBLASLt has no way */
    cublasLtMatmulDesc_t operation;
    cublasLtMatrixLayout_t w, x, y; /* as cuBLASLt's A, B and D */
    cublasLtMatmulAlgo_t algorithm;
};

/* A run has some tens of shapes: a list is searched faster than it would be hashed. */
struct sdt__linear_plans {
    int count, capacity;
    struct plan **plan;
};

struct sdt__linear_plans *sdt__linear_plans_new(void) {
    return (struct sdt__linear_plans *)calloc(1, sizeof(struct sdt__linear_plans));
}

static void free_plan(struct plan *plan) {
    if (!plan)
        return;
    if (plan->w)
        cublasLtMatrixLayoutDestroy(plan->w);
    if (plan->x)
        cublasLtMatrixLayoutDestroy(plan->x);
    if (plan->y)
        cublasLtMatrixLayoutDestroy(plan->y);
    if (plan->operation)
        cublasLtMatmulDescDestroy(plan->operation);
    free(plan);
}

void sdt__linear_plans_free(struct sdt__linear_plans *plans) {
    if (!plans)
        return;
    for (int i = 0; i < plans->count; i++)
        free_plan(plans->plan[i]);
    free(plans->plan);
    free(plans);
}

static cudaDataType_t cuda_type(enum sdt_dtype dtype) {
    return dtype == SDT_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

/* cuBLASLt is column-major: y^T [n, rows] = op(w) [n, k] x^T [k, rows], where a row-major matrix is
 * its transpose stored by columns. So w comes first, transposed unless it is [k, n], and the bias,
 * one number per row of y^T, is one per column of y. CUBLAS_COMPUTE_32F never uses TF32 (that would
 * be ..._FAST_TF32); sums of split inner dimensions are added in float32 and in a fixed order
 * only. */
static bool describe(struct plan *plan, const void *bias) {
    const struct sdt__product *p = &plan->product;
    cublasOperation_t turned = p->w_by_row ? CUBLAS_OP_N : CUBLAS_OP_T, straight = CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = p->gelu && p->bias ? CUBLASLT_EPILOGUE_GELU_BIAS
                                  : p->gelu          ? CUBLASLT_EPILOGUE_GELU
                                  : p->bias          ? CUBLASLT_EPILOGUE_BIAS
                                                     : CUBLASLT_EPILOGUE_DEFAULT;
    cudaDataType_t type = cuda_type(p->dtype), y_type = cuda_type(p->y_dtype);
    uint64_t rows = (uint64_t)p->rows, n = (uint64_t)p->n, k = (uint64_t)p->k;
    return cublasLtMatmulDescCreate(&plan->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F) ==
               CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_TRANSA, &turned,
                                          sizeof turned) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_TRANSB, &straight,
                                          sizeof straight) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                          sizeof epilogue) == CUBLAS_STATUS_SUCCESS &&
           (!p->bias ||
            (cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
                                            &y_type, sizeof y_type) == CUBLAS_STATUS_SUCCESS &&
             cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                            &bias, sizeof bias) == CUBLAS_STATUS_SUCCESS)) &&
           cublasLtMatrixLayoutCreate(&plan->w, type, p->w_by_row ? n : k, p->w_by_row ? k : n,
                                      p->ldw) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutCreate(&plan->x, type, k, rows, p->ldx) == CUBLAS_STATUS_SUCCESS &&
           cublasLtMatrixLayoutCreate(&plan->y, y_type, n, rows, p->ldy) == CUBLAS_STATUS_SUCCESS;
}

enum { ALIGNMENT = 16, CANDIDATES = 8 };

static bool choose(struct sdt_cuda *cuda, struct plan *plan) {
    cublasLtMatmulPreference_t wish = NULL;
    cublasLtMatmulHeuristicResult_t result[CANDIDATES];
    size_t workspace = SDT_CUDA_WORKSPACE;
    uint32_t alignment = ALIGNMENT, reduction = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
    int found = 0;
    bool chosen = false;
    if (cublasLtMatmulPreferenceCreate(&wish) != CUBLAS_STATUS_SUCCESS)
        return false;
    const struct {
        cublasLtMatmulPreferenceAttributes_t name;
        const void *value;
        size_t size;
    } attributes[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace},
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reduction, sizeof reduction},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &alignment, sizeof alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &alignment, sizeof alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &alignment, sizeof alignment},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &alignment, sizeof alignment},
    };
    bool set = true;
    for (const auto &attribute : attributes)
        set = set && cublasLtMatmulPreferenceSetAttribute(wish, attribute.name, attribute.value,
                                                          attribute.size) == CUBLAS_STATUS_SUCCESS;
    if (set && cublasLtMatmulAlgoGetHeuristic(cuda->lt, plan->operation, plan->w, plan->x, plan->y,
                                              plan->y, wish, CANDIDATES, result,
                                              &found) == CUBLAS_STATUS_SUCCESS)
        for (int i = 0; i < found && !chosen; i++)
            if (result[i].state == CUBLAS_STATUS_SUCCESS &&
                result[i].workspaceSize <= SDT_CUDA_WORKSPACE) {
                plan->algorithm = result[i].algo;
                chosen = true;
            }
    cublasLtMatmulPreferenceDestroy(wish);
    return chosen;
}

static struct plan *find_plan(struct sdt_cuda *cuda, const struct sdt__product *product,
                              const void *bias) {
    struct sdt__linear_plans *plans = cuda->linear_plans;
    for (int i = 0; i < plans->count; i++)
        if (memcmp(&plans->plan[i]->product, product, sizeof *product) == 0)
            return plans->plan[i];
    if (plans->count == plans->capacity) {
        int capacity = plans->capacity ? 2 * plans->capacity : 64;
        void *grown = realloc(plans->plan, (size_t)capacity * sizeof *plans->plan);
        if (!grown)
            return NULL;
        plans->plan = (struct plan **)grown;
        plans->capacity = capacity;
    }
    struct plan *plan = (struct plan *)calloc(1, sizeof *plan);
    if (!plan)
        return NULL;
    memcpy(&plan->product, product, sizeof *product);
    plan->usable = describe(plan, bias) && choose(cuda, plan);
    return plans->plan[plans->count++] = plan;
}

/* ---- products -------------------------------------------------------------------------------- */

static bool whole_packs(const void *base, int ld, enum sdt_dtype dtype) {
    return body_aligned(base) && (size_t)ld * body_size(dtype) % ALIGNMENT == 0;
}

enum sdt_status sdt__product(struct sdt_cuda *cuda, const struct sdt__product *product, float alpha,
                             const void *x, const void *w, const void *bias, void *y, bool *done) {
    *done = false;
    if (!whole_packs(x, product->ldx, product->dtype) ||
        !whole_packs(w, product->ldw, product->dtype) ||
        !whole_packs(y, product->ldy, product->y_dtype) || !body_aligned(bias))
        return SDT_OK;
    struct plan *plan = find_plan(cuda, product, bias);
    if (!plan)
        return sdt_fail(&cuda->error, SDT_ERROR_MEMORY, "no memory for the plan of a product");
    if (!plan->usable)
        return SDT_OK;
    const float beta = product->add ? 1.f : 0.f;
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    if (product->bias)
        status = cublasLtMatmulDescSetAttribute(plan->operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER,
                                                &bias, sizeof bias);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmul(cuda->lt, plan->operation, &alpha, w, plan->w, x, plan->x, &beta, y,
                                plan->y, y, plan->y, &plan->algorithm, cuda->workspace,
                                SDT_CUDA_WORKSPACE, cuda->stream);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) {
        plan->usable = false; /* refused before anything was queued */
        return SDT_OK;
    }
    if (status != CUBLAS_STATUS_SUCCESS)
        return sdt_fail(&cuda->error, SDT_ERROR_DEVICE,
                        "cuda:%d: cublasLtMatmul of [%d, %d] by [%d, %d], %s: %s", cuda->device,
                        product->rows, product->k, product->n, product->k,
                        sdt_dtype_name(product->dtype), cublasLtGetStatusString(status));
    *done = true;
    return SDT_OK;
}

/* ---- what follows a product ------------------------------------------------------------------ */

enum { THREADS = 256 };

/* y = epilogue(y + bias) */
template <enum sdt_dtype dtype, int pack>
__global__ static void __launch_bounds__(THREADS)
    finish(size_t packs, int n, const void *bias /* [n] or NULL */, enum sdt_epilogue epilogue,
           void *y /* [rows, n] in place */) {
    size_t stride = (size_t)gridDim.x * THREADS;
    for (size_t p = (size_t)blockIdx.x * THREADS + threadIdx.x; p < packs; p += stride) {
        float v[pack], b[pack];
        body_load(dtype, pack, y, p * pack, v);
        if (bias)
            body_load(dtype, pack, bias, p * pack % (size_t)n, b);
#pragma unroll
        for (int j = 0; j < pack; j++)
            v[j] = plain_activated(epilogue, bias ? v[j] + b[j] : v[j]);
        body_store(dtype, pack, y, p * pack, v);
    }
}

template <enum sdt_dtype dtype, int pack>
__global__ static void __launch_bounds__(THREADS)
    add_residual(size_t packs, int row_packs, struct body_residual residual) {
    size_t stride = (size_t)gridDim.x * THREADS;
    for (size_t p = (size_t)blockIdx.x * THREADS + threadIdx.x; p < packs; p += stride) {
        size_t row = p / (size_t)row_packs;
        body_residual_pack(&residual, dtype, dtype, pack, row,
                           (int)(p - row * (size_t)row_packs) * pack);
    }
}

static enum sdt_status finish_rows(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows, int n,
                                   const void *bias, enum sdt_epilogue epilogue, void *y) {
    bool wide = whole_packs(y, n, dtype) && body_aligned(bias);
    int pack = body_pack(dtype, dtype, wide);
    size_t packs = (size_t)rows * n / pack;
    unsigned blocks = sdt__cuda_blocks(cuda, packs, THREADS);
    if (dtype == SDT_BF16 && wide)
        finish<SDT_BF16, 8><<<blocks, THREADS, 0, cuda->stream>>>(packs, n, bias, epilogue, y);
    else if (dtype == SDT_BF16)
        finish<SDT_BF16, 1><<<blocks, THREADS, 0, cuda->stream>>>(packs, n, bias, epilogue, y);
    else if (wide)
        finish<SDT_F32, 4><<<blocks, THREADS, 0, cuda->stream>>>(packs, n, bias, epilogue, y);
    else
        finish<SDT_F32, 1><<<blocks, THREADS, 0, cuda->stream>>>(packs, n, bias, epilogue, y);
    return sdt__cuda_launched(cuda, "epilogue of a linear layer");
}

static enum sdt_status add_rows(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                const struct body_residual *residual) {
    bool wide = whole_packs(residual->t, residual->n, dtype) && body_aligned(residual->y) &&
                body_aligned(residual->bias) && body_aligned(residual->gate_a) &&
                body_aligned(residual->gate_b);
    int row_packs = residual->n / body_pack(dtype, dtype, wide);
    size_t packs = (size_t)rows * row_packs;
    unsigned blocks = sdt__cuda_blocks(cuda, packs, THREADS);
    cudaStream_t stream = cuda->stream;
    if (dtype == SDT_BF16 && wide)
        add_residual<SDT_BF16, 8><<<blocks, THREADS, 0, stream>>>(packs, row_packs, *residual);
    else if (dtype == SDT_BF16)
        add_residual<SDT_BF16, 1><<<blocks, THREADS, 0, stream>>>(packs, row_packs, *residual);
    else if (wide)
        add_residual<SDT_F32, 4><<<blocks, THREADS, 0, stream>>>(packs, row_packs, *residual);
    else
        add_residual<SDT_F32, 1><<<blocks, THREADS, 0, stream>>>(packs, row_packs, *residual);
    return sdt__cuda_launched(cuda, "gated residual");
}

/* ---- the plain kernel ------------------------------------------------------------------------ */

/* Odd widths (12, 20, 50 in small test models) leave rows that are not aligned to 16 bytes. */
template <enum sdt_dtype dtype>
__global__ static void __launch_bounds__(PLAIN_THREADS) plain(const struct plain_call call) {
    __shared__ float shared[PLAIN_SHARED];
    plain_linear<dtype>(call, (int)blockIdx.y * PLAIN_TILE, (int)blockIdx.x * PLAIN_TILE, shared);
}

static enum sdt_status launch_plain(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                    struct plain_call call) {
    const int most = 65535 * PLAIN_TILE; /* a grid has at most 65535 blocks in y */
    size_t size = body_size(dtype);
    for (int left = call.rows; left > 0; left -= most) {
        call.rows = left < most ? left : most;
        dim3 grid((unsigned)((call.n + PLAIN_TILE - 1) / PLAIN_TILE),
                  (unsigned)((call.rows + PLAIN_TILE - 1) / PLAIN_TILE));
        if (dtype == SDT_BF16)
            plain<SDT_BF16><<<grid, PLAIN_THREADS, 0, cuda->stream>>>(call);
        else
            plain<SDT_F32><<<grid, PLAIN_THREADS, 0, cuda->stream>>>(call);
        enum sdt_status status = sdt__cuda_launched(cuda, "linear layer of odd width");
        if (status != SDT_OK)
            return status;
        call.x = (const char *)call.x + (size_t)call.rows * call.k * size;
        call.y = (char *)call.y + (size_t)call.rows * call.n * size;
    }
    return SDT_OK;
}

/* ---- linear layers --------------------------------------------------------------------------- */

static struct sdt__product product_of(enum sdt_dtype dtype, int rows, int n, int k) {
    struct sdt__product product;
    memset(&product, 0, sizeof product);
    product.rows = rows;
    product.n = n;
    product.k = k;
    product.ldx = product.ldw = k;
    product.ldy = n;
    product.dtype = product.y_dtype = dtype;
    return product;
}

enum sdt_status sdt_cuda_linear(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows, int n, int k,
                                const void *x, const void *w, const void *bias,
                                enum sdt_epilogue epilogue, void *y) {
    if (rows < 1 || n < 1)
        return SDT_OK;
    struct sdt__product product = product_of(dtype, rows, n, k);
    bool done = false;
    enum sdt_status status;
    /* cuBLASLt's GELU is the tanh form as well, of unknown accuracy: enough for bf16, whose
     * rounding hides it, while float32 takes ours. */
    bool gelu = epilogue == SDT_EPILOGUE_GELU_TANH && dtype == SDT_BF16;
    product.bias = bias != NULL;
    product.gelu = gelu;
    status = sdt__product(cuda, &product, 1.f, x, w, bias, y, &done);
    if (status != SDT_OK)
        return status;
    if (done) {
        if (epilogue == SDT_EPILOGUE_NONE || gelu)
            return SDT_OK;
        return finish_rows(cuda, dtype, rows, n, NULL, epilogue, y);
    }
    if (product.bias || product.gelu) { /* a product alone, if this epilogue was the trouble */
        product.bias = product.gelu = 0;
        status = sdt__product(cuda, &product, 1.f, x, w, NULL, y, &done);
        if (status != SDT_OK)
            return status;
        if (done)
            return finish_rows(cuda, dtype, rows, n, bias, epilogue, y);
    }
    struct plain_call call = {rows, n, k, x, w, bias, NULL, NULL, epilogue, false, y};
    return launch_plain(cuda, dtype, call);
}

enum sdt_status sdt_cuda_linear_residual(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                         int n, int k, const void *x, const void *w,
                                         const void *bias, const float *gate_a, const float *gate_b,
                                         void *y, void *scratch) {
    if (rows < 1 || n < 1)
        return SDT_OK;
    struct sdt__product product = product_of(dtype, rows, n, k);
    bool done = false;
    enum sdt_status status;
    if (!gate_a && !gate_b) { /* cuBLASLt adds to y by itself */
        product.add = 1;
        product.bias = bias != NULL;
        status = sdt__product(cuda, &product, 1.f, x, w, bias, y, &done);
        if (status != SDT_OK || done)
            return status;
        product.add = product.bias = 0;
    }
    status = sdt__product(cuda, &product, 1.f, x, w, NULL, scratch, &done);
    if (status != SDT_OK)
        return status;
    if (done) {
        struct body_residual residual = {n, scratch, bias, gate_a, gate_b, y};
        return add_rows(cuda, dtype, rows, &residual);
    }
    struct plain_call call = {rows, n, k, x, w, bias, gate_a, gate_b, SDT_EPILOGUE_NONE, true, y};
    return launch_plain(cuda, dtype, call);
}
