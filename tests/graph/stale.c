/* Strategies whose attention reads keys of the step before, against a plain loop on one thread
 * without StarPU, which calls the same kernels on whole patches: the same bits, however many
 * devices, workers and stages there are, under every policy. With one patch, or warm-up alone, they
 * are those of one device that reads no old keys. What is recorded shows of which step each key was
 * that a patch read. */
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
    CHANNELS = 8,
    TEXT_DIM = 96,
    HEADS = 4,
    E = 12,
    D = HEADS * E,
    VALUES = 4 * CHANNELS,
    LAYERS = 6,
    MOST_ROWS = 160, /* tokens of the video and of the text */
    MOST_WORDS = 20,
    MOST_STEPS = 12,
    MOST_LATENT = MOST_ROWS * VALUES,
    KEYS = HEADS * MOST_ROWS * E
};

static const char config[] = "{\"_class_name\": \"ToyTransformer\", \"forwards\": 2}";

/* ---- cases ----------------------------------------------------------------------------------- */

struct test_case {
    struct sdt_geometry geometry;
    int words[2]; /* of the text of each branch; words[1] 0: one branch */
    int steps, patches, warmup, refresh;
    int guided; /* steps with both forwards, whose last difference the others take; 0: all */
};
static const struct test_case cases[] = {
    {{3, 8, 12}, {5, 0}, 8, 3, 1, 0, 0},   /* 72 tokens: patches of 24 */
    {{3, 8, 12}, {5, 9}, 8, 4, 2, 0, 0},   /* 20, 20, 20, 12 */
    {{2, 10, 10}, {7, 2}, 10, 5, 1, 4, 0}, /* 50: 12, 12, 12, 12, 2 */
    {{1, 14, 38}, {13, 8}, 8, 2, 3, 0, 0}, /* 133: 68, 65 */
    {{2, 4, 4}, {4, 3}, 8, 2, 1, 0, 0},    /* 8: two patches of 4 are all that there can be */
    {{3, 8, 12}, {5, 9}, 8, 4, 2, 0, 5},   /* the gate closes where keys are old */
    {{3, 8, 12}, {5, 9}, 8, 4, 8, 0, 3},   /* and where none are */
    {{3, 8, 12}, {5, 9}, 8, 1, 1, 0, 0},   /* one patch: nothing is old */
    {{3, 8, 12}, {5, 9}, 8, 4, 8, 0, 0},   /* warm-up alone: the same bits */
};
enum { CASES = sizeof cases / sizeof cases[0] };
static float noise[MOST_LATENT], texts[2][MOST_WORDS * TEXT_DIM];

static bool is_stale(const struct test_case *c, int s) {
    return s >= c->warmup && !(c->refresh && s % c->refresh == 0);
}

static bool is_guided(const struct test_case *c, int s) {
    return c->words[1] && (!c->guided || s < c->guided);
}

static int tokens_of(const struct test_case *c) {
    return c->geometry.frames * c->geometry.height / 2 * c->geometry.width / 2;
}

/* Rows of a patch, the last one may have less. */
static int patch_rows(const struct test_case *c) {
    int units = (tokens_of(c) + 4 * c->patches - 1) / (4 * c->patches);
    return 4 * units;
}

/* ---- the plain loop -------------------------------------------------------------------------- */

/* What a branch keeps from step to step. */
struct branch {
    int keys;
    float k[LAYERS][KEYS], v[LAYERS][KEYS]; /* [heads, keys, e] */
    float text[MOST_WORDS * TEXT_DIM];
};

/* Rows first..first+rows-1 of the keys. */
struct rows {
    int first, rows;
    bool text;
    float x[MOST_ROWS * D], z[MOST_ROWS * D], q[MOST_ROWS * D];
};

static void norm(const struct rows *r, int layer /* -1: no weights */, const float *m, float *z) {
    sdt_layer_norm(
        r->rows, D, r->x, 1e-5f, layer < 0 ? NULL : weight("layer.%d.norm", layer, ".weight"),
        layer < 0 ? NULL : weight("layer.%d.norm", layer, ".bias"), NULL, NULL, m, NULL, z);
}

