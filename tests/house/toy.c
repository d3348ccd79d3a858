/* The toy family and the toy strategy against a plain forward in double precision: text that joins
 * self attention, of lengths that do and do not fill tiles, of branches that differ in length, on
 * several devices with every strategy. Exact strategies give one device's bits, rings the same bits
 * under every policy. Before each step all that a run keeps holds NaN: no padding is ever seen.
 *
 *   toy [DIR]     writes a checkpoint of the family into the folder DIR, and does no more */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/checkpoint/weights.h"
#include "graph/run/forward.h"
#include "graph/run/latent.h"
#include "stardit/safetensors.h"
#include "tests/check.h"
#include "tests/light.h"

enum { CHANNELS = 8, TEXT_DIM = 96, HEADS = 4, E = 12, D = HEADS * E, VALUES = 4 * CHANNELS };
#define LIMIT 1e-4
#define LATER 310.0 /* timestep of a second step */

/* ---- a checkpoint ---------------------------------------------------------------------------- */

static uint64_t state = 1;
static float uniform(float most) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return most * ((float)(state >> 40) / (float)(1 << 23) - 1.0f);
}

static void leave(const char *message) {
    printf("%s: FAIL\n", message);
    exit(1);
}

static void write_text(const char *folder, const char *name, const char *text) {
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file))
        leave(path);
}

/* The tensors that the family names, with numbers drawn at random. */
static void write_component(const char *folder, const char *config) {
    struct sdt_error err = {0};
    struct sdt_dit *dit;
    char path[4200];
    if (mkdir(folder, 0777) || sdt_dit_imagine(config, 0, SDT_F32, &dit, &err) != SDT_OK)
        leave(folder);
    size_t count = sdt_weights_count(dit->weights);
    struct sdt_stored *tensor = calloc(count, sizeof *tensor);
    for (size_t i = 0; i < count; i++) {
        tensor[i] = *sdt_weights_at(dit->weights, i);
        float *values = malloc(tensor[i].count * sizeof *values);
        bool gain = strstr(tensor[i].name, "norm.weight") != NULL;
        float most = tensor[i].rank > 1 ? 1.7f / sqrtf((float)tensor[i].shape[1]) : 0.3f;
        for (size_t n = 0; n < tensor[i].count; n++)
            values[n] = uniform(most) + (gain ? 1.0f : 0.0f);
        tensor[i].data = values;
    }
    snprintf(path, sizeof path, "%s/diffusion_pytorch_model.safetensors", folder);
    if (sdt_safetensors_write(path, count, tensor, &err) != SDT_OK)
        leave(err.message);
    for (size_t i = 0; i < count; i++)
        free((void *)tensor[i].data);
    free(tensor);
    write_text(folder, "config.json", config);
    sdt_dit_close(dit);
}

static int write_pipeline(const char *folder, const char *forwards, const char *pooled) {
    char path[4096], config[200];
    snprintf(path, sizeof path, "%s/transformer", folder);
    snprintf(config, sizeof config, "{\"_class_name\": \"ToyTransformer\", \"forwards\": %s%s%s}",
             forwards, pooled ? ", \"pooled_dim\": " : "", pooled ? pooled : "");
    write_component(path, config);
    write_text(folder, "model_index.json", "{\"_class_name\": \"ToyPipeline\"}");
    return 0;
}

/* ---- the same in double precision ------------------------------------------------------------ */

static struct sdt_dit *toy;

static const float *weight(const char *format, int layer, const char *part) {
    char name[64];
    snprintf(name, sizeof name, format, layer);
    strcat(name, part);
    const struct sdt_stored *tensor = sdt_weights_find(toy->weights, name);
    if (!tensor)
        leave(name);
    return tensor->data;
}

/* y [rows, n] (+)= x [rows, k] w^T + b */
static void linear(int rows, int n, int k, const double *x, const char *name, int layer, bool add,
                   double *y) {
    const float *w = weight(name, layer, ".weight"), *b = weight(name, layer, ".bias");
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++) {
            double sum = (double)b[i] + (add ? y[r * n + i] : 0.0);
            for (int j = 0; j < k; j++)
                sum += x[r * k + j] * (double)w[i * k + j];
            y[r * n + i] = sum;
        }
}

