/* Wan 2.1 video decoder: the decoder half of AutoencoderKLWan, as a stream of frames through a list
 * of layers.
 *
 * A convolution's task reads the frame and its two predecessors, so the tasks (frame, layer) form a
 * wavefront, frame t + 1 in layer l while frame t is in layer l + 1, and memory does not grow with
 * the length (with spatial tiles it does: a tile keeps its frames until its seams are blended).
 * Over several devices the layers are cut into contiguous stages of about equal work; with spatial
 * tiles, whole tiles go to the devices in turn instead. */
#include "graph/models/family.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/config.h"
#include "graph/run/parameters.h"

#define MAX_BLOCKS 8
#define MAX_CHANNELS 256 /* of the latent */
#define NAME_SIZE 96

extern const struct sdt_vae_kind sdt__wan_vae;
extern const char sdt__wan_vae_config[];
static const struct sdt_files files;

struct wan_vae {
    struct sdt_vae vae;
    int base_dim, z_dim, blocks, res_blocks;
    int multiplier[MAX_BLOCKS];
    bool upsample_time[MAX_BLOCKS]; /* of up block i */
    float mean[MAX_CHANNELS], std[MAX_CHANNELS];
};

static const struct wan_vae *wan_of(const struct sdt_vae *vae) {
    return (const struct wan_vae *)vae;
}

/* ---- configuration -------------------------------------------------------------------------- */

static enum sdt_status read_config(const struct sdt_config *json, struct wan_vae *vae,
                                   struct sdt_error *err) {
    const char *path = sdt_config_path(json);
    enum sdt_status status = SDT_OK;
    int64_t base = 0, z = 0, res = 0;
    double multiplier[MAX_BLOCKS], down[MAX_BLOCKS], mean[MAX_CHANNELS], std[MAX_CHANNELS];
    int blocks = 0, downs = 0, means = 0, stds = 0;

#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
    NEXT(sdt_config_int(json, "base_dim", true, 1, 4096, &base, err));
    NEXT(sdt_config_int(json, "z_dim", true, 1, MAX_CHANNELS, &z, err));
    NEXT(sdt_config_int(json, "num_res_blocks", true, 1, 16, &res, err));
    NEXT(sdt_config_numbers(json, "dim_mult", true, MAX_BLOCKS, multiplier, &blocks, err));
    /* spelled so in the config */
    NEXT(sdt_config_numbers(json, "temperal_downsample", true, MAX_BLOCKS, down, &downs, err));
    NEXT(sdt_config_numbers(json, "latents_mean", true, MAX_CHANNELS, mean, &means, err));
    NEXT(sdt_config_numbers(json, "latents_std", true, MAX_CHANNELS, std, &stds, err));
    NEXT(sdt_config_only(json, "attn_scales", "[]", err));
    NEXT(sdt_config_only(json, "is_residual", "false", err));
    NEXT(sdt_config_only(json, "patch_size", "null", err));
#undef NEXT
    if (status != SDT_OK)
        return status;
    if (blocks < 2 || downs != blocks - 1 || means != z || stds != z)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: dim_mult has %d entries, temperal_downsample %d (one less is needed), "
                        "latents_mean %d and latents_std %d (z_dim %d is needed)",
                        path, blocks, downs, means, stds, (int)z);
    vae->base_dim = (int)base;
    vae->z_dim = (int)z;
    vae->blocks = blocks;
    vae->res_blocks = (int)res;
    for (int i = 0; i < blocks; i++) {
        if (multiplier[i] < 1 || multiplier[i] > 64 || multiplier[i] != floor(multiplier[i]) ||
            (double)base * multiplier[i] > 16384 || (i > 0 && ((int)base * (int)multiplier[i]) % 2))
            return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                            "%s: dim_mult %g x base_dim %d gives no usable channel count", path,
                            multiplier[i], (int)base);
        vae->multiplier[i] = (int)multiplier[i];
    }
    for (int i = 0; i < downs; i++)
        vae->upsample_time[i] = down[downs - 1 - i] != 0.0;
    for (int c = 0; c < z; c++) {
        vae->mean[c] = (float)mean[c];
        vae->std[c] = (float)std[c];
    }
    int time = 1;
    for (int i = 0; i < downs; i++)
        time *= vae->upsample_time[i] ? 2 : 1;
    vae->vae = (struct sdt_vae){.kind = &sdt__wan_vae,
                                .channels = (int)z,
                                .space_ratio = 1 << (blocks - 1),
                                .time_ratio = time,
                                .tile = {256, 256, 192, 192}};
    return SDT_OK;
}

const char sdt__wan_vae_config[] =
    "{\"_class_name\": \"AutoencoderKLWan\", \"base_dim\": 96, \"z_dim\": 16, "
    "\"dim_mult\": [1, 2, 4, 4], \"num_res_blocks\": 2, "
    "\"temperal_downsample\": [false, true, true], "
    "\"latents_mean\": [-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508, "
    "0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921], "
    "\"latents_std\": [2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743, "
    "3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.916]}";

/* Names that stand apart in other layouts. */
#define LATENT_CONV "post_quant_conv"
#define MIDDLE "decoder.mid_block."
#define UP_BLOCK "decoder.up_blocks.%d."
#define RESNET "resnets.%d."
#define UPSAMPLER "upsamplers.0."

/* ---- the layers ------------------------------------------------------------------------------ */

/* An edge carries the frames between two layers: a ring of frames, of which a layer that looks back
 * sees the last three. A frame is a handle for each band of rows, or, where the next layer reads it
 * whole, one. */
struct edge {
    int channels;
    bool whole;         /* one band, on any device */
    int space;          /* pixels per latent, each way: 1, 2, 4, 8 */
    int window;         /* frames that its readers look at: 1 or 3 */
    int alias;          /* edge whose frame 0 is this edge's frame 0; -1: none */
    int count;          /* of the ring */
    int bands;          /* of a frame of the tile at hand */
    int room;           /* bands of a frame of the largest tile */
    sdt_handle *handle; /* [count, room] */
};

enum kind { WINDOW, CONV, NORM, ATTEND, TIME, PUT };

struct layer {
    enum kind kind;
    char name[NAME_SIZE];    /* tensor prefix: "decoder.conv_in" */
    int in, residual, out;   /* edges; residual -1: none */
    struct sdt_conv conv;    /* CONV: channels and kernel; height and width filled per tile */
    bool silu;               /* NORM */
    int time;                /* frames per latent frame after the first: 1, 2, 4 */
    double flops;            /* per latent frame, per latent pixel (attention: linear part) */
    int device;              /* of the job's */
    sdt_handle weight, bias; /* gamma in weight */
};

