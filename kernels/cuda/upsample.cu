/* Frames enlarged: by linear interpolation, also between two in time, and from the bands of a
 * wavelet. */
#include "kernels/cuda/launch.h"
#include "kernels/cuda/upsample.h"

template <enum sdt_dtype T, int PACK>
__global__ static void linear_upsample(const __grid_constant__ struct body_upsample a) {
    int lines = 2 * a.up.height, width = 2 * a.up.width * a.up.channels;
    for (int r = (int)blockIdx.x; r < lines; r += (int)gridDim.x)
        for (int i = (int)threadIdx.x * PACK; i < width; i += (int)blockDim.x * PACK)
            body_upsample_pack(&a, T, PACK, r, i);
}

enum sdt_status sdt_cuda_linear_upsample(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                         const struct sdt_linear_upsample *up, const void *a,
                                         const void *b, void *y) {
    if (up->height < 1 || up->width < 1 || up->channels < 1)
        return SDT_OK;
    struct body_upsample args = {*up, a, b, y};
    int most = body_pack(dtype, dtype, true);
    bool wide = up->channels % most == 0 && body_aligned(a) && body_aligned(b) && body_aligned(y);
    int pack = body_pack(dtype, dtype, wide);
    unsigned threads = line_threads((size_t)2 * up->width * up->channels / pack);
    auto kernel = SDT_PICK(linear_upsample, dtype, wide);
    kernel<<<line_blocks(cuda, (size_t)2 * up->height, threads), threads, 0, cuda->stream>>>(args);
    return sdt__cuda_launched(cuda, "linear upsampling");
}

template <enum sdt_dtype T>
__global__ static void inverse_haar(const __grid_constant__ struct body_haar a) {
    for (int r = (int)blockIdx.x; r < a.height; r += (int)gridDim.x)
        for (int i = (int)threadIdx.x; i < a.width * 3; i += (int)blockDim.x)
            body_haar(&a, T, r, i);
}

static enum sdt_status launch_haar(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                   const struct body_haar *a) {
    if (a->height < 1 || a->width < 1)
        return SDT_OK;
    unsigned threads = line_threads((size_t)a->width * 3);
    auto kernel = dtype == SDT_BF16 ? inverse_haar<SDT_BF16> : inverse_haar<SDT_F32>;
    kernel<<<line_blocks(cuda, (size_t)a->height, threads), threads, 0, cuda->stream>>>(*a);
    return sdt__cuda_launched(cuda, "inverse Haar transform");
}

enum sdt_status sdt_cuda_inverse_haar_2d(struct sdt_cuda *cuda, enum sdt_dtype dtype, int height,
                                         int width, const void *bands, const void *low, void *y) {
    struct body_haar a = {height, width, 4, bands, low, {y, NULL}};
    return launch_haar(cuda, dtype, &a);
}

enum sdt_status sdt_cuda_inverse_haar_3d(struct sdt_cuda *cuda, enum sdt_dtype dtype, int height,
                                         int width, const void *bands, const void *low, void *first,
                                         void *second) {
    struct body_haar a = {height, width, 8, bands, low, {first, second}};
    return launch_haar(cuda, dtype, &a);
}