static void norm(int rows, const double *x, int layer /* -1: no weights */, const double *m,
                 double *z) {
    const float *w = layer < 0 ? NULL : weight("layer.%d.norm", layer, ".weight");
    const float *b = layer < 0 ? NULL : weight("layer.%d.norm", layer, ".bias");
    for (int r = 0; r < rows; r++, x += D, z += D) {
        double mean = 0.0, square = 0.0;
        for (int i = 0; i < D; i++)
            mean += x[i] / D;
        for (int i = 0; i < D; i++)
            square += (x[i] - mean) * (x[i] - mean) / D;
        for (int i = 0; i < D; i++) {
            double y = (x[i] - mean) / sqrt(square + 1e-5);
            z[i] = (w ? y * (double)w[i] + (double)b[i] : y) + m[i];
        }
    }
}

static void sinusoid(double t, double *y) {
    for (int i = 0; i < D / 2; i++) {
        /* A product in float is what sdt_sinusoid() says. */
        double angle = (double)((float)t * (float)exp(-log(10000.0) * i / (D / 2)));
        y[i] = cos(angle);
        y[D / 2 + i] = sin(angle);
    }
}

/* Two pairs of each head by each axis. */
static void rotate(int token, const int *grid, double *x) {
    int at[3] = {token / grid[2] / grid[1], token / grid[2] % grid[1], token % grid[2]};
    for (int c = 0; c < D; c += 2) {
        int pair = c % E / 2;
        double angle = at[pair / 2] * pow(100.0, -(double)(pair % 2) / 2.0);
        double a = x[c], b = x[c + 1];
        x[c] = a * cos(angle) - b * sin(angle);
        x[c + 1] = a * sin(angle) + b * cos(angle);
    }
}

static void attend(int rows, const double *q, const double *k, const double *v, double *o) {
    double *p = calloc((size_t)rows, sizeof *p);
    for (int h = 0; h < D; h += E)
        for (int r = 0; r < rows; r++) {
            double sum = 0.0;
            for (int s = 0; s < rows; s++) {
                double score = 0.0;
                for (int i = h; i < h + E; i++)
                    score += q[r * D + i] * k[s * D + i];
                sum += p[s] = exp(score / sqrt(E));
            }
            for (int i = h; i < h + E; i++) {
                o[r * D + i] = 0.0;
                for (int s = 0; s < rows; s++)
                    o[r * D + i] += p[s] / sum * v[s * D + i];
            }
        }
    free(p);
}

#define PLACE(n, c, dy, dx)                                                                        \
    ((((c)*g.frames + (n) / grid[2] / grid[1]) * g.height + (n) / grid[2] % grid[1] * 2 + (dy)) *  \
         g.width +                                                                                 \
     (n) % grid[2] * 2 + (dx))

/* x [video, D] of a latent. */
static void embed_again(struct sdt_geometry g, const float *latent, double *patch, double *x) {
    const int grid[3] = {g.frames, g.height / 2, g.width / 2}, video = grid[0] * grid[1] * grid[2];
    for (int n = 0; n < video; n++)
        for (int i = 0; i < VALUES; i++)
            patch[n * VALUES + i] = (double)latent[PLACE(n, i / 4, i / 2 % 2, i % 2)];
    linear(video, D, VALUES, patch, "patch", 0, false, x);
}

static void condition(double t, double guidance, double *m /* [D] */) {
    double s[D];
    sinusoid(t, s);
    linear(1, D, D, s, "time", 0, false, m);
    for (int i = 0; i < D; i++)
        m[i] /= 1.0 + exp(-m[i]);
    sinusoid(1000.0 * guidance, s);
    linear(1, D, D, s, "guide", 0, true, m);
}

/* latent, later, velocity: [C, T, H, W]; text: [words, TEXT_DIM]. later: a latent of a second step,
 * at LATER, that skips the layers by what they added in the first; or NULL. */
