/* A family that this tree does not know: a transformer whose text joins self attention, and whose
 * guidance is an input. A program that brings it along shows that a family is one file, and the
 * line that names it (here sdt__guest_family). Decoder and text encoder are borrowed. */
#include "graph/models/family.h"

#include <stdio.h>
#include <stdlib.h>

#include "graph/checkpoint/config.h"
#include "graph/run/run.h"

extern const struct sdt_dit_kind toy__dit;
enum { TIME, GUIDANCE, MODULATION };
#define EPS 1e-5f
static const struct sdt_row_sum none;

struct block {
    struct sdt_linear_handles norm, q, k, v, out, up, down; /* norm: weight and bias */
};
struct bound {
    struct sdt_linear_handles patch, text, time, guide, proj;
    sdt_handle pooled;    /* only where there is a second text encoder */
    struct block block[]; /* [layers] */
};

static size_t bound_size(const struct sdt_dit *dit) {
    return sizeof(struct bound) + (size_t)dit->layers * sizeof(struct block);
}

/* dit->hidden may be wider. */
static int mlp_of(const struct sdt_dit *dit) { return 4 * dit->width; }

static void tensors(const struct sdt_dit *dit, struct sdt_tensor_visit *v, void *bound) {
    int64_t d = dit->width, m = mlp_of(dit), values = (int64_t)sdt_patch_values(dit);
    struct bound no_bound, *b = bound ? bound : &no_bound;
    struct block no_block;
    char prefix[32];
    sdt_tensor_linear(v, &b->patch, SDT_TENSOR_RUN, d, values, "", "patch");
    sdt_tensor_linear(v, &b->text, SDT_TENSOR_RUN, d, dit->text_dim, "", "text");
    if (dit->pooled_dim)
        sdt_tensor(v, &b->pooled, SDT_TENSOR_FLOAT, 2, (int64_t[]){d, dit->pooled_dim},
                   "pooled.weight");
    sdt_tensor_linear(v, &b->time, SDT_TENSOR_FLOAT, d, d, "", "time");
    sdt_tensor_linear(v, &b->guide, SDT_TENSOR_FLOAT, d, d, "", "guide");
    sdt_tensor_linear(v, &b->proj, SDT_TENSOR_RUN, values, d, "", "proj");
    for (int l = 0; l < dit->layers; l++) {
        struct block *k = bound ? &b->block[l] : &no_block;
        snprintf(prefix, sizeof prefix, "layer.%d.", l);
        v->layer = l;
        sdt_tensor(v, &k->norm.weight, SDT_TENSOR_FLOAT, 1, &d, "%snorm.weight", prefix);
        sdt_tensor(v, &k->norm.bias, SDT_TENSOR_FLOAT, 1, &d, "%snorm.bias", prefix);
        sdt_tensor_linear(v, &k->q, SDT_TENSOR_RUN, d, d, prefix, "q");
        sdt_tensor_linear(v, &k->k, SDT_TENSOR_RUN, d, d, prefix, "k");
        sdt_tensor_linear(v, &k->v, SDT_TENSOR_RUN, d, d, prefix, "v");
        sdt_tensor_linear(v, &k->out, SDT_TENSOR_RUN, d, d, prefix, "out");
        sdt_tensor_linear(v, &k->up, SDT_TENSOR_RUN, m, d, prefix, "up");
        sdt_tensor_linear(v, &k->down, SDT_TENSOR_RUN, d, m, prefix, "down");
    }
    v->layer = -1;
}

static void toy_close(struct sdt_dit *dit) {
    sdt_weights_close(dit->weights);
    free(dit);
}

