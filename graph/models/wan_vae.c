/* Wan 2.1's video decoder, the decoder half of AutoencoderKLWan: its configuration, its layers and
 * their tensors under their names. It is streamed frame by frame (wavefront.h). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "graph/checkpoint/config.h"
#include "graph/models/wavefront.h"

#define WAN_VAE_MAX_BLOCKS 8

struct wan_vae {
    struct wavefront_vae base; /* the first member */
    int base_dim, z_dim, blocks, res_blocks;
    int multiplier[WAN_VAE_MAX_BLOCKS];
    bool upsample_time[WAN_VAE_MAX_BLOCKS]; /* of up block i */
};

/* Names of tensors that stand apart in other programs' files. */
#define WAN_VAE_LATENT_CONV "post_quant_conv"
#define WAN_VAE_MIDDLE "decoder.mid_block."
#define WAN_VAE_UP_BLOCK "decoder.up_blocks.%d."
#define WAN_VAE_RESNET "resnets.%d."
#define WAN_VAE_UPSAMPLER "upsamplers.0."

extern const struct sdt_vae_kind sdt__wan_vae;
extern const char sdt__wan_vae_config[];
static const struct sdt_files files;
static void list(struct wavefront *all, const struct wavefront_vae *opened);

/* ---- configuration -------------------------------------------------------------------------- */

