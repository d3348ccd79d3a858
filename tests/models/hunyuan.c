/* The golden HunyuanVideo transformer in steps of two prompts, whose texts differ in length and in
 * the pooled vector: the same bits on any devices, with every exact strategy, with streams of their
 * own and in turn, with helpers, under every policy and with tasks anywhere. With rings the same
 * bits under every policy. Steps are of one schedule, whose conditions are computed with the
 * prompt; the last one alone gives the bits that it gives after the others. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/run/forward.h"
#include "graph/run/latent.h"
#include "stardit/safetensors.h"
#include "tests/check.h"
#include "tests/light.h"

enum { TEXT = 24, POOLED = 12, MOST = 4 * 3 * 10 * 14, WORDS = 40, STEPS = 3 };

static void leave(const char *message) {
    printf("%s: FAIL\n", message);
    exit(1);
}

static uint64_t state = 1;
static float uniform(void) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return 1.7f * ((float)(state >> 40) / (float)(1 << 23) - 1.0f);
}

static struct sdt_dit *dit;
static float latents[MOST], texts[2][WORDS * TEXT], pooled[2][POOLED];
static const float timesteps[STEPS] = {1000.0f, 737.5f, 1.0f};

struct test_case {
    struct sdt_geometry geometry;
    int words[2]; /* of each prompt; words[1] 0: one prompt */
};
static const struct test_case cases[] = {
    {{3, 10, 14}, {7}},   /* 105 tokens and 7 */
    {{1, 4, 6}, {1, 5}},  /* 6 tokens: less than some devices; one word */
    {{1, 6, 6}, {30, 1}}, /* far more text for one than for the other */
    {{2, 10, 14}, {11, 19}},
};
enum { CASES = sizeof cases / sizeof cases[0] };

struct way {
    const char *strategy;
    int degree, streams, helpers, first; /* first: the step that it begins with */
    enum sdt_aco aco;
    enum sdt_transport transport;
};

static size_t size_of(const struct test_case *c) {
    return (size_t)(4 * c->geometry.frames * c->geometry.height * c->geometry.width);
}

static sdt_handle lend(float *values, size_t count) {
    sdt_handle handle = NULL;
    starpu_vector_data_register(&handle, STARPU_MAIN_RAM, (uintptr_t)values, (uint32_t)count,
                                sizeof(float));
    return handle;
}

/* All steps, each of the same latent; velocity: of the last, [2][MOST]. */
static void run_steps(struct sdt_machine *machine, const struct test_case *c, const struct way *way,
                      float velocity[2][MOST]) {
    struct sdt_error err = {0};
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    struct sdt_group group;
    int all[SDT_MAX_DEVICES], devices = machine->devices - way->helpers;
    int prompts = c->words[1] ? 2 : 1,
        words = c->words[0] > c->words[1] ? c->words[0] : c->words[1];
    struct sdt_latent latent = {0};
    struct sdt_prompt prompt[2] = {{0}};
    sdt_handle whole = lend(latents, size_of(c)), text[2][2], out[2];
    for (int d = 0; d < machine->devices; d++)
        all[d] = d;
    if (sdt_group_init(&group, machine, devices, all, way->helpers, all + devices, &err) != SDT_OK)
        leave(err.message);
    struct sdt_parallel parallel = {.strategy = sdt_strategy_find(way->strategy),
                                    .place = group.place,
                                    .anywhere = group.anywhere,
                                    .devices = devices,
                                    .helpers = way->helpers,
                                    .ulysses_degree = way->degree,
                                    .transport = way->transport,
                                    .streams = way->streams,
                                    .aco = way->aco};
    struct sdt_run *run =
        sdt_run_new(&flow, dit, machine, NULL, &parallel, c->geometry, prompts, words);
    if (!run)
        leave(flow.error.message);
    sdt_latent_init(&flow, &latent, &run->layout, sdt_patch_of(dit, c->geometry), 0, 0, NULL, NULL);
    sdt_latent_scatter(&flow, &latent, 0, SDT_SOLVER_X, whole);
    run->schedule = (struct sdt_schedule){timesteps, STEPS, 6.0f};
    for (int b = 0; b < prompts; b++) {
        text[b][0] = lend(texts[b], (size_t)(c->words[b] * TEXT));
        text[b][1] = lend(pooled[b], POOLED);
        out[b] = lend(velocity[b], size_of(c));
        const struct sdt_text_states states[2] = {{text[b][0], c->words[b], 0}, {text[b][1], 1, 0}};
        sdt_run_prompt(&flow, run, b, states, &prompt[b]);
        run->branch[b].prompt = &prompt[b];
    }
    CHECK(sdt_parameters_has_host(run->parameters), "nothing is read at the host");
    sdt_run_prompts_done(&flow, run);
    CHECK(!sdt_parameters_has_host(run->parameters), "what the host has read is still there");
    for (run->step = way->first; run->step < STEPS; run->step++)
        sdt_run_step(&flow, run, prompts, timesteps[run->step], sdt_latent_tiles(&latent, 0));
    flow.place = flow.host;
    for (int b = 0; b < prompts; b++)
        for (int i = 0; i < run->layout.video_tiles; i++)
            sdt_insert_unpatchify(&flow, "gather_velocity", &latent.patch,
                                  (int64_t)i * run->layout.rows, sdt_tile_size(&run->layout, i),
                                  run->branch[b].velocity[i], out[b]);
    if (sdt__flow_wait(&flow, &err) != SDT_OK)
        leave(err.message);
    sdt_latent_clear(&latent);
    starpu_data_unregister(whole);
    for (int b = 0; b < prompts; b++) {
        sdt_prompt_clear(&prompt[b]);
        starpu_data_unregister(text[b][0]);
        starpu_data_unregister(text[b][1]);
        starpu_data_unregister(out[b]);
    }
    sdt_run_free(run);
    sdt_group_clear(&group);
    CHECK(sdt__handles_alive(&machine->handles) == 0, "handles are left");
}