struct program {
    struct layer *layer;
    struct edge *edge;
    int layers, edges, layers_capacity, edges_capacity;
    bool failed;          /* out of memory */
    struct layer nowhere; /* written to, never read, after a failure */
};

static int add_edge(struct program *p, int channels, int space) {
    if (p->edges == p->edges_capacity) {
        int capacity = p->edges_capacity ? 2 * p->edges_capacity : 64;
        struct edge *edge = realloc(p->edge, (size_t)capacity * sizeof *edge);
        if (!edge) {
            p->failed = true;
            return 0;
        }
        p->edge = edge;
        p->edges_capacity = capacity;
    }
    p->edge[p->edges] =
        (struct edge){.channels = channels, .space = space, .window = 1, .alias = -1};
    return p->edges++;
}

static struct layer *add_layer(struct program *p, enum kind kind, int in, int out, int time,
                               const char *name) {
    if (p->layers == p->layers_capacity) {
        int capacity = p->layers_capacity ? 2 * p->layers_capacity : 64;
        struct layer *layer = realloc(p->layer, (size_t)capacity * sizeof *layer);
        if (!layer) {
            p->failed = true;
            return &p->nowhere;
        }
        p->layer = layer;
        p->layers_capacity = capacity;
    }
    struct layer *layer = &p->layer[p->layers++];
    *layer = (struct layer){.kind = kind, .in = in, .residual = -1, .out = out, .time = time};
    snprintf(layer->name, sizeof layer->name, "%s", name);
    return layer;
}

/* Convolution from edge `in` to a new edge, which is returned. */
static int conv(struct program *p, int in, int out_channels, int kt, int ks, bool upsample,
                int residual, int time, const char *prefix, const char *name) {
    char full[NAME_SIZE];
    if (p->failed)
        return 0;
    int space = p->edge[in].space, channels = p->edge[in].channels;
    int out = add_edge(p, out_channels, upsample ? 2 * space : space);
    snprintf(full, sizeof full, "%s%s", prefix, name);
    struct layer *layer = add_layer(p, CONV, in, out, time, full);
    layer->conv = (struct sdt_conv){
        .in = channels, .out = out_channels, .kt = kt, .ks = ks, .upsample = upsample};
    layer->residual = residual;
    layer->flops = 2.0 * channels * out_channels * kt * ks * ks * space * space *
                   (upsample ? 4.0 : 1.0) * time;
    if (kt > 1)
        p->edge[in].window = 3;
    return out;
}

/* Channel norm; out: a new edge, or in place. */
static int norm(struct program *p, int in, bool in_place, bool silu, int time, const char *prefix,
                const char *name) {
    char full[NAME_SIZE];
    if (p->failed)
        return 0;
    int out = in_place ? in : add_edge(p, p->edge[in].channels, p->edge[in].space);
    snprintf(full, sizeof full, "%s%s", prefix, name);
    struct layer *layer = add_layer(p, NORM, in, out, time, full);
    layer->silu = silu;
    return out;
}

static int res_block(struct program *p, int in, int channels, int time, const char *prefix) {
    if (p->failed)
        return 0;
    int y = norm(p, in, false, true, time, prefix, "norm1");
    y = conv(p, y, channels, 3, 3, false, -1, time, prefix, "conv1");
    y = norm(p, y, true, true, time, prefix, "norm2");
    int skip = in;
    if (!p->failed && p->edge[in].channels != channels)
        skip = conv(p, in, channels, 1, 1, false, -1, time, prefix, "conv_shortcut");
    return conv(p, y, channels, 3, 3, false, skip, time, prefix, "conv2");
}

static int attention(struct program *p, int in, int time, const char *prefix) {
    if (p->failed)
        return 0;
    int channels = p->edge[in].channels;
    int y = norm(p, in, false, false, time, prefix, "norm");
    y = conv(p, y, 3 * channels, 1, 1, false, -1, time, prefix, "to_qkv");
    if (p->failed)
        return 0;
    p->edge[y].whole = true;
    int o = add_edge(p, channels, p->edge[y].space);
    add_layer(p, ATTEND, y, o, time, "attention");
    return conv(p, o, channels, 1, 1, false, in, time, prefix, "proj");
}

/* Two frames out of each frame but the first: frame 0 passes by. */
static int time_upsample(struct program *p, int in, int time, const char *prefix) {
    char full[NAME_SIZE];
    if (p->failed)
        return 0;
    int channels = p->edge[in].channels, space = p->edge[in].space;
    int out = add_edge(p, channels, space);
    if (p->failed)
        return 0;
    p->edge[out].alias = in;
    p->edge[in].window = 3;
    snprintf(full, sizeof full, "%stime_conv", prefix);
    struct layer *layer = add_layer(p, TIME, in, out, time, full);
    layer->flops = 12.0 * channels * channels * space * space * time;
    return out;
}

/* The whole decoder, in the order in which a frame passes. */
static void build(const struct wan_vae *vae, struct program *p) {
    char prefix[64];
    int time = 1, channels = vae->base_dim * vae->multiplier[vae->blocks - 1];

    *p = (struct program){0};
    int x = add_edge(p, vae->z_dim, 1);
    if (!p->failed)
        p->edge[x].whole = true;
    add_layer(p, WINDOW, -1, x, time, "latent");
    x = conv(p, x, vae->z_dim, 1, 1, false, -1, time, "", LATENT_CONV);
    x = conv(p, x, channels, 3, 3, false, -1, time, "decoder.", "conv_in");
    x = res_block(p, x, channels, time, MIDDLE "resnets.0.");
    x = attention(p, x, time, MIDDLE "attentions.0.");
    x = res_block(p, x, channels, time, MIDDLE "resnets.1.");
    for (int i = 0; i < vae->blocks; i++) {
        channels = vae->base_dim * vae->multiplier[vae->blocks - 1 - i];
        for (int r = 0; r <= vae->res_blocks; r++) {
            snprintf(prefix, sizeof prefix, UP_BLOCK RESNET, i, r);
            x = res_block(p, x, channels, time, prefix);
        }
        if (i == vae->blocks - 1)
            break;
        snprintf(prefix, sizeof prefix, UP_BLOCK UPSAMPLER, i);
        if (vae->upsample_time[i]) {
            x = time_upsample(p, x, time, prefix);
            time *= 2;
        }
        x = conv(p, x, channels / 2, 1, 3, true, -1, time, prefix, "resample.1");
    }
    x = norm(p, x, true, true, time, "decoder.", "norm_out");
    x = conv(p, x, 3, 3, 3, false, -1, time, "decoder.", "conv_out");
    add_layer(p, PUT, x, -1, time, "put");
}

