/* Causal video convolutions on channel-last frames, by cuDNN where it has a plan
 * (kernels/cuda/cudnn_conv.cu), else as implicit matrix products of our own: no array of patches is
 * made, each block gathers the inputs of its pixels tap by tap (kernels/cuda/conv_tile.h says where
 * everything stands). Frames of zeros are left out, which changes no bit. Enlarging is an index;
 * bias and residual are added to the finished sum. */
#include "kernels/cuda/context.h"
#include "kernels/cuda/conv_tile.h"
#include "kernels/cuda/convolve.h"
#include "kernels/cuda/scratch.h"

namespace {

struct conv_arrays {
    const void *x[3]; /* [frames] -> [height, width, in] */
    const void *w;    /* [out, kt, ks, ks, in] */
    const float *bias;
    const void *residual; /* as y[0], or NULL */
    void *y[2];           /* [rows, cols, channels]; the second with out = 2 channels only */
};

/* As sdt__conv_weights: an index known at compile time only. */
__device__ __forceinline__ const void *frame_of(const conv_arrays &a, int frame) {
    return frame == 0 ? a.x[0] : frame == 1 ? a.x[1] : a.x[2];
}

/* ---- bf16 on tensor cores -------------------------------------------------------------------- */

__device__ __forceinline__ void copy_16(uint32_t to, const void *from, bool valid) {
    /* With a size of 0 nothing is read and 16 bytes of zeros are written. */
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
                 "r"(valid ? 16 : 0)
                 : "memory");
}

__device__ __forceinline__ void load_4(uint32_t (&r)[4], uint32_t at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}

__device__ __forceinline__ void load_2(uint32_t &r0, uint32_t &r1, uint32_t at) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r0), "=r"(r1)
                 : "r"(at)
                 : "memory");
}

__device__ __forceinline__ void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                         uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/* 8 values, or as many as there are and zeros; for channel counts that 16-byte loads cannot do. */
__device__ __forceinline__ void copy_tail(__nv_bfloat16 *to, const __nv_bfloat16 *from, int valid) {
    union {
        uint4 bits;
        unsigned short value[SDT__CONV_CHUNK];
    } chunk;
#pragma unroll
    for (int i = 0; i < SDT__CONV_CHUNK; i++)
        chunk.value[i] = i < valid ? __bfloat16_as_ushort(from[i]) : (unsigned short)0;
    *reinterpret_cast<uint4 *>(to) = chunk.bits;
}

