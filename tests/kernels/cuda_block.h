/* A block of GPU threads on the host: kernels written with kernels/cuda/block.h run unchanged, each
 * thread a coroutine, and what a GPU would get wrong without a word is counted here:
 *  - a copy to shared memory lands when its thread waits for it or for its group, and leaves
 *    rubbish (NaN) until then: a missing wait, and a copy to where others still read, show in the
 *    numbers;
 *  - warps run in one of two orders, each as far as it can: a missing barrier shows as well;
 *  - copies must come from where the caller said that there is data (block_allow), aligned;
 *  - the eight rows of each matrix that is loaded must lie in different groups of banks;
 *  - all lanes of a warp must meet in the same instruction. */
#ifndef STARDIT_TESTS_CUDA_BLOCK_H
#define STARDIT_TESTS_CUDA_BLOCK_H

#include <climits>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <ucontext.h>
#include <utility>
#include <vector>

#include "kernels/cuda/block.h"
#include "kernels/cuda/bodies.h"

enum class block_meeting { NONE, BARRIER, WARP, EXCHANGE, ANY, MATRICES, TURNED, MULTIPLY };

struct block_copy {
    void *to;
    const void *from;
    bool take;
    int group; /* of the thread's, in their order */
};

struct block_lane {
    ucontext_t context;
    std::vector<char> stack;
    std::vector<block_copy> copies;
    int groups = 0; /* that have ended */
    bool ended = false;
    block_meeting at = block_meeting::NONE; /* waits there for the others */
    const void *in[2] = {};
    float value = 0.f;
    int mask = 0;
    void *out = nullptr;
};

static unsigned block_faults;
static std::vector<block_lane> block_lanes;
static int block_current;
static ucontext_t block_outside;
static std::function<void()> block_body;
static std::vector<std::pair<const char *, const char *>> block_readable;

static void block_fault(const char *what) {
    if (block_faults++ < 10)
        fprintf(stderr, "thread %d: %s\n", block_current, what);
}

[[maybe_unused]] static void block_allow(const void *x, size_t bytes) {
    block_readable.push_back({(const char *)x, (const char *)x + bytes});
}

static void block_entry() {
    block_body();
    block_lanes[block_current].ended = true;
    swapcontext(&block_lanes[block_current].context, &block_outside);
}

/* Stops the current thread until whoever waits with it has arrived. */
static void block_meet(block_meeting at) {
    block_lane &lane = block_lanes[block_current];
    lane.at = at;
    swapcontext(&lane.context, &block_outside);
}

/* ---- what all lanes of a warp do together, once they are there ---- */

static void warp_exchange(int first) {
    float all[32];
    for (int l = 0; l < 32; l++)
        all[l] = block_lanes[first + (l ^ block_lanes[first + l].mask)].value;
    for (int l = 0; l < 32; l++)
        block_lanes[first + l].value = all[l];
}

static void warp_any(int first) {
    bool any = false;
    for (int l = 0; l < 32; l++)
        any |= block_lanes[first + l].value != 0.f;
    for (int l = 0; l < 32; l++)
        block_lanes[first + l].value = any;
}

static void warp_matrices(int first, bool turned) {
    for (int m = 0; m < 4; m++) {
        const uint16_t *row[8];
        unsigned groups = 0;
        for (int r = 0; r < 8; r++) {
            row[r] = (const uint16_t *)block_lanes[first + 8 * m + r].in[0];
            block_current = first + 8 * m + r;
            if ((uintptr_t)row[r] % 16)
                block_fault("a matrix row that is not aligned to 16 bytes");
            groups |= 1u << (uintptr_t)row[r] / 16 % 8;
        }
        if (groups != 255)
            block_fault("rows of a matrix in the same banks");
        for (int l = 0; l < 32; l++) {
            int r = l / 4, c = l % 4 * 2;
            uint32_t low = turned ? row[c][r] : row[r][c];
            uint32_t high = turned ? row[c + 1][r] : row[r][c + 1];
            ((uint32_t *)block_lanes[first + l].out)[m] = low | high << 16;
        }
    }
}

static float half_of(uint32_t two, int which) {
    return body_of_bf16((uint16_t)(two >> 16 * which));
}

static void warp_multiply(int first) {
    float a[16][16], b[16][8];
    for (int l = 0; l < 32; l++) {
        const uint32_t *x = (const uint32_t *)block_lanes[first + l].in[0];
        const uint32_t *y = (const uint32_t *)block_lanes[first + l].in[1];
        int g = l / 4, t = l % 4;
        for (int i = 0; i < 4; i++)
            for (int w = 0; w < 2; w++)
                a[g + i % 2 * 8][2 * t + i / 2 * 8 + w] = half_of(x[i], w);
        for (int i = 0; i < 2; i++)
            for (int w = 0; w < 2; w++)
                b[2 * t + i * 8 + w][g] = half_of(y[i], w);
    }
    for (int l = 0; l < 32; l++) {
        float *c = (float *)block_lanes[first + l].out;
        for (int i = 0; i < 4; i++) {
            int row = l / 4 + i / 2 * 8, column = l % 4 * 2 + i % 2;
            for (int k = 0; k < 16; k++)
                c[i] += a[row][k] * b[k][column];
        }
    }
}

