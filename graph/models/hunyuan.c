/* The HunyuanVideo text-to-video transformer: HunyuanVideoTransformer3DModel of diffusers
 * (specification: arXiv 2412.03603). Text tokens stand behind the video's in self attention. In
 * dual-stream layers they have weights of their own; single-stream layers, which follow, treat all
 * tokens alike. Guidance is an input.
 *
 * All that a step is conditioned on depends on timestep, guidance and text only: it is computed for
 * all steps when the prompt is made, by weights that are a quarter of the model and given back
 * then. The refiner of the text tokens runs in every step. */
#include "graph/models/family.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "graph/checkpoint/config.h"
#include "graph/run/run.h"

extern const struct sdt_dit_kind sdt__hunyuan_dit;

#define EPS 1e-6f
enum { SINUSOID = 256, REFINER_RATIO = 4 };

struct hunyuan {
    struct sdt_dit dit;
    int dual, single, refiners; /* layers: dual, then single */
    int mlp;                    /* width of feed-forwards but the refiner's */
    bool guided;                /* guidance is embedded */
};

static const struct hunyuan *hunyuan_of(const struct sdt_dit *dit) {
    return (const struct hunyuan *)dit;
}

/* ---- configuration --------------------------------------------------------------------------- */

/* A bool, or the string of one, as some programs write it. */
static enum sdt_status read_bool(const struct sdt_config *json, const char *key, bool *value,
                                 struct sdt_error *err) {
    struct sdt_error ignored;
    if (sdt_config_only(json, key, "\"true\"", &ignored) == SDT_OK && sdt_config_has(json, key)) {
        *value = true;
        return SDT_OK;
    }
    if (sdt_config_only(json, key, "\"false\"", &ignored) == SDT_OK && sdt_config_has(json, key)) {
        *value = false;
        return SDT_OK;
    }
    return sdt_config_bool(json, key, false, value, err);
}

struct sizes {
    int64_t dual, single, refiners, heads, head_dim, in, out, patch, patch_t, text, pooled;
    double ratio, theta, axes[3];
    int axis_count;
    bool guided;
};

static enum sdt_status read_sizes(const struct sdt_config *json, struct sizes *s,
                                  struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    const char *image = NULL;
#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
    if (sdt_config_has(json, "image_condition_type")) {
        NEXT(sdt_config_string(json, "image_condition_type", true, &image, err));
        NEXT(sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                      "%s: image_condition_type is %s; of HunyuanVideo, the text-to-video model is "
                      "run, where it is null",
                      sdt_config_path(json), image));
    }
    NEXT(sdt_config_only(json, "qk_norm", "\"rms_norm\"", err));
    NEXT(sdt_config_int(json, "num_layers", true, 0, 1000, &s->dual, err));
    NEXT(sdt_config_int(json, "num_single_layers", true, 0, 1000, &s->single, err));
    NEXT(sdt_config_int(json, "num_refiner_layers", false, 1, 100, &s->refiners, err));
    NEXT(sdt_config_int(json, "num_attention_heads", true, 1, 1024, &s->heads, err));
    NEXT(sdt_config_int(json, "attention_head_dim", true, 6, 1024, &s->head_dim, err));
    NEXT(sdt_config_int(json, "in_channels", true, 1, 256, &s->in, err));
    NEXT(sdt_config_int(json, "out_channels", true, 1, 256, &s->out, err));
    NEXT(sdt_config_int(json, "patch_size", false, 1, 16, &s->patch, err));
    NEXT(sdt_config_int(json, "patch_size_t", false, 1, 16, &s->patch_t, err));
    NEXT(sdt_config_int(json, "text_embed_dim", false, 1, 65536, &s->text, err));
    NEXT(sdt_config_int(json, "pooled_projection_dim", false, 1, 65536, &s->pooled, err));
    NEXT(sdt_config_number(json, "mlp_ratio", false, &s->ratio, err));
    NEXT(sdt_config_number(json, "rope_theta", false, &s->theta, err));
    NEXT(sdt_config_numbers(json, "rope_axes_dim", false, 3, s->axes, &s->axis_count, err));
    NEXT(read_bool(json, "guidance_embeds", &s->guided, err));
    return status;
}

static enum sdt_status check_sizes(const struct sdt_config *json, const struct sizes *s,
                                   struct sdt_error *err) {
    double sum = 0.0;
    bool even = s->axis_count == 3;
    for (int a = 0; even && a < 3; a++) {
        even = s->axes[a] >= 0.0 && fmod(s->axes[a], 2.0) == 0.0;
        sum += s->axes[a];
    }
    if (s->in != s->out)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: in_channels is %d and out_channels %d; of HunyuanVideo, the "
                        "text-to-video model is run, where they are equal",
                        sdt_config_path(json), (int)s->in, (int)s->out);
    if (!even || sum != (double)s->head_dim || s->dual + s->single < 1 ||
        s->heads * s->head_dim > 65536 || !(s->ratio > 0.0) || s->ratio > 16.0 ||
        !(s->theta > 1.0) || s->patch * s->patch * s->patch_t > 256)
        return sdt_fail(
            err, SDT_ERROR_UNSUPPORTED,
            "%s: needs rope_axes_dim of 3 even sizes that make attention_head_dim (%d), "
            "at least one layer, a width of at most 65536, mlp_ratio of at most 16, "
            "rope_theta above 1 and patches of at most 256 values",
            sdt_config_path(json), (int)s->head_dim);
    return SDT_OK;
}

/* What a prompt keeps: of the text tokens, [rows, ..] in the run's type; of all steps, float32. */
enum {
    WORDS,   /* [rows, d]: before the refiner, the same in all steps */
    TOKENS,  /* [rows, d]: as the refiner changes them, from here on work space of a step */
    REFINED, /* the same in float32; NULL where the run's type is that */
    NORMED,  /* [rows, d] */
    QUERIES,
    KEYS,
    VALUES,
    HIDDEN,      /* [rows, 4d] */
    HEAD,        /* [steps, 2d]: scale, shift */
    MODULATIONS, /* [steps, 2d] of each refiner block: two gates; then [steps, 6d] of the video and
                  * of the text in each dual layer: shift, scale, gate of attention, then of the
                  * feed-forward; then [steps, 3d] of each single layer: shift, scale, gate */
};
#define ELEMENTS_PER_ROW (6 + REFINER_RATIO) /* times d: [rows, ..] above but REFINED */

