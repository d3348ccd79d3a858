/* Blocks of frames in a queue, and the order of their noise. */
#include "graph/run/blocks.h"

#include <string.h>

struct sdt_blocks sdt_blocks_of(int frames, int per, int overlap, int steps) {
    if (frames <= per + overlap)
        return (struct sdt_blocks){.count = 1, .per = frames, .steps = steps};
    return (struct sdt_blocks){.count = (frames - overlap + per - 1) / per,
                               .per = per,
                               .overlap = overlap,
                               .steps = steps};
}

static uint64_t next_number(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* One of 0..n-1, each as likely. */
static int pick(uint64_t *state, int n) {
    uint64_t least = -(uint64_t)n % (uint64_t)n, r;
    do
        r = next_number(state);
    while (r < least);
    return (int)(r % (uint64_t)n);
}

void sdt_noise_pool_init(struct sdt_noise_pool *pool, const struct sdt_blocks *blocks,
                         uint64_t seed, int *frame) {
    *pool = (struct sdt_noise_pool){.blocks = *blocks, .seed = seed, .frame = frame};
    for (int i = 0; i < sdt_blocks_frames(blocks); i++)
        frame[i] = i;
}

void sdt_noise_pool_next(struct sdt_noise_pool *pool) {
    const int per = pool->blocks.per, overlap = pool->blocks.overlap, all = per + overlap;
    int *frame = pool->frame, *next = frame + all, *shuffled = next + overlap;
    uint64_t state = pool->seed + ((uint64_t)++pool->block << 32);

    memcpy(next, frame + per, (size_t)overlap * sizeof *next);
    memcpy(shuffled, frame, (size_t)per * sizeof *next);
    for (int i = per - 1; i > 0; i--) {
        int j = pick(&state, i + 1), moved = shuffled[i];
        shuffled[i] = shuffled[j];
        shuffled[j] = moved;
    }
    memcpy(frame, next, (size_t)all * sizeof *next);
}