static void block_release(int first, int count) {
    for (int l = first; l < first + count; l++)
        block_lanes[l].at = block_meeting::NONE;
}

/* Runs a warp until all its lanes wait for the block or have ended; whether anything ran. */
static bool block_run_warp(int first) {
    for (bool any = false;; any = true) {
        bool ran = false;
        for (int l = first; l < first + 32; l++) {
            block_current = l;
            if (!block_lanes[l].ended && block_lanes[l].at == block_meeting::NONE) {
                swapcontext(&block_outside, &block_lanes[l].context);
                ran = true;
            }
        }
        block_meeting at = block_lanes[first].at;
        for (int l = first; l < first + 32; l++)
            if (block_lanes[l].at != at || block_lanes[l].ended != block_lanes[first].ended) {
                block_current = l;
                block_fault("lanes of a warp at different places");
                exit(1);
            }
        if (at == block_meeting::NONE || at == block_meeting::BARRIER)
            return any || ran;
        if (at == block_meeting::EXCHANGE)
            warp_exchange(first);
        if (at == block_meeting::ANY)
            warp_any(first);
        if (at == block_meeting::MATRICES || at == block_meeting::TURNED)
            warp_matrices(first, at == block_meeting::TURNED);
        if (at == block_meeting::MULTIPLY)
            warp_multiply(first);
        block_release(first, 32);
    }
}

/* Runs body() in every thread; `backward`: the last warp goes first. */
static void block_run(int threads, bool backward, std::function<void()> body) {
    block_lanes.resize(threads); /* stacks are used again */
    block_body = std::move(body);
    for (block_lane &lane : block_lanes) {
        lane.stack.resize(128 << 10);
        lane.copies.clear();
        lane.groups = 0;
        lane.ended = false;
        lane.at = block_meeting::NONE;
        getcontext(&lane.context);
        lane.context.uc_stack.ss_sp = lane.stack.data();
        lane.context.uc_stack.ss_size = lane.stack.size();
        lane.context.uc_link = nullptr;
        makecontext(&lane.context, block_entry, 0);
    }
    for (int warps = threads / 32;;) {
        bool ran = false;
        int waiting = 0;
        for (int w = 0; w < warps; w++)
            ran |= block_run_warp(32 * (backward ? warps - 1 - w : w));
        for (const block_lane &lane : block_lanes)
            waiting += lane.at == block_meeting::BARRIER;
        if (waiting == threads)
            block_release(0, threads);
        else if (waiting) {
            block_fault("a barrier that some threads never reach");
            exit(1);
        } else if (!ran)
            return;
    }
}

/* ---- kernels/cuda/block.h ---- */

int block_thread(void) { return block_current; }
void block_barrier(void) { block_meet(block_meeting::BARRIER); }
void block_warp_barrier(void) { block_meet(block_meeting::WARP); }

void block_copy_start(void *shared, const void *from, bool take) {
    if ((uintptr_t)shared % 16 || (uintptr_t)from % 16)
        block_fault("a copy that is not aligned to 16 bytes");
    bool known = !take;
    for (const auto &range : block_readable)
        known |= (const char *)from >= range.first && (const char *)from + 16 <= range.second;
    if (!known)
        block_fault("a copy from outside of the arrays");
    memset(shared, 0xff, 16);
    block_lane &lane = block_lanes[block_current];
    lane.copies.push_back({shared, from, take && known, lane.groups});
}

void block_copy_commit(void) { block_lanes[block_current].groups++; }

/* Lands what belongs to groups before `group`. */
static void block_copy_land(int group) {
    std::vector<block_copy> &copies = block_lanes[block_current].copies;
    size_t kept = 0;
    for (const block_copy &copy : copies)
        if (copy.group >= group)
            copies[kept++] = copy;
        else if (copy.take)
            memcpy(copy.to, copy.from, 16);
        else
            memset(copy.to, 0, 16);
    copies.resize(kept);
}

void block_copy_wait(void) { block_copy_land(INT_MAX); }
void block_copy_wait_all_but(int groups) {
    block_copy_land(block_lanes[block_current].groups - groups);
}

void block_matrices(uint32_t out[4], const void *shared_row) {
    block_lanes[block_current].in[0] = shared_row;
    block_lanes[block_current].out = out;
    block_meet(block_meeting::MATRICES);
}

void block_matrices_turned(uint32_t out[4], const void *shared_row) {
    block_lanes[block_current].in[0] = shared_row;
    block_lanes[block_current].out = out;
    block_meet(block_meeting::TURNED);
}

void block_multiply(float c[4], const uint32_t a[4], const uint32_t b[2]) {
    block_lane &lane = block_lanes[block_current];
    lane.in[0] = a;
    lane.in[1] = b;
    lane.out = c;
    block_meet(block_meeting::MULTIPLY);
}

float block_exchange(float x, int mask) {
    block_lanes[block_current].value = x;
    block_lanes[block_current].mask = mask;
    block_meet(block_meeting::EXCHANGE);
    return block_lanes[block_current].value;
}

bool block_any(bool x) {
    block_lanes[block_current].value = x;
    block_meet(block_meeting::ANY);
    return block_lanes[block_current].value != 0.f;
}

float block_exp2(float x) { return exp2f(x); }

#endif