static void reference(struct sdt_geometry g, const float *latent, const float *later,
                      const float *text, int words, double t, double guidance, double *velocity) {
    const int grid[3] = {g.frames, g.height / 2, g.width / 2};
    int video = grid[0] * grid[1] * grid[2], rows = video + words;
    double *x = calloc((size_t)(rows * D * 12), sizeof *x), *z = x + rows * D, *q = z + rows * D;
    double *k = q + rows * D, *v = k + rows * D, *hidden = v + rows * D;
    double *patch = calloc((size_t)(rows * TEXT_DIM), sizeof *patch), m[D];
    condition(t, guidance, m);
    embed_again(g, latent, patch, x);
    for (int i = 0; i < words * TEXT_DIM; i++)
        patch[i] = (double)text[i];
    linear(words, D, TEXT_DIM, patch, "text", 0, false, x + video * D);
    for (int l = 0; l < toy->layers; l++) {
        norm(rows, x, l, m, z);
        linear(rows, D, D, z, "layer.%d.q", l, false, q);
        linear(rows, D, D, z, "layer.%d.k", l, false, k);
        linear(rows, D, D, z, "layer.%d.v", l, false, v);
        for (int n = 0; n < video; n++) {
            rotate(n, grid, q + n * D);
            rotate(n, grid, k + n * D);
        }
        attend(rows, q, k, v, z);
        linear(rows, D, D, z, "layer.%d.out", l, true, x);
        norm(rows, x, -1, m, z);
        linear(rows, 4 * D, D, z, "layer.%d.up", l, false, hidden);
        for (int i = 0; i < rows * 4 * D; i++) {
            double a = hidden[i];
            hidden[i] = 0.5 * a * (1.0 + tanh(sqrt(2.0 / M_PI) * (a + 0.044715 * a * a * a)));
        }
        linear(rows, D, 4 * D, hidden, "layer.%d.down", l, true, x);
    }
    if (later) {
        embed_again(g, latent, patch, q);
        embed_again(g, later, patch, k);
        for (int i = 0; i < video * D; i++)
            x[i] = k[i] + (x[i] - q[i]);
        condition(LATER, guidance, m);
    }
    norm(video, x, -1, m, z);
    linear(video, VALUES, D, z, "proj", 0, false, patch);
    for (int n = 0; n < video; n++) /* (patch, C), C fastest */
        for (int i = 0; i < VALUES; i++)
            velocity[PLACE(n, i % CHANNELS, i / CHANNELS / 2, i / CHANNELS % 2)] =
                patch[n * VALUES + i];
    free(x);
    free(patch);
}

/* ---- a step of a run ------------------------------------------------------------------------ */

enum { MOST_WORDS = 40, MOST_VALUES = 8 * 600 };

/* A request's numbers, and what they give. */
struct test_case {
    struct sdt_geometry geometry;
    int layout_words; /* that the run has room for */
    int words[2];     /* of each branch; words[1] 0: one branch */
    float t, guidance;
};
static const struct test_case cases[] = {
    /* tiles of 4 rows; tokens of the video, then of the text */
    {{2, 4, 4}, 4, {4}, 700.0f, 4.0f}, /* 8 and 4: all full */
    {{1, 6, 6},
     4,
     {4},
     700.0f,
     4.0f}, /* 9 and 4: the last tile of keys is not written to its end */
    {{1, 6, 6}, 3, {3}, 700.0f, 4.0f},    /* 9 and 3: both end together */
    {{1, 4, 10}, 7, {7}, 700.0f, 4.0f},   /* 10 and 7 */
    {{1, 2, 26}, 13, {13}, 700.0f, 4.0f}, /* 13 and 13 */
    {{2, 4, 4}, 1, {1}, 700.0f, 4.0f},    /* 8 and 1 */
    {{1, 6, 6},
     9,
     {9, 2},
     700.0f,
     4.0f}, /* branches that differ: tiles of text that one does not have */
    {{3, 4, 4}, 11, {3, 11}, 700.0f, 4.0f},  /* 12, and text of 3 or 11 */
    {{1, 6, 6}, 30, {1}, 700.0f, 4.0f},      /* room for far more text: devices without a key */
    {{1, 14, 38}, 19, {19, 8}, 700.0f, 4.0f} /* 133 in tiles of 8 */
};
enum { CASES = sizeof cases / sizeof cases[0] };
static float latents[MOST_VALUES], laters[MOST_VALUES], texts[2][MOST_WORDS * TEXT_DIM];
static float first_bits[2 * CASES][2][MOST_VALUES]; /* of second steps behind the first ones */
static bool have_bits[2 * CASES];