static struct sdt_rope rope_of(const struct test_case *c) {
    struct sdt_geometry g = c->geometry;
    return (struct sdt_rope){{g.frames, g.height / 2, g.width / 2}, {2, 2, 2}, 0};
}

/* q into r->q as [heads, rows, e]; k and v in the place of the old ones. */
static void project(const struct test_case *c, const struct rows *r, int layer, struct branch *b,
                    const float *table) {
    static const char *const name[] = {"layer.%d.q", "layer.%d.k", "layer.%d.v"};
    static float raw[MOST_ROWS * D], split[MOST_ROWS * D];
    const struct sdt_rope rope = rope_of(c);
    const int head[] = {0, HEADS};
    for (int p = 0; p < 3; p++) {
        float *y = p ? split : (float *)r->q;
        float *to = p == 1 ? b->k[layer] : b->v[layer];
        linear(r->rows, D, D, r->z, name[p], layer, SDT_EPILOGUE_NONE, raw);
        sdt_split_heads(r->rows, r->rows, HEADS, E, raw, NULL, 0.0f, &rope,
                        p == 2 || r->text ? NULL : table, r->first, 1, head, &y);
        for (int h = 0; p && h < HEADS; h++)
            memcpy(to + (h * b->keys + r->first) * E, split + h * r->rows * E,
                   (size_t)(r->rows * E) * sizeof *to);
    }
}

static void attend(struct rows *r, int layer, const struct branch *b) {
    static float o[MOST_ROWS * D];
    float *scratch = malloc(sdt_attention_scratch(r->rows, E, b->keys) * sizeof *scratch);
    const int head[] = {0, HEADS};
    const float *piece = o;
    sdt_attention(HEADS, r->rows, E, r->q, b->keys, b->keys, b->k[layer], b->v[layer],
                  1.0f / sqrtf((float)E), o, NULL, scratch);
    sdt_merge_heads(r->rows, HEADS, E, 1, head, &piece, r->z);
    free(scratch);
}

static void feed_forward(struct rows *r, int layer, const float *m) {
    static float hidden[4 * MOST_ROWS * D];
    norm(r, -1, m, r->z);
    linear(r->rows, 4 * D, D, r->z, "layer.%d.up", layer, SDT_EPILOGUE_GELU_TANH, hidden);
    linear_residual(r->rows, D, 4 * D, hidden, "layer.%d.down", layer, NULL, NULL, r->x);
}

/* One branch of a patch: its tokens, and with the first patch those of the text. */
static void forward(const struct test_case *c, struct branch *b, int first, int rows, bool text,
                    const float *m, const float *table, const float *latent, float *velocity) {
    static struct rows part[2];
    static float y[MOST_LATENT];
    const int tokens = tokens_of(c), parts = 1 + text;
    part[0].first = first;
    part[0].rows = rows;
    part[1].first = tokens;
    part[1].rows = b->keys - tokens;
    part[1].text = true;
    linear(rows, D, VALUES, latent + first * VALUES, "patch", 0, SDT_EPILOGUE_NONE, part[0].x);
    linear(part[1].rows, D, TEXT_DIM, b->text, "text", 0, SDT_EPILOGUE_NONE, part[1].x);
    for (int l = 0; l < LAYERS; l++) {
        for (int p = 0; p < parts; p++) {
            norm(&part[p], l, m, part[p].z);
            project(c, &part[p], l, b, table);
        }
        for (int p = 0; p < parts; p++) {
            attend(&part[p], l, b);
            linear_residual(part[p].rows, D, D, part[p].z, "layer.%d.out", l, NULL, NULL,
                            part[p].x);
            feed_forward(&part[p], l, m);
        }
    }
    norm(&part[0], -1, m, part[0].z);
    linear(rows, VALUES, D, part[0].z, "proj", 0, SDT_EPILOGUE_NONE, y);
    sdt_patch_order(rows, CHANNELS, 4, y, velocity + first * VALUES);
}