static void program_clear(struct program *p) {
    for (int e = 0; e < p->edges; e++) {
        for (int i = 0; p->edge[e].handle && i < p->edge[e].count * p->edge[e].room; i++)
            sdt__unregister_submit(p->edge[e].handle[i]);
        free(p->edge[e].handle);
    }
    free(p->edge);
    free(p->layer);
    *p = (struct program){0};
}

static void list_tensors(const struct program *p, struct sdt_tensor_table *table) {
    for (int i = 0; i < p->layers; i++) {
        const struct layer *l = &p->layer[i];
        const struct sdt_conv *c = &l->conv;
        int channels = l->in < 0 ? 0 : p->edge[l->in].channels;
        bool flat = strstr(l->name, "to_qkv") || strstr(l->name, "proj") ||
                    strstr(l->name, "resample.1"); /* Conv2d: no time axis */
        if (l->kind == CONV && flat)
            sdt_tensor_table_add(table, 4, (int64_t[]){c->out, c->in, c->ks, c->ks}, "%s.weight",
                                 l->name);
        else if (l->kind == CONV)
            sdt_tensor_table_add(table, 5, (int64_t[]){c->out, c->in, c->kt, c->ks, c->ks},
                                 "%s.weight", l->name);
        else if (l->kind == TIME)
            sdt_tensor_table_add(table, 5, (int64_t[]){2 * channels, channels, 3, 1, 1},
                                 "%s.weight", l->name);
        else if (l->kind == NORM)
            sdt_tensor_table_add(table, strstr(l->name, "attentions") ? 3 : 4,
                                 (int64_t[]){channels, 1, 1, 1}, "%s.gamma", l->name);
        if (l->kind == CONV || l->kind == TIME)
            sdt_tensor_table_add(table, 1, (int64_t[]){l->kind == TIME ? 2 * channels : c->out},
                                 "%s.bias", l->name);
    }
    sdt_tensor_table_ignore(table, "encoder.");
    sdt_tensor_table_ignore(table, "quant_conv.");
}

static void wan_vae_close(struct sdt_vae *vae) {
    sdt_weights_close(vae->weights);
    free(vae);
}

static enum sdt_status wan_vae_open(const struct sdt_config *config, const char *folder,
                                    const struct sdt_opening *how, struct sdt_vae **out,
                                    struct sdt_error *err) {
    struct program program = {0};
    struct wan_vae *vae = calloc(1, sizeof *vae);

    *out = NULL;
    if (!vae)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", folder);
    enum sdt_status status = read_config(config, vae, err);
    if (status == SDT_OK) {
        build(vae, &program);
        struct sdt_tensor_table *table = program.failed ? NULL : sdt_tensor_table_new();
        if (table) {
            table->namings = &files.namings;
            table->model = vae;
            list_tensors(&program, table);
        }
        status = sdt_tensors_open(table, folder, how, &vae->vae.weights, err);
    }
    program_clear(&program);
    if (status != SDT_OK)
        wan_vae_close(&vae->vae);
    else
        *out = &vae->vae;
    return status;
}

/* ---- single files ---------------------------------------------------------------------------- */

/* As the model's own repository and ComfyUI have it: up blocks are one list of layers, so that
 * numbers depend on how many a block has. */
static void spell_original(const void *model, const char *name, char *text, size_t size) {
    static const struct sdt_replacement list[] = {
        {MIDDLE "resnets.0.", "decoder.middle.0."},
        {MIDDLE "attentions.0.", "decoder.middle.1."},
        {MIDDLE "resnets.1.", "decoder.middle.2."},
        {".norm1.", ".residual.0."},
        {".conv1.", ".residual.2."},
        {".norm2.", ".residual.3."},
        {".conv2.", ".residual.6."},
        {".conv_shortcut.", ".shortcut."},
        {".conv_in.", ".conv1."},
        {".norm_out.", ".head.0."},
        {".conv_out.", ".head.2."},
        {LATENT_CONV ".", "conv2."},
        {"quant_conv.", "conv1."},
        {NULL, NULL},
    };
    const struct wan_vae *vae = model;
    char flat[SDT_NAME_ROOM];
    int block, resnet, end = 0;

    if (vae && sscanf(name, UP_BLOCK RESNET "%n", &block, &resnet, &end) == 2 && end > 0)
        snprintf(flat, sizeof flat, "decoder.upsamples.%d.%s",
                 block * (vae->res_blocks + 2) + resnet, name + end);
    else if (vae && sscanf(name, UP_BLOCK UPSAMPLER "%n", &block, &end) == 1 && end > 0)
        snprintf(flat, sizeof flat, "decoder.upsamples.%d.%s",
                 block * (vae->res_blocks + 2) + vae->res_blocks + 1, name + end);
    else
        snprintf(flat, sizeof flat, "%s", name);
    sdt_replace(list, flat, text, size);
}

/* Shapes do not tell the mean and deviation of a latent: without a configuration of as many
 * channels, the file is taken for the published decoder. */
static enum sdt_status describe(const struct sdt_recognised *file, const struct sdt_config *like,
                                char text[SDT_CONFIG_ROOM], struct sdt_error *err) {
    const struct sdt_stored *first = sdt_recognised_tensor(file, LATENT_CONV ".weight");
    int64_t z = first && first->rank > 1 ? first->shape[1] : 0, published = 0, of_like = 0;
    struct sdt_config *config;
    enum sdt_status status = SDT_OK;

    if (like)
        status = sdt_config_int(like, "z_dim", true, 1, MAX_CHANNELS, &of_like, err);
    if (status != SDT_OK || (like && of_like == z))
        return status;
    status = sdt_config_parse("the published decoder", sdt__wan_vae_config, &config, err);
    if (status == SDT_OK)
        status = sdt_config_int(config, "z_dim", true, 1, MAX_CHANNELS, &published, err);
    sdt_config_close(config);
    if (status == SDT_OK && z != published)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s decodes latents of %d channels, the published decoder %d; a "
                        "config.json with their latents_mean and latents_std beside it, or --model "
                        "with such a vae folder, would describe it",
                        sdt_weights_folder(file->weights), (int)z, (int)published);
    snprintf(text, SDT_CONFIG_ROOM, "%s", sdt__wan_vae_config);
    return status;
}

static const struct sdt_files files = {
    .namings = {.naming = (const struct sdt_naming[]){{"diffusers", NULL},
                                                      {"the original repository", spell_original},
                                                      {NULL, NULL}},
                .prefix = (const char *const[]){"", "vae.", "first_stage_model.", NULL}},
    .marks = (const char *const[]){LATENT_CONV ".weight", MIDDLE "attentions.0.to_qkv.weight",
                                   "decoder.conv_in.weight", NULL},
    .describe = describe,
};