static size_t values_of(const struct sdt_dit *dit, const struct test_case *c) {
    return (size_t)dit->channels *
           (size_t)(c->geometry.frames * c->geometry.height * c->geometry.width);
}

static void poison(sdt_handle handle) {
    if (!handle)
        return;
    starpu_data_acquire(handle, STARPU_W);
    float *values = (float *)starpu_vector_get_local_ptr(handle);
    for (size_t i = 0; i < starpu_vector_get_nx(handle); i++)
        values[i] = NAN;
    starpu_data_release(handle);
}

static void poison_all(struct sdt_run *run) {
    const struct sdt_layout *layout = &run->layout;
    for (int s = 0; s < run->streams; s++) {
        struct sdt_stream *stream = &run->stream[s];
        struct sdt_attention_buffers *b = &stream->attention;
        for (int t = 0; t < layout->tiles; t++) {
            poison(stream->x[t]);
            poison(stream->z[t]);
        }
        for (int d = 0; d < layout->devices; d++) {
            for (int i = 0; i < stream->raw[d].count; i++)
                poison(stream->raw[d].handle[i]);
            for (int i = 0; i < stream->hidden[d].count; i++)
                poison(stream->hidden[d].handle[i]);
        }
        for (int i = 0; i < b->pieces; i++) {
            for (int p = 0; p < SDT_PROJECTIONS; p++) {
                poison(b->piece[p][i]);
                if (b->collective)
                    poison(b->landed[p][i]);
            }
            poison(b->output[i]);
            if (b->collective)
                poison(b->landed_output[i]);
            if (b->lse)
                poison(b->lse[i]);
        }
        for (int i = 0; i < b->gathered; i++) {
            poison(b->keys[i]);
            poison(b->values[i]);
        }
    }
}

static sdt_handle lend(float *values, size_t count) {
    sdt_handle handle = NULL;
    starpu_vector_data_register(&handle, STARPU_MAIN_RAM, (uintptr_t)values, (uint32_t)count,
                                sizeof(float));
    return handle;
}

/* What a run's devices hold of the weights: all of their own layers', none of the others'. */
static void check_residence(const struct sdt_run *run, const struct sdt_strategy *strategy) {
    int outside = 0, inside;
    const struct sdt_dit *dit = run->dit;
    for (size_t i = 0; i < sdt_weights_count(dit->weights); i++) {
        const char *name = sdt_weights_at(dit->weights, i)->name;
        outside += strncmp(name, "layer.", 6) && strncmp(name, "blocks.", 7);
    }
    inside = ((int)sdt_weights_count(dit->weights) - outside) / dit->layers;
    for (int d = 0; d < run->layout.devices; d++) {
        int here = 0, has;
        for (int l = 0; l < dit->layers; l++)
            here += strategy->device(&run->layout, dit->layers, l, 0) == d;
        has = sdt_parameters_resident(run->machine, dit->weights, run->layout.place[d].node, NULL);
        CHECK(has >= here * inside && has <= here * inside + outside,
              "device %d has %d layers of %d tensors and holds %d (%d are of no layer)", d, here,
              inside, has, outside);
    }
}

struct way {
    const char *strategy;
    int degree, streams, helpers;
    enum sdt_aco aco;
    enum sdt_transport transport;
    bool skips; /* a second step skips the layers by what they added in the first */
};

static sdt_handle *new_kept(struct sdt_flow *flow, const struct sdt_run *run) {
    sdt_handle *kept = calloc((size_t)run->layout.video_tiles, sizeof *kept);
    for (int i = 0; i < run->layout.video_tiles; i++)
        kept[i] = sdt__tensor(flow, run->layout.dtype,
                              (size_t)(sdt_tile_size(&run->layout, i) * run->dit->width), "kept");
    return kept;
}