static void plain_loop(const struct test_case *c, const struct sdt_sampler *sampler, float guidance,
                       float *x /* [tokens, VALUES] in place */) {
    static struct branch branch[2];
    static float velocity[2][MOST_LATENT], last[MOST_LATENT], m0[MOST_LATENT], m1[MOST_LATENT];
    static float difference[MOST_LATENT];
    const struct sdt_rope rope = rope_of(c);
    float *table = malloc(sdt_rope_table_size(&rope) * sizeof *table), m[D], wave[D];
    int branches = c->words[1] ? 2 : 1, tokens = tokens_of(c);
    sdt_rope_table(&rope, 100.0, table);
    for (int b = 0; b < branches; b++) {
        branch[b].keys = tokens + c->words[b];
        memcpy(branch[b].text, texts[b], sizeof texts[b]);
    }
    for (int s = 0; s < c->steps; s++) {
        struct sdt_sampler_step step = sampler->step[s];
        int rows = is_stale(c, s) ? patch_rows(c) : tokens;
        sdt_sinusoid(sampler->timesteps[s], D, wave);
        linear(1, D, D, wave, "time", 0, SDT_EPILOGUE_SILU, m);
        sdt_sinusoid(0.0f, D, wave); /* guidance is no input here */
        linear_residual(1, D, D, wave, "guide", 0, NULL, NULL, m);
        for (int first = 0; first < tokens; first += rows)
            for (int b = 0; b <= is_guided(c, s); b++)
                forward(c, &branch[b], first, first + rows < tokens ? rows : tokens - first,
                        first == 0, m, table, x, velocity[b]);
        step.guidance = branches > 1 ? guidance : 1.0f;
        for (int i = 0; branches > 1 && i < tokens * VALUES; i++)
            if (is_guided(c, s))
                difference[i] = velocity[0][i] - velocity[1][i];
            else
                velocity[1][i] = velocity[0][i] - difference[i];
        sdt_sampler_step(&step, (size_t)(tokens * VALUES), velocity[0],
                         branches > 1 ? velocity[1] : NULL, x, last, m0, m1);
    }
    free(table);
}

/* ---- the same as tasks ----------------------------------------------------------------------- */

struct way {
    int devices, workers, degree, streams;
    const char *policy, *strategy;
    const double *speed;
};

static sdt_handle lend(float *values, size_t count) {
    sdt_handle handle = NULL;
    starpu_vector_data_register(&handle, STARPU_MAIN_RAM, (uintptr_t)values, (uint32_t)count,
                                sizeof(float));
    return handle;
}

static void free_stale(sdt_handle *stale, int count) {
    for (int i = 0; i < count; i++)
        sdt__unregister(stale[i]);
    free(stale);
}