static int layer_kind(const struct sdt_dit *dit, int layer) {
    return layer >= hunyuan_of(dit)->dual;
}

static int modulations_of(const struct hunyuan *h) { return h->refiners + 2 * h->dual + h->single; }

static int common_divisor(int a, int b) { return b ? common_divisor(b, a % b) : a; }

static enum sdt_status read_config(const struct sdt_config *json, struct hunyuan *h, int wanted,
                                   struct sdt_error *err) {
    struct sizes s = {.refiners = 2,
                      .patch = 2,
                      .patch_t = 1,
                      .text = 4096,
                      .pooled = 768,
                      .ratio = 4.0,
                      .theta = 256.0,
                      .axes = {16.0, 56.0, 56.0},
                      .axis_count = 3,
                      .guided = true};
    enum sdt_status status = read_sizes(json, &s, err);
    NEXT(check_sizes(json, &s, err));
#undef NEXT
    if (status != SDT_OK)
        return status;
    int dual = (int)s.dual, single = (int)s.single, all = dual + single;
    int mixed = all / common_divisor(dual, single);
    if (wanted > 0) {
        dual = (wanted * dual + all / 2) / all;
        single = wanted - dual;
    }
    int d = (int)(s.heads * s.head_dim), mlp = (int)(d * s.ratio);
    int values = (int)(s.patch_t * s.patch * s.patch * s.in), hidden = mlp > values ? mlp : values;
    *h = (struct hunyuan){.dual = dual,
                          .single = single,
                          .refiners = (int)s.refiners,
                          .mlp = mlp,
                          .guided = s.guided};
    h->dit =
        (struct sdt_dit){.kind = &sdt__hunyuan_dit,
                         .layers = dual + single,
                         .mixed = mixed,
                         .heads = (int)s.heads,
                         .head_dim = (int)s.head_dim,
                         .width = d,
                         .channels = (int)s.in,
                         .patch = {(int)s.patch_t, (int)s.patch, (int)s.patch},
                         .texts = 2,
                         .text_dim = (int)s.text,
                         .pooled_dim = (int)s.pooled,
                         .passes = 1,
                         .text_joins = true,
                         .hidden = hidden > d ? hidden : d, /* q and k before their norm, too */
                         .prompt_handles = MODULATIONS + modulations_of(h),
                         .prompt_row = {[SDT_READ_BY_MAKER] = ELEMENTS_PER_ROW * (size_t)d},
                         .prompt_step = {[SDT_READ_BY_TILES] = (size_t)(d * 3 * single),
                                         [SDT_READ_BY_VIDEO] = (size_t)(d * (2 + 6 * dual)),
                                         [SDT_READ_BY_TEXT] = (size_t)(d * 6 * dual),
                                         [SDT_READ_BY_MAKER] = (size_t)(d * 2 * h->refiners)},
                         .shared_text = d,
                         .rope_pairs = {(int)s.axes[0] / 2, (int)s.axes[1] / 2, (int)s.axes[2] / 2},
                         .rope_theta = s.theta};
    return SDT_OK;
}

/* ---- weights --------------------------------------------------------------------------------- */

/* A linear layer, silu, and another: of a timestep, of guidance, of a text. */
struct embedder {
    struct sdt_linear_handles first, second;
};

struct refiner {
    struct sdt_linear_handles norm1, norm2, gates, q, k, v, out, up, down;
};

/* What a tile passes in a layer. */
struct stream {
    struct sdt_linear_handles modulation, q, k, v, up;
    sdt_handle norm_q, norm_k;
    struct sdt_linear_handles out, down; /* in a single layer, columns of one matrix, without the
                                            second's bias */
};

struct block {
    struct stream video, text; /* in a single layer, the first for all */
};

struct bound {
    struct sdt_linear_handles patch, words, modulation, proj_out;
    struct embedder time, guidance, pooled, refiner_time, refiner_text;
    struct refiner *refiner; /* [refiners] */
    struct block *block;     /* [layers] */
};

static size_t bound_size(const struct sdt_dit *dit) {
    return sizeof(struct bound) + (size_t)dit->layers * sizeof(struct block) +
           (size_t)hunyuan_of(dit)->refiners * sizeof(struct refiner);
}

#define EMBED "time_text_embed."
#define CONTEXT "context_embedder."

static void visit_embedder(struct sdt_tensor_visit *v, struct embedder *e, int64_t d, int64_t in,
                           const char *prefix, const char *name) {
    char path[128];
    snprintf(path, sizeof path, "%s" EMBED "%s.", prefix, name);
    sdt_tensor_linear(v, &e->first, SDT_TENSOR_HOST_MATRIX, d, in, path, "linear_1");
    sdt_tensor_linear(v, &e->second, SDT_TENSOR_HOST_MATRIX, d, d, path, "linear_2");
}

static void visit_norm(struct sdt_tensor_visit *v, struct sdt_linear_handles *norm, int64_t d,
                       const char *prefix, const char *name) {
    sdt_tensor(v, &norm->weight, SDT_TENSOR_FLOAT, 1, &d, "%s%s.weight", prefix, name);
    sdt_tensor(v, &norm->bias, SDT_TENSOR_FLOAT, 1, &d, "%s%s.bias", prefix, name);
}