/* Those of one device; of rings by devices and degree. */
static float bits[CASES][2][MOST];
static float *ring_bits[CASES][SDT_MAX_DEVICES + 1][SDT_MAX_DEVICES + 1];
static bool known[CASES];
static int compared;

static void check_case(struct sdt_machine *machine, int number, const struct way *way) {
    static float y[2][MOST];
    const struct sdt_strategy *strategy = sdt_strategy_find(way->strategy);
    float **ring = &ring_bits[number][machine->devices][way->degree];
    memset(y, 0, sizeof y);
    run_steps(machine, &cases[number], way, y);
    compared++;
    if (strategy->exact) {
        if (!known[number])
            memcpy(bits[number], y, sizeof y);
        known[number] = true;
    } else if (!*ring) {
        *ring = memcpy(malloc(sizeof y), y, sizeof y);
    }
    CHECK(!memcmp(strategy->exact ? (void *)bits[number] : *ring, y, sizeof y),
          "case %d, %s on %d devices (aco %s, streams %d, from step %d), policy %s: other bits",
          number, way->strategy, machine->devices, sdt_aco_name(way->aco), way->streams, way->first,
          machine->scheduler);
}

static void check_machine(int devices, const char *policy) {
    static const struct way ways[] = {
        {.strategy = "single"},
        {.strategy = "single", .first = STEPS - 1},
        {.strategy = "ulysses"},
        {.strategy = "pipesp", .streams = 1},
        {.strategy = "pipesp", .streams = 2, .first = 1},
        {.strategy = "ring", .degree = 1},
        {.strategy = "ulysses", .transport = SDT_TRANSPORT_NCCL},
        {.strategy = "ulysses", .helpers = 1, .aco = SDT_ACO_STATIC},
        {.strategy = "pipesp", .helpers = 2, .aco = SDT_ACO_DYNAMIC},
    };
    struct sdt_machine_options options = {.devices = devices,
                                          .workers_per_device = 1,
                                          .scheduler = policy,
                                          .free_mapping = !strcmp(policy, "scatter")};
    struct sdt_machine *machine;
    struct sdt_error err = {0};
    if (sdt_machine_open(&options, &machine, &err) != SDT_OK)
        leave(err.message);
    for (int i = 0; i < CASES; i++) {
        for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++)
            if (ways[w].helpers < devices)
                check_case(machine, i, &ways[w]);
        for (int degree = 2; degree <= devices; degree++)
            if (devices % degree == 0)
                check_case(machine, i, &(struct way){.strategy = "usp", .degree = degree});
    }
    sdt_machine_close(machine);
}