/* ---- tiles ----------------------------------------------------------------------------------- */

/* How a latent of height x width is cut: tile (i, j) starts at (i stride_rows, j stride_cols), in
 * latents. */
struct tiling {
    int rows, cols; /* tiles */
    int size_rows, size_cols, stride_rows, stride_cols;
};

static struct tiling tiling_of(const struct wan_vae *vae, const struct sdt_vae_job *job) {
    int ratio = vae->vae.space_ratio;
    struct tiling t = {job->tiling.size_rows / ratio,
                       job->tiling.size_cols / ratio,
                       .size_rows = job->tiling.size_rows / ratio,
                       .size_cols = job->tiling.size_cols / ratio,
                       .stride_rows = job->tiling.stride_rows / ratio,
                       .stride_cols = job->tiling.stride_cols / ratio};
    if (!job->tiling.size_rows || (job->height <= t.size_rows && job->width <= t.size_cols))
        return (struct tiling){1, 1, job->height, job->width, job->height, job->width};
    t.rows = (job->height + t.stride_rows - 1) / t.stride_rows;
    t.cols = (job->width + t.stride_cols - 1) / t.stride_cols;
    return t;
}

static int at_most(int a, int b) { return a < b ? a : b; }

static enum sdt_status check(const struct sdt_vae *vae, const struct sdt_vae_job *job,
                             struct sdt_error *err) {
    const struct sdt_vae_tiling *t = &job->tiling;
    int ratio = vae->space_ratio;

    if (job->frames < 1 || job->height < 1 || job->width < 1 ||
        (double)job->frames * job->height * job->width > 1e9)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "a latent of %d frames of %dx%d (height x width) cannot be decoded",
                        job->frames, job->height, job->width);
    if (!t->size_rows && !t->size_cols)
        return SDT_OK;
    if (t->size_rows < ratio || t->size_cols < ratio || t->stride_rows < ratio ||
        t->stride_cols < ratio || t->stride_rows > t->size_rows || t->stride_cols > t->size_cols ||
        t->size_rows % ratio || t->size_cols % ratio || t->stride_rows % ratio ||
        t->stride_cols % ratio)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "VAE tiles of %dx%d pixels at a stride of %dx%d: all four must be multiples "
            "of %d, and the stride at most the size",
            t->size_rows, t->size_cols, t->stride_rows, t->stride_cols, ratio);
    return SDT_OK;
}

/* ---- decoding -------------------------------------------------------------------------------- */

/* One tile after the other on its way through the layers, in the same buffers. */
struct decoder {
    struct program program;
    const struct wan_vae *vae;
    const struct sdt_vae_job *job;
    struct sdt_machine *machine;
    int device;             /* of the job's; -1: all, in stages */
    int band_rows;          /* of a band of frames, in latents; the last one may have less */
    int y0, x0, rows, cols; /* of the tile in the latent */
    sdt_handle latent, out;
    const struct sdt_place *put; /* where frames are stored */
    /* On a GPU, frames become float32 here before they travel to the host; else NULL. */
    sdt_handle ready[2];
    bool clamp;
    struct progress *progress;
};

struct progress {
    atomic_int done;
    int total;
    sdt_frame_done call;
    void *arg;
};

static void frame_done(void *arg, int frame) {
    struct progress *progress = arg;
    (void)frame;
    int done = atomic_fetch_add(&progress->done, 1) + 1;
    if (progress->call)
        progress->call(progress->arg, done, progress->total);
}

static double speed_of(const struct sdt_place *place) {
    return place->speed > 0.0 ? place->speed : 1.0;
}

/* Contiguous stages over `devices` devices, in proportion to their speeds, or everything on one. */
static void place_layers(struct program *p, const struct sdt_place *place, int devices, int only) {
    double total = 0.0, before = 0.0, speeds = 0.0;
    for (int i = 0; i < p->layers; i++)
        total += p->layer[i].flops;
    for (int d = 0; d < devices; d++)
        speeds += speed_of(&place[d]);
    for (int i = 0; i < p->layers; i++) {
        double middle = before + p->layer[i].flops / 2.0, end = 0.0;
        int device = -1;
        while (device < devices - 1 && (device < 0 || end * total <= middle * speeds))
            end += speed_of(&place[++device]);
        p->layer[i].device = only >= 0 ? only : device;
        before += p->layer[i].flops;
    }
}

enum { MOST_BANDS = SDT_MOST_CONV_BANDS, LEAST_BAND = 2, UNKNOWN_WORKERS = 4 };

static int workers_of(const struct sdt_vae_job *job) {
    return job->place ? job->place->workers : UNKNOWN_WORKERS;
}

/* Latent rows of a band, of `rows` in a frame. On CPUs a frame is cut for all workers of a device,
 * so that one frame keeps them busy; bits do not depend on it. */
static int band_rows_of(const struct sdt_vae_job *job, int rows) {
    int bands = rows / LEAST_BAND;
    if (job->dtype != SDT_F32)
        return rows;
    for (int i = 0; job->place && i < job->devices; i++)
        if (job->place[i].kind != SDT_DEVICE_CPU)
            return rows;
    bands = at_most(at_most(bands, workers_of(job)), MOST_BANDS);
    return bands < 2 ? rows : (rows + bands - 1) / bands;
}

/* Frames of an edge's ring: those that are looked at, and more where workers would wait for one
 * another. The bands of one frame keep all workers of a single device busy; whole frames and stages
 * need several. */
static int ring_of(const struct edge *edge, const struct sdt_vae_job *job, int rows) {
    int band = band_rows_of(job, rows), bands = (rows + band - 1) / band;
    int more = at_most(workers_of(job) / bands, 3);
    if (bands > 1 && bands >= workers_of(job) && job->devices < 2)
        more = edge->alias >= 0 ? 1 : 0; /* where two frames come at a time */
    else if (more < 1)
        more = 1;
    return edge->window + more;
}

/* The band's rows on an edge, in pixels. */
static int rows_of(const struct decoder *d, const struct edge *edge, int band) {
    int rows = edge->bands == 1 ? d->rows : at_most(d->band_rows, d->rows - band * d->band_rows);
    return rows * edge->space;
}

