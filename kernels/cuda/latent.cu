/* The latent's other shapes, rows of tokens and channel-last windows of frames, and decoded frames
 * on their way into the video. */
#include "kernels/cuda/launch.h"

template <enum sdt_dtype T>
__global__ static void patchify(const struct body_patch a, const float *latent, void *y) {
    for (int r = (int)blockIdx.x; r < a.rows; r += (int)gridDim.x)
        for (int i = (int)threadIdx.x; i < a.width; i += (int)blockDim.x)
            body_patchify(&a, T, r, i, latent, y);
}

enum sdt_status sdt_cuda_patchify(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                  const struct sdt_patch *patch, int64_t first, int rows,
                                  const float *latent, void *y) {
    struct body_patch a = body_patch_of(patch, first, rows);
    if (rows <= 0 || a.width <= 0)
        return SDT_OK;
    unsigned threads = line_threads(a.width);
    auto kernel = dtype == SDT_BF16 ? patchify<SDT_BF16> : patchify<SDT_F32>;
    kernel<<<line_blocks(cuda, rows, threads), threads, 0, cuda->stream>>>(a, latent, y);
    return sdt__cuda_launched(cuda, "patchify");
}

__global__ static void unpatchify(const struct body_patch a, const float *x, float *latent) {
    for (int r = (int)blockIdx.x; r < a.rows; r += (int)gridDim.x)
        for (int i = (int)threadIdx.x; i < a.width; i += (int)blockDim.x)
            body_unpatchify(&a, r, i, x, latent);
}

enum sdt_status sdt_cuda_unpatchify(struct sdt_cuda *cuda, const struct sdt_patch *patch,
                                    int64_t first, int rows, const float *x, float *latent) {
    struct body_patch a = body_patch_of(patch, first, rows);
    if (rows <= 0 || a.width <= 0)
        return SDT_OK;
    unsigned threads = line_threads(a.width);
    unpatchify<<<line_blocks(cuda, rows, threads), threads, 0, cuda->stream>>>(a, x, latent);
    return sdt__cuda_launched(cuda, "unpatchify");
}

template <enum sdt_dtype T>
__global__ static void patch_order(int rows, int channels, int patch, const void *x, float *y) {
    for (int r = (int)blockIdx.x; r < rows; r += (int)gridDim.x)
        for (int i = (int)threadIdx.x; i < channels * patch; i += (int)blockDim.x)
            body_patch_order(T, channels, patch, r, i, x, y);
}

enum sdt_status sdt_cuda_patch_order(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                     int channels, int patch, const void *x, float *y) {
    if (rows <= 0 || channels * patch <= 0)
        return SDT_OK;
    unsigned threads = line_threads((size_t)channels * patch);
    auto kernel = dtype == SDT_BF16 ? patch_order<SDT_BF16> : patch_order<SDT_F32>;
    kernel<<<line_blocks(cuda, rows, threads), threads, 0, cuda->stream>>>(rows, channels, patch, x,
                                                                           y);
    return sdt__cuda_launched(cuda, "patch order");
}

template <enum sdt_dtype T, int PACK>
__global__ static void pad_row(size_t rows, size_t d, const float *x, void *y) {
    for (size_t i = flat_first(PACK); i < (rows + 1) * d; i += flat_stride(PACK))
        body_pad_row_pack(T, PACK, i, rows, d, x, y);
}

enum sdt_status sdt_cuda_pad_row(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows, int d,
                                 const float *x, void *y) {
    if (rows < 0 || d <= 0)
        return SDT_OK;
    bool wide = body_aligned(x) && body_aligned(y);
    auto kernel = SDT_PICK(pad_row, dtype, wide);
    unsigned blocks = flat_blocks(cuda, ((size_t)rows + 1) * d, body_pack(dtype, dtype, wide));
    kernel<<<blocks, SDT_FLAT_THREADS, 0, cuda->stream>>>(rows, d, x, y);
    return sdt__cuda_launched(cuda, "pad row");
}

template <enum sdt_dtype T>
__global__ static void latent_window(const __grid_constant__ struct body_window a) {
    int lines = a.window.nframes * a.window.rows, width = a.window.cols * a.window.channels;
    for (int r = (int)blockIdx.x; r < lines; r += (int)gridDim.x)
        for (int i = (int)threadIdx.x; i < width; i += (int)blockDim.x)
            body_latent_window(&a, T, r, i);
}

