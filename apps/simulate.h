/* The command line of stardit-simulate, and what it runs. */
#ifndef STARDIT_APPS_SIMULATE_H
#define STARDIT_APPS_SIMULATE_H

#include "apps/placement.h"
#include "runtime/platform.h"
#include "stardit/stardit.h"

struct app_simulation {
    const char *platform_path, *model, *scheduler, *trace, *stats, *gantt, *split, *speed;
    struct app_placement place;
    int height, width, num_frames, text_keys, forwards, steps; /* 0: the model's */
    int prompts;                                               /* of a whole run; 0: one step */
    int tile_rows, layers;                                     /* one step */
    bool fast_forward, tiling;
    struct sdt_platform platform; /* the file's, but for what options say */
    struct {
        int devices;
        double gflops, attention_gflops, memory_gbps, memory_gb, link_gbps, link_latency_us,
            host_gbps;
    } given;
    struct sdt_model whole;
    struct sdt_request request;
    struct sdt_placement placement;
};

/* In the process that simulates. */
enum sdt_status app_simulate_step(struct app_simulation *s, struct sdt_machine *machine,
                                  struct sdt_error *err);
enum sdt_status app_simulate_run(struct app_simulation *s, struct sdt_machine *machine,
                                 struct sdt_error *err);
/* Devices as rows, roles as colours. */
enum sdt_status app_gantt_write(const struct sdt_machine *machine, double begin, double end,
                                const char *path, struct sdt_error *err);
#endif
