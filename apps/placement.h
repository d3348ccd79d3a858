/* Which devices do what: --dit-devices, --vae-devices, --aco, --plan and their like. */
#ifndef STARDIT_APPS_PLACEMENT_H
#define STARDIT_APPS_PLACEMENT_H

#include "apps/devices.h"
#include "stardit/stardit.h"

/* What the command line says; NULL or 0: not given. */
struct app_placement {
    const char *devices;                   /* "4", "cuda:0-3" */
    struct app_devices machine;            /* settled by app_place() */
    const char *workers;                   /* "2", "2,1,1" */
    const char *speed;                     /* "1,1,0.5" */
    const char *dtype;                     /* APP_DTYPES */
    const char *dit_devices, *vae_devices; /* "0-6", "cpu:0,2", "cuda:0-6"; vae also "auto" */
    int dit_size, vae_size;                /* --dit-parallel-size, --vae-parallel-size */
    const char *text_group;                /* "dit" or "vae" */
    const char *transport;                 /* "starpu", "nccl"; NULL: starpu */
    const char *aco;                       /* "off", "static", "dynamic", "auto" */
    const char *plan;                      /* "auto" or "given" */
    const char *streams;                   /* "1", "2", "auto" */
    const char *strategy;
    const char *chunk_heads; /* "2", "auto" */
    int ulysses_degree, ring_degree, patches, max_latents;
    bool vae_spill;
    bool cfg_parallel; /* --use-cfg-parallel */
};

/* Settles the devices (those of the groups, if only these were given), the placement and the
 * request's strategy, for `count` requests; checks that the devices are there. The placement
 * borrows from options. With `table`, prints the candidates of --plan auto, the
 * best first. */
enum sdt_status app_place(struct app_placement *options, struct sdt_pipeline *pipeline,
                          struct sdt_request *request, int count, bool table,
                          struct sdt_placement *placement, struct sdt_error *err);
#endif
