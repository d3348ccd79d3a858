/* Blocks of frames at different steps, against a plain loop on one thread without StarPU, which
 * keeps each block's own frames alone and joins keys as they are before norm and rotation: the same
 * bits, however many devices and workers there are, under every policy. One block has the bits of
 * one device that knows no blocks. What is recorded shows of which block and step each key and each
 * frame was that a block read. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "graph/run/latent.h"
#include "graph/run/run.h"
#include "graph/sampler/sampler.h"
#include "tests/check.h"
#include "tests/light.h"
#include "tests/plain.h"
#include "tests/recorded.h"

enum {
    CHANNELS = 4,
    TEXT_DIM = 24,
    FREQ = 16,
    HEADS = 3,
    E = 12,
    D = HEADS * E,
    FFN = 60,
    VALUES = 4 * CHANNELS,
    LAYERS = 8,
    MOST_FRAMES = 5, /* of a block's input */
    MOST_TOKENS = 77,
    MOST_ROWS = (MOST_FRAMES + 2) * MOST_TOKENS,
    MOST_WORDS = 7,
    MOST_BLOCKS = 7,
    MOST_STEPS = 8,
    LATENT = MOST_FRAMES * MOST_TOKENS * VALUES
};
#define EPS 1e-6f
#define GUIDANCE 4.0f

extern const struct sdt_strategy sdt__strategy_dualparal;

static const char config[] =
    "{\"_class_name\": \"WanTransformer3DModel\", \"num_layers\": 8, \"num_attention_heads\": "
    "3, \"attention_head_dim\": 12, \"in_channels\": 4, \"out_channels\": 4, \"text_dim\": 24, "
    "\"freq_dim\": 16, \"ffn_dim\": 60, \"patch_size\": [1, 2, 2], \"cross_attn_norm\": true}";

/* ---- cases ----------------------------------------------------------------------------------- */

struct test_case {
    int height, width; /* of the latent */
    struct sdt_blocks q;
    int words[2]; /* of the text of each branch; words[1] 0: one branch */
};
static const struct test_case cases[] = {
    {4, 6, {4, 3, 2, 5}, {5, 0}},   /* frames of 6 tokens, blocks of 30 */
    {4, 6, {7, 2, 2, 3}, {5, 7}},   /* more blocks than steps; all of a block is shared */
    {4, 6, {3, 3, 0, 4}, {5, 7}},   /* blocks that know nothing of one another */
    {14, 22, {3, 3, 1, 2}, {4, 6}}, /* 77 tokens a frame */
    {4, 6, {1, 5, 0, 6}, {5, 7}},   /* one block */
};
enum { CASES = sizeof cases / sizeof cases[0], ONE = CASES - 1, RECORDED = 1 };
static float noise[MOST_BLOCKS][LATENT]; /* [C, F, H, W] of each block's input */
static float texts[2][MOST_WORDS * TEXT_DIM];
static struct sdt_sampler samplers[MOST_STEPS + 1];

static int frame_tokens(const struct test_case *c) { return c->height / 2 * (c->width / 2); }
static struct sdt_geometry geometry_of(const struct test_case *c) {
    return (struct sdt_geometry){sdt_blocks_frames(&c->q), c->height, c->width};
}
static int tokens_of(const struct test_case *c) {
    return sdt_blocks_frames(&c->q) * frame_tokens(c);
}

/* ---- the plain loop -------------------------------------------------------------------------- */

/* What a block leaves to the one before it: keys before norm and rotation, and values. */
static float left[2][2][LAYERS][2 * MOST_TOKENS * D];

struct forward {
    const struct test_case *c;
    int branch, rows, seen; /* rows of the next block's keys behind one's own */
    bool leaves;
    const float *table;
    float embedding[D], m[6 * D];
    float x[MOST_ROWS * D], z[MOST_ROWS * D];
};

static void condition(struct forward *f, float t) {
    float wave[FREQ], a[D], b[D];
    sdt_sinusoid(t, FREQ, wave);
    linear(1, D, FREQ, wave, "condition_embedder.time_embedder.linear_1", 0, SDT_EPILOGUE_SILU, a);
    linear(1, D, D, a, "condition_embedder.time_embedder.linear_2", 0, SDT_EPILOGUE_NONE,
           f->embedding);
    sdt_silu(D, f->embedding, b);
    linear(1, 6 * D, D, b, "condition_embedder.time_proj", 0, SDT_EPILOGUE_NONE, f->m);
}

