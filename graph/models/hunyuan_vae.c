/* HunyuanVideo's video decoder, the decoder half of AutoencoderKLHunyuanVideo: its configuration,
 * its tensors under their names, and the rules of a job. Its layers are in hunyuan_vae_layers.c,
 * what they compute in hunyuan_vae_decode.c, what that takes in hunyuan_vae_predict.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/config.h"
#include "graph/models/hunyuan_vae.h"

extern const struct sdt_vae_kind sdt__hunyuan_vae;
extern const char sdt__hunyuan_vae_config[];

/* ---- configuration -------------------------------------------------------------------------- */

/* up_block_types, where it is there: as many as blocks, all of the one kind that there is. */
static enum sdt_status check_blocks(const struct sdt_config *json, int blocks,
                                    struct sdt_error *err) {
    static const char only[] = "HunyuanVideoUpBlock3D";
    const char *type;
    if (!sdt_config_has(json, "up_block_types"))
        return SDT_OK;
    for (int i = 0; i < blocks; i++) {
        enum sdt_status status = sdt_config_string_at(json, "up_block_types", i, &type, err);
        if (status != SDT_OK)
            return status;
        if (!type || strcmp(type, only))
            return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                            "%s: up_block_types has %s; this version runs %s",
                            sdt_config_path(json), type ? type : "null", only);
    }
    return SDT_OK;
}

/* Where the decoder enlarges, of `space` doublings of height and width. */
static enum sdt_status place_ups(const struct sdt_config *json, struct hunyuan_vae *vae,
                                 int64_t ratio, struct sdt_error *err) {
    int doublings = 0;
    while ((int64_t)1 << doublings < ratio)
        doublings++;
    if ((int64_t)1 << doublings != ratio || doublings > vae->blocks || vae->blocks < 3)
        return sdt_fail(
            err, SDT_ERROR_UNSUPPORTED,
            "%s: spatial_compression_ratio %d with %d blocks; it must be a power of two, "
            "with a block for each factor of two and at least 3 in all",
            sdt_config_path(json), (int)ratio, vae->blocks);
    for (int i = 0; i < vae->blocks; i++) {
        vae->space[i] = i < doublings;
        vae->time[i] = i >= vae->blocks - 3 && i < vae->blocks - 1; /* a ratio of 4 */
    }
    return SDT_OK;
}

static enum sdt_status check_channels(const struct sdt_config *json, struct hunyuan_vae *vae,
                                      const double *channels /* [blocks], first block last */,
                                      struct sdt_error *err) {
    for (int i = 0; i < vae->blocks; i++) {
        double c = channels[vae->blocks - 1 - i];
        if (c < 1 || c > 8192 || c != floor(c) || (int)c % vae->groups)
            return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                            "%s: block_out_channels has %g, which is no multiple of "
                            "norm_num_groups, %d, up to 8192",
                            sdt_config_path(json), c, vae->groups);
        vae->channels[i] = (int)c;
    }
    return SDT_OK;
}

static enum sdt_status read_config(const struct sdt_config *json, struct hunyuan_vae *vae,
                                   struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    int64_t z = 16, resnets = 2, groups = 32, ratio = 8;
    double channels[HUNYUAN_VAE_MAX_BLOCKS], factor = 0.476986;
    bool attention = true;
    int blocks = 0;

#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
    NEXT(sdt_config_int(json, "latent_channels", true, 1, HUNYUAN_VAE_MAX_CHANNELS, &z, err));
    NEXT(sdt_config_numbers(json, "block_out_channels", true, HUNYUAN_VAE_MAX_BLOCKS, channels,
                            &blocks, err));
    NEXT(sdt_config_int(json, "layers_per_block", true, 1, 16, &resnets, err));
    NEXT(sdt_config_int(json, "norm_num_groups", false, 1, 8192, &groups, err));
    NEXT(sdt_config_int(json, "spatial_compression_ratio", false, 1, 256, &ratio, err));
    NEXT(sdt_config_number(json, "scaling_factor", false, &factor, err));
    NEXT(sdt_config_bool(json, "mid_block_add_attention", false, &attention, err));
    NEXT(sdt_config_only(json, "temporal_compression_ratio", "4", err));
    NEXT(sdt_config_only(json, "out_channels", "3", err));
    NEXT(sdt_config_only(json, "act_fn", "\"silu\"", err));
    vae->blocks = blocks;
    vae->resnets = (int)resnets + 1;
    vae->groups = (int)groups;
    vae->attention = attention;
    NEXT(check_blocks(json, blocks, err));
    NEXT(place_ups(json, vae, ratio, err));
    NEXT(check_channels(json, vae, channels, err));
#undef NEXT
    if (status != SDT_OK)
        return status;
    if (!(fabs(factor) > 1e-6 && fabs(factor) < 1e6))
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: scaling_factor %g; latents are divided by it",
                        sdt_config_path(json), factor);
    for (int c = 0; c < z; c++)
        vae->scale[c] = (float)(1.0 / factor);
    vae->vae = (struct sdt_vae){.kind = &sdt__hunyuan_vae,
                                .channels = (int)z,
                                .space_ratio = (int)ratio,
                                .time_ratio = 4,
                                .tile = {256, 256, 192, 192}};
    return SDT_OK;
}