/* latent: [C, T, H, W] in place. */
static void run_case(struct sdt_machine *machine, const struct test_case *c, const struct way *way,
                     const struct sdt_sampler *sampler, float guidance, float *latent,
                     int *tile_rows) {
    struct sdt_error err = {0};
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    struct sdt_step step[MOST_STEPS];
    struct sdt_step_table table = {.steps = c->steps, .step = step};
    struct sdt_parallel parallel = {.strategy = sdt_strategy_find(way->strategy),
                                    .place = machine->device,
                                    .devices = machine->devices,
                                    .ulysses_degree = way->degree,
                                    .streams = way->streams,
                                    .patches = c->patches};
    size_t count = (size_t)tokens_of(c) * VALUES;
    int branches = c->words[1] ? 2 : 1;
    int most = c->words[0] > c->words[1] ? c->words[0] : c->words[1];
    struct sdt_latent tiles = {0};
    struct sdt_prompt prompt[2] = {{0}};
    sdt_handle text[2], whole = lend(latent, count), *stale[2] = {NULL};

    struct sdt_run *run =
        sdt_run_new(&flow, plain_dit, machine, NULL, &parallel, c->geometry, branches, most);
    if (!run)
        leave(flow.error.message);
    sdt_latent_init(&flow, &tiles, &run->layout, sdt_patch_of(plain_dit, c->geometry), 0, c->steps,
                    NULL, NULL);
    sdt_latent_scatter(&flow, &tiles, 0, SDT_SOLVER_X, whole);
    for (int b = 0; b < branches; b++) {
        text[b] = lend(texts[b], (size_t)(c->words[b] * TEXT_DIM));
        struct sdt_text_states states = {text[b], c->words[b], 0};
        sdt_run_prompt(&flow, run, b, &states, &prompt[b]);
        run->branch[b].prompt = &prompt[b];
        if (parallel.strategy->stale)
            run->branch[b].stale = stale[b] = sdt_run_stale(&flow, run);
    }
    for (int s = 0; s < c->steps; s++) {
        step[s] = sdt_whole_step(1 + is_guided(c, s));
        step[s].freezes = c->guided && s == c->guided - 1;
        step[s].frozen = c->guided && s >= c->guided;
        step[s].stale = parallel.strategy->stale && is_stale(c, s);
        sdt_latent_step(&flow, run, sampler, (struct sdt_guidance){0.0f, guidance}, &table, s,
                        &tiles);
    }
    sdt_latent_gather(&flow, &tiles, c->steps, SDT_SOLVER_X, whole);
    if (sdt__flow_wait(&flow, &err) != SDT_OK)
        leave(err.message);
    *tile_rows = run->layout.rows;
    for (int b = 0; b < branches; b++) {
        if (stale[b])
            free_stale(stale[b], sdt_run_stale_count(run));
        sdt_prompt_clear(&prompt[b]);
        starpu_data_unregister(text[b]);
    }
    sdt_latent_clear(&tiles);
    starpu_data_unregister(whole);
    sdt_run_free(run);
}

/* ---- of which step keys were ----------------------------------------------------------------- */

/* Each attention of a patch reads keys that the rule says: of this step those of the patches up to
 * its own, of the step before the others. */
static void check_versions(const struct test_case *c, int tile_rows, const struct recorded *r) {
    int read = 0, tiles = (tokens_of(c) + tile_rows - 1) / tile_rows;
    int patch = patch_rows(c) / tile_rows, patches = (tiles + patch - 1) / patch;
    for (int i = 0; i < r->tasks; i++) {
        const struct recorded_task *a = &r->task[i];
        if (strcmp(a->name, "attention"))
            continue;
        int own = a->tile >= tiles ? 0 : a->tile / patch; /* text is of the first */
        for (int j = 0; j < patches; j++) {
            int wanted = !is_stale(c, a->step) || j <= own ? a->step : a->step - 1;
            const struct recorded_task *k = recorded_source(r, a, "renew_k");
            while (k && is_stale(c, k->step) && k->tile != j * patch) /* it left others' keys */
                k = recorded_source(r, k, "renew_k");
            CHECK(k && k->step == wanted,
                  "step %d, layer %d, patch %d reads patch %d of step %d, not %d", a->step,
                  a->layer, own, j, k ? k->step : -1, wanted);
            CHECK(!k || (k->branch == a->branch && k->layer == a->layer && k->chunk == a->chunk),
                  "step %d, layer %d, patch %d reads keys of another layer, branch or head",
                  a->step, a->layer, own);
            read++;
        }
    }
    printf("versions: %d reads of %d patches in %d steps\n", read, patches, c->steps);
    CHECK(read > 1000, "too few to judge by");
}

/* ---- checks ---------------------------------------------------------------------------------- */

static float want[CASES][MOST_LATENT]; /* as [C, T, H, W] */
static struct sdt_sampler samplers[MOST_STEPS + 1];
#define GUIDANCE 4.0f