/* Of that latent, by what the first one kept. */
static void second_step(struct sdt_flow *flow, struct sdt_run *run, int branches,
                        struct sdt_latent *latent, sdt_handle later) {
    sdt__flow_wait(flow, NULL);
    poison_all(run);
    sdt_latent_scatter(flow, latent, 1, SDT_SOLVER_X, later);
    for (int b = 0; b < branches; b++) {
        run->branch[b].keeps = false;
        run->branch[b].skips = true;
    }
    sdt_run_step(flow, run, branches, (float)LATER, sdt_latent_tiles(latent, 1));
}

/* Velocities of the branches; the status of the flow. */
static enum sdt_status step(struct sdt_machine *machine, struct sdt_dit *dit,
                            const struct test_case *c, const struct way *way, float *values,
                            float *const *words, float *const *velocity) {
    struct sdt_error err = {0};
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    struct sdt_group group;
    int all[SDT_MAX_DEVICES], devices = machine->devices - way->helpers;
    int branches = c->words[1] ? 2 : 1;
    struct sdt_latent latent = {0};
    struct sdt_prompt prompt[2] = {{0}};
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
        sdt_run_new(&flow, dit, machine, NULL, &parallel, c->geometry, branches, c->layout_words);
    if (!run)
        leave(flow.error.message);
    sdt_handle whole = lend(values, values_of(dit, c)), text[2], out[2];
    sdt_latent_init(&flow, &latent, &run->layout, sdt_patch_of(dit, c->geometry), 0, 0, NULL, NULL);
    sdt_latent_scatter(&flow, &latent, 0, SDT_SOLVER_X, whole);
    for (int b = 0; b < branches; b++) {
        text[b] = lend(words[b], (size_t)c->words[b] * (size_t)dit->text_dim);
        out[b] = lend(velocity[b], values_of(dit, c));
        struct sdt_text_states states = {text[b], c->words[b], 0};
        sdt_run_prompt(&flow, run, b, &states, &prompt[b]);
        run->branch[b].prompt = &prompt[b];
    }
    run->guidance = c->guidance;
    poison_all(run);
    sdt_handle *kept[2] = {NULL}, later = NULL;
    for (int b = 0; b < branches && way->skips; b++) {
        run->branch[b].kept = kept[b] = new_kept(&flow, run);
        run->branch[b].keeps = true;
    }
    sdt_run_step(&flow, run, branches, c->t, sdt_latent_tiles(&latent, 0));
    if (way->skips) {
        later = lend(laters, values_of(dit, c));
        second_step(&flow, run, branches, &latent, later);
    }
    flow.place = flow.host;
    for (int b = 0; b < branches; b++)
        for (int i = 0; i < run->layout.video_tiles; i++)
            sdt_insert_unpatchify(&flow, "gather_velocity", &latent.patch,
                                  (int64_t)i * run->layout.rows, sdt_tile_size(&run->layout, i),
                                  run->branch[b].velocity[i], out[b]);
    enum sdt_status status = sdt__flow_wait(&flow, &err);
    if (status != SDT_OK && !(c->words[0] > c->layout_words))
        leave(err.message);
    if (parallel.strategy->device && machine->devices > 1 && !machine->free_mapping)
        check_residence(run, parallel.strategy);
    sdt_latent_clear(&latent);
    starpu_data_unregister(whole);
    if (later)
        starpu_data_unregister(later);
    for (int b = 0; b < branches; b++) {
        for (int i = 0; kept[b] && i < run->layout.video_tiles; i++)
            sdt__unregister(kept[b][i]);
        free(kept[b]);
        sdt_prompt_clear(&prompt[b]);
        starpu_data_unregister(text[b]);
        starpu_data_unregister(out[b]);
    }
    sdt_run_free(run);
    sdt_group_clear(&group);
    return status;
}

/* ---- checks --------------------------------------------------------------------------------- */

static double largest, largest_of_ring;
static int compared;

static double distance(size_t count, const float *a, const double *b) {
    double most = 0.0;
    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)a[i] - b[i]);
        most = d > most || isnan(d) ? d : most;
        if (isnan(d))
            return d;
    }
    return most;
}