static void visit_refiner(struct sdt_tensor_visit *v, struct refiner *r, int64_t d, int number) {
    const enum sdt_tensor_type matrix = SDT_TENSOR_MATRIX;
    char prefix[96];
    snprintf(prefix, sizeof prefix, CONTEXT "token_refiner.refiner_blocks.%d.", number);
    visit_norm(v, &r->norm1, d, prefix, "norm1");
    visit_norm(v, &r->norm2, d, prefix, "norm2");
    sdt_tensor_linear(v, &r->gates, SDT_TENSOR_HOST_MATRIX, 2 * d, d, prefix, "norm_out.linear");
    sdt_tensor_linear(v, &r->q, matrix, d, d, prefix, "attn.to_q");
    sdt_tensor_linear(v, &r->k, matrix, d, d, prefix, "attn.to_k");
    sdt_tensor_linear(v, &r->v, matrix, d, d, prefix, "attn.to_v");
    sdt_tensor_linear(v, &r->out, matrix, d, d, prefix, "attn.to_out.0");
    sdt_tensor_linear(v, &r->up, matrix, REFINER_RATIO * d, d, prefix, "ff.net.0.proj");
    sdt_tensor_linear(v, &r->down, matrix, d, REFINER_RATIO * d, prefix, "ff.net.2");
}

/* Names of a stream's tensors. */
struct names {
    const char *modulation, *q, *k, *v, *norm_q, *norm_k, *out, *ff;
};
static const struct names of_video = {"norm1.linear", "attn.to_q", "attn.to_k",     "attn.to_v",
                                      "norm_q",       "norm_k",    "attn.to_out.0", "ff"};
static const struct names of_text = {"norm1_context.linear", "attn.add_q_proj", "attn.add_k_proj",
                                     "attn.add_v_proj",      "norm_added_q",    "norm_added_k",
                                     "attn.to_add_out",      "ff_context"};

static void visit_attention(struct sdt_tensor_visit *v, struct stream *s, const struct sdt_dit *dit,
                            const char *prefix, const struct names *names) {
    int64_t d = dit->width, e = dit->head_dim;
    sdt_tensor_linear(v, &s->q, SDT_TENSOR_MATRIX, d, d, prefix, names->q);
    sdt_tensor_linear(v, &s->k, SDT_TENSOR_MATRIX, d, d, prefix, names->k);
    sdt_tensor_linear(v, &s->v, SDT_TENSOR_MATRIX, d, d, prefix, names->v);
    sdt_tensor(v, &s->norm_q, SDT_TENSOR_FLOAT, 1, &e, "%sattn.%s.weight", prefix, names->norm_q);
    sdt_tensor(v, &s->norm_k, SDT_TENSOR_FLOAT, 1, &e, "%sattn.%s.weight", prefix, names->norm_k);
}

static void visit_dual(struct sdt_tensor_visit *v, struct stream *s, const struct hunyuan *h,
                       const char *prefix, const struct names *names) {
    int64_t d = h->dit.width;
    char path[96];
    sdt_tensor_linear(v, &s->modulation, SDT_TENSOR_HOST_MATRIX, 6 * d, d, prefix,
                      names->modulation);
    visit_attention(v, s, &h->dit, prefix, names);
    sdt_tensor_linear(v, &s->out, SDT_TENSOR_MATRIX, d, d, prefix, names->out);
    snprintf(path, sizeof path, "%s%s.net.", prefix, names->ff);
    sdt_tensor_linear(v, &s->up, SDT_TENSOR_MATRIX, h->mlp, d, path, "0.proj");
    sdt_tensor_linear(v, &s->down, SDT_TENSOR_MATRIX, d, h->mlp, path, "2");
}

static void visit_single(struct sdt_tensor_visit *v, struct stream *s, const struct hunyuan *h,
                         const char *prefix) {
    int64_t d = h->dit.width;
    sdt_handle out[2] = {NULL, NULL};
    sdt_tensor_linear(v, &s->modulation, SDT_TENSOR_HOST_MATRIX, 3 * d, d, prefix, "norm.linear");
    visit_attention(v, s, &h->dit, prefix, &of_video);
    sdt_tensor_linear(v, &s->up, SDT_TENSOR_MATRIX, h->mlp, d, prefix, "proj_mlp");
    sdt_tensor_columns(v, out, SDT_TENSOR_MATRIX, d, 2, (int64_t[]){0, d, d + h->mlp},
                       "%sproj_out.weight", prefix);
    if (out[0]) {
        s->out.weight = out[0];
        s->down.weight = out[1];
    }
    sdt_tensor(v, &s->out.bias, SDT_TENSOR_RUN, 1, &d, "%sproj_out.bias", prefix);
}

static void visit_ends(struct sdt_tensor_visit *v, struct bound *b, const struct hunyuan *h) {
    const struct sdt_dit *dit = &h->dit;
    const int *patch = dit->patch;
    int64_t d = dit->width;
    sdt_tensor(v, &b->patch.weight, SDT_TENSOR_MATRIX, 5,
               (int64_t[]){d, dit->channels, patch[0], patch[1], patch[2]},
               "x_embedder.proj.weight");
    sdt_tensor(v, &b->patch.bias, SDT_TENSOR_RUN, 1, &d, "x_embedder.proj.bias");
    visit_embedder(v, &b->time, d, SINUSOID, "", "timestep_embedder");
    if (h->guided)
        visit_embedder(v, &b->guidance, d, SINUSOID, "", "guidance_embedder");
    visit_embedder(v, &b->pooled, d, dit->pooled_dim, "", "text_embedder");
    visit_embedder(v, &b->refiner_time, d, SINUSOID, CONTEXT, "timestep_embedder");
    visit_embedder(v, &b->refiner_text, d, dit->text_dim, CONTEXT, "text_embedder");
    sdt_tensor_linear(v, &b->words, SDT_TENSOR_PROMPT_MATRIX, d, dit->text_dim, CONTEXT, "proj_in");
    sdt_tensor_linear(v, &b->modulation, SDT_TENSOR_HOST_MATRIX, 2 * d, d, "", "norm_out.linear");
    sdt_tensor_linear(v, &b->proj_out, SDT_TENSOR_MATRIX, (int64_t)sdt_patch_values(dit), d, "",
                      "proj_out");
}

