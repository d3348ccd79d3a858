/* Attention within groups of tokens: rows are put together for the attention kernels of this folder
 * (group_attention.h). */
#include "kernels/cuda/attend.h"
#include "kernels/cuda/group_attention.h"
#include "kernels/cuda/launch.h"

template <enum sdt_dtype T, int PACK>
__global__ static void copy_group(const __grid_constant__ struct body_group a, int heads,
                                  bool back) {
    for (int h = (int)blockIdx.y; h < heads; h += (int)gridDim.y)
        for (size_t i = flat_first(PACK); i < (size_t)a.members * a.e; i += flat_stride(PACK))
            body_group_copy(&a, T, PACK, h, i, back);
}

enum sdt_status sdt_cuda_group_attention(struct sdt_cuda *cuda, enum sdt_dtype dtype,
                                         const struct sdt_token_groups *groups, int heads, int rows,
                                         int e, const void *q, int tile, int64_t keys,
                                         const void *k, const void *v, float scale, void *o,
                                         float *lse, void *scratch) {
    auto copy = [cuda](const struct body_group &a, enum sdt_dtype of, int all, bool back) {
        size_t n = (size_t)a.members * a.e;
        int most = body_pack(of, of, true);
        bool wide = a.e % most == 0 && body_aligned(a.all) && body_aligned(a.dense);
        if (n == 0)
            return SDT_OK;
        auto kernel = SDT_PICK(copy_group, of, wide);
        dim3 grid(flat_blocks(cuda, n, wide ? most : 1), all < 65535 ? all : 65535);
        kernel<<<grid, SDT_FLAT_THREADS, 0, cuda->stream>>>(a, all, back);
        return sdt__cuda_launched(cuda, "copying a group of tokens");
    };
    auto attend = [cuda](enum sdt_dtype of, const struct attention_call &call) {
        return sdt__cuda_attend(cuda, of, &call);
    };
    group_attention<decltype(copy), decltype(attend)> call = {
        groups, dtype,
        heads,  rows,
        e,      q,
        keys,   (keys + tile - 1) / tile * tile,
        k,      v,
        scale,  o,
        lse,    (char *)scratch,
        copy,   attend};
    cuda->way = SDT_CUDA_OWN;
    return call.run();
}
