/* Decoding of given latents. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/eval.h"
#include "apps/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/models/family.h"
#include "runtime/machine.h"

/* [F, H, W, 3] -> [3, F, H, W]; NULL: out of memory. */
static float *channels_first(const float *video, size_t pixels) {
    float *y = malloc(3 * pixels * sizeof *y);
    for (size_t i = 0; y && i < pixels; i++)
        for (size_t c = 0; c < 3; c++)
            y[c * pixels + i] = video[3 * i + c];
    return y;
}

/* A latent of a file, and its values. */
struct latent {
    const struct sdt_stored *tensor;
    float *z;
};

/* Decodes as the output's name says: "out.whole" or "out.y", "out.framewise" as a pipeline does
 * without spatial tiles, or "out.tiled_S_RxC" with tiles of SxS pixels every R rows and C columns.
 * The first takes in.z, the others in.zl where the file has it. */
static enum sdt_status decode(struct app_eval *eval, struct sdt_vae *vae, const char *name,
                              const struct latent *latents /* [2] */, struct app_results *results,
                              struct sdt_error *err) {
    bool whole = !strcmp(name, "out.whole") || !strcmp(name, "out.y");
    const struct latent *from = !whole && latents[1].tensor ? &latents[1] : &latents[0];
    const struct sdt_stored *z_tensor = from->tensor;
    float *z = from->z;
    struct sdt_vae_job job = {.frames = (int)z_tensor->shape[2],
                              .height = (int)z_tensor->shape[3],
                              .width = (int)z_tensor->shape[4],
                              .whole = whole,
                              .as_decoded = true,
                              .dtype = eval->kinds.dit_dtype};
    struct sdt_flow flow = sdt_machine_flow(eval->machine, SDT_LANE_DENOISE);
    sdt_handle latent, frames;
    int end = 0, size, rows, columns;
    enum sdt_status status;

    if (sscanf(name, "out.tiled_%d_%dx%d%n", &size, &rows, &columns, &end) == 3 && !name[end])
        job.tiling = (struct sdt_vae_tiling){size, size, rows, columns};
    else if (!whole && strcmp(name, "out.framewise"))
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: %s: a vae gives out.whole, also called out.y, out.framewise and "
                        "out.tiled_S_RxC (tile size S, stride R rows by C columns, pixels)",
                        eval->path, name);
    status = vae->kind->check(vae, &job, err);
    if (status != SDT_OK)
        return status;
    int64_t space = vae->space_ratio;
    int64_t shape[5] = {1, 3, (int64_t)vae->time_ratio * (job.frames - 1) + 1, space * job.height,
                        space * job.width};
    size_t pixels = (size_t)(shape[2] * shape[3] * shape[4]);
    if (3 * pixels > UINT32_MAX)
        return sdt_fail(err, SDT_ERROR_LIMIT, "%s would have %zu numbers; the limit is 4294967295",
                        name, 3 * pixels);
    float *video = calloc(3 * pixels, sizeof *video);
    if (!video)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %s", name);
    latent = sdt__host_vector(&flow, z, z_tensor->count, "latent");
    frames = sdt__host_vector(&flow, video, 3 * pixels, "video");
    status = vae->kind->decode(&flow, vae, eval->machine, &job, latent, frames, err);
    if (status == SDT_ERROR_STALLED)
        return status;
    sdt__unregister(latent);
    sdt__unregister(frames);
    if (status == SDT_OK)
        status = app_eval_add(results, name, 5, shape, channels_first(video, pixels), err);
    free(video);
    return status;
}

/* A latent that fits the decoder. */
static enum sdt_status get_latent(const struct app_eval *eval, const struct sdt_vae *vae,
                                  const char *name, struct latent *latent, struct sdt_error *err) {
    const struct sdt_stored *z;
    char shape[200];
    enum sdt_status status = app_eval_input(eval, name, 5, "[1, channels, frames, height, width]",
                                            &latent->tensor, &latent->z, err);
    if (status != SDT_OK)
        return status;
    z = latent->tensor;
    if (z->shape[1] != vae->channels || !app_eval_fits(z) || z->count > UINT32_MAX)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: %s has the shape [%s]; this decoder takes [1, %d, frames, height, "
                        "width], in all at most 4294967295 numbers",
                        eval->path, name, app_shape_text(z, shape, sizeof shape), vae->channels);
    return SDT_OK;
}

static enum sdt_status eval_vae(struct app_eval *eval, const char *folder,
                                struct app_results *results, struct sdt_error *err) {
    struct latent latents[2] = {{NULL, NULL}, {NULL, NULL}};
    struct sdt_vae *vae = NULL;
    bool any = false;
    enum sdt_status status = sdt_vae_open(folder, NULL, &vae, err);

    if (status != SDT_OK)
        return status;
    status = get_latent(eval, vae, "in.z", &latents[0], err);
    if (status == SDT_OK && sdt_safetensors_find(eval->file, "in.zl"))
        status = get_latent(eval, vae, "in.zl", &latents[1], err);
    for (size_t i = 0; i < sdt_safetensors_count(eval->file) && status == SDT_OK; i++) {
        const char *name = sdt_safetensors_at(eval->file, i)->name;
        if (strncmp(name, "out.", 4))
            continue;
        any = true;
        status = decode(eval, vae, name, latents, results, err);
    }
    if (status == SDT_OK && !any)
        status = decode(eval, vae, "out.whole", latents, results, err);
    free(latents[0].z);
    free(latents[1].z);
    sdt_vae_close(vae);
    return status;
}

const struct app_component app_eval_vae = {
    .name = "vae", .needs_machine = true, .limit = 5e-5, .run = eval_vae};