/* [rows, D] -> [heads, rows, E] */
static void split(const struct forward *f, int rows, const float *raw, const float *norm,
                  const float *table, float *y) {
    const int head[] = {0, HEADS};
    const struct sdt_rope rope = {
        {sdt_blocks_frames(&f->c->q) + f->c->q.overlap, f->c->height / 2, f->c->width / 2},
        {2, 2, 2},
        0};
    sdt_split_heads(rows, rows, HEADS, E, raw, norm, EPS, &rope, table, 0, 1, head, &y);
}

static void self_attention(struct forward *f, int layer) {
    static float raw[MOST_ROWS * D], q[MOST_ROWS * D], k[MOST_ROWS * D], v[MOST_ROWS * D],
        o[MOST_ROWS * D];
    const int rows = f->rows, keys = rows + f->seen, head[] = {0, HEADS};
    const int shared = f->c->q.overlap * frame_tokens(f->c);
    const float *table = weight("blocks.%d.scale_shift_table", layer, ""), *piece = o;
    sdt_layer_norm(rows, D, f->x, EPS, NULL, NULL, table + D, f->m + D, table, f->m, f->z);
    linear(rows, D, D, f->z, "blocks.%d.attn1.to_q", layer, SDT_EPILOGUE_NONE, raw);
    split(f, rows, raw, weight("blocks.%d.attn1.norm_q", layer, ".weight"), f->table, q);
    for (int which = 0; which < 2; which++) {
        float *kept = left[f->branch][which][layer];
        linear(rows, D, D, f->z, which ? "blocks.%d.attn1.to_v" : "blocks.%d.attn1.to_k", layer,
               SDT_EPILOGUE_NONE, raw);
        memcpy(raw + rows * D, kept, (size_t)(f->seen * D) * sizeof *raw);
        split(f, keys, raw, which ? NULL : weight("blocks.%d.attn1.norm_k", layer, ".weight"),
              which ? NULL : f->table, which ? v : k);
        if (f->leaves) /* the first of its own frames */
            memcpy(kept, raw + shared * D, (size_t)(shared * D) * sizeof *raw);
    }
    float *scratch = malloc(sdt_attention_scratch(rows, E, keys) * sizeof *scratch);
    sdt_attention(HEADS, rows, E, q, keys, keys, k, v, 1.0f / sqrtf((float)E), o, NULL, scratch);
    free(scratch);
    sdt_merge_heads(rows, HEADS, E, 1, head, &piece, f->z);
    linear_residual(rows, D, D, f->z, "blocks.%d.attn1.to_out.0", layer, table + 2 * D,
                    f->m + 2 * D, f->x);
}

static void cross_attention(struct forward *f, int layer) {
    static float text[2][MOST_WORDS * D], q[MOST_ROWS * D];
    float raw[MOST_WORDS * D], k[MOST_WORDS * D], v[MOST_WORDS * D];
    const int rows = f->rows, words = f->c->words[f->branch];
    linear(words, D, TEXT_DIM, texts[f->branch], "condition_embedder.text_embedder.linear_1", 0,
           SDT_EPILOGUE_GELU_TANH, text[0]);
    linear(words, D, D, text[0], "condition_embedder.text_embedder.linear_2", 0, SDT_EPILOGUE_NONE,
           text[1]);
    linear(words, D, D, text[1], "blocks.%d.attn2.to_k", layer, SDT_EPILOGUE_NONE, raw);
    sdt_rms_norm(words, D, raw, EPS, weight("blocks.%d.attn2.norm_k", layer, ".weight"), k);
    linear(words, D, D, text[1], "blocks.%d.attn2.to_v", layer, SDT_EPILOGUE_NONE, v);
    sdt_layer_norm(rows, D, f->x, EPS, weight("blocks.%d.norm2", layer, ".weight"),
                   weight("blocks.%d.norm2", layer, ".bias"), NULL, NULL, NULL, NULL, f->z);
    linear(rows, D, D, f->z, "blocks.%d.attn2.to_q", layer, SDT_EPILOGUE_NONE, q);
    float *scratch = malloc(sdt_cross_attention_scratch(rows, HEADS, E, words) * sizeof *scratch);
    sdt_cross_attention(rows, HEADS, E, q, weight("blocks.%d.attn2.norm_q", layer, ".weight"), EPS,
                        words, k, v, 0.0f, f->z, scratch);
    free(scratch);
    linear_residual(rows, D, D, f->z, "blocks.%d.attn2.to_out.0", layer, NULL, NULL, f->x);
}