static enum sdt_status toy_open(const struct sdt_config *config, const char *folder,
                                const struct sdt_opening *how, int wanted, struct sdt_dit **out,
                                struct sdt_error *err) {
    int64_t layers = 6, heads = 4, channels = 8, text = 96, pooled = 0, forwards = 1;
    struct sdt_dit *dit = calloc(1, sizeof *dit);
    enum sdt_status status = SDT_OK;
    if (!dit)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", folder);
#define NEXT(key, most, value)                                                                     \
    if (status == SDT_OK)                                                                          \
    status = sdt_config_int(config, key, false, 1, most, value, err)
    NEXT("num_layers", 1000, &layers);
    NEXT("num_heads", 1024, &heads);
    NEXT("channels", 256, &channels);
    NEXT("text_dim", 65536, &text);
    NEXT("pooled_dim", 65536, &pooled); /* of a second text encoder */
    NEXT("forwards", 2, &forwards);     /* of a guided step; 1: guidance is an input */
#undef NEXT
    int d = 12 * (int)heads, values = 4 * (int)channels, hidden = 4 * d;
    hidden = hidden < values ? values : hidden;
    *dit = (struct sdt_dit){.kind = &toy__dit,
                            .layers = wanted > 0 ? wanted : (int)layers,
                            .heads = (int)heads,
                            .head_dim = 12,
                            .width = d,
                            .channels = (int)channels,
                            .patch = {1, 2, 2},
                            .texts = pooled ? 2 : 1,
                            .text_dim = (int)text,
                            .pooled_dim = (int)pooled,
                            .passes = (int)forwards,
                            .text_joins = true,
                            .hidden = hidden < (int)text ? (int)text : hidden,
                            .prompt_handles = pooled ? 2 : 1,
                            .prompt_row = {[SDT_READ_BY_TILES] = (size_t)text},
                            .vector = {(size_t)d, (size_t)d, (size_t)d},
                            .shared_floats = d, /* modulation */
                            .rope_pairs = {2, 2, 2},
                            .rope_theta = 100.0};
    struct sdt_tensor_visit visit = {
        .layer = -1, .table = sdt_tensor_table_new(), .count = dit->count};
    if (visit.table)
        tensors(dit, &visit, NULL);
    if (status == SDT_OK)
        status = sdt_tensors_open(visit.table, folder, how, &dit->weights, err);
    else
        sdt_tensor_table_free(visit.table);
    if (status != SDT_OK)
        toy_close(dit);
    *out = status == SDT_OK ? dit : NULL;
    return status;
}

/* The states themselves; a tile of text reads its rows in embed(). What the second encoder says is
 * added to each of them, by the bias. */
static void prompt(struct sdt_flow *flow, struct sdt_run *run, int branch,
                   const struct sdt_text_states *text, struct sdt_prompt *prompt) {
    size_t count = (size_t)text->rows * (size_t)run->dit->text_dim;
    (void)branch;
    prompt->rows = text->rows;
    prompt->handle[0] = sdt__vector(flow, count, "text");
    sdt_insert_convert(flow, "text", count, text->handle, prompt->handle[0]);
    if (!run->dit->pooled_dim)
        return;
    const struct bound *b = run->bound;
    prompt->handle[1] = sdt__vector(flow, (size_t)run->dit->width, "pooled");
    sdt_insert_linear(flow, "pooled", 1, run->dit->width, run->dit->pooled_dim, text[1].handle,
                      b->pooled, b->text.bias, SDT_EPILOGUE_NONE, prompt->handle[1]);
}

/* m = silu(time(sinusoid(t))) + guide(sinusoid(1000 guidance)) */
static void condition(struct sdt_flow *flow, struct sdt_run *run, struct sdt_stream *stream,
                      float t, float guidance) {
    const struct bound *b = run->bound;
    int d = run->dit->width;
    sdt_handle *v = stream->vector;
    sdt_insert_sinusoid(flow, "sinusoid", t, d, v[TIME]);
    sdt_insert_linear(flow, "time", 1, d, d, v[TIME], b->time.weight, b->time.bias,
                      SDT_EPILOGUE_SILU, v[MODULATION]);
    sdt_insert_sinusoid(flow, "sinusoid", 1000.0f * guidance, d, v[GUIDANCE]);
    sdt_insert_linear_residual(flow, "guide", 1, d, d, v[GUIDANCE], b->guide.weight, b->guide.bias,
                               none, v[MODULATION]);
}