/* wide: every run of channels starts at a multiple of 16 bytes and is a multiple of 8 long. */
template <int columns, int split, bool wide>
__global__ void __launch_bounds__(SDT__CONV_THREADS, 2)
    conv_bf16(const sdt__conv_shape shape, const conv_arrays arrays) {
    constexpr int rows = SDT__CONV_ROWS, depth = SDT__CONV_DEPTH, stages = SDT__CONV_STAGES;
    constexpr int row_step = SDT__CONV_THREADS / SDT__CONV_CHUNKS; /* rows loaded at once: 64 */
    constexpr int a_loads = rows / row_step, b_loads = (columns + row_step - 1) / row_step;
    constexpr int warp_rows = rows * split / SDT__CONV_WARPS, warp_columns = columns / split;
    constexpr int tiles = warp_rows / 16, groups = warp_columns / 8;
    static_assert(warp_rows % 16 == 0 && (groups == 1 || groups % 2 == 0), "whole mma tiles");

    __shared__ __align__(128) __nv_bfloat16 a_tile[stages][rows * depth];
    __shared__ __align__(128) __nv_bfloat16 b_tile[stages][columns * depth];

    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int across = (shape.out + columns - 1) / columns, pixels = sdt__conv_pixels(&shape);
    const int first_pixel = (int)(blockIdx.x / across) * rows;
    const int first_channel = (int)(blockIdx.x % across) * columns;
    const int taps = shape.ks * shape.ks, steps = sdt__conv_steps(&shape);

    /* What this thread loads of each step: one chunk of a_loads pixels and b_loads channels. */
    const int load_row = thread / SDT__CONV_CHUNKS, load_chunk = thread % SDT__CONV_CHUNKS;
    int out_row[a_loads], out_col[a_loads];
    const __nv_bfloat16 *a_from[a_loads], *b_from[b_loads];
    bool a_valid[a_loads];
#pragma unroll
    for (int i = 0; i < a_loads; i++) {
        int pixel = first_pixel + load_row + i * row_step;
        out_row[i] =
            pixel < pixels ? pixel / shape.cols : -2; /* no tap reaches a pixel past the end */
        out_col[i] = pixel % shape.cols;
    }

    int frame = 0, tap = 0, channel = 0; /* of the next load */
    auto load = [&](int stage) {
        if (channel == 0) {
            const __nv_bfloat16 *x = static_cast<const __nv_bfloat16 *>(frame_of(arrays, frame));
            const __nv_bfloat16 *w = static_cast<const __nv_bfloat16 *>(arrays.w);
#pragma unroll
            for (int i = 0; i < a_loads; i++) {
                int place = sdt__conv_input(&shape, out_row[i], out_col[i], tap);
                a_valid[i] = place >= 0;
                a_from[i] = x + (place >= 0 ? (size_t)place * shape.in : 0);
            }
#pragma unroll
            for (int i = 0; i < b_loads; i++) {
                int o = first_channel + load_row + i * row_step;
                b_from[i] = w + sdt__conv_weights(&shape, o < shape.out ? o : 0, frame, tap);
            }
        }
        const int c = channel + load_chunk * SDT__CONV_CHUNK, left = shape.in - c;
#pragma unroll
        for (int i = 0; i < a_loads; i++) {
            int row = load_row + i * row_step;
            __nv_bfloat16 *to = a_tile[stage] + sdt__conv_swizzle(row, load_chunk);
            bool valid = a_valid[i] && left > 0;
            if (wide)
                copy_16((uint32_t)__cvta_generic_to_shared(to), valid ? a_from[i] + c : a_from[i],
                        valid);
            else
                copy_tail(to, a_from[i] + c, valid ? left : 0);
        }
#pragma unroll
        for (int i = 0; i < b_loads; i++) {
            int row = load_row + i * row_step;
            if (columns % row_step != 0 && row >= columns)
                break;
            __nv_bfloat16 *to = b_tile[stage] + sdt__conv_swizzle(row, load_chunk);
            bool valid = first_channel + row < shape.out && left > 0;
            if (wide)
                copy_16((uint32_t)__cvta_generic_to_shared(to), valid ? b_from[i] + c : b_from[i],
                        valid);
            else
                copy_tail(to, b_from[i] + c, valid ? left : 0);
        }
        channel += depth;
        if (channel >= shape.in) {
            channel = 0;
            if (++tap == taps) {
                tap = 0;
                frame++;
            }
        }
    };

    float sum[tiles][groups][4];
#pragma unroll
    for (int m = 0; m < tiles; m++)
#pragma unroll
        for (int n = 0; n < groups; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                sum[m][n][i] = 0.f;

    const sdt__conv_block block = {columns, split};
    const int warp_row = sdt__conv_warp_row(block, warp);
    const int warp_column = sdt__conv_warp_column(block, warp);

#pragma unroll
    for (int s = 0; s < stages - 1; s++) {
        if (s < steps)
            load(s);
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    for (int step = 0; step < steps; step++) {
        /* This step's group is complete when at most stages - 2 younger ones are under way. The
         * barrier also ends all reads of the stage that is loaded next, which was the previous
         * step's. */
        asm volatile("cp.async.wait_group %0;" ::"n"(stages - 2) : "memory");
        __syncthreads();
        if (step + stages - 1 < steps)
            load((step + stages - 1) % stages);
        asm volatile("cp.async.commit_group;" ::: "memory");

        const __nv_bfloat16 *a = a_tile[step % stages], *b = b_tile[step % stages];
#pragma unroll
        for (int k = 0; k < depth / 16; k++) {
            uint32_t left[tiles][4], right[groups][2];
#pragma unroll
            for (int m = 0; m < tiles; m++)
                load_4(left[m], (uint32_t)__cvta_generic_to_shared(
                                    a + sdt__conv_swizzle(warp_row + m * 16 + sdt__conv_a_row(lane),
                                                          k * 2 + sdt__conv_a_chunk(lane))));
            if (groups == 1) {
                load_2(right[0][0], right[0][1],
                       (uint32_t)__cvta_generic_to_shared(
                           b + sdt__conv_swizzle(warp_column + sdt__conv_b_row(lane & 15),
                                                 k * 2 + sdt__conv_b_chunk(lane))));
            } else {
#pragma unroll
                for (int n = 0; n + 1 < groups; n += 2) {
                    uint32_t pair[4];
                    load_4(pair,
                           (uint32_t)__cvta_generic_to_shared(
                               b + sdt__conv_swizzle(warp_column + n * 8 + sdt__conv_b_row(lane),
                                                     k * 2 + sdt__conv_b_chunk(lane))));
                    right[n][0] = pair[0];
                    right[n][1] = pair[1];
                    right[n + 1][0] = pair[2];
                    right[n + 1][1] = pair[3];
                }
            }
#pragma unroll
            for (int m = 0; m < tiles; m++)
#pragma unroll
                for (int n = 0; n < groups; n++)
                    multiply(sum[m][n], left[m], right[n][0], right[n][1]);
        }
    }

    /* Sums of two neighbouring channels at a time; where their number is odd, one by one. */
    const __nv_bfloat16 *residual = static_cast<const __nv_bfloat16 *>(arrays.residual);
    const bool pairs = shape.channels % 2 == 0;
#pragma unroll
    for (int m = 0; m < tiles; m++)
#pragma unroll
        for (int n = 0; n < groups; n++)
#pragma unroll
            for (int i = 0; i < 4; i += 2) {
                int pixel = first_pixel + warp_row + m * 16 + sdt__conv_c_row(lane, i);
                int o = first_channel + warp_column + n * 8 + sdt__conv_c_column(lane, i);
                if (pixel >= pixels)
                    continue;
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    if (o + j >= shape.out)
                        break;
                    bool second = o + j >= shape.channels;
                    __nv_bfloat16 *y = static_cast<__nv_bfloat16 *>(arrays.y[0]);
                    if (second)
                        y = static_cast<__nv_bfloat16 *>(arrays.y[1]);
                    size_t at =
                        (size_t)pixel * shape.channels + (o + j) - (second ? shape.channels : 0);
                    float z = sum[m][n][i + j] + arrays.bias[o + j];
                    if (pairs) {
                        float next = sum[m][n][i + 1] + arrays.bias[o + 1];
                        if (residual) {
                            float2 r = __bfloat1622float2(
                                *reinterpret_cast<const __nv_bfloat162 *>(residual + at));
                            z += r.x;
                            next += r.y;
                        }
                        *reinterpret_cast<__nv_bfloat162 *>(y + at) =
                            __floats2bfloat162_rn(z, next);
                        break;
                    }
                    if (residual)
                        z += __bfloat162float(residual[at]);
                    y[at] = __float2bfloat16(z);
                }
            }
}

/* ---- float32, for exactness ------------------------------------------------------------------ */

/* A block makes 64 pixels by 64 channels, a thread 4 by 4. Each tap has a sum of its own, so that
 * thousands of terms do not go one by one into one number. */
template <bool wide>
__global__ void __launch_bounds__(256)
    conv_f32(const sdt__conv_shape shape, const conv_arrays arrays) {
    constexpr int side = 64, depth = 16;
    __shared__ __align__(16) float a_tile[depth][side + 4], b_tile[depth][side + 4];

    const int thread = threadIdx.x, across = (shape.out + side - 1) / side;
    const int pixels = sdt__conv_pixels(&shape), taps = shape.ks * shape.ks;
    const int first_pixel = (int)(blockIdx.x / across) * side;
    const int first_channel = (int)(blockIdx.x % across) * side;
    const int load_row = thread / 4, load_channel = thread % 4 * 4; /* four values of each */
    const int load_pixel = first_pixel + load_row, load_out = first_channel + load_row;
    const int out_row = load_pixel < pixels ? load_pixel / shape.cols : -2;
    const int out_col = load_pixel % shape.cols;
    const int p0 = thread / 16 * 4, o0 = thread % 16 * 4;

    float total[4][4] = {};
    for (int frame = 0; frame < shape.frames; frame++)
        for (int tap = 0; tap < taps; tap++) {
            int place = sdt__conv_input(&shape, out_row, out_col, tap);
            const float *x = static_cast<const float *>(frame_of(arrays, frame)) +
                             (place >= 0 ? (size_t)place * shape.in : 0);
            const float *w =
                static_cast<const float *>(arrays.w) +
                sdt__conv_weights(&shape, load_out < shape.out ? load_out : 0, frame, tap);
            float sum[4][4] = {};
            for (int c = 0; c < shape.in; c += depth) {
                float left[4], right[4];
                int at = c + load_channel;
                if (wide) {
                    float4 zero = make_float4(0.f, 0.f, 0.f, 0.f), l = zero, r = zero;
                    if (place >= 0 && at < shape.in)
                        l = *reinterpret_cast<const float4 *>(x + at);
                    if (load_out < shape.out && at < shape.in)
                        r = *reinterpret_cast<const float4 *>(w + at);
                    left[0] = l.x, left[1] = l.y, left[2] = l.z, left[3] = l.w;
                    right[0] = r.x, right[1] = r.y, right[2] = r.z, right[3] = r.w;
                } else {
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        left[i] = place >= 0 && at + i < shape.in ? x[at + i] : 0.f;
                        right[i] = load_out < shape.out && at + i < shape.in ? w[at + i] : 0.f;
                    }
                }
                __syncthreads(); /* the tiles of the previous step have been read */
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    a_tile[load_channel + i][load_row] = left[i];
                    b_tile[load_channel + i][load_row] = right[i];
                }
                __syncthreads();
#pragma unroll
                for (int k = 0; k < depth; k++) {
                    float4 a = *reinterpret_cast<const float4 *>(&a_tile[k][p0]);
                    float4 b = *reinterpret_cast<const float4 *>(&b_tile[k][o0]);
                    const float p[4] = {a.x, a.y, a.z, a.w}, o[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
                    for (int i = 0; i < 4; i++)
#pragma unroll
                        for (int j = 0; j < 4; j++)
                            sum[i][j] = fmaf(p[i], o[j], sum[i][j]);
                }
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++)
                    total[i][j] += sum[i][j];
        }

    const float *residual = static_cast<const float *>(arrays.residual);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int pixel = first_pixel + p0 + i, o = first_channel + o0 + j;
            if (pixel >= pixels || o >= shape.out)
                continue;
            bool second = o >= shape.channels;
            float *y = static_cast<float *>(second ? arrays.y[1] : arrays.y[0]);
            size_t at = (size_t)pixel * shape.channels + o - (second ? shape.channels : 0);
            float z = total[i][j] + arrays.bias[o];
            y[at] = residual ? z + residual[at] : z;
        }
}