static void feed_forward(struct forward *f, int layer) {
    static float hidden[MOST_ROWS * FFN];
    const float *table = weight("blocks.%d.scale_shift_table", layer, "");
    sdt_layer_norm(f->rows, D, f->x, EPS, NULL, NULL, table + 4 * D, f->m + 4 * D, table + 3 * D,
                   f->m + 3 * D, f->z);
    linear(f->rows, FFN, D, f->z, "blocks.%d.ffn.net.0.proj", layer, SDT_EPILOGUE_GELU_TANH,
           hidden);
    linear_residual(f->rows, D, FFN, hidden, "blocks.%d.ffn.net.2", layer, table + 5 * D,
                    f->m + 5 * D, f->x);
}

static void forward(struct forward *f, const float *input, float *velocity) {
    static float y[LATENT];
    const float *table = weight("scale_shift_table", 0, "");
    linear(f->rows, D, VALUES, input, "patch_embedding", 0, SDT_EPILOGUE_NONE, f->x);
    for (int l = 0; l < LAYERS; l++) {
        self_attention(f, l);
        cross_attention(f, l);
        feed_forward(f, l);
    }
    sdt_layer_norm(f->rows, D, f->x, EPS, NULL, NULL, table + D, f->embedding, table, f->embedding,
                   f->z);
    linear(f->rows, VALUES, D, f->z, "proj_out", 0, SDT_EPILOGUE_NONE, y);
    sdt_patch_order(f->rows, CHANNELS, 4, y, velocity);
}

/* A block's own frames: first..first+rows-1 of its input's tokens. */
struct own {
    int first, rows, done;
    float x[LATENT], last[LATENT], m0[LATENT], m1[LATENT];
};

/* A step of block b: of the block before it, `before` after one step more. */
static void take_step(const struct test_case *c, int k, int b, struct own *own,
                      const struct own *before, const float *table) {
    static struct forward f;
    static float input[LATENT], velocity[2][LATENT];
    const int shared = c->q.overlap * frame_tokens(c), branches = c->words[1] ? 2 : 1;
    struct sdt_sampler_step step = samplers[c->q.steps].step[own->done];
    size_t context = (size_t)(own->first * VALUES), count = (size_t)(own->rows * VALUES);
    if (before)
        memcpy(input, before->x + (before->rows - shared) * VALUES, context * sizeof *input);
    memcpy(input + context, own->x, count * sizeof *input);
    for (int branch = 0; branch < branches; branch++) {
        f.c = c;
        f.branch = branch;
        f.rows = tokens_of(c);
        f.seen = b < k && b + 1 < c->q.count ? shared : 0;
        f.leaves = before != NULL;
        f.table = table;
        condition(&f, samplers[c->q.steps].timesteps[own->done]);
        forward(&f, input, velocity[branch]);
    }
    step.guidance = branches > 1 ? GUIDANCE : 1.0f;
    sdt_sampler_step(&step, count, velocity[0] + context,
                     branches > 1 ? velocity[1] + context : NULL, own->x, own->last, own->m0,
                     own->m1);
    own->done++;
}

static struct own wanted[CASES][MOST_BLOCKS];

static void plain_loop(int number) {
    const struct test_case *c = &cases[number];
    const struct sdt_blocks *q = &c->q;
    const struct sdt_geometry g = geometry_of(c);
    const struct sdt_patch patch = sdt_patch_of(plain_dit, g);
    const struct sdt_rope rope = {
        {g.frames + q->overlap, c->height / 2, c->width / 2}, {2, 2, 2}, 0};
    float *table = malloc(sdt_rope_table_size(&rope) * sizeof *table);
    sdt_rope_table(&rope, 10000.0, table);
    for (int k = 0; k < q->steps + q->count - 1; k++) {
        if (k < q->count) {
            struct own *own = &wanted[number][k];
            own->first = k ? q->overlap * frame_tokens(c) : 0;
            own->rows = tokens_of(c) - own->first;
            sdt_patchify(&patch, own->first, own->rows, noise[k], own->x);
        }
        for (int b = k < q->count ? k : q->count - 1; b >= 0 && b > k - q->steps; b--)
            take_step(c, k, b, &wanted[number][b], b && q->overlap ? &wanted[number][b - 1] : NULL,
                      table);
    }
    free(table);
}