const char sdt__hunyuan_vae_config[] =
    "{\"_class_name\": \"AutoencoderKLHunyuanVideo\", \"in_channels\": 3, \"out_channels\": 3, "
    "\"latent_channels\": 16, \"block_out_channels\": [128, 256, 512, 512], "
    "\"layers_per_block\": 2, \"act_fn\": \"silu\", \"norm_num_groups\": 32, "
    "\"scaling_factor\": 0.476986, \"spatial_compression_ratio\": 8, "
    "\"temporal_compression_ratio\": 4, \"mid_block_add_attention\": true}";

/* ---- tensors --------------------------------------------------------------------------------- */

static void list_tensors(const struct hunyuan_layers *all, struct sdt_tensor_table *table) {
    for (int i = 0; i < all->layers; i++) {
        const struct hunyuan_layer *l = &all->layer[i];
        const struct sdt_conv *c = &l->conv;
        int64_t channels = l->kind == HUNYUAN_CONV ? c->out
                           : l->in < 0             ? 0
                                                   : all->edge[l->in].channels;
        if (l->kind == HUNYUAN_CONV && l->matrix)
            sdt_tensor_table_add(table, 2, (int64_t[]){c->out, c->in}, "%s.weight", l->name);
        else if (l->kind == HUNYUAN_CONV)
            sdt_tensor_table_add(table, 5, (int64_t[]){c->out, c->in, c->kt, c->ks, c->ks},
                                 "%s.weight", l->name);
        else if (l->kind == HUNYUAN_NORM)
            sdt_tensor_table_add(table, 1, &channels, "%s.weight", l->name);
        if (l->kind == HUNYUAN_CONV || l->kind == HUNYUAN_NORM)
            sdt_tensor_table_add(table, 1, &channels, "%s.bias", l->name);
    }
    sdt_tensor_table_ignore(table, "encoder.");
    sdt_tensor_table_ignore(table, "quant_conv.");
}

static void hunyuan_vae_close(struct sdt_vae *vae) {
    sdt_weights_close(vae->weights);
    free(vae);
}

static enum sdt_status hunyuan_vae_open(const struct sdt_config *config, const char *folder,
                                        const struct sdt_opening *how, struct sdt_vae **out,
                                        struct sdt_error *err) {
    struct hunyuan_layers all = {0};
    struct hunyuan_vae *vae = calloc(1, sizeof *vae);

    *out = NULL;
    if (!vae)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", folder);
    enum sdt_status status = read_config(config, vae, err);
    if (status == SDT_OK) {
        sdt__hunyuan_layers_init(&all, vae);
        struct sdt_tensor_table *table = all.failed ? NULL : sdt_tensor_table_new();
        if (table)
            list_tensors(&all, table);
        status = sdt_tensors_open(table, folder, how, &vae->vae.weights, err);
    }
    sdt__hunyuan_layers_clear(&all);
    if (status != SDT_OK)
        hunyuan_vae_close(&vae->vae);
    else
        *out = &vae->vae;
    return status;
}

static int tiles(const struct sdt_vae *vae, const struct sdt_vae_job *job) {
    return sdt__hunyuan_tiling(vae, job).tiles;
}

const struct sdt_vae_kind sdt__hunyuan_vae = {
    .class_name = "AutoencoderKLHunyuanVideo",
    .open = hunyuan_vae_open,
    .close = hunyuan_vae_close,
    .check = sdt__vae_check,
    .decode = sdt__hunyuan_vae_decode,
    .flops = sdt__hunyuan_vae_flops,
    .tiles = tiles,
    .operations = sdt__hunyuan_vae_operations,
    .bytes = sdt__hunyuan_vae_bytes,
};