/* ---- launches -------------------------------------------------------------------------------- */

template <int columns, int split>
void launch_bf16(struct sdt_cuda *cuda, const sdt__conv_shape &shape, const conv_arrays &arrays,
                 bool wide) {
    unsigned down = (sdt__conv_pixels(&shape) + SDT__CONV_ROWS - 1) / SDT__CONV_ROWS;
    unsigned blocks = down * ((shape.out + columns - 1) / columns);
    if (wide)
        conv_bf16<columns, split, true>
            <<<blocks, SDT__CONV_THREADS, 0, cuda->stream>>>(shape, arrays);
    else
        conv_bf16<columns, split, false>
            <<<blocks, SDT__CONV_THREADS, 0, cuda->stream>>>(shape, arrays);
}

/* channels: of one output frame; out is that, or twice that for two. */
enum sdt_status convolve(struct sdt_cuda *cuda, enum sdt_dtype dtype, const struct sdt_conv *conv,
                         int channels, const void *const *x, conv_arrays arrays, const char *what) {
    int scale = conv->upsample ? 2 : 1;
    sdt__conv_shape shape = {};
    shape.in = conv->in, shape.out = conv->out;
    shape.kt = conv->kt, shape.ks = conv->ks;
    shape.height = conv->height, shape.width = conv->width;
    shape.upsample = conv->upsample ? 1 : 0;
    shape.replicate = conv->replicate ? 1 : 0;
    shape.rows = conv->height * scale, shape.cols = conv->width * scale;
    shape.channels = channels;
    uintptr_t addresses = (uintptr_t)arrays.w;
    for (int t = 0; t < conv->kt; t++)
        if (x[t]) {
            arrays.x[shape.frames] = x[t];
            shape.time[shape.frames++] = t;
            addresses |= (uintptr_t)x[t];
        }
    if (sdt__conv_pixels(&shape) == 0 || shape.out == 0)
        return SDT_OK;
    if (dtype == SDT_BF16) {
        bool wide = shape.in % SDT__CONV_CHUNK == 0 && addresses % 16 == 0;
        switch (sdt__conv_block_of(shape.out).columns) {
        case 128:
            launch_bf16<128, 2>(cuda, shape, arrays, wide);
            break;
        case 96:
            launch_bf16<96, 2>(cuda, shape, arrays, wide);
            break;
        case 64:
            launch_bf16<64, 2>(cuda, shape, arrays, wide);
            break;
        case 32:
            launch_bf16<32, 2>(cuda, shape, arrays, wide);
            break;
        default:
            launch_bf16<8, 1>(cuda, shape, arrays, wide);
            break;
        }
    } else {
        unsigned down = (sdt__conv_pixels(&shape) + 63) / 64, across = (shape.out + 63) / 64;
        if (shape.in % 4 == 0 && addresses % 16 == 0)
            conv_f32<true><<<down * across, 256, 0, cuda->stream>>>(shape, arrays);
        else
            conv_f32<false><<<down * across, 256, 0, cuda->stream>>>(shape, arrays);
    }
    return sdt__cuda_launched(cuda, what);
}

} // namespace