static void tensors(const struct sdt_dit *dit, struct sdt_tensor_visit *v, void *bound) {
    const struct hunyuan *h = hunyuan_of(dit);
    struct bound no_bound = {0}, *b = bound ? bound : &no_bound;
    struct refiner no_refiner;
    struct block no_block;
    char prefix[64];

    if (bound) {
        b->block = (struct block *)(b + 1);
        b->refiner = (struct refiner *)(b->block + dit->layers);
    }
    v->reader = SDT_READ_BY_VIDEO;
    visit_ends(v, b, h);
    v->reader = SDT_READ_BY_MAKER;
    for (int r = 0; r < h->refiners; r++)
        visit_refiner(v, bound ? &b->refiner[r] : &no_refiner, dit->width, r);
    for (int l = 0; l < dit->layers; l++) {
        struct block *block = bound ? &b->block[l] : &no_block;
        v->layer = l;
        if (l < h->dual) {
            snprintf(prefix, sizeof prefix, "transformer_blocks.%d.", l);
            v->reader = SDT_READ_BY_VIDEO;
            visit_dual(v, &block->video, h, prefix, &of_video);
            v->reader = SDT_READ_BY_TEXT;
            visit_dual(v, &block->text, h, prefix, &of_text);
        } else {
            v->reader = SDT_READ_BY_TILES;
            snprintf(prefix, sizeof prefix, "single_transformer_blocks.%d.", l - h->dual);
            visit_single(v, &block->video, h, prefix);
        }
    }
    v->layer = -1;
    v->reader = SDT_READ_BY_TILES;
}

/* What LoRAs call the layers that were trained by the original repository's code, where q, k and v
 * are one matrix, in single blocks with the feed-forward's first. */
static void spell_original(const void *model, const char *name, char *text, size_t size) {
    static const struct sdt_replacement single[] = {
        {"single_transformer_blocks.", "single_blocks."},
        {".attn.to_q.", ".linear1."},
        {".attn.to_k.", ".linear1."},
        {".attn.to_v.", ".linear1."},
        {".proj_mlp.", ".linear1."},
        {".proj_out.", ".linear2."},
        {".norm.linear.", ".modulation.linear."},
        {".attn.norm_q.", ".q_norm."},
        {".attn.norm_k.", ".k_norm."},
        {NULL, NULL},
    };
    static const struct sdt_replacement dual[] = {
        {"transformer_blocks.", "double_blocks."},
        {".attn.to_q.", ".img_attn_qkv."},
        {".attn.to_k.", ".img_attn_qkv."},
        {".attn.to_v.", ".img_attn_qkv."},
        {".attn.add_q_proj.", ".txt_attn_qkv."},
        {".attn.add_k_proj.", ".txt_attn_qkv."},
        {".attn.add_v_proj.", ".txt_attn_qkv."},
        {".attn.to_out.0.", ".img_attn_proj."},
        {".attn.to_add_out.", ".txt_attn_proj."},
        {".attn.norm_q.", ".img_attn_q_norm."},
        {".attn.norm_k.", ".img_attn_k_norm."},
        {".attn.norm_added_q.", ".txt_attn_q_norm."},
        {".attn.norm_added_k.", ".txt_attn_k_norm."},
        {".norm1.linear.", ".img_mod.linear."},
        {".norm1_context.linear.", ".txt_mod.linear."},
        {".ff.net.0.proj.", ".img_mlp.fc1."},
        {".ff.net.2.", ".img_mlp.fc2."},
        {".ff_context.net.0.proj.", ".txt_mlp.fc1."},
        {".ff_context.net.2.", ".txt_mlp.fc2."},
        {NULL, NULL},
    };
    (void)model;
    sdt_replace(strncmp(name, "single_", 7) ? dual : single, name, text, size);
}

static const struct sdt_naming lora_naming[] = {{"the original repository", spell_original},
                                                {NULL, NULL}};

static void hunyuan_close(struct sdt_dit *dit) {
    sdt_weights_close(dit->weights);
    free(dit);
}

static enum sdt_status hunyuan_open(const struct sdt_config *config, const char *folder,
                                    const struct sdt_opening *how, int layers, struct sdt_dit **out,
                                    struct sdt_error *err) {
    struct hunyuan *h = calloc(1, sizeof *h);

    *out = NULL;
    if (!h)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", folder);
    enum sdt_status status = read_config(config, h, layers, err);
    if (status == SDT_OK) {
        struct sdt_tensor_visit visit = {
            .layer = -1, .table = sdt_tensor_table_new(), .count = h->dit.count};
        if (visit.table) {
            visit.table->lora_naming = lora_naming;
            tensors(&h->dit, &visit, NULL);
        }
        status = sdt_tensors_open(visit.table, folder, how, &h->dit.weights, err);
    }
    if (status != SDT_OK)
        hunyuan_close(&h->dit);
    else
        *out = &h->dit;
    return status;
}

/* ---- prompt ---------------------------------------------------------------------------------- */

static const struct sdt_row_sum none;

/* c += embedder(x), x: [in] */
static void add_embedding(struct sdt_flow *flow, int d, int in, const struct embedder *e,
                          sdt_handle x, sdt_handle c) {
    sdt_handle hidden = sdt__vector(flow, (size_t)d, "embedding hidden");
    sdt_insert_linear(flow, "embed_1", 1, d, in, x, e->first.weight, e->first.bias,
                      SDT_EPILOGUE_SILU, hidden);
    sdt_insert_linear_residual(flow, "embed_2", 1, d, d, hidden, e->second.weight, e->second.bias,
                               none, c);
    sdt__unregister_submit(hidden);
}

/* silu(e) of all steps, [steps, d], where e is the sum of a timestep's embedding and what all steps
 * share: c, which holds that (updated). */
