/* Between tokens and heads: the split of a token tile into pieces by heads, with the row norm and
 * the rotation on the way, its inverse, and the gathering of pieces by head. The pieces' addresses
 * travel in the kernel's arguments, SDT_CUDA_PIECES at a time. */
#include "kernels/cuda/launch.h"

static int batch(int pieces, int first) {
    return pieces - first < SDT_CUDA_PIECES ? pieces - first : SDT_CUDA_PIECES;
}

/* Copies heads and addresses of pieces first..first+n-1; true if all that hold heads are
 * aligned. */
template <class P>
static bool take_pieces(int first, int n, const int *head, P const *from, int *heads, P *to) {
    bool aligned = true;
    for (int p = 0; p < n; p++) {
        heads[p] = head[first + p];
        to[p] = from[first + p];
        if (head[first + p] < head[first + p + 1])
            aligned = aligned && body_aligned(to[p]);
    }
    heads[n] = head[first + n];
    return aligned;
}

template <enum sdt_dtype T, int PACK, bool KEPT, bool HALVES>
__device__ static void split_row(const struct body_split &a, int lanes) {
    struct body_row row;
    float keep[SDT_KEEP * SDT_PACK];
    size_t r = row_begin(&row, T, PACK, KEPT, lanes, a.rows, a.heads * a.e, a.x, keep);
    float inverse = 1.f;
    if (a.weight)
        inverse = body_inverse(lanes_sum(body_row_squares(&row, 0.f), lanes), a.heads * a.e, a.eps);
    body_split_end(&a, &row, (int)r, inverse, HALVES);
}

template <enum sdt_dtype T, int PACK, bool KEPT>
__global__ static void __launch_bounds__(SDT_LANES)
    split_heads(const __grid_constant__ struct body_split a, int lanes) {
    split_row<T, PACK, KEPT, false>(a, lanes);
}

template <enum sdt_dtype T, int PACK, bool KEPT>
__global__ static void __launch_bounds__(SDT_LANES)
    split_halves(const __grid_constant__ struct body_split a, int lanes) {
    split_row<T, PACK, KEPT, true>(a, lanes);
}

enum sdt_status sdt_cuda_split_heads(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                     int valid_rows, int heads, int e, const void *x,
                                     const float *weight, float eps, const struct sdt_rope *rope,
                                     const float *table, int64_t first_token, int pieces,
                                     const int *head, void *const *y) {
    int d = heads * e, pack = body_pack(dtype, dtype, true);
    if (rows <= 0 || d <= 0)
        return SDT_OK;
    struct body_split a = {};
    a.rows = rows;
    a.valid_rows = valid_rows;
    a.heads = heads;
    a.e = e;
    a.x = x;
    a.weight = weight;
    a.eps = eps;
    if (table)
        a.rope = *rope;
    a.table = table;
    a.first_token = first_token;
    for (int first = 0; first < pieces; first += SDT_CUDA_PIECES) {
        a.pieces = batch(pieces, first);
        bool aligned = take_pieces(first, a.pieces, head, y, a.head, a.y);
        if (a.head[0] == a.head[a.pieces])
            continue;
        /* e, not d: a pack must lie within one head */
        bool wide = e % pack == 0 && aligned && body_aligned(x) && body_aligned(weight);
        struct body_shape shape = body_shape_rows(rows, d, pack, wide);
        auto kernel = table && rope->halves ? SDT_PICK_ROWS(split_halves, dtype, shape)
                                            : SDT_PICK_ROWS(split_heads, dtype, shape);
        kernel<<<shape.blocks, shape.threads, 0, cuda->stream>>>(a, shape.lanes);
        enum sdt_status status = sdt__cuda_launched(cuda, "split by heads");
        if (status != SDT_OK)
            return status;
    }
    return SDT_OK;
}

template <enum sdt_dtype T, int PACK>
__global__ static void merge_heads(const __grid_constant__ struct body_merge a) {
    int first = a.head[0] * a.e, last = a.head[a.pieces] * a.e;
    for (int r = (int)blockIdx.x; r < a.rows; r += (int)gridDim.x)
        for (int i = first + (int)threadIdx.x * PACK; i < last; i += (int)blockDim.x * PACK)
            body_merge_pack(&a, T, PACK, r, i);
}