/* Bits of rings by case and devices: those of the first policy. */
static float *ring_bits[CASES][SDT_MAX_DEVICES + 1][SDT_MAX_DEVICES + 1];

static void check_case(struct sdt_machine *machine, int number, const struct way *way) {
    const struct test_case *c = &cases[number];
    const struct sdt_strategy *strategy = sdt_strategy_find(way->strategy);
    int branches = c->words[1] ? 2 : 1, n = machine->devices;
    size_t count = values_of(toy, c), size = count * sizeof(float);
    static float y[2][MOST_VALUES];
    static double want[2 * CASES][2][MOST_VALUES];
    static bool known[2 * CASES];

    number += way->skips ? CASES : 0;
    for (int b = 0; b < branches && !known[number]; b++)
        reference(c->geometry, latents, way->skips ? laters : NULL, texts[b], c->words[b],
                  (double)c->t, (double)c->guidance, want[number][b]);
    known[number] = true;
    memset(y, 0, sizeof y);
    step(machine, toy, c, way, latents, (float *[]){texts[0], texts[1]}, (float *[]){y[0], y[1]});
    for (int b = 0; b < branches; b++) {
        double d = distance(count, y[b], want[number][b]);
        double *most = strategy->exact ? &largest : &largest_of_ring;
        *most = d > *most || isnan(d) ? d : *most;
        CHECK(d <= LIMIT, "case %d, branch %d, %s on %d devices, policy %s: differs by %g", number,
              b, way->strategy, n, machine->scheduler, d);
        if (strategy->exact) {
            if (!have_bits[number])
                memcpy(first_bits[number][b], y[b], size);
            CHECK(!memcmp(first_bits[number][b], y[b], size),
                  "case %d, branch %d, %s on %d devices (aco %s), policy %s: other bits", number, b,
                  way->strategy, n, sdt_aco_name(way->aco), machine->scheduler);
        }
        compared++;
    }
    if (strategy->exact) {
        have_bits[number] = true;
        return;
    }
    float **ring = &ring_bits[number][n][way->degree];
    if (!*ring)
        *ring = memcpy(malloc(sizeof y), y, sizeof y);
    CHECK(!memcmp(*ring, y, sizeof y), "case %d, %s on %d devices: other bits under policy %s",
          number, way->strategy, n, machine->scheduler);
}

/* The golden Wan transformer, layer by layer on two devices: the bits of one. */
static void check_wan(struct sdt_machine *machine) {
    const char *source = getenv("STARDIT_SOURCE_DIR");
    struct sdt_safetensors *file;
    struct sdt_error err = {0};
    struct sdt_dit *dit;
    char path[4200];
    float *x, *text, t, *y[2];
    snprintf(path, sizeof path, "%s/tests/golden/wan_dit", source ? source : ".");
    if (sdt_dit_open(path, NULL, 0, &dit, &err) != SDT_OK)
        leave(err.message);
    strcat(path, "/io.safetensors");
    if (sdt_safetensors_open(path, &file, &err) != SDT_OK)
        leave(err.message);
    const struct sdt_stored *in = sdt_safetensors_find(file, "in.x");
    const struct sdt_stored *words = sdt_safetensors_find(file, "in.txt");
    memcpy(&t, sdt_safetensors_find(file, "in.t")->data, sizeof t);
    if (sdt_stored_floats(in, &x, &err) != SDT_OK ||
        sdt_stored_floats(words, &text, &err) != SDT_OK)
        leave(err.message);
    int rows = (int)words->shape[1];
    struct test_case c = {
        {(int)in->shape[2], (int)in->shape[3], (int)in->shape[4]}, rows, {rows}, t, 1.0f};
    static const struct way ways[] = {{.strategy = "single"}, {.strategy = "layers"}};
    for (int i = 0; i < 2; i++) {
        y[i] = calloc(in->count, sizeof *y[i]);
        step(machine, dit, &c, &ways[i], x, &text, &y[i]);
    }
    CHECK(!memcmp(y[0], y[1], in->count * sizeof *y[0]), "Wan on %d devices, layers: other bits",
          machine->devices);
    for (int i = 0; i < 2; i++)
        free(y[i]);
    free(x);
    free(text);
    sdt_safetensors_close(file);
    sdt_dit_close(dit);
}

