/* A long video as blocks of frames that are denoised in a queue, each at a noise level of its own
 * (DualParal, arXiv 2505.21070): which block takes which step when, and what noise it starts from.
 * Index arithmetic alone; frames are those of the latent.
 *
 * Block 0 owns the first `overlap + per` frames, each later one the next `per`. What goes through
 * the model is `overlap + per` frames always: in front of its own, a later block sees the last
 * `overlap` of the block before. In iteration k block k joins the queue, and all blocks that are in
 * it take a step, the newest one first. So block b takes step k - b; the block before it has taken
 * one more by then, the block behind it one less. */
#ifndef STARDIT_BLOCKS_H
#define STARDIT_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

struct sdt_blocks {
    int count;   /* 1: nothing is shared, and `overlap` is 0 */
    int per;     /* frames that a block adds; of a single one, all */
    int overlap; /* frames that it shares with each neighbour */
    int steps;   /* that each block takes */
};
/* So many blocks that all frames are there. The last one may reach beyond them. overlap: at most
 * per. */
struct sdt_blocks sdt_blocks_of(int frames, int per, int overlap, int steps);

/* Frames of a block's input. */
static inline int sdt_blocks_frames(const struct sdt_blocks *q) { return q->overlap + q->per; }
/* Frame of the whole latent that is frame 0 of a block's input, and which of these frames are its
 * own: all from there on. */
static inline int sdt_blocks_first(const struct sdt_blocks *q, int block) { return block * q->per; }
static inline int sdt_blocks_own(const struct sdt_blocks *q, int block) {
    return block ? q->overlap : 0;
}

static inline int sdt_blocks_iterations(const struct sdt_blocks *q) {
    return q->steps + q->count - 1;
}
/* The blocks that take a step in iteration k, from the newest down to the oldest. */
static inline int sdt_blocks_newest(const struct sdt_blocks *q, int k) {
    return k < q->count ? k : q->count - 1;
}
static inline int sdt_blocks_oldest(const struct sdt_blocks *q, int k) {
    return k < q->steps ? 0 : k - q->steps + 1;
}
static inline int sdt_blocks_alive(const struct sdt_blocks *q, int k) {
    return sdt_blocks_newest(q, k) - sdt_blocks_oldest(q, k) + 1;
}
/* Most that are ever in the queue, with one that has left it and is still looked at. */
static inline int sdt_blocks_most(const struct sdt_blocks *q) {
    return q->count <= q->steps ? q->count : q->steps + 1;
}
/* The step that a block takes in iteration k. It sees frames of the block before it as they are
 * after one step more than its own, and keys of the block behind it of one step less; those only
 * if that block is in the queue. */
static inline int sdt_blocks_step(int k, int block) { return k - block; }
static inline bool sdt_blocks_sees_next(const struct sdt_blocks *q, int k, int block) {
    return q->overlap > 0 && block < sdt_blocks_newest(q, k);
}
static inline bool sdt_blocks_is_seen(const struct sdt_blocks *q, int k, int block) {
    return q->overlap > 0 && block > sdt_blocks_oldest(q, k);
}

/* ---- noise ----------------------------------------------------------------------------------- */

/* All blocks start from the same `overlap + per` frames of noise, the seed's, in another order
 * each: neighbours have noise in common, and no two orders are alike but by chance. The pool says
 * which frame stands where. Before each block but the first it becomes its last `overlap` frames
 * and behind them its first `per`, shuffled; a block's own frames are the pool's last ones.
 *
 * The shuffle before block b is Fisher and Yates': for i = per - 1 down to 1, elements i and j
 * change places, j = r mod (i + 1). r are 64-bit numbers of SplitMix64 (Steele, Lea and Flood,
 * 2014), whose state starts at seed + b 2^32; those below 2^64 mod (i + 1) are left out. */
struct sdt_noise_pool {
    struct sdt_blocks blocks;
    uint64_t seed;
    int block;  /* whose turn it is */
    int *frame; /* [2 * (overlap + per)]: the pool, and room to make the next one; the caller's */
};
/* The pool of block 0. */
void sdt_noise_pool_init(struct sdt_noise_pool *pool, const struct sdt_blocks *blocks,
                         uint64_t seed, int *frame);
/* The next block's. */
void sdt_noise_pool_next(struct sdt_noise_pool *pool);
#endif
