/* WFVAE, Open-Sora-Plan's wavelet-flow video decoder: the decoder half of WFVAEModel, its
 * configuration, its layers and their tensors under their names. It is streamed frame by frame
 * (wavefront.h); what is defined is the decode of the whole clip at once.
 *
 * Of some residual blocks, the last channels are an energy flow: a branch makes of them bands of a
 * wavelet, which are put together to a small video and added to the lowest band of the next one. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/config.h"
#include "graph/models/wavefront.h"

extern const struct sdt_vae_kind sdt__wfvae;
extern const char sdt__wfvae_config[];

struct wfvae {
    struct wavefront_vae base; /* the first member */
    int channels;              /* of the last layers; others have 2 or 4 times as many */
    int energy;                /* channels of an energy flow */
    int res_blocks;            /* in front of an upsampler */
    int connect_blocks;        /* of a branch */
    bool eightfold; /* 8 frames of a latent frame, not 4: the inner wavelet has time too */
};

/* ---- configuration -------------------------------------------------------------------------- */

static void list(struct wavefront *all, const struct wavefront_vae *opened);

/* Options that have one value here. */
static enum sdt_status check_options(const struct sdt_config *json, struct sdt_error *err) {
    static const struct {
        const char *key, *only;
    } options[] = {
        {"norm_type", "\"layernorm\""}, {"t_interpolation", "\"trilinear\""},
        {"use_attention", "true"},      {"attention_type", "\"AttnBlock3DFix\""},
        {"use_quant_layer", "false"},
    };
    enum sdt_status status = SDT_OK;
    for (size_t i = 0; status == SDT_OK && i < sizeof options / sizeof options[0]; i++)
        status = sdt_config_only(json, options[i].key, options[i].only, err);
    return status;
}

/* Which of the two published shapes: by the parts of the inner level. */
static enum sdt_status read_level(const struct sdt_config *json, bool *eightfold,
                                  struct sdt_error *err) {
    static const char *const keys[] = {"l1_upsample_block", "l1_upsample_wavelet"};
    static const char *const names[][2] = {
        {"Upsample", "InverseHaarWaveletTransform2D"},
        {"Spatial2xTime2x3DUpsample", "InverseHaarWaveletTransform3D"}};
    const char *value[2] = {names[0][0], names[0][1]};
    enum sdt_status status = SDT_OK;
    for (int i = 0; i < 2 && status == SDT_OK; i++)
        status = sdt_config_string(json, keys[i], false, &value[i], err);
    if (status != SDT_OK)
        return status;
    for (int e = 0; e < 2; e++)
        if (!strcmp(value[0], names[e][0]) && !strcmp(value[1], names[e][1])) {
            *eightfold = e;
            return SDT_OK;
        }
    return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                    "%s: %s is %s with %s %s; this version runs %s with %s, and %s with %s",
                    sdt_config_path(json), keys[0], value[0], keys[1], value[1], names[0][0],
                    names[0][1], names[1][0], names[1][1]);
}

static enum sdt_status read_config(const struct sdt_config *json, struct wfvae *vae,
                                   struct sdt_error *err) {
    const char *path = sdt_config_path(json);
    int64_t latent = 0, base = 0, res = 0, energy = 0, connect = 1;
    double scale[WAVEFRONT_CHANNELS], shift[WAVEFRONT_CHANNELS];
    int scales = 0, shifts = 0;
    enum sdt_status status = check_options(json, err);

#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
    NEXT(read_level(json, &vae->eightfold, err));
    NEXT(sdt_config_int(json, "latent_dim", true, 1, WAVEFRONT_CHANNELS, &latent, err));
    NEXT(sdt_config_int(json, "base_channels", true, 1, 4096, &base, err));
    NEXT(sdt_config_int(json, "decoder_num_resblocks", true, 1, 16, &res, err));
    NEXT(sdt_config_int(json, "decoder_energy_flow_hidden_size", true, 1, 4096, &energy, err));
    NEXT(sdt_config_int(json, "connect_res_layer_num", false, 0, 16, &connect, err));
    NEXT(sdt_config_numbers(json, "scale", true, WAVEFRONT_CHANNELS, scale, &scales, err));
    NEXT(sdt_config_numbers(json, "shift", true, WAVEFRONT_CHANNELS, shift, &shifts, err));
#undef NEXT
    if (status != SDT_OK)
        return status;
    if (scales != latent || shifts != latent)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: scale has %d entries and shift %d; latent_dim %d needs as many", path,
                        scales, shifts, (int)latent);
    for (int c = 0; c < latent; c++) {
        if (scale[c] == 0.0 || !isfinite(1.0 / scale[c]))
            return sdt_fail(err, SDT_ERROR_FORMAT, "%s: scale[%d] is %g; latents are divided by it",
                            path, c, scale[c]);
        vae->base.std[c] = (float)(1.0 / scale[c]);
        vae->base.mean[c] = (float)shift[c];
    }
    vae->channels = (int)base;
    vae->energy = (int)energy;
    vae->res_blocks = (int)res;
    vae->connect_blocks = (int)connect;
    vae->base.list = list;
    vae->base.vae = (struct sdt_vae){.kind = &sdt__wfvae,
                                     .channels = (int)latent,
                                     .space_ratio = 8,
                                     .time_ratio = vae->eightfold ? 8 : 4,
                                     .tile = {256, 256, 192, 192} /* refused, as any */};
    return SDT_OK;
}

