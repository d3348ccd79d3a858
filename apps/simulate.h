/* The command line of stardit-simulate, and what it runs. */
#ifndef STARDIT_APPS_SIMULATE_H
#define STARDIT_APPS_SIMULATE_H

#include "apps/placement.h"
#include "apps/steps.h"
#include "runtime/platform.h"
#include "runtime/recorder.h"
#include "stardit/stardit.h"

#define APP_MOST_RUNS 1000 /* prompts of a whole run */

struct app_simulation {
    const char *platform_path, *model, *scheduler, *trace, *dot, *stats, *gantt, *split, *speed;
    const char *compare; /* PipeDiT's plans and ours */
    const char *table;
    const char *arrivals; /* requests by a trace, without StarPU */
    double deadline_scale; /* of theirs; 0: not given */
    struct app_theirs {   /* how the frameworks that its paper measured differ */
        const char *strategy;
        double attention, mask_bytes, step, group_step, overhead, group_overhead, decode, offload;
        bool padded_frames, ablation, baseline, ingredients;
    } theirs;
    const char *sweep, *csv, *svg;
    const char *queue, *ranks, *deadlines; /* ranks: --priorities */
    double rank[APP_MOST_RUNS], deadline[APP_MOST_RUNS];
    struct app_placement place;
    int height, width, num_frames, text_keys, forwards, steps; /* 0: the model's */
    int prompts;                                               /* of a whole run; 0: one step */
    int tile_rows, layers;                                     /* one step */
    int negative_keys;           /* tokens of the negative prompt; 0: as many as the prompt's */
    struct app_steps step_table; /* a whole run's */
    bool fast_forward, tiling, embeds;
    struct sdt_platform platform; /* the file's, but for what options say */
    struct {
        int devices;
        double gflops, attention_gflops, memory_gbps, memory_gb, link_gbps, link_latency_us,
            host_gbps, launch_us;
    } given;
    struct sdt_model whole;
    struct sdt_request request;
    struct sdt_placement placement;
};

/* Runs the program once for each value of --sweep, prints the table and writes the files; the exit
 * code. */
struct app_program;
int app_simulate_sweep(const struct app_simulation *s, const struct app_program *program,
                       char **argv);
/* In the process that simulates. */
enum sdt_status app_simulate_step(struct app_simulation *s, struct sdt_machine *machine,
                                  struct sdt_error *err);
enum sdt_status app_simulate_run(struct app_simulation *s, struct sdt_machine *machine,
                                 struct sdt_error *err);
/* A step of the placement's group by itself, its helpers taking part or not: from a few layers, as
 * the above. */
enum sdt_status app_simulate_part(const struct app_simulation *s, struct sdt_machine *machine,
                                  bool helped, struct sdt_step_record *step, struct sdt_error *err);
/* PipeDiT's plans and ours, side by side. */
enum sdt_status app_simulate_compare(const struct app_simulation *s, struct sdt_machine *machine,
                                     struct sdt_error *err);
/* A table of published times, each row's comparison in a process of its own; the exit status. */
int app_simulate_table(const char *program, const struct app_simulation *s, struct sdt_error *err);
/* Requests of a trace on devices that take one each, as a queue orders them. Without a machine. */
enum sdt_status app_simulate_arrivals(const struct app_simulation *s, struct sdt_error *err);
/* A prompt of about so many tokens, malloc'ed; NULL: out of memory. */
char *app_simulate_prompt(int tokens);
/* Devices as rows, roles as colours. */
enum sdt_status app_gantt_write(const struct sdt_machine *machine, double begin, double end,
                                const char *path, struct sdt_error *err);
#endif