/* ---- the same as tasks ----------------------------------------------------------------------- */

struct way {
    int devices, workers, tile_rows, chunk_heads;
    const char *policy;
    const double *speed;
};

static sdt_handle lend(float *values, size_t count) {
    sdt_handle handle = NULL;
    starpu_vector_data_register(&handle, STARPU_MAIN_RAM, (uintptr_t)values, (uint32_t)count,
                                sizeof(float));
    return handle;
}

static float result[MOST_BLOCKS][LATENT]; /* [C, F, H, W] of each block's input */

static void insert(struct sdt_flow *flow, const struct test_case *c, struct sdt_run *run,
                   struct sdt_latent *latent, const sdt_handle *whole) {
    const struct sdt_blocks *q = &c->q;
    const int most = sdt_blocks_most(q);
    const struct sdt_guidance guidance = {0.0f, c->words[1] ? GUIDANCE : 1.0f};
    unsigned long mark[2] = {0}; /* behind the iterations before */
    for (int k = 0; k < sdt_blocks_iterations(q); k++) {
        int gone = k - q->steps; /* it was looked at until the iteration before */
        if (k > 1 && !sdt__flow_reach(flow, mark[k % 2]))
            leave(flow->error.message);
        if (k < q->count) {
            struct sdt_latent *own = &latent[k % most];
            if (gone > 0)
                sdt_latent_clear(own);
            sdt_latent_init(flow, own, &run->layout, sdt_patch_of(plain_dit, geometry_of(c)), 0,
                            q->steps, NULL, NULL);
            sdt_latent_scatter(flow, own, 0, SDT_SOLVER_X, whole[k]);
        }
        if (run->parallel.strategy->blocks)
            sdt_latent_iteration(flow, run, &samplers[q->steps], guidance, q, k, latent);
        else
            sdt_latent_step(flow, run, &samplers[q->steps], guidance, NULL, k, latent);
        if (gone + 1 >= 0)
            sdt_latent_gather(flow, &latent[(gone + 1) % most], q->steps, SDT_SOLVER_X,
                              whole[gone + 1]);
        mark[k % 2] = sdt__flow_mark(flow);
    }
}

static void run_case(struct sdt_machine *machine, const struct test_case *c, const struct way *way,
                     const struct sdt_strategy *strategy) {
    struct sdt_error err = {0};
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    struct sdt_parallel parallel = {.strategy = strategy,
                                    .place = machine->device,
                                    .devices = machine->devices,
                                    .chunk_heads = way->chunk_heads,
                                    .tile_rows = way->tile_rows};
    const int branches = c->words[1] ? 2 : 1, most = sdt_blocks_most(&c->q);
    struct sdt_latent latent[MOST_BLOCKS] = {{.rows = 0}};
    struct sdt_prompt prompt[2] = {{0}};
    sdt_handle text[2], whole[MOST_BLOCKS];
    size_t count = (size_t)(tokens_of(c) * VALUES);

    if (parallel.strategy->blocks)
        parallel.blocks = c->q;
    memcpy(result, noise, sizeof result);
    for (int b = 0; b < c->q.count; b++)
        whole[b] = lend(result[b], count);
    struct sdt_run *run =
        sdt_run_new(&flow, plain_dit, machine, NULL, &parallel, geometry_of(c), branches, 0);
    if (!run)
        leave(flow.error.message);
    for (int b = 0; b < branches; b++) {
        text[b] = lend(texts[b], (size_t)(c->words[b] * TEXT_DIM));
        struct sdt_text_states states = {text[b], c->words[b], 0};
        sdt_run_prompt(&flow, run, b, &states, &prompt[b]);
        run->branch[b].prompt = &prompt[b];
    }
    insert(&flow, c, run, latent, whole);
    if (sdt__flow_wait(&flow, &err) != SDT_OK)
        leave(err.message);
    for (int b = 0; b < branches; b++) {
        sdt_prompt_clear(&prompt[b]);
        starpu_data_unregister(text[b]);
    }
    for (int i = 0; i < most; i++)
        sdt_latent_clear(&latent[i]);
    for (int b = 0; b < c->q.count; b++)
        starpu_data_unregister(whole[b]);
    sdt_run_free(run);
}