const char sdt__wfvae_config[] =
    "{\"_class_name\": \"WFVAEModel\", \"latent_dim\": 8, \"base_channels\": 128, "
    "\"decoder_num_resblocks\": 2, \"decoder_energy_flow_hidden_size\": 128, "
    "\"connect_res_layer_num\": 2, \"norm_type\": \"layernorm\", "
    "\"t_interpolation\": \"trilinear\", "
    "\"scale\": [0.18215, 0.18215, 0.18215, 0.18215, 0.18215, 0.18215, 0.18215, 0.18215], "
    "\"shift\": [0, 0, 0, 0, 0, 0, 0, 0]}";

/* ---- layers ---------------------------------------------------------------------------------- */

static const struct sdt_conv point = {.kt = 1, .ks = 1}, cube = {.kt = 3, .ks = 3},
                             square = {.ks = 3};

/* With so many output channels. */
static struct sdt_conv to(struct sdt_conv shape, int out) {
    shape.out = out;
    return shape;
}

static int layer_norm(struct wavefront_at at, int in, bool in_place, bool silu, const char *name) {
    int out = sdt__wavefront_norm(at, in, in_place, silu, name);
    if (!at.all->failed) {
        struct frame_layer *layer = &at.all->layer[at.all->layers - 1];
        layer->kind = FRAME_LAYER_NORM;
        layer->eps = 1e-6f;
    }
    return out;
}

/* Channels first..first+shape.out-1 of a convolution that has `rows` of them. */
static int part_of_conv(struct wavefront_at at, int in, struct sdt_conv shape, int first, int rows,
                        int residual, const char *name) {
    int out = sdt__wavefront_conv(at, in, shape, residual, name);
    if (!at.all->failed) {
        at.all->layer[at.all->layers - 1].first = first;
        at.all->layer[at.all->layers - 1].rows = rows;
    }
    return out;
}

/* A residual block, PREFIX.N.: to an edge of `channels`, which is returned, and one of `energy`
 * more behind them; 0: none. */
static int res_block(struct wavefront_at at, int in, int n, int channels, int energy,
                     int *energy_edge) {
    const char *const shortcut = "nin_shortcut.conv", *const last = "conv2.conv";
    char prefix[64];
    int all = channels + energy, skip = in, skip_energy = -1;
    snprintf(prefix, sizeof prefix, "%s%d.", at.prefix, n);
    at.prefix = prefix;
    if (at.all->failed)
        return 0;
    int y = layer_norm(at, in, false, true, "norm1.norm");
    y = sdt__wavefront_conv(at, y, to(cube, all), -1, "conv1.conv");
    y = layer_norm(at, y, true, true, "norm2.norm");
    if (!at.all->failed && at.all->edge[in].channels != all) {
        skip = part_of_conv(at, in, to(point, channels), 0, all, -1, shortcut);
        if (energy)
            skip_energy = part_of_conv(at, in, to(point, energy), channels, all, -1, shortcut);
    }
    int out = part_of_conv(at, y, to(cube, channels), 0, all, skip, last);
    if (energy)
        *energy_edge = part_of_conv(at, y, to(cube, energy), channels, all, skip_energy, last);
    return out;
}