/* Buffers for tiles of up to d->rows x d->cols latents, and what the layers read. */
static void decoder_init(struct sdt_flow *flow, struct decoder *d,
                         struct sdt_parameters *parameters, int devices) {
    struct program *p = &d->program;
    d->band_rows = band_rows_of(d->job, d->rows);
    int bands = (d->rows + d->band_rows - 1) / d->band_rows;

    build(d->vae, p);
    if (p->failed) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory while decoding");
        return;
    }
    place_layers(p, d->job->place, devices, d->device);
    for (int e = 0; e < p->edges; e++) {
        struct edge *edge = &p->edge[e];
        edge->count = ring_of(edge, d->job, d->rows);
        edge->bands = edge->room = edge->whole ? 1 : bands;
        edge->handle = calloc((size_t)edge->count * (size_t)edge->room, sizeof *edge->handle);
        if (!edge->handle) {
            if (flow->error.status == SDT_OK)
                sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory while decoding");
            return;
        }
        for (int i = 0; i < edge->count * edge->room; i++)
            edge->handle[i] =
                sdt__tensor(flow, d->job->dtype,
                            (size_t)edge->channels * (size_t)rows_of(d, edge, i % edge->room) *
                                (size_t)(d->cols * edge->space),
                            "frame");
    }
    for (int i = 0; i < p->layers; i++) {
        struct layer *l = &p->layer[i];
        enum sdt_device_kind kind = d->job->place[l->device].kind;
        if (l->kind == CONV) {
            l->weight = sdt_conv_parameter(flow, parameters, kind, d->job->dtype, l->conv.out,
                                           l->conv.in, l->conv.kt * l->conv.ks * l->conv.ks,
                                           l->conv.ks, "%s.weight", l->name);
        } else if (l->kind == TIME) {
            int channels = p->edge[l->in].channels;
            l->weight = sdt_conv_parameter(flow, parameters, kind, d->job->dtype, 2 * channels,
                                           channels, 3, 1, "%s.weight", l->name);
        } else if (l->kind == NORM) {
            l->weight = sdt_parameter(flow, parameters, SDT_F32, "%s.gamma", l->name);
        }
        if (l->kind == PUT && d->put->kind != d->job->place[l->device].kind) {
            size_t space = (size_t)p->edge[l->in].space;
            size_t values = 3 * (size_t)d->rows * space * (size_t)d->cols * space;
            d->ready[0] = sdt__vector(flow, values, "frame");
            d->ready[1] = sdt__vector(flow, values, "frame");
        }
        if (l->kind == CONV || l->kind == TIME)
            l->bias = sdt_parameter(flow, parameters, SDT_F32, "%s.bias", l->name);
    }
}

static void decoder_clear(struct decoder *d) {
    program_clear(&d->program);
    for (int i = 0; i < 2; i++)
        sdt__unregister_submit(d->ready[i]);
}

/* The buffers' next tile, which is not larger than the first. */
static void begin_tile(struct decoder *d, int y0, int x0, int rows, int cols) {
    struct program *p = &d->program;
    d->y0 = y0;
    d->x0 = x0;
    d->rows = rows;
    d->cols = cols;
    for (int e = 0; e < p->edges; e++)
        if (!p->edge[e].whole)
            p->edge[e].bands = (rows + d->band_rows - 1) / d->band_rows;
    for (int i = 0; i < p->layers; i++)
        if (p->layer[i].kind == CONV) {
            p->layer[i].conv.height = rows * p->edge[p->layer[i].in].space;
            p->layer[i].conv.width = cols * p->edge[p->layer[i].in].space;
        }
}

/* A band of frame t of an edge; NULL before frame `start`. */
static sdt_handle band_of(const struct program *p, int edge, int t, int start, int band) {
    if (t < start)
        return NULL;
    if (t == 0 && p->edge[edge].alias >= 0)
        edge = p->edge[edge].alias;
    return p->edge[edge].handle[t % p->edge[edge].count * p->edge[edge].room + band];
}

/* A convolution, band by band, from the bands of its input that each looks at. */
static void push_conv(struct sdt_flow *flow, const struct decoder *d, const struct layer *l,
                      int t) {
    const struct program *p = &d->program;
    const struct edge *in = &p->edge[l->in], *out = &p->edge[l->out];
    int scale = l->conv.upsample ? 2 : 1, reach = l->conv.ks / 2;
    int height = l->conv.height * scale;
    for (int b = 0, y0 = 0; b < out->bands; b++) {
        struct sdt_conv_part part = {
            .y0 = y0, .rows = rows_of(d, out, b), .band_rows = rows_of(d, in, 0)};
        int first = y0 - reach, last = y0 + part.rows - 1 + reach;
        first = first < 0 ? 0 : first / scale / part.band_rows;
        last = (last < height ? last : height - 1) / scale / part.band_rows;
        part.first_band = first;
        part.bands = last - first + 1;
        sdt_handle x[3 * MOST_BANDS];
        for (int i = 0; i < l->conv.kt * part.bands; i++)
            x[i] =
                band_of(p, l->in, t - (l->conv.kt - 1) + i / part.bands, 0, first + i % part.bands);
        sdt_insert_conv(flow, "vae_conv", &l->conv, &part, x, l->weight, l->bias,
                        l->residual < 0 ? NULL : band_of(p, l->residual, t, 0, b),
                        band_of(p, l->out, t, 0, b));
        y0 += part.rows;
    }
}

/* Sends frame t, which stands on the input edge of `layer`, through this layer and all that follow.
 * So a frame leaves the decoder before the next one enters; StarPU sees to what overlaps in
 * time. */
