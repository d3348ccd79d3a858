/* Attention over the video's tokens: cuDNN's fused kernel where there is one, else the own kernels
 * of flash.h and flash_single.h. */
#include "kernels/cuda/attend.h"
#include "kernels/cuda/flash_single.h"

/* ---- launches -------------------------------------------------------------------------------- */

/* Two blocks share a multiprocessor, each with half of its registers. */
template <int E, int STAGES>
__global__ static void __launch_bounds__(FLASH_THREADS, 2) flash(const struct attention_call call) {
    extern __shared__ uint4 shared[];
    flash_block<E, STAGES>(call, (int)blockIdx.x, (int)blockIdx.y, (uint16_t *)shared);
}

template <int E, int STAGES>
static enum sdt_status launch_stages(struct sdt_cuda *cuda, const struct attention_call *call) {
    const int bytes = flash_shape<E, STAGES>::BYTES;
    /* Above 48 KiB a kernel must be told; it stays so for the device. */
    cudaError_t error =
        cudaFuncSetAttribute(flash<E, STAGES>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess)
        return sdt__cuda_check(cuda, error, "shared memory of attention");
    dim3 grid((unsigned)((call->rows + FLASH_ROWS - 1) / FLASH_ROWS), (unsigned)call->heads);
    flash<E, STAGES><<<grid, FLASH_THREADS, bytes, cuda->stream>>>(*call);
    return sdt__cuda_launched(cuda, "attention");
}

/* Three stages, or two where a third would leave a multiprocessor one block instead of two: heads
 * of 128 on a GPU with 164 KiB of shared memory, as the A100. */
template <int E>
static enum sdt_status launch_flash(struct sdt_cuda *cuda, const struct attention_call *call) {
    const int reserved = 1 << 10; /* of each block's, by CUDA */
    int three = 2 * (flash_shape<E, 3>::BYTES + reserved);
    int two = 2 * (flash_shape<E, 2>::BYTES + reserved);
    if (E == 128 && three > cuda->shared && two <= cuda->shared)
        return launch_stages < E, E == 128 ? 2 : 3 > (cuda, call);
    return launch_stages<E, 3>(cuda, call);
}

template <int E>
__global__ static void __launch_bounds__(SINGLE_THREADS, 2)
    flash_single(const struct attention_call call) {
    extern __shared__ uint4 shared[];
    single_block<E>(call, (int)blockIdx.x, (int)blockIdx.y, (float *)shared);
}

template <int E>
static enum sdt_status launch_single(struct sdt_cuda *cuda, const struct attention_call *call) {
    const int bytes = single_shape<E>::BYTES;
    cudaError_t error =
        cudaFuncSetAttribute(flash_single<E>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess)
        return sdt__cuda_check(cuda, error, "shared memory of attention");
    dim3 grid((unsigned)((call->rows + SINGLE_ROWS - 1) / SINGLE_ROWS), (unsigned)call->heads);
    flash_single<E><<<grid, SINGLE_THREADS, bytes, cuda->stream>>>(*call);
    return sdt__cuda_launched(cuda, "attention in float32");
}

template <enum sdt_dtype dtype, int PARTS>
__global__ static void __launch_bounds__(32 * EXACT_WARPS) exact(const struct attention_call call) {
    int64_t row = (int64_t)blockIdx.x * EXACT_WARPS + threadIdx.x / 32;
    if (row < call.rows) /* whole warps */
        exact_warp<dtype, PARTS>(call, row, (int)blockIdx.y);
}

template <enum sdt_dtype dtype>
static enum sdt_status launch_exact(struct sdt_cuda *cuda, const struct attention_call *call) {
    dim3 grid((unsigned)((call->rows + EXACT_WARPS - 1) / EXACT_WARPS), (unsigned)call->heads);
    const int threads = 32 * EXACT_WARPS;
    cudaStream_t stream = cuda->stream;
    if (call->e <= 32)
        exact<dtype, 1><<<grid, threads, 0, stream>>>(*call);
    else if (call->e <= 64)
        exact<dtype, 2><<<grid, threads, 0, stream>>>(*call);
    else if (call->e <= 128)
        exact<dtype, 4><<<grid, threads, 0, stream>>>(*call);
    else if (call->e <= 384)
        exact<dtype, 12><<<grid, threads, 0, stream>>>(*call);
    else if (call->e <= EXACT_LARGEST)
        exact<dtype, 32><<<grid, threads, 0, stream>>>(*call);
    else
        return sdt_fail(&cuda->error, SDT_ERROR_DEVICE,
                        "attention with heads of %d; the GPU kernels take up to %d", call->e,
                        EXACT_LARGEST);
    return sdt__cuda_launched(cuda, "exact attention");
}

