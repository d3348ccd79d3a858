/* Blocks in a queue: who takes which step when, what it sees of its neighbours, and the noise that
 * it starts from. */
#include "graph/run/blocks.h"

#include <stdio.h>
#include <string.h>

#include "tests/check.h"

enum { MOST = 64 };

/* Steps that each block has done, by playing the queue: context and keys are as old as the rule
 * says. */
static void check_versions(int count, int steps) {
    const struct sdt_blocks q = {count, 8, 8, steps};
    int done[MOST] = {0}, took = 0, without = 0;
    for (int k = 0; k < sdt_blocks_iterations(&q); k++) {
        int before[MOST];
        memcpy(before, done, sizeof done);
        CHECK(sdt_blocks_alive(&q, k) <= sdt_blocks_most(&q), "%d are alive in iteration %d",
              sdt_blocks_alive(&q, k), k);
        for (int b = sdt_blocks_newest(&q, k); b >= sdt_blocks_oldest(&q, k); b--) {
            CHECK(done[b] == sdt_blocks_step(k, b), "block %d has done %d steps in iteration %d", b,
                  done[b], k);
            CHECK(b == 0 || before[b - 1] == done[b] + 1,
                  "context of block %d has done %d steps, itself %d", b, before[b - 1], done[b]);
            bool sees = b + 1 < count && before[b + 1] < steps && b + 1 <= k;
            CHECK(sees == sdt_blocks_sees_next(&q, k, b), "block %d in iteration %d", b, k);
            CHECK(!sees || before[b + 1] == done[b] - 1, "keys of block %d are of step %d", b,
                  before[b + 1]);
            CHECK(!sees || sdt_blocks_is_seen(&q, k, b + 1), "block %d is seen", b + 1);
            without += !sees;
            done[b]++;
            took++;
        }
    }
    for (int b = 0; b < count; b++)
        CHECK(done[b] == steps, "block %d has done %d of %d steps", b, done[b], steps);
    CHECK(took == count * steps && without == steps + count - 1,
          "%d block-steps, %d of them without keys of the next block", took, without);
}

static void check_frames(void) {
    static const struct {
        int frames, per, overlap, count, reach;
    } is[] = {{257, 8, 8, 32, 264}, {24, 8, 8, 2, 24}, {17, 8, 8, 2, 24}, {16, 8, 8, 1, 16},
              {5, 8, 8, 1, 5},      {1, 8, 0, 1, 1},   {9, 8, 0, 2, 16},  {26, 8, 2, 3, 26}};
    for (size_t i = 0; i < sizeof is / sizeof is[0]; i++) {
        struct sdt_blocks q = sdt_blocks_of(is[i].frames, is[i].per, is[i].overlap, 50);
        int reach = 0; /* each block goes on where the one before ends */
        for (int b = 0; b < q.count; b++) {
            CHECK(sdt_blocks_first(&q, b) + sdt_blocks_own(&q, b) == reach,
                  "%d frames: block %d begins at %d, not %d", is[i].frames, b,
                  sdt_blocks_first(&q, b) + sdt_blocks_own(&q, b), reach);
            reach = sdt_blocks_first(&q, b) + sdt_blocks_frames(&q);
        }
        CHECK(q.count == is[i].count && reach == is[i].reach, "%d frames: %d blocks, %d frames",
              is[i].frames, q.count, reach);
    }
}

/* Each pool has all frames once; the first ones are the last of the pool before, and the rest has
 * changed places. The numbers are what the header says, by another program. */
static void check_noise(void) {
    static const int wanted[] = {8, 9, 10, 4, 6, 1, 0, 5, 2, 7, 3};
    const struct sdt_blocks q = {20, 8, 3, 50};
    int frame[2 * 11], before[11], same = 0;
    struct sdt_noise_pool pool;
    sdt_noise_pool_init(&pool, &q, 42, frame);
    for (int b = 1; b < q.count; b++) {
        bool seen[11] = {false};
        memcpy(before, frame, sizeof before);
        sdt_noise_pool_next(&pool);
        for (int i = 0; i < 11; i++) {
            CHECK(!seen[frame[i]], "frame %d stands twice", frame[i]);
            seen[frame[i]] = true;
            CHECK(i >= 3 || frame[i] == before[8 + i], "block %d does not go on", b);
            same += i >= 3 && frame[i] == before[i - 3];
        }
        CHECK(b != 1 || !memcmp(frame, wanted, sizeof wanted), "another order than the header's");
    }
    printf("noise: %d of %d frames keep their place\n", same, 8 * (q.count - 1));
    CHECK(same < 40, "the order is hardly another");
}

int main(void) {
    for (int count = 1; count < 12; count++)
        for (int steps = 1; steps < 12; steps++)
            check_versions(count, steps);
    check_versions(31, 50);
    check_frames();
    check_noise();
    printf("blocks: %s\n", failures ? "FAIL" : "ok");
    return failures > 0;
}
