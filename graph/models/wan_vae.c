/* Wan 2.1's video decoder, the decoder half of AutoencoderKLWan: its configuration, its tensors
 * under their names, and the rules of a job. Its layers are in wan_vae_layers.c, what they compute
 * in wan_vae_decode.c, what that takes in wan_vae_predict.c. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "graph/checkpoint/config.h"
#include "graph/models/wan_vae.h"

extern const struct sdt_vae_kind sdt__wan_vae;
extern const char sdt__wan_vae_config[];
static const struct sdt_files files;

/* ---- configuration -------------------------------------------------------------------------- */

static enum sdt_status read_config(const struct sdt_config *json, struct wan_vae *vae,
                                   struct sdt_error *err) {
    const char *path = sdt_config_path(json);
    enum sdt_status status = SDT_OK;
    int64_t base = 0, z = 0, res = 0;
    double multiplier[WAN_VAE_MAX_BLOCKS], down[WAN_VAE_MAX_BLOCKS], mean[WAN_VAE_MAX_CHANNELS],
        std[WAN_VAE_MAX_CHANNELS];
    int blocks = 0, downs = 0, means = 0, stds = 0;

#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
    NEXT(sdt_config_int(json, "base_dim", true, 1, 4096, &base, err));
    NEXT(sdt_config_int(json, "z_dim", true, 1, WAN_VAE_MAX_CHANNELS, &z, err));
    NEXT(sdt_config_int(json, "num_res_blocks", true, 1, 16, &res, err));
    NEXT(sdt_config_numbers(json, "dim_mult", true, WAN_VAE_MAX_BLOCKS, multiplier, &blocks, err));
    /* spelled so in the config */
    NEXT(sdt_config_numbers(json, "temperal_downsample", true, WAN_VAE_MAX_BLOCKS, down, &downs,
                            err));
    NEXT(sdt_config_numbers(json, "latents_mean", true, WAN_VAE_MAX_CHANNELS, mean, &means, err));
    NEXT(sdt_config_numbers(json, "latents_std", true, WAN_VAE_MAX_CHANNELS, std, &stds, err));
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

/* ---- tensors --------------------------------------------------------------------------------- */

static void list_tensors(const struct wan_layers *all, struct sdt_tensor_table *table) {
    for (int i = 0; i < all->layers; i++) {
        const struct wan_layer *l = &all->layer[i];
        const struct sdt_conv *c = &l->conv;
        int channels = l->in < 0 ? 0 : all->edge[l->in].channels;
        if (l->kind == WAN_CONV && l->flat)
            sdt_tensor_table_add(table, 4, (int64_t[]){c->out, c->in, c->ks, c->ks}, "%s.weight",
                                 l->name);
        else if (l->kind == WAN_CONV)
            sdt_tensor_table_add(table, 5, (int64_t[]){c->out, c->in, c->kt, c->ks, c->ks},
                                 "%s.weight", l->name);
        else if (l->kind == WAN_TIME)
            sdt_tensor_table_add(table, 5, (int64_t[]){2 * channels, channels, 3, 1, 1},
                                 "%s.weight", l->name);
        else if (l->kind == WAN_NORM)
            sdt_tensor_table_add(table, l->flat ? 3 : 4, (int64_t[]){channels, 1, 1, 1}, "%s.gamma",
                                 l->name);
        if (l->kind == WAN_CONV || l->kind == WAN_TIME)
            sdt_tensor_table_add(table, 1, (int64_t[]){l->kind == WAN_TIME ? 2 * channels : c->out},
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
    struct wan_layers all = {0};
    struct wan_vae *vae = calloc(1, sizeof *vae);

    *out = NULL;
    if (!vae)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", folder);
    enum sdt_status status = read_config(config, vae, err);
    if (status == SDT_OK) {
        sdt__wan_layers_init(&all, vae);
        struct sdt_tensor_table *table = all.failed ? NULL : sdt_tensor_table_new();
        if (table) {
            table->namings = &files.namings;
            table->model = vae;
            list_tensors(&all, table);
        }
        status = sdt_tensors_open(table, folder, how, &vae->vae.weights, err);
    }
    sdt__wan_layers_clear(&all);
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
        status = sdt_config_int(like, "z_dim", true, 1, WAN_VAE_MAX_CHANNELS, &of_like, err);
    if (status != SDT_OK || (like && of_like == z))
        return status;
    status = sdt_config_parse("the published decoder", sdt__wan_vae_config, &config, err);
    if (status == SDT_OK)
        status = sdt_config_int(config, "z_dim", true, 1, WAN_VAE_MAX_CHANNELS, &published, err);
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

/* ---- jobs ------------------------------------------------------------------------------------ */

enum sdt_status sdt__wan_vae_check(const struct sdt_vae *vae, const struct sdt_vae_job *job,
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

const struct sdt_vae_kind sdt__wan_vae = {
    .class_name = "AutoencoderKLWan",
    .files = &files,
    .open = wan_vae_open,
    .close = wan_vae_close,
    .check = sdt__wan_vae_check,
    .decode = sdt__wan_vae_decode,
    .flops = sdt__wan_vae_flops,
    .operations = sdt__wan_vae_operations,
    .bytes = sdt__wan_vae_bytes,
};