/* Can every row be read 16 bytes at a time? */
static bool whole_chunks(const struct attention_call *call) {
    return call->e % 8 == 0 && body_aligned(call->q) && body_aligned(call->k) &&
           body_aligned(call->v) && body_aligned(call->o) && call->q_head % 8 == 0 &&
           call->q_row % 8 == 0 && call->k_head % 8 == 0 && call->k_row % 8 == 0 &&
           call->o_head % 8 == 0 && call->o_row % 8 == 0;
}

enum sdt_status sdt__cuda_attend(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                 const struct attention_call *call) {
    if (call->rows < 1 || call->heads < 1)
        return SDT_OK;
    bool exact = call->table || call->causal || call->group > 1;
    if (dtype == SDT_F32 && !exact && call->e <= 128)
        return call->e <= 64 ? launch_single<64>(cuda, call) : launch_single<128>(cuda, call);
    if (dtype == SDT_F32)
        return launch_exact<SDT_F32>(cuda, call);
    if (exact || call->e > 128 || !(call->scale > 0.f) || !whole_chunks(call))
        return launch_exact<SDT_BF16>(cuda, call);
    return call->e <= 16    ? launch_flash<16>(cuda, call)
           : call->e <= 32  ? launch_flash<32>(cuda, call)
           : call->e <= 64  ? launch_flash<64>(cuda, call)
           : call->e <= 80  ? launch_flash<80>(cuda, call)
           : call->e <= 96  ? launch_flash<96>(cuda, call)
           : call->e <= 112 ? launch_flash<112>(cuda, call)
                            : launch_flash<128>(cuda, call);
}

/* ---- attention ------------------------------------------------------------------------------- */

enum sdt_status sdt_cuda_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype, int heads, int rows,
                                   int e, const void *q, int tile, int64_t keys, const void *k,
                                   const void *v, float scale, void *o, float *lse) {
    struct attention_call call = by_heads(heads, rows, e, q, tile, keys, k, v, o);
    call.scale = scale;
    call.lse = lse;
    cuda->way = SDT_CUDA_OWN;
    if (dtype == SDT_BF16 && cuda->cudnn && !cuda->own && rows > 0 && heads > 0 && keys > 0) {
        bool done = false;
        enum sdt_status status = sdt__cudnn_attend(cuda, &call, &done);
        if (status != SDT_OK || done) {
            cuda->way = SDT_CUDA_CUDNN;
            return status;
        }
    }
    return sdt__cuda_attend(cuda, dtype, &call);
}

enum { THREADS = 256 };

/* A warp per row: its lanes read both log-sum-exps before one of them writes. */
template <enum sdt_dtype dtype, int pack>
__global__ static void __launch_bounds__(THREADS)
    merge(int64_t rows, int e, const void *o2 /* [rows, e] */, const float *lse2 /* [rows] */,
          void *o /* in place */, float *lse /* in place */) {
    int lane = threadIdx.x % 32;
    int64_t stride = (int64_t)gridDim.x * (THREADS / 32);
    for (int64_t r = (int64_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32; r < rows;
         r += stride) {
        float a, b, both = body_merge_weights(lse[r], lse2[r], &a, &b);
        for (int i = lane * pack; i < e; i += 32 * pack)
            body_attention_merge(dtype, pack, a, b, o2, o, (size_t)(r * e + i));
        __syncwarp();
        if (lane == 0)
            lse[r] = both;
    }
}

enum sdt_status sdt_cuda_attention_merge(struct sdt_cuda *cuda, enum sdt_dtype dtype, int heads,
                                         int rows, int e, const void *o2, const float *lse2,
                                         void *o, float *lse) {
    int64_t all = (int64_t)heads * rows;
    if (all < 1)
        return SDT_OK;
    bool wide = body_aligned(o) && body_aligned(o2) && (size_t)e * body_size(dtype) % 16 == 0;
    unsigned blocks = sdt__cuda_blocks(cuda, (size_t)all * 32, THREADS);
    cudaStream_t stream = cuda->stream;
    if (dtype == SDT_BF16 && wide)
        merge<SDT_BF16, 8><<<blocks, THREADS, 0, stream>>>(all, e, o2, lse2, o, lse);
    else if (dtype == SDT_BF16)
        merge<SDT_BF16, 1><<<blocks, THREADS, 0, stream>>>(all, e, o2, lse2, o, lse);
    else if (wide)
        merge<SDT_F32, 4><<<blocks, THREADS, 0, stream>>>(all, e, o2, lse2, o, lse);
    else
        merge<SDT_F32, 1><<<blocks, THREADS, 0, stream>>>(all, e, o2, lse2, o, lse);
    return sdt__cuda_launched(cuda, "merge of attentions");
}
