/* GroupNorm over the frames of a clip. A frame's sums are taken in two launches: a block for each
 * row, whose threads take channels and, beside one another, pixels; and a block for each group,
 * over rows and channels. Both add in an order that depends on sizes alone. */
#include "kernels/cuda/group.h"
#include "kernels/cuda/launch.h"
#include "kernels/cuda/scratch.h"

template <enum sdt_dtype T, int PACK>
__global__ static void __launch_bounds__(GROUP_THREADS)
    row_sums(const struct body_moments a, int parts) {
    __shared__ double shared[2 * GROUP_THREADS];
    const int packs = (a.channels + PACK - 1) / PACK;
    const int beside = packs < GROUP_THREADS ? packs : GROUP_THREADS;
    const int thread = (int)threadIdx.x, part = thread / beside, row = (int)blockIdx.x;
    for (int first = 0; first < packs; first += beside) {
        const int c = (first + thread % beside) * PACK;
        const bool there = part < parts && c < a.channels;
        double sum[PACK], square[PACK];
        if (there)
            body_moments_part(&a, T, PACK, row, c, part, parts, sum, square);
#pragma unroll
        for (int j = 0; j < PACK; j++) {
            __syncthreads(); /* what stood here has been read */
            if (there) {
                shared[2 * thread] = sum[j];
                shared[2 * thread + 1] = square[j];
            }
            __syncthreads();
            if (there && part == 0) {
                double all = 0., squares = 0.;
                for (int p = 0; p < parts; p++) {
                    all += shared[2 * (p * beside + thread)];
                    squares += shared[2 * (p * beside + thread) + 1];
                }
                body_moments_row(&a, row, c + j, all, squares);
            }
        }
    }
}

__global__ static void __launch_bounds__(GROUP_THREADS) group_sums(const struct body_moments a) {
    __shared__ double shared[2 * GROUP_THREADS];
    const int thread = (int)threadIdx.x, group = (int)blockIdx.x;
    double sum, square;
    body_moments_group(&a, group, thread, GROUP_THREADS, &sum, &square);
    shared[2 * thread] = sum;
    shared[2 * thread + 1] = square;
    for (int half = GROUP_THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half) {
            shared[2 * thread] += shared[2 * (thread + half)];
            shared[2 * thread + 1] += shared[2 * (thread + half) + 1];
        }
    }
    if (thread == 0)
        body_moments_end(&a, group, shared[0], shared[1]);
}

enum sdt_status sdt_cuda_frame_moments(struct sdt_cuda *cuda, enum sdt_dtype dtype, int height,
                                       int width, int channels, int groups, const void *x,
                                       float *moments, void *scratch) {
    struct body_moments a = {height, width, channels, groups, x, (float *)scratch, moments};
    int pack = body_pack(dtype, dtype, channels % 8 == 0 && body_aligned(x));
    auto kernel = SDT_PICK(row_sums, dtype, pack > 1);
    kernel<<<(unsigned)height, GROUP_THREADS, 0, cuda->stream>>>(
        a, body_moments_across(channels, pack));
    enum sdt_status status = sdt__cuda_launched(cuda, "sums of a frame's rows");
    if (status != SDT_OK)
        return status;
    group_sums<<<(unsigned)groups, GROUP_THREADS, 0, cuda->stream>>>(a);
    return sdt__cuda_launched(cuda, "moments of a frame");
}

__global__ static void group_moments(int frames, int groups, double values, float eps,
                                     const float *moments, float *norm) {
    int g = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (g < groups)
        body_group_moments(frames, groups, values, eps, moments, g, norm);
}

enum sdt_status sdt_cuda_group_moments(struct sdt_cuda *cuda, int frames, int groups, double values,
                                       float eps, const float *moments, float *norm) {
    unsigned threads = 32, blocks = ((unsigned)groups + threads - 1) / threads;
    group_moments<<<blocks, threads, 0, cuda->stream>>>(frames, groups, values, eps, moments, norm);
    return sdt__cuda_launched(cuda, "moments of groups");
}

template <enum sdt_dtype T, int PACK>
__global__ static void group_norm(const struct body_group_norm a) {
    for (size_t i = flat_first(PACK); i < a.n; i += flat_stride(PACK))
        body_group_norm_pack(&a, T, PACK, i);
}

enum sdt_status sdt_cuda_group_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t pixels,
                                    int channels, int groups, const void *x, const float *norm,
                                    const float *weight, const float *bias, int silu, void *y) {
    struct body_group_norm a = {
        pixels * (size_t)channels, channels, groups, x, norm, weight, bias, silu, y};
    if (a.n == 0)
        return SDT_OK;
    bool wide = channels % 8 == 0 && body_aligned(x) && body_aligned(weight) &&
                body_aligned(bias) && body_aligned(y);
    auto kernel = SDT_PICK(group_norm, dtype, wide);
    int pack = body_pack(dtype, dtype, wide);
    kernel<<<flat_blocks(cuda, a.n, pack), SDT_FLAT_THREADS, 0, cuda->stream>>>(a);
    return sdt__cuda_launched(cuda, "group norm");
}