static enum sdt_status read_config(const struct sdt_config *json, struct wan_vae *vae,
                                   struct sdt_error *err) {
    const char *path = sdt_config_path(json);
    enum sdt_status status = SDT_OK;
    int64_t base = 0, z = 0, res = 0;
    double multiplier[WAN_VAE_MAX_BLOCKS], down[WAN_VAE_MAX_BLOCKS], mean[WAVEFRONT_CHANNELS],
        std[WAVEFRONT_CHANNELS];
    int blocks = 0, downs = 0, means = 0, stds = 0;

#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
    NEXT(sdt_config_int(json, "base_dim", true, 1, 4096, &base, err));
    NEXT(sdt_config_int(json, "z_dim", true, 1, WAVEFRONT_CHANNELS, &z, err));
    NEXT(sdt_config_int(json, "num_res_blocks", true, 1, 16, &res, err));
    NEXT(sdt_config_numbers(json, "dim_mult", true, WAN_VAE_MAX_BLOCKS, multiplier, &blocks, err));
    /* spelled so in the config */
    NEXT(sdt_config_numbers(json, "temperal_downsample", true, WAN_VAE_MAX_BLOCKS, down, &downs,
                            err));
    NEXT(sdt_config_numbers(json, "latents_mean", true, WAVEFRONT_CHANNELS, mean, &means, err));
    NEXT(sdt_config_numbers(json, "latents_std", true, WAVEFRONT_CHANNELS, std, &stds, err));
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
        vae->base.mean[c] = (float)mean[c];
        vae->base.std[c] = (float)std[c];
    }
    int time = 1;
    for (int i = 0; i < downs; i++)
        time *= vae->upsample_time[i] ? 2 : 1;
    vae->base.list = list;
    vae->base.clamps = true;
    vae->base.vae = (struct sdt_vae){.kind = &sdt__wan_vae,
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

/* ---- layers ---------------------------------------------------------------------------------- */

static int res_block(struct wavefront_at at, int in, int channels) {
    const struct sdt_conv cube = {.out = channels, .kt = 3, .ks = 3};
    const struct sdt_conv point = {.out = channels, .kt = 1, .ks = 1};
    if (at.all->failed)
        return 0;
    int y = sdt__wavefront_norm(at, in, false, true, "norm1");
    y = sdt__wavefront_conv(at, y, cube, -1, "conv1");
    y = sdt__wavefront_norm(at, y, true, true, "norm2");
    int skip = in;
    if (!at.all->failed && at.all->edge[in].channels != channels)
        skip = sdt__wavefront_conv(at, in, point, -1, "conv_shortcut");
    return sdt__wavefront_conv(at, y, cube, skip, "conv2");
}

static int attention(struct wavefront_at at, int in) {
    struct wavefront *all = at.all;
    if (all->failed)
        return 0;
    int channels = all->edge[in].channels;
    int y = sdt__wavefront_norm(at, in, false, false, "norm");
    if (!all->failed)
        all->layer[all->layers - 1].flat = true;
    y = sdt__wavefront_conv2d(at, y, (struct sdt_conv){.out = 3 * channels, .ks = 1}, -1, "to_qkv");
    if (all->failed)
        return 0;
    all->edge[y].whole = true;
    int o = sdt__wavefront_edge(all, channels, all->edge[y].space);
    sdt__wavefront_layer(at, FRAME_ATTEND, y, o, "attention");
    return sdt__wavefront_conv2d(at, o, (struct sdt_conv){.out = channels, .ks = 1}, in, "proj");
}

/* Two frames out of each frame but the first: frame 0 passes by. */
static int time_upsample(struct wavefront_at at, int in) {
    struct wavefront *all = at.all;
    if (all->failed)
        return 0;
    int channels = all->edge[in].channels, space = all->edge[in].space;
    int out = sdt__wavefront_edge(all, channels, space);
    if (all->failed)
        return 0;
    all->edge[out].alias = in;
    sdt__wavefront_layer(at, FRAME_TIME, in, out, "time_conv")->flops =
        12.0 * channels * channels * space * space * at.time;
    return out;
}

static void list(struct wavefront *all, const struct wavefront_vae *opened) {
    const struct wan_vae *vae = (const struct wan_vae *)opened;
    char prefix[64];
    int channels = vae->base_dim * vae->multiplier[vae->blocks - 1];
    struct wavefront_at at = {.all = all, .time = 1, .prefix = ""};

    int x = sdt__wavefront_edge(all, vae->z_dim, 1);
    if (!all->failed)
        all->edge[x].whole = true;
    sdt__wavefront_layer(at, FRAME_WINDOW, -1, x, "latent");
    x = sdt__wavefront_conv(at, x, (struct sdt_conv){.out = vae->z_dim, .kt = 1, .ks = 1}, -1,
                            WAN_VAE_LATENT_CONV);
    at.prefix = "decoder.";
    x = sdt__wavefront_conv(at, x, (struct sdt_conv){.out = channels, .kt = 3, .ks = 3}, -1,
                            "conv_in");
    at.prefix = WAN_VAE_MIDDLE "resnets.0.";
    x = res_block(at, x, channels);
    at.prefix = WAN_VAE_MIDDLE "attentions.0.";
    x = attention(at, x);
    at.prefix = WAN_VAE_MIDDLE "resnets.1.";
    x = res_block(at, x, channels);
    at.prefix = prefix;
    for (int i = 0; i < vae->blocks; i++) {
        channels = vae->base_dim * vae->multiplier[vae->blocks - 1 - i];
        for (int r = 0; r <= vae->res_blocks; r++) {
            snprintf(prefix, sizeof prefix, WAN_VAE_UP_BLOCK WAN_VAE_RESNET, i, r);
            x = res_block(at, x, channels);
        }
        if (i == vae->blocks - 1)
            break;
        snprintf(prefix, sizeof prefix, WAN_VAE_UP_BLOCK WAN_VAE_UPSAMPLER, i);
        if (vae->upsample_time[i]) {
            x = time_upsample(at, x);
            at.time *= 2;
        }
        x = sdt__wavefront_conv2d(at, x,
                                  (struct sdt_conv){.out = channels / 2, .ks = 3, .upsample = true},
                                  -1, "resample.1");
    }
    at.prefix = "decoder.";
    x = sdt__wavefront_norm(at, x, true, true, "norm_out");
    x = sdt__wavefront_conv(at, x, (struct sdt_conv){.out = 3, .kt = 3, .ks = 3}, -1, "conv_out");
    sdt__wavefront_layer(at, FRAME_PUT, x, -1, "put");
}

/* ---- opening --------------------------------------------------------------------------------- */

static void wan_vae_close(struct sdt_vae *vae) {
    sdt_weights_close(vae->weights);
    free(vae);
}

static enum sdt_status wan_vae_open(const struct sdt_config *config, const char *folder,
                                    const struct sdt_opening *how, struct sdt_vae **out,
                                    struct sdt_error *err) {
    struct wavefront all = {0};
    struct wan_vae *vae = calloc(1, sizeof *vae);

    *out = NULL;
    if (!vae)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", folder);
    enum sdt_status status = read_config(config, vae, err);
    if (status == SDT_OK) {
        sdt__wavefront_init(&all, &vae->base, 1);
        struct sdt_tensor_table *table = all.failed ? NULL : sdt_tensor_table_new();
        if (table) {
            table->namings = &files.namings;
            table->model = vae;
            sdt__wavefront_tensors(&all, table);
            sdt_tensor_table_ignore(table, "encoder.");
            sdt_tensor_table_ignore(table, "quant_conv.");
        }
        status = sdt_tensors_open(table, folder, how, &vae->base.vae.weights, err);
    }
    sdt__wavefront_clear(&all);
    if (status != SDT_OK)
        wan_vae_close(&vae->base.vae);
    else
        *out = &vae->base.vae;
    return status;
}

/* ---- single files ---------------------------------------------------------------------------- */

/* As the model's own repository and ComfyUI have it: up blocks are one list of layers, so that
 * numbers depend on how many a block has. */
static void spell_original(const void *model, const char *name, char *text, size_t size) {
    static const struct sdt_replacement list[] = {
        {WAN_VAE_MIDDLE "resnets.0.", "decoder.middle.0."},
        {WAN_VAE_MIDDLE "attentions.0.", "decoder.middle.1."},
        {WAN_VAE_MIDDLE "resnets.1.", "decoder.middle.2."},
        {".norm1.", ".residual.0."},
        {".conv1.", ".residual.2."},
        {".norm2.", ".residual.3."},
        {".conv2.", ".residual.6."},
        {".conv_shortcut.", ".shortcut."},
        {".conv_in.", ".conv1."},
        {".norm_out.", ".head.0."},
        {".conv_out.", ".head.2."},
        {WAN_VAE_LATENT_CONV ".", "conv2."},
        {"quant_conv.", "conv1."},
        {NULL, NULL},
    };
    const struct wan_vae *vae = model;
    char flat[SDT_NAME_ROOM];
    int block, resnet, end = 0;

    if (vae && sscanf(name, WAN_VAE_UP_BLOCK WAN_VAE_RESNET "%n", &block, &resnet, &end) == 2 &&
        end > 0)
        snprintf(flat, sizeof flat, "decoder.upsamples.%d.%s",
                 block * (vae->res_blocks + 2) + resnet, name + end);
    else if (vae && sscanf(name, WAN_VAE_UP_BLOCK WAN_VAE_UPSAMPLER "%n", &block, &end) == 1 &&
             end > 0)
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
    const struct sdt_stored *first = sdt_recognised_tensor(file, WAN_VAE_LATENT_CONV ".weight");
    int64_t z = first && first->rank > 1 ? first->shape[1] : 0, published = 0, of_like = 0;
    struct sdt_config *config;
    enum sdt_status status = SDT_OK;

    if (like)
        status = sdt_config_int(like, "z_dim", true, 1, WAVEFRONT_CHANNELS, &of_like, err);
    if (status != SDT_OK || (like && of_like == z))
        return status;
    status = sdt_config_parse("the published decoder", sdt__wan_vae_config, &config, err);
    if (status == SDT_OK)
        status = sdt_config_int(config, "z_dim", true, 1, WAVEFRONT_CHANNELS, &published, err);
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
    .marks = (const char *const[]){WAN_VAE_LATENT_CONV ".weight",
                                   WAN_VAE_MIDDLE "attentions.0.to_qkv.weight",
                                   "decoder.conv_in.weight", NULL},
    .describe = describe,
};

const struct sdt_vae_kind sdt__wan_vae = {
    .class_name = "AutoencoderKLWan",
    .files = &files,
    .open = wan_vae_open,
    .close = wan_vae_close,
    .check = sdt__vae_check,
    .decode = sdt__wavefront_decode,
    .stream = sdt__wavefront_stream,
    .stream_push = sdt__wavefront_push,
    .stream_free = sdt__wavefront_stream_free,
    .flops = sdt__wavefront_flops,
    .operations = sdt__wavefront_operations,
    .bytes = sdt__wavefront_bytes,
};