static int attention(struct wavefront_at at, int in) {
    static const char *const names[] = {"q.conv", "k.conv", "v.conv"};
    struct wavefront *all = at.all;
    int edge[3];
    if (all->failed)
        return 0;
    int channels = all->edge[in].channels, space = all->edge[in].space;
    int y = layer_norm(at, in, false, false, "norm.norm");
    for (int i = 0; i < 3; i++) {
        edge[i] = sdt__wavefront_conv(at, y, to(point, channels), -1, names[i]);
        if (all->failed)
            return 0;
        all->edge[edge[i]].whole = true;
    }
    int o = sdt__wavefront_edge(all, channels, space);
    struct frame_layer *layer = sdt__wavefront_layer(at, FRAME_ATTEND, edge[0], o, "attention");
    sdt__wavefront_beside(all, layer, 1, edge[1]);
    sdt__wavefront_beside(all, layer, 2, edge[2]);
    return sdt__wavefront_conv(at, o, to(point, channels), in, "proj_out.conv");
}

/* Frames twice as large and, but for the first, twice as many: interpolated, then convolved. */
static int upsample_3d(struct wavefront_at *at, int in, const char *name) {
    struct wavefront *all = at->all;
    if (all->failed)
        return 0;
    int channels = all->edge[in].channels;
    int out = sdt__wavefront_edge(all, channels, 2 * all->edge[in].space);
    at->time *= 2;
    sdt__wavefront_layer(*at, FRAME_LINEAR, in, out, "interpolation");
    return sdt__wavefront_conv(*at, out, to(cube, channels), -1, name);
}

/* Bands and, on their lowest, `low` (-1: none) to a frame of 3 channels, or two. */
static int inverse_haar(struct wavefront_at *at, enum frame_layer_kind kind, int bands, int low) {
    struct wavefront *all = at->all;
    if (all->failed)
        return 0;
    int out = sdt__wavefront_edge(all, 3, 2 * all->edge[bands].space);
    struct frame_layer *layer = sdt__wavefront_layer(*at, kind, bands, out, "wavelet");
    sdt__wavefront_beside(all, layer, 1, low);
    if (kind == FRAME_HAAR_3D)
        at->time *= 2;
    return out;
}

/* From an energy flow to the small video that is added one level further up. */
static int connect(struct wavefront_at at, const struct wfvae *vae, enum frame_layer_kind kind,
                   int in, int low, const char *prefix) {
    char last[8];
    int y = in;
    at.prefix = prefix;
    for (int i = 0; i < vae->connect_blocks; i++)
        y = res_block(at, y, i, vae->energy, 0, NULL);
    snprintf(last, sizeof last, "%d", vae->connect_blocks);
    y = sdt__wavefront_conv2d(at, y, to(square, kind == FRAME_HAAR_3D ? 24 : 12), -1, last);
    return inverse_haar(&at, kind, y, low);
}

/* The layers up to the first energy flow. */
static int list_middle(struct wavefront_at at, const struct wfvae *vae, int *energy) {
    struct wavefront *all = at.all;
    int wide = 4 * vae->channels, x = sdt__wavefront_edge(all, vae->base.vae.channels, 1);
    if (!all->failed)
        all->edge[x].whole = true;
    at.prefix = "";
    sdt__wavefront_layer(at, FRAME_WINDOW, -1, x, "latent");
    at.prefix = "decoder.";
    x = sdt__wavefront_conv(at, x, to(cube, wide), -1, "conv_in.conv");
    at.prefix = "decoder.mid.";
    x = res_block(at, x, 0, wide, 0, NULL);
    at.prefix = "decoder.mid.1.";
    x = attention(at, x);
    at.prefix = "decoder.mid.";
    return res_block(at, x, 2, wide, vae->energy, energy);
}

/* Level 2: residual blocks, an upsampler, and the block with the second energy flow. */
static int list_level_2(struct wavefront_at *at, const struct wfvae *vae, int x, int *energy) {
    int n = vae->res_blocks, wide = 4 * vae->channels;
    char name[24];
    at->prefix = "decoder.up2.";
    for (int i = 0; i < n; i++)
        x = res_block(*at, x, i, wide, 0, NULL);
    snprintf(name, sizeof name, "%d.conv.conv", n);
    x = upsample_3d(at, x, name);
    return res_block(*at, x, n + 1, wide, vae->energy, energy);
}