enum sdt_status sdt_cuda_latent_window(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                       const struct sdt_window *window, const float *latent,
                                       const float *std, const float *mean, void *y) {
    if (window->channels > SDT_CUDA_WINDOW_CHANNELS)
        return sdt_fail(&cuda->error, SDT_ERROR_DEVICE,
                        "a latent of %d channels; the GPU kernel takes at most %d",
                        window->channels, SDT_CUDA_WINDOW_CHANNELS);
    int lines = window->nframes * window->rows, width = window->cols * window->channels;
    if (lines <= 0 || width <= 0)
        return SDT_OK;
    struct body_window a;
    body_window_of(&a, window, latent, std, mean, y);
    unsigned threads = line_threads(width);
    auto kernel = dtype == SDT_BF16 ? latent_window<SDT_BF16> : latent_window<SDT_F32>;
    kernel<<<line_blocks(cuda, lines, threads), threads, 0, cuda->stream>>>(a);
    return sdt__cuda_launched(cuda, "latent window");
}

template <enum sdt_dtype T, int PACK>
__global__ static void put_frame(size_t n, int clamp, const void *x, float *y) {
    for (size_t i = flat_first(PACK); i < n; i += flat_stride(PACK))
        body_put_frame_pack(T, PACK, i, n, clamp, x, y);
}

enum sdt_status sdt_cuda_put_frame(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t n, int clamp,
                                   const void *x, float *y) {
    if (n == 0)
        return SDT_OK;
    bool wide = body_aligned(x) && body_aligned(y);
    auto kernel = SDT_PICK(put_frame, dtype, wide);
    unsigned blocks = flat_blocks(cuda, n, body_pack(dtype, dtype, wide));
    kernel<<<blocks, SDT_FLAT_THREADS, 0, cuda->stream>>>(n, clamp, x, y);
    return sdt__cuda_launched(cuda, "put frame");
}

__global__ static void blend_rows(int lines, int width, int extent, int a_rows, const float *a,
                                  int b_rows, float *b) {
    for (int r = (int)blockIdx.x; r < lines; r += (int)gridDim.x)
        for (int i = (int)threadIdx.x; i < width * 3; i += (int)blockDim.x)
            body_blend_rows(width, extent, a_rows, a, b_rows, b, r, i);
}

enum sdt_status sdt_cuda_blend_rows(struct sdt_cuda *cuda, int frames, int width, int extent,
                                    int a_rows, const float *a, int b_rows, float *b) {
    int lines = frames * extent;
    if (lines <= 0 || width <= 0)
        return SDT_OK;
    unsigned threads = line_threads((size_t)width * 3);
    blend_rows<<<line_blocks(cuda, lines, threads), threads, 0, cuda->stream>>>(
        lines, width, extent, a_rows, a, b_rows, b);
    return sdt__cuda_launched(cuda, "blend rows");
}

__global__ static void blend_columns(int lines, int extent, int a_width, const float *a,
                                     int b_width, float *b) {
    for (int r = (int)blockIdx.x; r < lines; r += (int)gridDim.x)
        for (int i = (int)threadIdx.x; i < extent * 3; i += (int)blockDim.x)
            body_blend_columns(extent, a_width, a, b_width, b, r, i);
}

enum sdt_status sdt_cuda_blend_columns(struct sdt_cuda *cuda, int frames, int rows, int extent,
                                       int a_width, const float *a, int b_width, float *b) {
    int lines = frames * rows;
    if (lines <= 0 || extent <= 0)
        return SDT_OK;
    unsigned threads = line_threads((size_t)extent * 3);
    blend_columns<<<line_blocks(cuda, lines, threads), threads, 0, cuda->stream>>>(
        lines, extent, a_width, a, b_width, b);
    return sdt__cuda_launched(cuda, "blend columns");
}

__global__ static void place_tile(int lines, const struct body_tile a) {
    for (int r = (int)blockIdx.x; r < lines; r += (int)gridDim.x)
        for (int i = (int)threadIdx.x; i < a.cols * 3; i += (int)blockDim.x)
            body_place_tile(&a, r, i);
}

enum sdt_status sdt_cuda_place_tile(struct sdt_cuda *cuda, int frames, int tile_rows, int tile_cols,
                                    int rows, int cols, int y0, int x0, int height, int width,
                                    int clamp, const float *tile, float *video) {
    int lines = frames * rows;
    if (lines <= 0 || cols <= 0)
        return SDT_OK;
    struct body_tile a = {tile_rows, tile_cols, rows,  cols, y0,   x0,
                          height,    width,     clamp, tile, video};
    unsigned threads = line_threads((size_t)cols * 3);
    place_tile<<<line_blocks(cuda, lines, threads), threads, 0, cuda->stream>>>(lines, a);
    return sdt__cuda_launched(cuda, "place tile");
}