/* More text than the run was made for. */
static void check_refusal(struct sdt_machine *machine) {
    static const struct test_case longer = {{2, 4, 4}, 4, {5}, 700.0f, 4.0f};
    static const struct way way = {.strategy = "ulysses"};
    static float y[MOST_VALUES];
    enum sdt_status status =
        step(machine, toy, &longer, &way, latents, (float *[]){texts[0]}, (float *[]){y});
    CHECK(status == SDT_ERROR_USAGE, "5 tokens of text in a run for 4 end with %d", (int)status);
}

static void check_machine(int devices, const char *policy) {
    static const struct way ways[] = {
        {.strategy = "single"},
        {.strategy = "ulysses"},
        {.strategy = "pipesp"},
        {.strategy = "ring", .degree = 1},
        {.strategy = "layers"},
        {.strategy = "layers", .streams = 1},
        {.strategy = "ulysses", .transport = SDT_TRANSPORT_NCCL},
        {.strategy = "pipesp", .transport = SDT_TRANSPORT_NCCL, .streams = 1},
        {.strategy = "ulysses", .helpers = 1, .aco = SDT_ACO_STATIC},
        {.strategy = "pipesp", .helpers = 1, .aco = SDT_ACO_DYNAMIC},
        {.strategy = "pipesp", .helpers = 2, .aco = SDT_ACO_STATIC},
        {.strategy = "single", .skips = true},
        {.strategy = "ulysses", .skips = true},
        {.strategy = "layers", .skips = true},
        {.strategy = "pipesp", .streams = 1, .skips = true},
    };
    struct sdt_machine_options options = {.devices = devices,
                                          .workers_per_device = 1,
                                          .scheduler = policy,
                                          .free_mapping = !strcmp(policy, "scatter")};
    struct sdt_machine *machine;
    struct sdt_error err = {0};
    if (sdt_machine_open(&options, &machine, &err) != SDT_OK)
        leave(err.message);
    bool rings_only = devices == 4; /* the first that has 2 x 2 */
    for (int i = 0; i < CASES; i++) {
        for (size_t w = 0; w < sizeof ways / sizeof ways[0]; w++)
            if (ways[w].helpers < devices && !rings_only)
                check_case(machine, i, &ways[w]);
        for (int degree = 2; degree <= devices; degree++)
            if (devices % degree == 0)
                check_case(machine, i, &(struct way){.strategy = "usp", .degree = degree});
    }
    if (devices == 2) {
        check_refusal(machine);
        check_wan(machine);
    }
    sdt_machine_close(machine);
}

int main(int argc, char **argv) {
    char folder[] = "/tmp/stardit-toy-XXXXXX", path[200];
    struct sdt_error err = {0};
    if (argc > 1)
        return write_pipeline(argv[1], argc > 2 ? argv[2] : "1", argc > 3 ? argv[3] : NULL);
    if (!mkdtemp(folder))
        leave("mkdtemp");
    write_pipeline(folder, "2", NULL);
    snprintf(path, sizeof path, "%s/transformer", folder);
    if (sdt_dit_open(path, NULL, 0, &toy, &err) != SDT_OK)
        leave(err.message);
    for (int i = 0; i < MOST_VALUES; i++)
        latents[i] = uniform(1.7f);
    for (int i = 0; i < MOST_VALUES; i++)
        laters[i] = uniform(1.7f);
    for (int i = 0; i < MOST_WORDS * TEXT_DIM; i++) {
        texts[0][i] = uniform(1.7f);
        texts[1][i] = uniform(1.7f);
    }
    for (int devices = 1; devices <= 5; devices += test_light() ? 2 : 1)
        check_machine(devices, "pipedit");
    if (!test_light())
        check_machine(3, "lws");
    check_machine(5, "scatter");
    printf("%d forwards: at most %.2g from the plain one, %.2g with rings; limit %g: %s\n",
           compared, largest, largest_of_ring, LIMIT, failures ? "FAIL" : "ok");
    sdt_dit_close(toy);
    snprintf(path, sizeof path, "rm -rf %s", folder);
    return system(path) || failures ? 1 : 0;
}
