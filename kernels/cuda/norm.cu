/* Norms over a token's row (layer norm with its modulation, RMS norm) and over a pixel's channels.
 * A row is read once, into registers. */
#include "kernels/cuda/launch.h"

template <enum sdt_dtype T, int PACK, bool KEPT>
__global__ static void __launch_bounds__(SDT_LANES)
    layer_norm(const struct body_layer_norm a, int lanes) {
    struct body_row row;
    float keep[SDT_KEEP * SDT_PACK];
    row_begin(&row, T, PACK, KEPT, lanes, a.rows, a.d, a.x, keep);
    float mean = lanes_sum(body_row_sum(&row), lanes) / (float)a.d;
    float squares = lanes_sum(body_row_squares(&row, mean), lanes);
    body_layer_norm_end(&a, &row, mean, body_inverse(squares, a.d, a.eps));
}

enum sdt_status sdt_cuda_layer_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows, int d,
                                    const void *x, float eps, const float *weight,
                                    const float *bias, const float *scale_a, const float *scale_b,
                                    const float *shift_a, const float *shift_b, void *y) {
    if (rows <= 0 || d <= 0)
        return SDT_OK;
    struct body_layer_norm a = {rows,    d,       x,       eps,     weight, bias,
                                scale_a, scale_b, shift_a, shift_b, y};
    int pack = body_pack(dtype, dtype, true);
    bool wide = d % pack == 0 && body_aligned(x) && body_aligned(y) && body_aligned(weight) &&
                body_aligned(bias) && body_aligned(scale_a) && body_aligned(scale_b) &&
                body_aligned(shift_a) && body_aligned(shift_b);
    struct body_shape shape = body_shape_rows(rows, d, pack, wide);
    auto kernel = SDT_PICK_ROWS(layer_norm, dtype, shape);
    kernel<<<shape.blocks, shape.threads, 0, cuda->stream>>>(a, shape.lanes);
    return sdt__cuda_launched(cuda, "layer norm");
}

template <enum sdt_dtype T, enum sdt_dtype Y, int PACK, bool KEPT>
__global__ static void __launch_bounds__(SDT_LANES)
    rms_norm(const struct body_rms_norm a, int lanes) {
    struct body_row row;
    float keep[SDT_KEEP * SDT_PACK];
    row_begin(&row, T, PACK, KEPT, lanes, a.rows, a.d, a.x, keep);
    float squares = lanes_sum(body_row_squares(&row, 0.f), lanes);
    body_rms_norm_end(&a, &row, Y, body_inverse(squares, a.d, a.eps));
}

template <enum sdt_dtype T, enum sdt_dtype Y>
static void launch_rms_norm(const struct sdt_cuda *cuda, const struct body_rms_norm *a) {
    constexpr int pack = T == SDT_BF16 || Y == SDT_BF16 ? 8 : 4;
    bool wide =
        a->d % pack == 0 && body_aligned(a->x) && body_aligned(a->weight) && body_aligned(a->y);
    struct body_shape shape = body_shape_rows(a->rows, a->d, pack, wide);
    auto kernel = shape.pack > 1 ? rms_norm<T, Y, pack, true>
                  : shape.kept   ? rms_norm<T, Y, 1, true>
                                 : rms_norm<T, Y, 1, false>;
    kernel<<<shape.blocks, shape.threads, 0, cuda->stream>>>(*a, shape.lanes);
}

enum sdt_status sdt_cuda_rms_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows, int d,
                                  const void *x, float eps, const float *weight,
                                  enum sdt_dtype y_dtype, void *y) {
    if (rows <= 0 || d <= 0)
        return SDT_OK;
    struct body_rms_norm a = {rows, d, x, eps, weight, y};
    if (dtype == SDT_BF16 && y_dtype == SDT_BF16)
        launch_rms_norm<SDT_BF16, SDT_BF16>(cuda, &a);
    else if (dtype == SDT_BF16)
        launch_rms_norm<SDT_BF16, SDT_F32>(cuda, &a);
    else if (y_dtype == SDT_BF16)
        launch_rms_norm<SDT_F32, SDT_BF16>(cuda, &a);
    else
        launch_rms_norm<SDT_F32, SDT_F32>(cuda, &a);
    return sdt__cuda_launched(cuda, "RMS norm");
}

template <enum sdt_dtype T, int PACK, bool KEPT>
__global__ static void __launch_bounds__(SDT_LANES)
    channel_norm(const struct body_channel_norm a, int lanes) {
    struct body_row row;
    float keep[SDT_KEEP * SDT_PACK];
    row_begin(&row, T, PACK, KEPT, lanes, a.pixels, a.channels, a.x, keep);
    float squares = lanes_sum(body_row_squares(&row, 0.f), lanes);
    body_channel_norm_end(&a, &row, body_channel_factor(squares, a.channels));
}

enum sdt_status sdt_cuda_channel_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype, size_t pixels,
                                      int channels, const void *x, const float *gamma, int silu,
                                      void *y) {
    if (pixels == 0 || channels <= 0)
        return SDT_OK;
    struct body_channel_norm a = {pixels, channels, x, gamma, silu, y};
    int pack = body_pack(dtype, dtype, true);
    bool wide = channels % pack == 0 && body_aligned(x) && body_aligned(gamma) && body_aligned(y);
    struct body_shape shape = body_shape_rows(pixels, channels, pack, wide);
    auto kernel = SDT_PICK_ROWS(channel_norm, dtype, shape);
    kernel<<<shape.blocks, shape.threads, 0, cuda->stream>>>(a, shape.lanes);
    return sdt__cuda_launched(cuda, "channel norm");
}

template <enum sdt_dtype T, int PACK, bool KEPT>
__global__ static void __launch_bounds__(SDT_LANES)
    channel_layer_norm(const struct body_channel_layer_norm a, int lanes) {
    struct body_row row;
    float keep[SDT_KEEP * SDT_PACK];
    row_begin(&row, T, PACK, KEPT, lanes, a.pixels, a.channels, a.x, keep);
    float mean = lanes_sum(body_row_sum(&row), lanes) / (float)a.channels;
    float squares = lanes_sum(body_row_squares(&row, mean), lanes);
    body_channel_layer_norm_end(&a, &row, mean, body_inverse(squares, a.channels, a.eps));
}

enum sdt_status sdt_cuda_channel_layer_norm(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                            size_t pixels, int channels, float eps, const void *x,
                                            const float *weight, const float *bias, int silu,
                                            void *y) {
    if (pixels == 0 || channels <= 0)
        return SDT_OK;
    struct body_channel_layer_norm a = {pixels, channels, eps, x, weight, bias, silu, y};
    int pack = body_pack(dtype, dtype, true);
    bool wide = channels % pack == 0 && body_aligned(x) && body_aligned(weight) &&
                body_aligned(bias) && body_aligned(y);
    struct body_shape shape = body_shape_rows(pixels, channels, pack, wide);
    auto kernel = SDT_PICK_ROWS(channel_layer_norm, dtype, shape);
    kernel<<<shape.blocks, shape.threads, 0, cuda->stream>>>(a, shape.lanes);
    return sdt__cuda_launched(cuda, "channel layer norm");
}