/* Of `elements` that only the host reads, the part that has to be widened there. */
static void check_host_bytes(const struct sdt_size *size, enum sdt_dtype stored, double elements,
                             double part) {
    struct sdt_error err = {0};
    struct sdt_dit *big = NULL;
    if (sdt_dit_imagine(size->dit, 0, stored, &big, &err) != SDT_OK)
        leave(err.message);
    CHECK(big->host_bytes <= 4.0 * elements * part &&
              big->host_bytes >= 3.9 * elements * (part >= 1),
          "%.0f bytes of %.0f elements stored as %d", big->host_bytes, elements, (int)stored);
    sdt_dit_close(big);
}

/* The published size by its configuration: its parameters and tensors, and the work that
 * is known of it (TFLOP of a forward, arXiv 2412.03603's layers). */
static void check_size(void) {
    static const struct {
        int frames, height, width;
        double linear, attention;
    } published[] = {{16, 40, 64, 143, 81}, {33, 68, 120, 918, 3367}, {33, 90, 160, 1618, 10450}};
    const struct sdt_family *family;
    const struct sdt_size *size;
    struct sdt_error err = {0};
    struct sdt_dit *big = NULL;
    if (!sdt_size_find("hunyuan-13b", &family, &size) ||
        sdt_dit_imagine(size->dit, 0, SDT_F32, &big, &err) != SDT_OK)
        leave("hunyuan-13b");
    CHECK(sdt_weights_parameters(big->weights) == 12821012544 &&
              sdt_weights_count(big->weights) == 1264,
          "hunyuan-13b has %zu parameters in %zu tensors",
          (size_t)sdt_weights_parameters(big->weights), sdt_weights_count(big->weights));
    /* 360 d^2 and their biases modulate, 2 d^2 more the head, 2 (2 d^2) the refiner; then
     * embedders. */
    double d = big->width, all = (double)sdt_weights_parameters(big->weights);
    double given_back = 366.0 * d * d + 372.0 * d - 4.0 * d;
    for (int r = 0; r < SDT_READERS; r++)
        all -= big->count[r].all;
    CHECK(all > given_back && all < 1.03 * given_back,
          "%.0f of its parameters are given back, about %.0f modulate", all, given_back);
    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        struct sdt_geometry g = {published[i].frames, published[i].height, published[i].width};
        struct sdt_work work = big->kind->work(big, sdt_tokens(big, g), 256);
        double l = (double)sdt_tokens(big, g) + 256.0;
        CHECK(work.linear == 60.0 * 24.0 * d * d * l && work.attention == 60.0 * 4.0 * l * l * d,
              "%g and %g TFLOP for %g tokens", work.linear * 1e-12, work.attention * 1e-12, l);
        CHECK(work.linear * 1e-12 > published[i].linear - 3 &&
                  work.linear * 1e-12 < 1.01 * published[i].linear + 3 &&
                  work.attention * 1e-12 > published[i].attention - 3 &&
                  work.attention * 1e-12 < 1.01 * published[i].attention + 3,
              "%g and %g TFLOP, not about %g and %g", work.linear * 1e-12, work.attention * 1e-12,
              published[i].linear, published[i].attention);
    }
    sdt_dit_close(big);
    check_host_bytes(size, SDT_F32, all, 0.0);
    check_host_bytes(size, SDT_BF16, all, 1e-3); /* biases */
    check_host_bytes(size, SDT_F16, all, 1.0);
}

int main(void) {
    const char *source = getenv("STARDIT_SOURCE_DIR");
    struct sdt_error err = {0};
    char path[4200];
    snprintf(path, sizeof path, "%s/tests/golden/hunyuan_dit", source ? source : ".");
    if (sdt_dit_open(path, NULL, 0, &dit, &err) != SDT_OK)
        leave(err.message);
    for (int i = 0; i < MOST; i++)
        latents[i] = uniform();
    for (int i = 0; i < 2 * WORDS * TEXT; i++)
        texts[i / (WORDS * TEXT)][i % (WORDS * TEXT)] = uniform();
    for (int i = 0; i < 2 * POOLED; i++)
        pooled[i / POOLED][i % POOLED] = uniform();
    check_size();
    check_machine(1, "pipedit");
    check_machine(4, "pipedit");
    if (!test_light()) {
        check_machine(3, "lws");
        check_machine(8, "pipedit");
    }
    check_machine(4, "scatter");
    printf("%d runs of %d steps: %s\n", compared, STEPS, failures ? "FAIL" : "ok");
    sdt_dit_close(dit);
    return failures > 0;
}
