/* A decode of a published size on simulated GPUs, for its memory.
 *
 *   decode SIZE HEIGHT WIDTH FRAMES TILE DEVICES MEMORY
 *
 * HEIGHT and WIDTH of the video; TILE pixels of a spatial tile, 0: whole frames; MEMORY of a GPU in
 * GB. Prints for each device the most that StarPU has allocated there, what is predicted, and what
 * it has sent to the host, in GB. What a GPU has no room for goes to the host, and comes back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/models/family.h"
#include "tests/simulation/program.h"

static struct sdt_platform platform_of(char **argv) {
    return (struct sdt_platform){.kinds = 1,
                                 .kind = {{.memory_gb = atof(argv[7])}},
                                 .devices = atoi(argv[6]),
                                 .link_gbps = 300.0,
                                 .host_gbps = 50.0};
}

static enum sdt_status decode(struct sdt_machine *machine, struct sdt_vae *vae,
                              const struct sdt_vae_job *job, struct sdt_error *err) {
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    size_t latents =
        (size_t)vae->channels * (size_t)job->frames * (size_t)job->height * (size_t)job->width;
    size_t pixels = 3 * (size_t)(vae->time_ratio * (job->frames - 1) + 1) *
                    (size_t)(job->height * vae->space_ratio) *
                    (size_t)(job->width * vae->space_ratio);
    /* Nobody touches these: they take no memory. */
    float *latent = calloc(latents, sizeof *latent), *video = calloc(pixels, sizeof *video);
    if (!latent || !video)
        return sdt_fail(err, SDT_ERROR_MEMORY, "no memory for a video");
    return vae->kind->decode(&flow, vae, machine, job,
                             sdt__host_vector(&flow, latent, latents, "latent"),
                             sdt__host_vector(&flow, video, pixels, "video"), err);
}

static const char usage[] = "SIZE HEIGHT WIDTH FRAMES TILE DEVICES MEMORY";
static const int arguments = 7;

static int run(struct sdt_machine *machine, char **argv) {
    struct sdt_error err = {0};
    const struct sdt_family *family;
    const struct sdt_size *size;
    struct sdt_vae *vae = NULL;
    const int devices = machine->devices, tile = atoi(argv[5]);

    if (!sdt_size_find(argv[1], &family, &size)) {
        fprintf(stderr, "%s: no such size\n", argv[1]);
        return 2;
    }
    if (sdt_vae_imagine(size->vae, SDT_F32, &vae, &err) != SDT_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    struct sdt_vae_job job = {.frames = (atoi(argv[4]) - 1) / vae->time_ratio + 1,
                              .height = atoi(argv[2]) / vae->space_ratio,
                              .width = atoi(argv[3]) / vae->space_ratio,
                              .scale = true,
                              .tiling = {tile, tile, tile * 3 / 4, tile * 3 / 4},
                              .dtype = SDT_BF16,
                              .place = machine->device,
                              .devices = devices};
    enum sdt_status status = decode(machine, vae, &job, &err);
    double traffic[(SDT_MAX_DEVICES + 1) * (SDT_MAX_DEVICES + 1)] = {0};
    sdt_machine_traffic(machine, traffic);
    for (int d = 0; status == SDT_OK && d < devices; d++)
        printf("%d %.6f %.6f %.6f\n", d, 1e-9 * sdt_machine_peak_bytes(machine, d),
               1e-9 * vae->kind->bytes(vae, &job, devices, d),
               1e-9 * traffic[(d + 1) * (devices + 1)]);
    if (status != SDT_OK)
        fprintf(stderr, "%s\n", err.message);
    return status == SDT_OK ? 0 : 1;
}