/* Of a tile of text: its rows of the states, zeros past the prompt's end. The states are cut like a
 * latent of one channel whose patches are rows. */
static void embed(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at, sdt_handle latent) {
    const struct bound *b = run->bound;
    const struct sdt_layout *layout = &run->layout;
    const struct sdt_prompt *prompt = run->branch[at.branch].prompt;
    const struct sdt_linear_handles *linear = latent ? &b->patch : &b->text;
    int in = latent ? (int)sdt_patch_values(run->dit) : run->dit->text_dim;
    struct sdt_patch states = {1, 1, prompt->rows, in, {1, 1, in}};
    sdt_handle x = latent, bias = linear->bias;
    if (!latent && prompt->count > 1)
        bias = prompt->handle[1];
    if (!latent || layout->dtype != SDT_F32)
        x = sdt_run_hidden(run, at);
    if (!latent)
        sdt_insert_patchify(flow, "text_rows", &states,
                            sdt_tile_first(layout, at.tile) - layout->video, sdt_rows(run, at),
                            prompt->handle[0], x);
    else if (x != latent)
        sdt_insert_convert(flow, "latent", (size_t)sdt_rows(run, at) * (size_t)in, latent, x);
    sdt_insert_linear(flow, "embed", sdt_rows(run, at), run->dit->width, in, x, linear->weight,
                      bias, SDT_EPILOGUE_NONE, at.stream->x[at.tile]);
}

/* z = LN(x) [* weight + bias] + m */
static void norm(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at,
                 struct sdt_linear_handles affine) {
    struct sdt_row_sum m = {at.stream->vector[MODULATION], NULL, 0, 0};
    sdt_insert_layer_norm(flow, "norm", sdt_rows(run, at), run->dit->width, EPS,
                          at.stream->x[at.tile], affine.weight, affine.bias, none, m,
                          at.stream->z[at.tile]);
}

static const struct block *block_of(const struct sdt_run *run, struct sdt_at at) {
    return &((const struct bound *)run->bound)->block[at.layer];
}

static void begin(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at) {
    norm(flow, run, at, block_of(run, at)->norm);
}

/* Text has no place in the grid: it is not rotated. */
static void project(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at,
                    enum sdt_projection which, const sdt_handle *piece) {
    const struct block *block = block_of(run, at);
    const struct sdt_linear_handles *linear[] = {&block->q, &block->k, &block->v};
    const struct sdt_layout *layout = &run->layout;
    bool rotate = which != SDT_PROJECT_V && at.tile < layout->video_tiles;
    sdt_handle raw = sdt_run_raw(run, at);
    sdt_insert_linear(flow, "project", sdt_rows(run, at), run->dit->width, run->dit->width,
                      at.stream->z[at.tile], linear[which]->weight, linear[which]->bias,
                      SDT_EPILOGUE_NONE, raw);
    struct sdt_split_heads split = {.rows = sdt_rows(run, at),
                                    .valid_rows = sdt_tile_valid(layout, at.tile),
                                    .heads = layout->heads,
                                    .e = layout->e,
                                    .rope = run->rope,
                                    .first_token = sdt_tile_first(layout, at.tile),
                                    .pieces = layout->chunks,
                                    .head = layout->head};
    sdt_insert_split_heads(flow, "split", &split, raw, NULL, rotate ? run->rope_table : NULL,
                           piece);
}

static void join(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at) {
    const struct block *block = block_of(run, at);
    sdt_insert_linear_residual(flow, "out", sdt_rows(run, at), run->dit->width, run->dit->width,
                               at.stream->z[at.tile], block->out.weight, block->out.bias, none,
                               at.stream->x[at.tile]);
}

