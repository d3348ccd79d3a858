/* Wan 2.1 video decoder: the decoder half of AutoencoderKLWan.
 *
 * Decoding streams over time, a frame at a time: a convolution's task reads the frame and its two
 * predecessors, so the tasks (frame, layer) form a wavefront, frame t + 1 in layer l while frame t is in
 * layer l + 1, and memory does not grow with the length (with spatial
 * tiles it does: a tile keeps its frames until its seams are blended). Over several devices the layers are cut into
 * contiguous stages of about equal work; with spatial tiles, whole tiles go to the devices in turn
 * instead. */
#ifndef STARDIT_WAN_VAE_H
#define STARDIT_WAN_VAE_H

#include "codelets/codelets.h"
#include "graph/checkpoint/weights.h"
#include "runtime/machine.h"

struct sdt_wan_vae;
struct sdt_parameters;

enum sdt_status sdt_wan_vae_open(const char *folder, struct sdt_wan_vae **vae,
                                 struct sdt_error *err);
/* The decoder of Wan 2.1 (base_dim 96; smaller for tests) with weights without values, for
 * measurements: see sdt_weights_imagine. SDT_ERROR_MEMORY. */
enum sdt_status sdt_wan_vae_imagine(int base_dim, struct sdt_wan_vae **vae, struct sdt_error *err);
void sdt_wan_vae_close(struct sdt_wan_vae *vae);            /* NULL is fine */
int sdt_wan_vae_channels(const struct sdt_wan_vae *vae);    /* z_dim */
int sdt_wan_vae_space_ratio(const struct sdt_wan_vae *vae); /* 8: pixels per latent, each way */
int sdt_wan_vae_time_ratio(const struct sdt_wan_vae *vae);  /* 4: frames = 4 (T - 1) + 1 */
const struct sdt_weights *sdt_wan_vae_weights(const struct sdt_wan_vae *vae);

/* Called on a worker's thread whenever a frame of a tile is done. */
typedef void (*sdt_frame_done)(void *arg, int done, int total);

struct sdt_vae_job {
    int frames, height, width; /* of the latent [C, frames, height, width] */
    bool scale; /* z = latent * std + mean first (a pipeline does, a golden case not) */
    struct sdt_vae_tiling tiling;
    enum sdt_dtype dtype;          /* of activations and matrices; CPUs know SDT_F32 only */
    const struct sdt_place *place; /* [devices] that decode; NULL: all of the machine */
    int devices;
    struct sdt_parameters *parameters; /* weights to use and keep; NULL: loads its own */
    sdt_frame_done frame_done;         /* or NULL */
    void *frame_done_arg;
};
/* Checks a job against the checkpoint and the tiling rules: SDT_ERROR_USAGE. */
enum sdt_status sdt_wan_vae_check(const struct sdt_wan_vae *vae, const struct sdt_vae_job *job,
                                  struct sdt_error *err);

/* Inserts the whole decode and waits for it. video: [4 (frames - 1) + 1, 8 height, 8 width, 3] in -1..1, registered at the
 * host. */
enum sdt_status sdt_wan_vae_decode(struct sdt_flow *flow, struct sdt_wan_vae *vae,
                                   struct sdt_machine *machine, const struct sdt_vae_job *job,
                                   sdt_handle latent, sdt_handle video /* updated */,
                                   struct sdt_error *err);

double sdt_wan_vae_flops(const struct sdt_wan_vae *vae, const struct sdt_vae_job *job);
/* Predicted peak bytes of one device (weights and activations) of `devices`; at least what the
 * largest task needs. */
double sdt_wan_vae_bytes(const struct sdt_wan_vae *vae, const struct sdt_vae_job *job, int devices);
#endif