static void push(struct sdt_flow *flow, struct decoder *d, int layer, int t) {
    struct program *p = &d->program;
    struct layer *l = &p->layer[layer];

    flow->place = &d->job->place[l->device];
    flow->tag.layer = layer;
    flow->tag.chunk = t;
    switch (l->kind) {
    case WINDOW: {
        struct sdt_window window = {.channels = d->vae->z_dim,
                                    .frames = d->job->frames,
                                    .height = d->job->height,
                                    .width = d->job->width,
                                    .frame0 = t,
                                    .nframes = 1,
                                    .y0 = d->y0,
                                    .x0 = d->x0,
                                    .rows = d->rows,
                                    .cols = d->cols};
        if (flow->place->kind == SDT_DEVICE_CPU)
            flow->place = &d->machine->host; /* the latent stays; a frame of it travels */
        sdt_insert_latent_window(flow, "latent_window", &window, d->job->scale ? d->vae->std : NULL,
                                 d->job->scale ? d->vae->mean : NULL, d->latent,
                                 band_of(p, l->out, t, 0, 0));
        break;
    }
    case CONV:
        push_conv(flow, d, l, t);
        break;
    case NORM: {
        const struct edge *edge = &p->edge[l->in];
        for (int b = 0; b < edge->bands; b++)
            sdt_insert_channel_norm(flow, "vae_norm",
                                    (size_t)rows_of(d, edge, b) * (size_t)(d->cols * edge->space),
                                    edge->channels, l->silu, band_of(p, l->in, t, 0, b), l->weight,
                                    band_of(p, l->out, t, 0, b));
        break;
    }
    case ATTEND: {
        const struct edge *edge = &p->edge[l->out];
        int line = d->cols * edge->space;
        for (int b = 0, y0 = 0; b < edge->bands; y0 += rows_of(d, edge, b), b++)
            sdt_insert_frame_attention(flow, "vae_attention", d->rows * edge->space * line,
                                       edge->channels, y0 * line, rows_of(d, edge, b) * line,
                                       band_of(p, l->in, t, 0, 0), band_of(p, l->out, t, 0, b));
        break;
    }
    case TIME: {
        const struct edge *edge = &p->edge[l->in];
        if (t == 0) {
            push(flow, d, layer + 1, 0);
            return;
        }
        for (int b = 0; b < edge->bands; b++) {
            sdt_handle x[3];
            for (int i = 0; i < 3; i++)
                x[i] = band_of(p, l->in, t - 2 + i, 1, b); /* frame 0 is not seen */
            sdt_insert_time_upsample(flow, "vae_time_conv", rows_of(d, edge, b),
                                     d->cols * edge->space, edge->channels, x, l->weight, l->bias,
                                     band_of(p, l->out, 2 * t - 1, 0, b),
                                     band_of(p, l->out, 2 * t, 0, b));
        }
        push(flow, d, layer + 1, 2 * t - 1);
        push(flow, d, layer + 1, 2 * t);
        return;
    }
    case PUT: {
        const struct edge *edge = &p->edge[l->in];
        int height = d->rows * edge->space, width = d->cols * edge->space;
        for (int b = 0, y0 = 0; b < edge->bands; y0 += rows_of(d, edge, b), b++) {
            sdt_handle rows = band_of(p, l->in, t, 0, b);
            bool last = b + 1 == edge->bands;
            if (d->ready[t % 2]) { /* of GPUs: whole frames */
                sdt_insert_put_frame(flow, "frame_ready", height, width, 0, 0, height, d->clamp,
                                     rows, d->ready[t % 2], true, NULL, NULL);
                rows = d->ready[t % 2];
            }
            flow->place = d->put;
            sdt_insert_put_frame(flow, "put_frame", height, width, t, y0, rows_of(d, edge, b),
                                 d->clamp, rows, d->out, t == 0 && b == 0 && !d->clamp,
                                 last ? frame_done : NULL, last ? d->progress : NULL);
        }
        return;
    }
    }
    push(flow, d, layer + 1, t);
}

/* The device that would end one more tile first; counts it. */
static int next_device(const struct sdt_place *place /* [devices] */, int devices,
                       int *tiles /* [devices] so far */) {
    int best = 0;
    for (int d = 1; d < devices; d++)
        if ((tiles[d] + 1) / speed_of(&place[d]) < (tiles[best] + 1) / speed_of(&place[best]))
            best = d;
    tiles[best]++;
    return best;
}

/* How many tiles from the first on are each on a device of their own: they go side by side. */
static int different(const int *device /* [tiles] */, int tiles) {
    bool busy[SDT_MAX_DEVICES] = {false};
    int count = 0;
    while (count < tiles && !busy[device[count]])
        busy[device[count++]] = true;
    return count;
}

/* Floats of a decoded tile. */
static size_t tile_values(int frames, int rows, int cols) {
    return (size_t)frames * (size_t)rows * (size_t)cols * 3;
}

/* The seams of tile (i, j): first with the tile above, then with the one to the left, both already
 * blended; then its share of the video. In this order: the result depends on it. */
static void join_tile(struct sdt_flow *flow, const struct tiling *t, const struct sdt_vae_job *job,
                      const struct decoder *d, int ratio, int frames, const struct sdt_place *home,
                      const struct sdt_place *host, sdt_handle *tile /* [rows, cols] */, int i,
                      int j, sdt_handle video) {
    sdt_handle here = tile[i * t->cols + j];
    int rows = d->rows * ratio, cols = d->cols * ratio;
    flow->place = home;
    flow->tag.layer = flow->tag.chunk = -1;
    if (i > 0) {
        int above = at_most(t->size_rows, job->height - (i - 1) * t->stride_rows) * ratio;
        int extent = at_most(at_most(above, rows), (t->size_rows - t->stride_rows) * ratio);
        if (extent > 0)
            sdt_insert_blend_rows(flow, "blend_above", frames, cols, extent, above,
                                  tile[(i - 1) * t->cols + j], rows, here);
    }
    if (j > 0) {
        int left = at_most(t->size_cols, job->width - (j - 1) * t->stride_cols) * ratio;
        int extent = at_most(at_most(left, cols), (t->size_cols - t->stride_cols) * ratio);
        if (extent > 0)
            sdt_insert_blend_columns(flow, "blend_left", frames, rows, extent, left,
                                     tile[i * t->cols + j - 1], cols, here);
    }
    flow->place = host;
    int y0 = i * t->stride_rows * ratio, x0 = j * t->stride_cols * ratio;
    int keep_rows = at_most(at_most(t->stride_rows * ratio, rows), job->height * ratio - y0);
    int keep_cols = at_most(at_most(t->stride_cols * ratio, cols), job->width * ratio - x0);
    sdt_insert_place_tile(flow, "place_tile", frames, rows, cols, keep_rows, keep_cols, y0, x0,
                          job->height * ratio, job->width * ratio, here, video);
}