enum sdt_status sdt_cuda_merge_heads(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                     int heads, int e, int pieces, const int *head,
                                     const void *const *x, void *y) {
    if (rows <= 0)
        return SDT_OK;
    struct body_merge a = {};
    a.rows = rows;
    a.heads = heads;
    a.e = e;
    a.y = y;
    for (int first = 0; first < pieces; first += SDT_CUDA_PIECES) {
        a.pieces = batch(pieces, first);
        bool aligned = take_pieces(first, a.pieces, head, x, a.head, a.x);
        int columns = (a.head[a.pieces] - a.head[0]) * e;
        if (columns == 0)
            continue;
        bool wide = e % body_pack(dtype, dtype, true) == 0 && aligned && body_aligned(y);
        unsigned threads = line_threads(columns / body_pack(dtype, dtype, wide));
        auto kernel = SDT_PICK(merge_heads, dtype, wide);
        kernel<<<line_blocks(cuda, rows, threads), threads, 0, cuda->stream>>>(a);
        enum sdt_status status = sdt__cuda_launched(cuda, "merge of heads");
        if (status != SDT_OK)
            return status;
    }
    return SDT_OK;
}

template <enum sdt_dtype T, int PACK>
__global__ static void gather(const __grid_constant__ struct body_gather a) {
    for (int h = (int)blockIdx.y; h < a.heads; h += (int)gridDim.y)
        for (size_t i = flat_first(PACK); i < a.to.block; i += flat_stride(PACK))
            body_gather_pack(&a, T, PACK, (int)blockIdx.z, h, i);
}

enum sdt_status sdt_cuda_gather(struct sdt_cuda *cuda, enum sdt_dtype dtype, int tiles, int heads,
                                const struct sdt_gather *to, const void *const *x, void *y) {
    if (heads <= 0 || to->block == 0)
        return SDT_OK;
    struct body_gather a = {};
    a.heads = heads;
    a.to = *to;
    a.y = y;
    for (a.first = 0; a.first < tiles; a.first += SDT_CUDA_PIECES) {
        a.count = batch(tiles, a.first);
        bool wide = body_gather_whole(to, body_pack(dtype, dtype, true)) && body_aligned(y);
        for (int t = 0; t < a.count; t++) {
            a.x[t] = x[a.first + t];
            wide = wide && body_aligned(a.x[t]);
        }
        auto kernel = SDT_PICK(gather, dtype, wide);
        dim3 grid(flat_blocks(cuda, to->block, body_pack(dtype, dtype, wide)),
                  heads < 65535 ? heads : 65535, a.count);
        kernel<<<grid, SDT_FLAT_THREADS, 0, cuda->stream>>>(a);
        enum sdt_status status = sdt__cuda_launched(cuda, "gathering");
        if (status != SDT_OK)
            return status;
    }
    return SDT_OK;
}

template <enum sdt_dtype T, int PACK>
__global__ static void copy_part(const __grid_constant__ struct body_copy_part a) {
    for (int h = (int)blockIdx.y; h < a.part.heads; h += (int)gridDim.y)
        for (size_t i = flat_first(PACK); i < a.part.count; i += flat_stride(PACK))
            body_copy_part_pack(&a, T, PACK, h, i);
}

enum sdt_status sdt_cuda_copy_part(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                   const struct sdt_copy_part *part, const void *x, void *y) {
    if (part->heads <= 0 || part->count == 0)
        return SDT_OK;
    struct body_copy_part a = {*part, x, y};
    bool wide = body_copy_part_whole(part, body_pack(dtype, dtype, true)) && body_aligned(x) &&
                body_aligned(y);
    auto kernel = SDT_PICK(copy_part, dtype, wide);
    dim3 grid(flat_blocks(cuda, part->count, body_pack(dtype, dtype, wide)),
              part->heads < 65535 ? part->heads : 65535);
    kernel<<<grid, SDT_FLAT_THREADS, 0, cuda->stream>>>(a);
    return sdt__cuda_launched(cuda, "copy of a part");
}

template <enum sdt_dtype T>
__global__ static void rotate_halves(size_t pairs, int heads, int e, const float *table, void *x) {
    for (size_t i = flat_first(1); i < pairs; i += flat_stride(1))
        body_rotate_halves(T, i, heads, e, table, x);
}

enum sdt_status sdt_cuda_rotate_halves(struct sdt_cuda *cuda, enum sdt_dtype dtype, int rows,
                                       int heads, int e, const float *table, void *x) {
    size_t pairs = (size_t)rows * (size_t)heads * (size_t)e / 2;
    if (pairs == 0)
        return SDT_OK;
    auto kernel = dtype == SDT_BF16 ? rotate_halves<SDT_BF16> : rotate_halves<SDT_F32>;
    kernel<<<flat_blocks(cuda, pairs, 1), SDT_FLAT_THREADS, 0, cuda->stream>>>(pairs, heads, e,
                                                                               table, x);
    return sdt__cuda_launched(cuda, "rotation of halves");
}