extern "C" enum sdt_status sdt_cuda_conv_frame(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                               const struct sdt_conv *conv, const void *const *x,
                                               const void *w, const float *bias,
                                               const void *residual, void *y, void *scratch) {
    conv_arrays arrays = {};
    arrays.w = w;
    arrays.bias = bias;
    arrays.residual = residual;
    arrays.y[0] = y;
    cuda->way = SDT_CUDA_OWN;
    if (dtype == SDT_BF16 && cuda->cudnn && !cuda->own) {
        const struct conv_call call = {conv, 1, x, w, bias, residual, {y, NULL}, scratch};
        bool done;
        enum sdt_status status = sdt__cudnn_convolve(cuda, &call, &done);
        if (done || status != SDT_OK) {
            cuda->way = SDT_CUDA_CUDNN;
            return status;
        }
    }
    return convolve(cuda, dtype, conv, conv->out, x, arrays, "convolution");
}

extern "C" enum sdt_status sdt_cuda_time_upsample(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                                  int height, int width, int channels,
                                                  const void *const *x, const void *w,
                                                  const float *bias, void *first, void *second,
                                                  void *scratch) {
    struct sdt_conv half = sdt__time_half(height, width, channels), both = half;
    conv_arrays arrays = {};
    arrays.w = w;
    arrays.bias = bias;
    arrays.y[0] = first;
    arrays.y[1] = second;
    cuda->way = SDT_CUDA_OWN;
    if (dtype == SDT_BF16 && cuda->cudnn && !cuda->own) {
        const struct conv_call call = {&half, 2, x, w, bias, NULL, {first, second}, scratch};
        bool done;
        enum sdt_status status = sdt__cudnn_convolve(cuda, &call, &done);
        if (done || status != SDT_OK) {
            cuda->way = SDT_CUDA_CUDNN;
            return status;
        }
    }
    both.out = 2 * channels;
    return convolve(cuda, dtype, &both, channels, x, arrays, "upsampling in time");
}