static enum sdt_status decode(struct sdt_flow *flow, struct sdt_vae *opened,
                              struct sdt_machine *machine, const struct sdt_vae_job *wanted,
                              sdt_handle latent, sdt_handle video, struct sdt_error *err) {
    const struct wan_vae *vae = wan_of(opened);
    struct sdt_vae_job with_place = *wanted;
    const struct sdt_vae_job *job = &with_place;
    if (!with_place.place) {
        with_place.place = machine->device;
        with_place.devices = machine->devices;
    }
    enum sdt_status status = check(opened, job, err);
    if (status != SDT_OK)
        return status;
    struct tiling t = tiling_of(vae, job);
    int tiles = t.rows * t.cols, ratio = opened->space_ratio;
    int frames = opened->time_ratio * (job->frames - 1) + 1;
    bool whole = tiles == 1;
    /* whole frames: the devices are stages of one decoder; tiles: each device has its own */
    int decoders = whole ? 1 : job->devices, taken[SDT_MAX_DEVICES] = {0};
    /* On the heap: after a stall it is left to the tasks that may still end. */
    struct progress *progress = calloc(1, sizeof *progress);
    struct decoder *decoder = calloc((size_t)decoders, sizeof *decoder);
    sdt_handle *tile = calloc((size_t)tiles, sizeof *tile);
    int *device = calloc((size_t)tiles, sizeof *device); /* of the decoders */
    struct sdt_parameters *parameters =
        job->parameters ? job->parameters : sdt_parameters_new(opened->weights, machine);
    if (!decoder || !tile || !device || !parameters || !progress) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while decoding");
        goto out;
    }

    progress->total = frames * tiles;
    progress->call = job->frame_done;
    progress->arg = job->frame_done_arg;
    flow->tag.role = SDT_ROLE_VAE;
    flow->priority = 3; /* above attention that visits (Aco): decoding is what this group is for */
    for (int n = 0; n < tiles && !whole; n++)
        device[n] = next_device(job->place, job->devices, taken);
    for (int first = 0, count; first < tiles; first += count) {
        count = different(device + first, tiles - first);
        for (int n = first; n < first + count; n++) {
            struct decoder *d = &decoder[device[n]];
            if (!d->vae) {
                *d = (struct decoder){.vae = vae,
                                      .job = job,
                                      .machine = machine,
                                      .device = whole ? -1 : device[n],
                                      .rows = at_most(t.size_rows, job->height),
                                      .cols = at_most(t.size_cols, job->width),
                                      .latent = latent,
                                      .out = video,
                                      .put = whole ? &machine->host : &job->place[device[n]],
                                      .clamp = whole, /* seams are blended first */
                                      .progress = progress};
                decoder_init(flow, d, parameters, job->devices);
            }
            int y0 = n / t.cols * t.stride_rows, x0 = n % t.cols * t.stride_cols;
            begin_tile(d, y0, x0, at_most(t.size_rows, job->height - y0),
                       at_most(t.size_cols, job->width - x0));
            if (!whole)
                d->out = tile[n] = sdt__vector(
                    flow, tile_values(frames, d->rows * ratio, d->cols * ratio), "vae tile");
        }
        for (int f = 0; f < job->frames && flow->error.status == SDT_OK; f++)
            for (int n = first; n < first + count; n++) {
                flow->tag.tile = n;
                push(flow, &decoder[device[n]], 0, f);
            }
        for (int n = first; n < first + count && !whole; n++) {
            flow->tag.tile = n;
            join_tile(flow, &t, job, &decoder[device[n]], ratio, frames, &job->place[device[n]],
                      &machine->host, tile, n / t.cols, n % t.cols, video);
            if (n >= t.cols) { /* nobody looks at the one above any more */
                sdt__unregister_submit(tile[n - t.cols]);
                tile[n - t.cols] = NULL;
            }
        }
    }
    flow->tag.tile = flow->tag.layer = flow->tag.chunk = -1;
    flow->priority = 0;
    /* Before the wait: each buffer goes as soon as its last task has ended. */
    for (int n = 0; n < decoders; n++)
        decoder_clear(&decoder[n]);
    status = sdt__flow_wait(flow, err);
    if (status == SDT_ERROR_STALLED)
        return status; /* nothing can be freed any more */
out:
    for (int n = 0; tile && n < tiles; n++)
        sdt__unregister_submit(tile[n]);
    if (!job->parameters)
        sdt_parameters_free(parameters);
    free(decoder);
    free(device);
    free(tile);
    free(progress);
    return status;
}

/* ---- predictions ---------------------------------------------------------------------------- */

static double flops_of(const struct sdt_vae *opened, const struct sdt_vae_job *job) {
    const struct wan_vae *vae = wan_of(opened);
    struct program p;
    struct tiling t = tiling_of(vae, job);
    double flops = 0.0;
    build(vae, &p);
    for (int n = 0; n < t.rows * t.cols; n++) {
        double rows = at_most(t.size_rows, job->height - n / t.cols * t.stride_rows);
        double cols = at_most(t.size_cols, job->width - n % t.cols * t.stride_cols);
        for (int i = 0; i < p.layers; i++) {
            double frames = p.layer[i].time * (job->frames - 1.0) + 1.0;
            flops += p.layer[i].flops / p.layer[i].time * frames * rows * cols;
            if (p.layer[i].kind == ATTEND)
                flops += 4.0 * frames * rows * cols * rows * cols * p.edge[p.layer[i].out].channels;
        }
    }
    program_clear(&p);
    return flops;
}

/* The tasks of a layer for one frame of a tile of rows x cols, cut into bands of `band` rows; a
 * part of a task stands for a shorter last band. */
static struct sdt_operation operation_of(const struct program *p, const struct layer *l, int rows,
                                         int band, int cols) {
    const struct edge *in = l->in < 0 ? NULL : &p->edge[l->in];
    const struct edge *at = in ? in : &p->edge[l->out];
    int looked_at = at->whole ? rows : band;
    int height = looked_at * at->space, width = cols * at->space;
    struct sdt_operation o = {
        .tasks = (double)rows / looked_at, .rows = height * width, .n = at->channels};
    switch (l->kind) {
    case CONV:
        o.kind = SDT_OPERATION_CONV;
        o.conv = l->conv;
        o.conv.height = height;
        o.conv.width = width;
        break;
    case TIME: /* as a product: the neighbours in time of a pixel, and two pixels out of it */
        o.kind = SDT_OPERATION_LINEAR;
        o.n = 2 * at->channels;
        o.k = 3 * at->channels;
        break;
    case NORM:
        o.kind = SDT_OPERATION_CHANNEL_NORM;
        break;
    case ATTEND:
        o.kind = SDT_OPERATION_ATTENTION;
        o.heads = 1;
        o.e = p->edge[l->out].channels;
        o.keys = o.rows;
        break;
    default: /* into the first layer, out of the last */
        o.kind = SDT_OPERATION_ELEMENTS;
        o.n = 2 * at->channels;
        break;
    }
    return o;
}

/* Devices of a plan may not be known yet: alike then. */
static const struct sdt_place *places_of(const struct sdt_vae_job *job, int devices,
                                         struct sdt_place *alike /* [devices] */) {
    for (int d = 0; d < devices; d++)
        alike[d] = (struct sdt_place){.speed = 1.0};
    return job->place ? job->place : alike;
}