static sdt_handle embed_times(struct sdt_flow *flow, int d, const struct sdt_schedule *schedule,
                              const struct embedder *time, sdt_handle c) {
    int steps = schedule->steps;
    sdt_handle t = sdt__vector(flow, (size_t)steps * SINUSOID, "timesteps");
    sdt_handle hidden = sdt__vector(flow, (size_t)steps * (size_t)d, "timesteps hidden");
    sdt_handle e = sdt__vector(flow, (size_t)steps * (size_t)d, "conditions");
    sdt_insert_sinusoids(flow, "sinusoid", steps, schedule->timesteps, SINUSOID, t);
    sdt_insert_linear(flow, "time_1", steps, d, SINUSOID, t, time->first.weight, time->first.bias,
                      SDT_EPILOGUE_SILU, hidden);
    sdt_insert_linear(flow, "time_2", steps, d, d, hidden, time->second.weight, c,
                      SDT_EPILOGUE_SILU, e);
    sdt__unregister_submit(t);
    sdt__unregister_submit(hidden);
    return e;
}

static sdt_handle modulate(struct sdt_flow *flow, int steps, int n, int d, sdt_handle e,
                           const struct sdt_linear_handles *linear) {
    sdt_handle m = sdt__vector(flow, (size_t)steps * (size_t)n, "modulation");
    sdt_insert_linear(flow, "modulation", steps, n, d, e, linear->weight, linear->bias,
                      SDT_EPILOGUE_NONE, m);
    return m;
}

/* The gates of the refiner's blocks, by the mean of the text's states. */
static void refiner_gates(struct sdt_flow *flow, struct sdt_run *run,
                          const struct sdt_text_states *text, struct sdt_prompt *prompt) {
    const struct sdt_dit *dit = run->dit;
    const struct bound *b = run->bound;
    int d = dit->width;
    sdt_handle mean = sdt__vector(flow, (size_t)dit->text_dim, "mean text");
    sdt_handle c = sdt__vector(flow, (size_t)d, "condition");

    sdt_insert_mean_rows(flow, "text_mean", text->rows, dit->text_dim, text->handle, mean);
    sdt_insert_convert(flow, "condition", (size_t)d, b->refiner_time.second.bias, c);
    add_embedding(flow, d, dit->text_dim, &b->refiner_text, mean, c);
    sdt_handle e = embed_times(flow, d, &run->schedule, &b->refiner_time, c);
    for (int r = 0; r < hunyuan_of(dit)->refiners; r++)
        prompt->handle[MODULATIONS + r] =
            modulate(flow, run->schedule.steps, 2 * d, d, e, &b->refiner[r].gates);
    sdt__unregister_submit(mean);
    sdt__unregister_submit(c);
    sdt__unregister_submit(e);
}

/* What modulates the layers and the head, by guidance and the pooled text. */
static void modulations(struct sdt_flow *flow, struct sdt_run *run, sdt_handle pooled,
                        struct sdt_prompt *prompt) {
    const struct hunyuan *h = hunyuan_of(run->dit);
    const struct bound *b = run->bound;
    int d = run->dit->width, steps = run->schedule.steps;
    sdt_handle g = sdt__vector(flow, SINUSOID, "guidance");
    sdt_handle c = sdt__vector(flow, (size_t)d, "condition");
    sdt_handle *next = &prompt->handle[MODULATIONS + h->refiners];

    sdt_insert_convert(flow, "condition", (size_t)d, b->time.second.bias, c);
    if (h->guided) {
        sdt_insert_sinusoid(flow, "guidance", 1000.0f * run->schedule.guidance, SINUSOID, g);
        add_embedding(flow, d, SINUSOID, &b->guidance, g, c);
    }
    add_embedding(flow, d, run->dit->pooled_dim, &b->pooled, pooled, c);
    sdt_handle e = embed_times(flow, d, &run->schedule, &b->time, c);
    for (int l = 0; l < run->dit->layers; l++) {
        const struct block *block = &b->block[l];
        int parts = l < h->dual ? 6 : 3;
        *next++ = modulate(flow, steps, parts * d, d, e, &block->video.modulation);
        if (l < h->dual)
            *next++ = modulate(flow, steps, parts * d, d, e, &block->text.modulation);
    }
    prompt->handle[HEAD] = modulate(flow, steps, 2 * d, d, e, &b->modulation);
    sdt__unregister_submit(g);
    sdt__unregister_submit(c);
    sdt__unregister_submit(e);
}

static void prompt(struct sdt_flow *flow, struct sdt_run *run, int branch,
                   const struct sdt_text_states *text, struct sdt_prompt *prompt) {
    static const char *const names[] = {
        [WORDS] = "words",   [TOKENS] = "text tokens", [REFINED] = "refined text",
        [NORMED] = "text z", [QUERIES] = "text q",     [KEYS] = "text k",
        [VALUES] = "text v", [HIDDEN] = "text hidden",
    };
    const struct sdt_dit *dit = run->dit;
    const struct bound *b = run->bound;
    enum sdt_dtype dtype = run->layout.dtype;
    int rows = text[0].rows, d = dit->width;
    size_t states = (size_t)rows * (size_t)dit->text_dim, size = (size_t)rows * (size_t)d;
    struct sdt_at home = {.branch = branch, .layer = -1, .tile = run->layout.video_tiles};
    sdt_handle words = text[0].handle, rounded = NULL;

    prompt->rows = rows;
    for (int i = WORDS; i <= HIDDEN; i++)
        if (i != REFINED)
            prompt->handle[i] =
                sdt__tensor(flow, dtype, i == HIDDEN ? REFINER_RATIO * size : size, names[i]);
    if (dtype != SDT_F32)
        prompt->handle[REFINED] = sdt__vector(flow, size, names[REFINED]);
    sdt_run_at(flow, run, home, SDT_ROLE_TEXT);
    flow->tag.tile = -1;
    if (dtype != SDT_F32) {
        words = rounded = sdt__tensor(flow, dtype, states, "text states");
        sdt_insert_convert(flow, "text", states, text[0].handle, rounded);
    }
    sdt_insert_linear(flow, "proj_in", rows, d, dit->text_dim, words, b->words.weight,
                      b->words.bias, SDT_EPILOGUE_NONE, prompt->handle[WORDS]);
    sdt__unregister_submit(rounded);
    sdt_run_at_host(flow, run);
    refiner_gates(flow, run, &text[0], prompt);
    modulations(flow, run, text[1].handle, prompt);
}