/* ---- whose keys, and of which step ----------------------------------------------------------- */

/* The block that each task is of: blocks take a step one after the other, from block 0 on, and what
 * is inserted of one stays together, its input in front of its gathers, all else behind them. */
static void number_blocks(struct recorded *r) {
    int gathers[MOST_STEPS][2] = {{0}}; /* of a step and branch, in the first layer and chunk */
    int block = 0;
    for (int i = 0; i < r->tasks; i++) {
        struct recorded_task *task = &r->task[i];
        if (!strcmp(task->name, "gather_k") && task->layer == 0 && task->chunk == 0)
            block = gathers[task->step][task->branch]++;
        task->block = block;
    }
    for (int i = r->tasks - 1; i >= 0; i--) {
        struct recorded_task *task = &r->task[i];
        if (!strcmp(task->name, "gather_k"))
            block = task->block;
        if (!strcmp(task->name, "context"))
            task->block = block;
    }
}

static bool is_beside(const struct recorded_task *a, const struct recorded_task *b) {
    return a->branch == b->branch && a->layer == b->layer && a->chunk == b->chunk;
}

/* An attention's own keys, and those that the next block has left one step before. */
static void check_keys(const struct recorded *r, const struct recorded_task *a,
                       const struct sdt_blocks *q, int reads[3]) {
    const int b = a->block, s = a->step;
    const struct recorded_task *see = recorded_source(r, a, "see_next_k");
    const struct recorded_task *own = recorded_source(r, see ? see : a, "gather_k");
    CHECK(own && own->block == b && own->step == s && is_beside(a, own),
          "block %d reads other keys than its own", b);
    reads[0]++;
    CHECK((see != NULL) == (q->overlap > 0 && b + 1 < q->count && s > 0),
          "block %d in step %d sees %s of the next one", b, s, see ? "keys" : "none");
    if (!see)
        return;
    const struct recorded_task *kept = recorded_source(r, see, "leave_k");
    CHECK(see->block == b && see->step == s && is_beside(a, see), "block %d sees another's", b);
    CHECK(kept && kept->block == b + 1 && kept->step == s - 1 && is_beside(a, kept),
          "block %d in step %d sees keys of block %d, step %d", b, s, kept ? kept->block : -1,
          kept ? kept->step : -1);
    reads[1]++;
}

/* Frames in front are those of the block before after this step of its own; the others are its own
 * after the step before. */
static void check_frames(const struct recorded *r, const struct recorded_task *e, int reads[3]) {
    const struct recorded_task *from = recorded_source(r, e, "sampler_step");
    bool own = from && from->block == e->block && from->step == e->step - 1;
    bool before = from && from->block == e->block - 1 && from->step == e->step;
    CHECK(own || before || (!from && e->step == 0),
          "block %d in step %d has frames of block %d, step %d", e->block, e->step,
          from ? from->block : -1, from ? from->step : -1);
    reads[2] += before;
}

static void check_versions(const struct test_case *c, struct recorded *r) {
    int reads[3] = {0};
    number_blocks(r);
    for (int i = 0; i < r->tasks; i++) {
        if (!strcmp(r->task[i].name, "attention"))
            check_keys(r, &r->task[i], &c->q, reads);
        if (!strcmp(r->task[i].name, "context"))
            check_frames(r, &r->task[i], reads);
    }
    printf("versions: %d reads of a block's keys, %d of the next one's, %d of frames of the one "
           "before, of %d blocks in %d steps\n",
           reads[0], reads[1], reads[2], c->q.count, c->q.steps);
    CHECK(reads[0] > 500 && reads[1] > 300 && reads[2] > 20, "too few to judge by");
}

/* ---- checks ---------------------------------------------------------------------------------- */

static int compared;

