/* Wan 2.1 text-to-video transformer: WanTransformer3DModel of diffusers.
 *
 * The way of a step: the latent lives as tiles of patch vectors on the devices that own the tokens
 * (graph/run/layout.h). A forward embeds them, runs the blocks, and leaves a velocity tile beside each
 * latent tile; a solver step (graph/run/latent.c) moves the latent. Nothing is collected in between. */
#ifndef STARDIT_WAN_H
#define STARDIT_WAN_H

#include "graph/checkpoint/weights.h"
#include "graph/run/layout.h"
#include "runtime/machine.h"
#include "graph/strategies/strategy.h"

struct sdt_wan_config {
    int layers, heads, head_dim, width; /* width d = heads * head_dim */
    int in_channels, out_channels, text_dim, freq_dim, ffn_dim;
    int patch[3]; /* frames, height, width */
    float eps;
    bool cross_attn_norm; /* norm2: LN with weights before cross attention */
};

struct sdt_wan;

/* Opens transformer folder `folder`: config.json and tensors, checked against each other; no weight is
 * read yet. SDT_ERROR_UNSUPPORTED for image conditioning and other options that stardit does not run. */
enum sdt_status sdt_wan_open(const char *folder, struct sdt_wan **wan, struct sdt_error *err);
/* Reads config.json of a transformer folder alone. Errors as sdt_wan_open. */
enum sdt_status sdt_wan_config_read(const char *folder, struct sdt_wan_config *config,
                                    struct sdt_error *err);
/* A transformer of that configuration without weights, for simulated time. SDT_ERROR_MEMORY. */
enum sdt_status sdt_wan_imagine(const struct sdt_wan_config *config, struct sdt_wan **wan,
                                struct sdt_error *err);
void sdt_wan_close(struct sdt_wan *wan); /* NULL is fine; after all its runs are cleared */
const struct sdt_wan_config *sdt_wan_config(const struct sdt_wan *wan);
const struct sdt_weights *sdt_wan_weights(const struct sdt_wan *wan);

/* One video geometry on one group of devices, computed in parallel->dtype (latents, velocities, the prompt's
 * states and what a step is conditioned on are float32 always): buffers used by all layers, steps and requests of
 * that geometry, for up to two branches (of guidance: prompt and negative prompt). Branches compute side by side where each
 * has a stream, a set of activation buffers, of its own (parallel->streams), else one after the other. */
struct sdt_wan_run;

struct sdt_wan_geometry {
    int frames, height, width; /* of the latent; divisible by the patch size */
};
/* The first failure is left in the flow and gives NULL. The machine outlives the run. */
struct sdt_wan_run *sdt_wan_run_new(struct sdt_flow *flow, struct sdt_wan *wan,
                                    struct sdt_machine *machine,
                                    const struct sdt_parallel *parallel,
                                    struct sdt_wan_geometry geometry, int branches);
/* The run's tasks have been waited for. NULL is fine. */
void sdt_wan_run_free(struct sdt_wan_run *run);
const struct sdt_layout *sdt_wan_layout(const struct sdt_wan_run *run);
struct sdt_patch sdt_wan_patch(const struct sdt_wan *wan, struct sdt_wan_geometry geometry);

/* Sets the prompt of a branch: keys and values of every layer's cross attention. text: [rows,
 * text_dim] encoder states; pad_rows: how many all-zero rows follow them (attended), counted
 * by one key with a log weight. */
void sdt_wan_prompt(struct sdt_flow *flow, struct sdt_wan_run *run, int branch, sdt_handle text,
                    int rows, int pad_rows);

/* velocity(branch) = model(latent, t). latent: [tiles] -> [rows, C*patch], at their home devices. */
void sdt_wan_forward(struct sdt_flow *flow, struct sdt_wan_run *run, int branch, float t,
                     const sdt_handle *latent);
/* The same for branches 0..branches-1, interleaved if the run has a stream for each. */
void sdt_wan_forwards(struct sdt_flow *flow, struct sdt_wan_run *run, int branches, float t,
                      const sdt_handle *latent);
/* [tiles] -> [rows, C*patch], C slowest, as the latent. */
const sdt_handle *sdt_wan_velocity(const struct sdt_wan_run *run, int branch);

/* FLOPs of one forward of one branch with text_keys keys in cross attention. */
double sdt_wan_flops(const struct sdt_wan_config *config, struct sdt_wan_geometry geometry,
                     int text_keys);
/* Bytes on device `device` of a group: weights, what each branch keeps, and activations of `streams` streams
 * (0: one for each branch). */
double sdt_wan_bytes(const struct sdt_wan *wan, const struct sdt_strategy *strategy,
                     const struct sdt_layout *layout, int device, int branches, int streams,
                     int text_keys);
/* Bytes that one forward of one branch moves between devices, exactly: the strategy's exchanges, and the
 * step's two conditioning vectors to every device with tokens. */
double sdt_wan_exchanged(const struct sdt_wan_config *config, const struct sdt_strategy *strategy,
                         const struct sdt_layout *layout);
#endif