/* ---- forward --------------------------------------------------------------------------------- */

/* The prompt's tokens in this step, at the home of their first tile. */
static void refine(struct sdt_flow *flow, struct sdt_run *run, const struct sdt_prompt *prompt) {
    const struct sdt_dit *dit = run->dit;
    const struct bound *b = run->bound;
    const sdt_handle *p = prompt->handle;
    int rows = prompt->rows, d = dit->width, step = run->step, wide = REFINER_RATIO * d;

    sdt_insert_convert(flow, "words", (size_t)rows * (size_t)d, p[WORDS], p[TOKENS]);
    for (int i = 0; i < hunyuan_of(dit)->refiners; i++) {
        const struct refiner *r = &b->refiner[i];
        const struct sdt_row_sum gate[] = {{p[MODULATIONS + i], NULL, 2 * step, 0},
                                           {p[MODULATIONS + i], NULL, 2 * step + 1, 0}};
        const struct sdt_linear_handles *to[] = {&r->q, &r->k, &r->v};
        sdt_insert_layer_norm(flow, "refiner_norm1", rows, d, EPS, p[TOKENS], r->norm1.weight,
                              r->norm1.bias, none, none, p[NORMED]);
        for (int j = 0; j < 3; j++)
            sdt_insert_linear(flow, "refiner_qkv", rows, d, d, p[NORMED], to[j]->weight,
                              to[j]->bias, SDT_EPILOGUE_NONE, p[QUERIES + j]);
        sdt_insert_cross_attention(flow, "refiner_attention", rows, dit->heads, dit->head_dim, EPS,
                                   rows, 0.0f, p[QUERIES], NULL, p[KEYS], p[VALUES], p[NORMED]);
        sdt_insert_linear_residual(flow, "refiner_out", rows, d, d, p[NORMED], r->out.weight,
                                   r->out.bias, gate[0], p[TOKENS]);
        sdt_insert_layer_norm(flow, "refiner_norm2", rows, d, EPS, p[TOKENS], r->norm2.weight,
                              r->norm2.bias, none, none, p[NORMED]);
        sdt_insert_linear(flow, "refiner_up", rows, wide, d, p[NORMED], r->up.weight, r->up.bias,
                          SDT_EPILOGUE_SILU, p[HIDDEN]);
        sdt_insert_linear_residual(flow, "refiner_down", rows, d, wide, p[HIDDEN], r->down.weight,
                                   r->down.bias, gate[1], p[TOKENS]);
    }
    if (p[REFINED])
        sdt_insert_convert(flow, "refined", (size_t)rows * (size_t)d, p[TOKENS], p[REFINED]);
}

/* A tile of text gets its rows of the refined tokens, zeros past their end: they are cut like a
 * latent of one channel whose patches are rows. */
static void embed(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at, sdt_handle latent) {
    const struct bound *b = run->bound;
    const struct sdt_layout *layout = &run->layout;
    const struct sdt_prompt *prompt = run->branch[at.branch].prompt;
    int values = (int)sdt_patch_values(run->dit), d = run->dit->width;
    sdt_handle x = latent;

    if (!latent) {
        struct sdt_patch rows = {1, 1, prompt->rows, d, {1, 1, d}};
        if (at.tile == layout->video_tiles)
            refine(flow, run, prompt);
        sdt_insert_patchify(flow, "text_rows", &rows,
                            sdt_tile_first(layout, at.tile) - layout->video, sdt_rows(run, at),
                            prompt->handle[prompt->handle[REFINED] ? REFINED : TOKENS],
                            at.stream->x[at.tile]);
        return;
    }
    if (layout->dtype != SDT_F32) {
        x = sdt_run_hidden(run, at);
        sdt_insert_convert(flow, "latent", (size_t)sdt_rows(run, at) * (size_t)values, latent, x);
    }
    sdt_insert_linear(flow, "patch_embedding", sdt_rows(run, at), d, values, x, b->patch.weight,
                      b->patch.bias, SDT_EPILOGUE_NONE, at.stream->x[at.tile]);
}

/* What a tile meets in its layer. */
struct here {
    const struct stream *stream;
    bool single;
    sdt_handle modulation; /* [steps, parts, d] */
    int first;             /* of the step's rows */
};

static struct here here_of(const struct sdt_run *run, struct sdt_at at) {
    const struct hunyuan *h = hunyuan_of(run->dit);
    const struct block *block = &((const struct bound *)run->bound)->block[at.layer];
    const sdt_handle *m = &run->branch[at.branch].prompt->handle[MODULATIONS + h->refiners];
    if (at.layer >= h->dual)
        return (struct here){&block->video, true, m[h->dual + at.layer], 3 * run->step};
    bool text = at.tile >= run->layout.video_tiles;
    return (struct here){text ? &block->text : &block->video, false, m[2 * at.layer + text],
                         6 * run->step};
}

static struct sdt_row_sum row(const struct here *here, int part) {
    return (struct sdt_row_sum){here->modulation, NULL, here->first + part, 0};
}

/* y = mod(LN(x)), shift and scale from part `first` on */
static void norm(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at,
                 const struct here *here, int first, sdt_handle y) {
    sdt_insert_layer_norm(flow, "norm", sdt_rows(run, at), run->dit->width, EPS,
                          at.stream->x[at.tile], NULL, NULL, row(here, first + 1), row(here, first),
                          y);
}

static void begin(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at) {
    struct here here = here_of(run, at);
    norm(flow, run, at, &here, 0, at.stream->z[at.tile]);
}