static void operations_of(const struct sdt_vae *opened, const struct sdt_vae_job *job, int devices,
                          struct sdt_operations *list) {
    const struct wan_vae *vae = wan_of(opened);
    struct program p;
    struct tiling t = tiling_of(vae, job);
    struct sdt_place alike[SDT_MAX_DEVICES];
    const struct sdt_place *place = places_of(job, devices, alike);
    int tiles = t.rows * t.cols, taken[SDT_MAX_DEVICES] = {0};
    int band = band_rows_of(job, at_most(t.size_rows, job->height));
    build(vae, &p);
    place_layers(&p, place, devices, -1);
    for (int n = 0; n < tiles && !p.failed; n++) {
        int rows = at_most(t.size_rows, job->height - n / t.cols * t.stride_rows);
        int cols = at_most(t.size_cols, job->width - n % t.cols * t.stride_cols);
        int device = next_device(place, devices, taken);
        for (int i = 0; i < p.layers; i++) {
            struct sdt_operation o = operation_of(&p, &p.layer[i], rows, at_most(band, rows), cols);
            double frames = p.layer[i].time * (job->frames - 1.0) + 1.0;
            if (p.layer[i].kind == TIME)
                frames -= 1.0; /* the first passes by */
            o.tasks *= frames;
            o.device = tiles == 1 ? p.layer[i].device : device;
            sdt_operations_add(list, o);
        }
    }
    list->failed |= p.failed;
    program_clear(&p);
}

static double weight_bytes(const struct program *p, const struct layer *l,
                           enum sdt_device_kind kind, enum sdt_dtype dtype) {
    int channels = l->in < 0 ? 0 : p->edge[l->in].channels, n = l->conv.out;
    int k = l->conv.in * l->conv.kt * l->conv.ks * l->conv.ks;
    if (l->kind == NORM)
        return sizeof(float) * (double)channels;
    if (l->kind == TIME) {
        n = 2 * channels;
        k = 3 * channels;
    } else if (l->kind != CONV) {
        return 0.0;
    }
    double matrix = kind == SDT_DEVICE_CPU ? (double)sdt_packed_size(SDT_F32, n, k)
                                           : (double)sdt_dtype_size(dtype) * n * k;
    return matrix + sizeof(float) * (double)n;
}

/* Work space of a layer's tasks. */
static size_t scratch_bytes(const struct layer *l, enum sdt_device_kind kind, enum sdt_dtype dtype,
                            const struct edge *in, int rows, int cols) {
    struct sdt_conv conv = l->conv;
    size_t pixels = (size_t)rows * (size_t)cols * (size_t)in->space * (size_t)in->space;
    conv.height = rows * in->space;
    conv.width = cols * in->space;
    if (l->kind == CONV)
        return sdt__conv_scratch(kind, dtype, &conv);
    if (kind != SDT_DEVICE_CPU)
        return 0;
    if (l->kind == TIME)
        return sizeof(float) * sdt_time_upsample_scratch(pixels);
    return l->kind == ATTEND
               ? sizeof(float) * sdt_frame_attention_scratch((int)pixels, in->channels / 3)
               : 0;
}

/* Bytes that a layer's task reads and writes: what a device must hold at once. */
static double task_bytes(const struct program *p, const struct layer *l, enum sdt_dtype dtype,
                         int rows, int cols) {
    if (l->kind != CONV)
        return 0.0;
    const struct edge *in = &p->edge[l->in], *out = &p->edge[l->out];
    double read = (double)rows * cols * in->space * in->space * in->channels;
    double written = (double)rows * cols * out->space * out->space * out->channels;
    return (double)sdt_dtype_size(dtype) *
           (l->conv.kt * read + (l->residual < 0 ? 1.0 : 2.0) * written);
}

/* What a device holds of decoded tiles until those below and beside them have been blended with
 * them: its share of a row of tiles and of those under way, and copies of two neighbours. */
static double seam_bytes(const struct wan_vae *vae, const struct sdt_vae_job *job, int devices) {
    struct tiling t = tiling_of(vae, job);
    int ratio = vae->vae.space_ratio, frames = vae->vae.time_ratio * (job->frames - 1) + 1;
    int rows = at_most(t.size_rows, job->height), cols = at_most(t.size_cols, job->width);
    double tiles = ceil((t.cols + 1.0) / devices) + 1.0 + (devices > 1 ? 2.0 : 0.0);
    if (t.rows * t.cols == 1)
        return 0.0;
    return sizeof(float) * fmin(tiles, t.rows * t.cols) *
           (double)tile_values(frames, rows * ratio, cols * ratio);
}

static double bytes_of(const struct sdt_vae *opened, const struct sdt_vae_job *job, int devices,
                       int device) {
    const struct wan_vae *vae = wan_of(opened);
    struct program p;
    struct tiling t = tiling_of(vae, job);
    struct sdt_place alike[SDT_MAX_DEVICES];
    const struct sdt_place *place = places_of(job, devices, alike);
    int rows = at_most(t.size_rows, job->height), cols = at_most(t.size_cols, job->width);
    enum sdt_device_kind kind = job->place               ? place[device].kind
                                : job->dtype == SDT_BF16 ? SDT_DEVICE_CUDA
                                                         : SDT_DEVICE_CPU;
    int workers = job->place ? place[device].workers : 1;
    double bytes = 0.0, largest = 0.0, size = (double)sdt_dtype_size(job->dtype);
    uint64_t scratch = 0;

    build(vae, &p);
    if (!p.failed)
        place_layers(&p, place, devices, t.rows * t.cols == 1 ? -1 : device);
    /* Without memory for either, the run that is asked for finds that out itself. */
    bool *here = p.failed ? NULL : calloc((size_t)p.edges + 1, sizeof *here);
    for (int i = 0; here && i < p.layers; i++) {
        const struct layer *l = &p.layer[i];
        if (l->device != device)
            continue;
        int edge[] = {l->in, l->residual, l->kind == PUT ? -1 : l->out};
        for (int e = 0; e < 3; e++)
            if (edge[e] >= 0) {
                here[edge[e]] = true;
                if (p.edge[edge[e]].alias >= 0)
                    here[p.edge[edge[e]].alias] = true;
            }
        double weights = weight_bytes(&p, l, kind, job->dtype);
        double work =
            l->in < 0 ? 0.0 : scratch_bytes(l, kind, job->dtype, &p.edge[l->in], rows, cols);
        bytes += weights;
        if (work > 0.0 && fmod(scratch, 2.0 * work) < work)
            scratch += work;
        largest = fmax(largest, task_bytes(&p, l, job->dtype, rows, cols) + weights + work);
    }
    for (int e = 0; here && e < p.edges; e++)
        if (here[e])
            bytes += size * ring_of(&p.edge[e], job, rows) * p.edge[e].channels * p.edge[e].space *
                     p.edge[e].space * rows * cols;
    free(here);
    program_clear(&p);
    return fmax(bytes + workers * (double)scratch + seam_bytes(vae, job, devices), largest);
}

const struct sdt_vae_kind sdt__wan_vae = {
    .class_name = "AutoencoderKLWan",
    .files = &files,
    .open = wan_vae_open,
    .close = wan_vae_close,
    .check = check,
    .decode = decode,
    .flops = flops_of,
    .operations = operations_of,
    .bytes = bytes_of,
};