static void finish(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at) {
    const struct block *block = block_of(run, at);
    int rows = sdt_rows(run, at), d = run->dit->width, m = mlp_of(run->dit);
    sdt_handle hidden = sdt_run_hidden(run, at);
    norm(flow, run, at, (struct sdt_linear_handles){NULL, NULL});
    sdt_insert_linear(flow, "up", rows, m, d, at.stream->z[at.tile], block->up.weight,
                      block->up.bias, SDT_EPILOGUE_GELU_TANH, hidden);
    sdt_insert_linear_residual(flow, "down", rows, d, m, hidden, block->down.weight,
                               block->down.bias, none, at.stream->x[at.tile]);
}

static void head(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at,
                 sdt_handle velocity) {
    const struct bound *b = run->bound;
    int rows = sdt_rows(run, at), values = (int)sdt_patch_values(run->dit);
    sdt_handle raw = sdt_run_hidden(run, at);
    norm(flow, run, at, (struct sdt_linear_handles){NULL, NULL});
    sdt_insert_linear(flow, "proj", rows, values, run->dit->width, at.stream->z[at.tile],
                      b->proj.weight, b->proj.bias, SDT_EPILOGUE_NONE, raw);
    sdt_insert_patch_order(flow, "patch_order", rows, run->dit->channels, 4, raw, velocity);
}

static struct sdt_work work(const struct sdt_dit *dit, int64_t tokens, int text_rows) {
    double s = (double)tokens + text_rows, d = dit->width;
    return (struct sdt_work){.linear = dit->layers * s * (8.0 * d * d + 4.0 * d * mlp_of(dit)),
                             .attention = dit->layers * 4.0 * s * s * d};
}

const struct sdt_dit_kind toy__dit = {.class_name = "ToyTransformer",
                                      .open = toy_open,
                                      .close = toy_close,
                                      .tensors = tensors,
                                      .bound_size = bound_size,
                                      .prompt = prompt,
                                      .condition = condition,
                                      .embed = embed,
                                      .begin = begin,
                                      .project = project,
                                      .join = join,
                                      .finish = finish,
                                      .head = head,
                                      .work = work};

extern const struct sdt_vae_kind sdt__wan_vae;
extern const struct sdt_text_kind sdt__umt5;

static const struct sdt_size sizes[] = {
    {"toy",
     "{\"_class_name\": \"ToyTransformer\", \"num_layers\": 12, \"num_heads\": 16}",
     "{\"_class_name\": \"AutoencoderKLWan\", \"base_dim\": 16, \"z_dim\": 8, \"dim_mult\": [1, 2, "
     "2, "
     "2], \"num_res_blocks\": 1, \"temperal_downsample\": [false, true, true], \"latents_mean\": "
     "[0, "
     "0, 0, 0, 0, 0, 0, 0], \"latents_std\": [1, 1, 1, 1, 1, 1, 1, 1]}",
     {"{\"model_type\": \"umt5\", \"num_layers\": 2, \"d_model\": 96, \"num_heads\": 4, \"d_kv\": "
      "24, "
      "\"d_ff\": 192, \"vocab_size\": 916, \"feed_forward_proj\": \"gated-gelu\"}"},
     .stored = {SDT_F32}},
    {.name = NULL},
};

const struct sdt_family sdt__guest_family = {
    .pipeline_class = "ToyPipeline",
    .name = "Toy",
    .dit = &toy__dit,
    .vae = &sdt__wan_vae,
    .text = {&sdt__umt5, &sdt__umt5},
    .prompt = {{.before = NULL}, {.before = "it is ", .after = "!", .longest = 12}},
    .sizes = sizes,
    .defaults = {.negative_prompt = "",
                 .height = 48,
                 .width = 80,
                 .num_frames = 9,
                 .steps = 3,
                 .guidance_scale = 4.0,
                 .flow_shift = 3.0,
                 .fps = 8.0,
                 .max_sequence_length = 64,
                 .sampler = SDT_SAMPLER_UNIPC,
                 .schedule = SDT_SCHEDULE_NEW},
};