static void compare(int number, const struct way *way, const char *strategy, const char *policy) {
    const struct test_case *c = &cases[number];
    const struct sdt_patch patch = sdt_patch_of(plain_dit, geometry_of(c));
    static float x[LATENT];
    for (int b = 0; b < c->q.count; b++) {
        const struct own *own = &wanted[number][b];
        sdt_patchify(&patch, own->first, own->rows, result[b], x);
        CHECK(!memcmp(x, own->x, (size_t)(own->rows * VALUES) * sizeof *x),
              "case %d, block %d, %s on %d devices of %d workers, tiles of %d, policy %s: not the "
              "plain loop's bits",
              number, b, strategy, way->devices, way->workers, way->tile_rows, policy);
        compared++;
    }
}

static void check_way(const struct way *way) {
    struct sdt_machine_options options = {.devices = way->devices,
                                          .workers_per_device = way->workers,
                                          .device_speed = way->speed,
                                          .scheduler = way->policy,
                                          .keep_records = way->policy == NULL,
                                          .keep_edges = way->policy == NULL,
                                          .free_mapping =
                                              way->policy && !strcmp(way->policy, "scatter")};
    int only = options.keep_records ? RECORDED : -1;
    struct sdt_machine *machine;
    struct sdt_error err = {0};
    if (sdt_machine_open(&options, &machine, &err) != SDT_OK)
        leave(err.message);
    for (int i = 0; i < CASES; i++) {
        if (only >= 0 && i != only)
            continue;
        run_case(machine, &cases[i], way, &sdt__strategy_dualparal);
        compare(i, way, "dualparal", machine->scheduler);
    }
    if (way->devices == 1) {
        run_case(machine, &cases[ONE], way, sdt_strategy_find("single"));
        compare(ONE, way, "single", machine->scheduler);
    }
    if (only >= 0) {
        struct recorded recorded = read_recorded(machine);
        check_versions(&cases[only], &recorded);
        recorded_clear(&recorded);
    }
    sdt_machine_close(machine);
}

/* Neighbours count: without what it sees of them, a block is another one. */
static void check_cases(void) {
    const struct own *a = wanted[1], *b = wanted[2];
    CHECK(memcmp(a[1].x, a[2].x, 100), "blocks are alike");
    CHECK(memcmp(a[0].x, b[0].x, 100), "cases are alike");
    for (int i = 0; i < CASES; i++)
        for (int k = 0; k < cases[i].q.count; k++)
            CHECK(isfinite(wanted[i][k].x[0]) && fabsf(wanted[i][k].x[0]) < 100.0f,
                  "case %d, block %d: %g", i, k, (double)wanted[i][k].x[0]);
}

int main(void) {
    static const double speed[] = {1.0, 2.5, 1.0};
    static const struct way ways[] = {
        {1, 1, 0, 0, "pipedit", NULL},  {2, 1, 8, 0, "lws", NULL},
        {3, 2, 16, 1, "pipedit", NULL}, {3, 1, 20, 2, "pipedit", speed},
        {4, 1, 12, 0, "scatter", NULL}, {8, 1, 0, 0, "pipedit", NULL},
        {3, 1, 8, 1, NULL, NULL},
    };
    char folder[] = "/tmp/stardit-blocks-XXXXXX", command[200];
    struct sdt_error err = {0};
    if (!mkdtemp(folder))
        leave("mkdtemp");
    plain_open(folder, config, 0.3f);
    for (int b = 0; b < MOST_BLOCKS; b++)
        for (int i = 0; i < LATENT; i++)
            noise[b][i] = uniform(1.7f);
    for (int i = 0; i < MOST_WORDS * TEXT_DIM; i++) {
        texts[0][i] = uniform(1.7f);
        texts[1][i] = uniform(1.7f);
    }
    for (int i = 0; i < CASES; i++) {
        struct sdt_sampler *sampler = &samplers[cases[i].q.steps];
        if (!sampler->steps && sdt_sampler_init(sampler, SDT_SAMPLER_UNIPC, SDT_SCHEDULE_NEW,
                                                cases[i].q.steps, 3.0, &err) != SDT_OK)
            leave(err.message);
        plain_loop(i);
    }
    check_cases();
    for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w += test_light() ? 5 : 1)
        check_way(&ways[w]);
    printf("%d blocks against the plain loop: %s\n", compared, failures ? "FAIL" : "ok");
    for (int s = 0; s <= MOST_STEPS; s++)
        sdt_sampler_clear(&samplers[s]);
    sdt_dit_close(plain_dit);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) || failures ? 1 : 0;
}