static void compute_wanted(void) {
    static float x[MOST_LATENT];
    for (int i = 0; i < CASES; i++) {
        const struct test_case *c = &cases[i];
        struct sdt_patch patch = sdt_patch_of(plain_dit, c->geometry);
        struct sdt_error err = {0};
        struct sdt_sampler *sampler = &samplers[c->steps];
        if (!sampler->steps && sdt_sampler_init(sampler, SDT_SAMPLER_UNIPC, SDT_SCHEDULE_NEW,
                                                c->steps, 3.0, &err) != SDT_OK)
            leave(err.message);
        sdt_patchify(&patch, 0, tokens_of(c), noise, x);
        plain_loop(c, sampler, GUIDANCE, x);
        sdt_unpatchify(&patch, 0, tokens_of(c), x, want[i]);
    }
}

static int compared;

static void check_way(const struct way *way) {
    struct sdt_machine_options options = {.devices = way->devices,
                                          .workers_per_device = way->workers,
                                          .device_speed = way->speed,
                                          .scheduler = way->policy,
                                          .keep_records = way->policy == NULL,
                                          .keep_edges = way->policy == NULL,
                                          .free_mapping =
                                              way->policy && !strcmp(way->policy, "scatter")};
    static float latent[MOST_LATENT];
    struct sdt_machine *machine;
    struct sdt_error err = {0};
    int rows = 0, only = options.keep_records ? 2 : -1;

    if (sdt_machine_open(&options, &machine, &err) != SDT_OK)
        leave(err.message);
    for (int i = 0; i < CASES; i++) {
        const struct test_case *c = &cases[i];
        if (only >= 0 && i != only)
            continue;
        memcpy(latent, noise, sizeof latent);
        run_case(machine, c, way, &samplers[c->steps], GUIDANCE, latent, &rows);
        CHECK(!memcmp(latent, want[i], (size_t)(tokens_of(c) * VALUES) * sizeof *latent),
              "case %d, %s on %d devices of %d workers, degree %d, policy %s: not the plain loop's "
              "bits",
              i, way->strategy, way->devices, way->workers, way->degree, machine->scheduler);
        compared++;
    }
    if (only >= 0) {
        struct recorded recorded = read_recorded(machine);
        check_versions(&cases[only], rows, &recorded);
        recorded_clear(&recorded);
    }
    sdt_machine_close(machine);
}

int main(void) {
    static const double speed[] = {1.0, 2.5, 1.0};
    static const struct way ways[] = {
        {1, 1, 0, 0, "pipedit", "pipefusion", NULL}, {2, 1, 0, 0, "lws", "pipefusion", NULL},
        {3, 2, 0, 1, "pipedit", "pipefusion", NULL}, {3, 1, 0, 0, "pipedit", "pipefusion", speed},
        {4, 1, 2, 0, "pipedit", "pipefusion", NULL}, {6, 1, 0, 0, "scatter", "pipefusion", NULL},
        {8, 1, 4, 0, "pipedit", "pipefusion", NULL}, {3, 1, 0, 0, NULL, "pipefusion", NULL},
    };
    char folder[] = "/tmp/stardit-stale-XXXXXX", command[200];
    if (!mkdtemp(folder))
        leave("mkdtemp");
    plain_open(folder, config, 0.25f);
    for (int i = 0; i < MOST_LATENT; i++)
        noise[i] = uniform(1.7f);
    for (int i = 0; i < MOST_WORDS * TEXT_DIM; i++) {
        texts[0][i] = uniform(1.7f);
        texts[1][i] = uniform(1.7f);
    }
    compute_wanted();
    CHECK(memcmp(want[0], want[1], sizeof want[0]), "cases are alike");
    CHECK(!memcmp(want[CASES - 1], want[CASES - 2], sizeof want[0]),
          "one patch is not warm-up alone");
    for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w += test_least()   ? 7
                                                              : test_light() ? 3
                                                                             : 1)
        check_way(&ways[w]);
    printf("%d runs against the plain loop: %s\n", compared, failures ? "FAIL" : "ok");
    for (int s = 0; s <= MOST_STEPS; s++)
        sdt_sampler_clear(&samplers[s]);
    sdt_dit_close(plain_dit);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) || failures ? 1 : 0;
}