/* q and k are normed head by head. Text has no place in the grid: it is not rotated. */
static void project(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at,
                    enum sdt_projection which, const sdt_handle *piece) {
    static const char *const name[] = {"to_q", "to_k", "to_v"};
    static const char *const split_name[] = {"split_q", "split_k", "split_v"};
    const struct sdt_dit *dit = run->dit;
    const struct sdt_layout *layout = &run->layout;
    struct here here = here_of(run, at);
    const struct sdt_linear_handles *linear[] = {&here.stream->q, &here.stream->k, &here.stream->v};
    sdt_handle weight[] = {here.stream->norm_q, here.stream->norm_k, NULL};
    sdt_handle normed = sdt_run_raw(run, at);
    sdt_handle raw = weight[which] ? sdt_run_hidden(run, at) : normed;
    bool rotate = which != SDT_PROJECT_V && at.tile < layout->video_tiles;

    sdt_insert_linear(flow, name[which], sdt_rows(run, at), dit->width, dit->width,
                      at.stream->z[at.tile], linear[which]->weight, linear[which]->bias,
                      SDT_EPILOGUE_NONE, raw);
    if (weight[which])
        sdt_insert_rms_norm(flow, "norm_heads", sdt_rows(run, at) * dit->heads, dit->head_dim, EPS,
                            raw, weight[which], normed);
    struct sdt_split_heads split = {.rows = sdt_rows(run, at),
                                    .valid_rows = sdt_tile_valid(layout, at.tile),
                                    .heads = dit->heads,
                                    .e = dit->head_dim,
                                    .rope = run->rope,
                                    .first_token = sdt_tile_first(layout, at.tile),
                                    .pieces = layout->chunks,
                                    .head = layout->head};
    sdt_insert_split_heads(flow, split_name[which], &split, normed, NULL,
                           rotate ? run->rope_table : NULL, piece);
}

/* x += gate (out(z) [+ down(gelu(up(mod(LN(x)))))], the latter in single layers, of the same x as
 * attention */
static void join(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at) {
    struct here here = here_of(run, at);
    const struct stream *s = here.stream;
    int rows = sdt_rows(run, at), d = run->dit->width, mlp = hunyuan_of(run->dit)->mlp;
    sdt_handle x = at.stream->x[at.tile], hidden = NULL;

    if (here.single) {
        sdt_handle z = sdt_run_raw(run, at);
        hidden = sdt_run_hidden(run, at);
        norm(flow, run, at, &here, 0, z);
        sdt_insert_linear(flow, "mlp_up", rows, mlp, d, z, s->up.weight, s->up.bias,
                          SDT_EPILOGUE_GELU_TANH, hidden);
    }
    sdt_insert_linear_residual(flow, "to_out", rows, d, d, at.stream->z[at.tile], s->out.weight,
                               s->out.bias, row(&here, 2), x);
    if (here.single)
        sdt_insert_linear_residual(flow, "mlp_down", rows, d, mlp, hidden, s->down.weight, NULL,
                                   row(&here, 2), x);
}

/* x += gate down(gelu(up(mod(LN(x))))), in dual layers */
static void finish(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at) {
    struct here here = here_of(run, at);
    const struct stream *s = here.stream;
    int rows = sdt_rows(run, at), d = run->dit->width, mlp = hunyuan_of(run->dit)->mlp;

    if (here.single)
        return;
    sdt_handle hidden = sdt_run_hidden(run, at);
    norm(flow, run, at, &here, 3, at.stream->z[at.tile]);
    sdt_insert_linear(flow, "mlp_up", rows, mlp, d, at.stream->z[at.tile], s->up.weight, s->up.bias,
                      SDT_EPILOGUE_GELU_TANH, hidden);
    sdt_insert_linear_residual(flow, "mlp_down", rows, d, mlp, hidden, s->down.weight, s->down.bias,
                               row(&here, 5), at.stream->x[at.tile]);
}

/* Its channels are slowest already. */
static void head(struct sdt_flow *flow, struct sdt_run *run, struct sdt_at at,
                 sdt_handle velocity) {
    const struct bound *b = run->bound;
    const struct sdt_layout *layout = &run->layout;
    int values = (int)sdt_patch_values(run->dit);
    sdt_handle m = run->branch[at.branch].prompt->handle[HEAD];
    sdt_handle z = at.stream->z[at.tile], y = velocity;

    if (layout->dtype != SDT_F32)
        y = sdt_run_hidden(run, at);
    sdt_insert_layer_norm(flow, "norm_out", sdt_rows(run, at), run->dit->width, EPS,
                          at.stream->x[at.tile], NULL, NULL,
                          (struct sdt_row_sum){m, NULL, 2 * run->step, 0},
                          (struct sdt_row_sum){m, NULL, 2 * run->step + 1, 0}, z);
    sdt_insert_linear(flow, "proj_out", sdt_rows(run, at), values, run->dit->width, z,
                      b->proj_out.weight, b->proj_out.bias, SDT_EPILOGUE_NONE, y);
    if (y != velocity)
        sdt_insert_convert(flow, "velocity", (size_t)sdt_rows(run, at) * (size_t)values, y,
                           velocity);
}

/* ---- predictions ----------------------------------------------------------------------------- */

/* The refiner's is left out: it has the text's tokens alone. */
static struct sdt_work work(const struct sdt_dit *dit, int64_t tokens, int text_rows) {
    double l = (double)tokens + text_rows, d = dit->width, mlp = hunyuan_of(dit)->mlp;
    return (struct sdt_work){.linear = dit->layers * l * (8.0 * d * d + 4.0 * d * mlp),
                             .attention = dit->layers * 4.0 * l * l * d};
}

static void add_linear(struct sdt_operations *list, enum sdt_operation_when when, double tasks,
                       int rows, int n, int k, enum sdt_epilogue epilogue) {
    sdt_operations_add(list, (struct sdt_operation){.kind = SDT_OPERATION_LINEAR,
                                                    .when = when,
                                                    .tasks = tasks,
                                                    .rows = rows,
                                                    .n = n,
                                                    .k = k,
                                                    .epilogue = epilogue});
}

static void add_norm(struct sdt_operations *list, enum sdt_operation_when when, double tasks,
                     int rows, int n) {
    sdt_operations_add(
        list, (struct sdt_operation){
                  .kind = SDT_OPERATION_NORM, .when = when, .tasks = tasks, .rows = rows, .n = n});
}

