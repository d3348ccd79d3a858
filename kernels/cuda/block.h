/* What a thread does together with the others of its block: the few instructions that attention is
 * made of, under names of their own. On a GPU each is one instruction. tests/kernels/cuda_block.h
 * has them for the host, where the threads of a block are coroutines, so that kernels written with
 * these functions run unchanged in `make check`, every address looked at. */
#ifndef STARDIT_CUDA_BLOCK_H
#define STARDIT_CUDA_BLOCK_H

#include <math.h>
#include <stdint.h>

#ifdef __CUDACC__

#define SDT_BLOCK static __device__ __forceinline__

SDT_BLOCK int block_thread(void) { return (int)threadIdx.x; }
/* Waits for all threads of the block, of the warp. */
SDT_BLOCK void block_barrier(void) { __syncthreads(); }
SDT_BLOCK void block_warp_barrier(void) { __syncwarp(); }

SDT_BLOCK unsigned block_shared_address(const void *shared) {
    return (unsigned)__cvta_generic_to_shared(shared);
}

/* Starts to copy 16 bytes from global to shared memory, both aligned; zeros instead, and `from` is
 * not read, where `take` is false. */
SDT_BLOCK void block_copy_start(void *shared, const void *from, bool take) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(block_shared_address(shared)), "l"(from), "r"(take ? 16 : 0)
                 : "memory");
}
/* Ends a group of copies, those that this thread has started since the last one's end. */
SDT_BLOCK void block_copy_commit(void) { asm volatile("cp.async.commit_group;" ::: "memory"); }
/* Waits for this thread's copies, or for all but its newest GROUPS groups of them; others see them
 * after a barrier. */
SDT_BLOCK void block_copy_wait(void) { asm volatile("cp.async.wait_all;" ::: "memory"); }
template <int GROUPS> SDT_BLOCK void block_copy_wait_but(void) {
    asm volatile("cp.async.wait_group %0;" : : "n"(GROUPS) : "memory");
}

/* Four 8 x 8 matrices of 16-bit numbers. Lane l says where row l % 8 of matrix l / 8 stands (16
 * bytes, aligned) and gets columns 2 (l % 4) and 2 (l % 4) + 1 of row l / 4 of each matrix;
 * `turned` means the transposed matrices. */
SDT_BLOCK void block_matrices(uint32_t out[4], const void *shared_row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(block_shared_address(shared_row))
                 : "memory");
}
SDT_BLOCK void block_matrices_turned(uint32_t out[4], const void *shared_row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(block_shared_address(shared_row))
                 : "memory");
}

/* c [16, 8] += a [16, 16] b [16, 8], bf16 with float32 sums. With g = lane / 4 and t = lane % 4 a
 * lane holds
 *   c: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1)
 *   a: pairs of columns (g, 2t..), (g + 8, 2t..), (g, 2t + 8..), (g + 8, 2t + 8..)
 *   b: pairs of rows (2t.., g), (2t + 8.., g)
 * the first of a pair in the lower half. */
SDT_BLOCK void block_multiply(float c[4], const uint32_t a[4], const uint32_t b[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* x of lane `lane ^ mask` */
SDT_BLOCK float block_exchange(float x, int mask) { return __shfl_xor_sync(~0u, x, mask); }

/* Whether x is true in any lane of the warp. */
SDT_BLOCK bool block_any(bool x) { return __any_sync(~0u, x); }

/* 2^x to 2 ulp; 0 for -infinity */
SDT_BLOCK float block_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

#else

#define SDT_BLOCK static inline

int block_thread(void);
void block_barrier(void);
void block_warp_barrier(void);
void block_copy_start(void *shared, const void *from, bool take);
void block_copy_commit(void);
void block_copy_wait(void);
void block_copy_wait_all_but(int groups);
template <int GROUPS> static inline void block_copy_wait_but(void) {
    block_copy_wait_all_but(GROUPS);
}
void block_matrices(uint32_t out[4], const void *shared_row);
void block_matrices_turned(uint32_t out[4], const void *shared_row);
void block_multiply(float c[4], const uint32_t a[4], const uint32_t b[2]);
float block_exchange(float x, int mask);
bool block_any(bool x);
float block_exp2(float x);

#endif
#endif
