/* What a run did, as JSON: the part of --stats that stardit-generate and stardit-eval share. Each
 * number is defined in docs/numbers.md. */
#ifndef STARDIT_APPS_STATS_H
#define STARDIT_APPS_STATS_H

#include <jansson.h>

#include "stardit/stardit.h"

/* {"program":, "version":, "starpu":}; NULL: out of memory. */
json_t *app_stats_begin(const char *program);

/* Adds "devices", "workers_per_device", "scheduler", "tasks" (in all, by role), "device" (one
 * object per device: tiles, heads, tasks, peak bytes) and "host". tiles, heads: [machine->devices]
 * or NULL. */
void app_stats_machine(json_t *stats, const struct sdt_machine *machine, const int *tiles,
                       const int *heads);

/* Adds "cudnn": what GPUs use for attention and convolutions in bfloat16. Nothing without GPUs. */
void app_stats_cudnn(json_t *stats, const struct sdt_cudnn_use *use);
/* A line for people where own kernels took cuDNN's place, so that a run is slower and has other
 * bits than with it; false: there is nothing to say. */
bool app_stats_fell_back(const struct sdt_cudnn_use *use, char *text /* [size] */, size_t size);

/* Adds "computed_on": for text, denoising and decoding the kind of device and the dtype of the
 * plan, and within what results of other kinds agree. */
void app_stats_kinds(json_t *stats, const struct sdt_plan *plan, bool text_with_vae);

/* Adds "moved": bytes that StarPU moved between memories, [devices + 1, devices + 1], index 0 the
 * host, and those that collective rounds moved. */
void app_stats_moved(json_t *stats, const double *bytes, double collective, int devices);

/* Adds "ranks": messages between several ranks, [ranks, ranks], and their bytes. */
void app_stats_ranks(json_t *stats, const struct sdt_machine *machine, int ranks);

/* "plan": what a request needs. NULL: out of memory. */
json_t *app_stats_plan(const struct sdt_plan *plan);

/* Writes to path (temporary name, then renamed; "-": standard output) and frees stats. */
enum sdt_status app_stats_write(json_t *stats, const char *path, struct sdt_error *err);
#endif