/* Level 1, and the blocks behind it. */
static int list_level_1(struct wavefront_at *at, const struct wfvae *vae, int x) {
    int n = vae->res_blocks, half = 2 * vae->channels;
    struct sdt_conv enlarging = to(square, half);
    char name[24];
    at->prefix = "decoder.up1.";
    for (int i = 0; i < n; i++)
        x = res_block(*at, x, i, half, 0, NULL);
    enlarging.upsample = true;
    snprintf(name, sizeof name, vae->eightfold ? "%d.conv.conv" : "%d.conv", n);
    x = vae->eightfold ? upsample_3d(at, x, name)
                       : sdt__wavefront_conv2d(*at, x, enlarging, -1, name);
    x = res_block(*at, x, n + 1, half, 0, NULL);
    at->prefix = "decoder.layer.";
    x = res_block(*at, x, 0, vae->channels, 0, NULL);
    return res_block(*at, x, 1, vae->channels, 0, NULL);
}

static void list(struct wavefront *all, const struct wavefront_vae *opened) {
    const struct wfvae *vae = (const struct wfvae *)opened;
    struct wavefront_at at = {.all = all, .time = 1};
    enum frame_layer_kind inner = vae->eightfold ? FRAME_HAAR_3D : FRAME_HAAR_2D;
    int energy = 0;

    int x = list_middle(at, vae, &energy);
    int low = connect(at, vae, FRAME_HAAR_3D, energy, -1, "decoder.connect_l2.");
    x = list_level_2(&at, vae, x, &energy);
    low = connect(at, vae, inner, energy, low, "decoder.connect_l1.");
    x = list_level_1(&at, vae, x);
    at.prefix = "decoder.";
    x = layer_norm(at, x, true, true, "norm_out.norm");
    x = sdt__wavefront_conv2d(at, x, to(square, 24), -1, "conv_out");
    x = inverse_haar(&at, FRAME_HAAR_3D, x, low);
    sdt__wavefront_layer(at, FRAME_PUT, x, -1, "put");
    for (int i = 0; i < all->layers; i++)
        all->layer[i].repeats = all->layer[i].kind == FRAME_CONV;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void wfvae_close(struct sdt_vae *vae) {
    sdt_weights_close(vae->weights);
    free(vae);
}

static enum sdt_status wfvae_open(const struct sdt_config *config, const char *folder,
                                  const struct sdt_opening *how, struct sdt_vae **out,
                                  struct sdt_error *err) {
    struct wavefront all = {0};
    struct wfvae *vae = calloc(1, sizeof *vae);

    *out = NULL;
    if (!vae)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", folder);
    enum sdt_status status = read_config(config, vae, err);
    if (status == SDT_OK) {
        sdt__wavefront_init(&all, &vae->base, 1);
        struct sdt_tensor_table *table = all.failed ? NULL : sdt_tensor_table_new();
        if (table) {
            sdt__wavefront_tensors(&all, table);
            sdt_tensor_table_ignore(table, "encoder.");
            sdt_tensor_table_ignore(table, "decoder.inverse_wavelet_transform_");
        }
        status = sdt_tensors_open(table, folder, how, &vae->base.vae.weights, err);
    }
    sdt__wavefront_clear(&all);
    if (status != SDT_OK)
        wfvae_close(&vae->base.vae);
    else
        *out = &vae->base.vae;
    return status;
}

/* The reference tiles in time, not exactly, and not at all in space. */
static enum sdt_status wfvae_check(const struct sdt_vae *vae, const struct sdt_vae_job *job,
                                   struct sdt_error *err) {
    if (job->tiling.size_rows || job->tiling.size_cols)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "WFVAEModel decodes no spatial tiles (--enable-tiling): nothing defines "
                        "what their seams would be; without tiles, its memory does not grow with "
                        "the number of frames");
    return sdt__vae_check(vae, job, err);
}

const struct sdt_vae_kind sdt__wfvae = {
    .class_name = "WFVAEModel",
    .open = wfvae_open,
    .close = wfvae_close,
    .check = wfvae_check,
    .decode = sdt__wavefront_decode,
    .flops = sdt__wavefront_flops,
    .operations = sdt__wavefront_operations,
    .bytes = sdt__wavefront_bytes,
};