/* Layers of both kinds have the same. */
static void operations(const struct sdt_dit *dit, int rows, int text_rows,
                       struct sdt_operations *list) {
    const struct hunyuan *h = hunyuan_of(dit);
    int d = dit->width, values = (int)sdt_patch_values(dit), wide = REFINER_RATIO * d;
    struct sdt_operation heads = {.kind = SDT_OPERATION_SPLIT_HEADS,
                                  .tasks = 3,
                                  .rows = rows,
                                  .heads = dit->heads,
                                  .e = dit->head_dim};

    add_linear(list, SDT_EACH_LAYER, 4, rows, d, d, SDT_EPILOGUE_NONE);
    sdt_operations_add(list, heads);
    add_norm(list, SDT_EACH_LAYER, 2, rows * dit->heads, dit->head_dim);
    add_norm(list, SDT_EACH_LAYER, 2, rows, d);
    add_linear(list, SDT_EACH_LAYER, 1, rows, h->mlp, d, SDT_EPILOGUE_GELU_TANH);
    add_linear(list, SDT_EACH_LAYER, 1, rows, d, h->mlp, SDT_EPILOGUE_NONE);

    add_linear(list, SDT_EACH_TILE, 1, rows, d, values, SDT_EPILOGUE_NONE);
    add_linear(list, SDT_EACH_TILE, 1, rows, values, d, SDT_EPILOGUE_NONE);
    add_norm(list, SDT_EACH_TILE, 1, rows, d);

    add_linear(list, SDT_EACH_FORWARD, 4 * h->refiners, text_rows, d, d, SDT_EPILOGUE_NONE);
    add_linear(list, SDT_EACH_FORWARD, h->refiners, text_rows, wide, d, SDT_EPILOGUE_SILU);
    add_linear(list, SDT_EACH_FORWARD, h->refiners, text_rows, d, wide, SDT_EPILOGUE_NONE);
    add_norm(list, SDT_EACH_FORWARD, 2 * h->refiners, text_rows, d);
    heads.kind = SDT_OPERATION_CROSS_ATTENTION;
    heads.when = SDT_EACH_FORWARD;
    heads.tasks = h->refiners;
    heads.rows = text_rows;
    heads.keys = text_rows;
    sdt_operations_add(list, heads);
}

const struct sdt_dit_kind sdt__hunyuan_dit = {
    .class_name = "HunyuanVideoTransformer3DModel",
    .open = hunyuan_open,
    .close = hunyuan_close,
    .tensors = tensors,
    .bound_size = bound_size,
    .prompt = prompt,
    .embed = embed,
    .begin = begin,
    .project = project,
    .join = join,
    .finish = finish,
    .head = head,
    .layer_kind = layer_kind,
    .work = work,
    .operations = operations,
};

/* ---- the pipeline ---------------------------------------------------------------------------- */

extern const struct sdt_vae_kind sdt__hunyuan_vae;
extern const char sdt__hunyuan_vae_config[]; /* of the published decoder */
extern const struct sdt_text_kind sdt__llama, sdt__clip;

/* What LLaMA reads around a prompt. Its first 95 tokens, a begin among them, are the same for all
 * prompts: their states are left out. */
#define SYSTEM                                                                                     \
    "<|start_header_id|>system<|end_header_id|>\n\nDescribe the video by detailing the following " \
    "aspects: 1. The main content and theme of the video.2. The color, shape, size, texture, "     \
    "quantity, text, and spatial relationships of the objects.3. Actions, events, behaviors "      \
    "temporal relationships, physical movement changes of the objects.4. background environment, " \
    "light, style and atmosphere.5. camera angles, movements, and transitions used in the video:"  \
    "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n"
enum { SYSTEM_TOKENS = 95, CLIP_TOKENS = 77 };

static const struct sdt_size sizes[] = {
    {"hunyuan-13b",
     "{\"_class_name\": \"HunyuanVideoTransformer3DModel\", \"in_channels\": 16, "
     "\"out_channels\": 16, \"num_attention_heads\": 24, \"attention_head_dim\": 128, "
     "\"num_layers\": 20, \"num_single_layers\": 40}",
     sdt__hunyuan_vae_config,
     {"{\"model_type\": \"llama\", \"hidden_size\": 4096, \"num_hidden_layers\": 32, "
      "\"num_attention_heads\": 32, \"num_key_value_heads\": 8, \"intermediate_size\": 14336, "
      "\"vocab_size\": 128320, \"rms_norm_eps\": 1e-05, \"rope_theta\": 500000.0}",
      "{\"model_type\": \"clip_text_model\", \"hidden_size\": 768, \"num_hidden_layers\": 12, "
      "\"num_attention_heads\": 12, \"intermediate_size\": 3072, \"vocab_size\": 49408, "
      "\"max_position_embeddings\": 77, \"hidden_act\": \"quick_gelu\"}"},
     {.dit = SDT_BF16, .text = {SDT_F16, SDT_F16}}},
    {NULL},
};

extern const struct sdt_calibration sdt__hunyuan_calibrations[];

const struct sdt_family sdt__family_hunyuan = {
    .calibrations = sdt__hunyuan_calibrations,
    .pipeline_class = "HunyuanVideoPipeline",
    .name = "HunyuanVideo",
    .dit = &sdt__hunyuan_dit,
    .vae = &sdt__hunyuan_vae,
    .text = {&sdt__llama, &sdt__clip},
    .prompt = {{.before = SYSTEM, .after = "<|eot_id|>", .dropped = SYSTEM_TOKENS},
               {.longest = CLIP_TOKENS}},
    .sizes = sizes,
    .defaults = {.height = 720,
                 .width = 1280,
                 .num_frames = 129,
                 .steps = 50,
                 .guidance_scale = 6.0,
                 .true_cfg_scale = 1.0,
                 .flow_shift = 7.0,
                 .fps = 24.0,
                 .max_sequence_length = 256,
                 .sampler = SDT_SAMPLER_EULER,
                 .schedule = SDT_SCHEDULE_LINEAR}, /* the pipeline hands its own sigmas */
};
