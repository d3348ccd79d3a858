/* The checkpoints that are served: each is opened for every service that runs it and for plans of
 * requests that come meanwhile, since a checkpoint is used by one thread at a time. */
#ifndef STARDIT_APPS_SERVE_MODELS_H
#define STARDIT_APPS_SERVE_MODELS_H

#include <jansson.h>
#include <pthread.h>

#include "apps/lora.h"
#include "apps/placement.h"
#include "apps/serve/shares.h"
#include "apps/state.h"
#include "stardit/stardit.h"

enum { SERVE_MOST_MODELS = 16 };

struct serve_model {
    const char *path; /* as it was given */
    char name[128];   /* its last part, by which requests name it */
    /* Of the service of each slot (shares.h). */
    struct sdt_pipeline *pipeline[SERVE_SLOTS];
    struct sdt_placement placement[SERVE_SLOTS];
    struct sdt_request defaults; /* with the strategy; its strings belong to the planner */
    uint64_t sum;
    double bytes;          /* that a request of the defaults takes of the devices */
    pthread_mutex_t mutex; /* of what follows */
    struct sdt_pipeline *planner;
};

struct serve_models {
    int count;
    struct serve_model model[SERVE_MOST_MODELS];
    int shares;                    /* --data-parallel-size; 1: each job has all devices */
    double room;                   /* bytes of the host that were free at the start */
    bool together;                 /* all fit on the devices side by side, by their defaults */
    struct app_devices machine;    /* the same for all */
    struct app_settings *settings; /* for recipes of states: what says the same of all requests */
};

/* What a request is predicted to take, of which its status and a queue speak. */
struct serve_work {
    double text_seconds, step_seconds, decode_seconds;
    double text_flops, step_flops, decode_flops;
};

/* What the command line says of them. */
struct serve_model_options {
    struct app_placement place;
    struct app_loras loras; /* read; they go with one model */
    int shares;             /* --data-parallel-size */
    int warmup, refresh;    /* of strategies with stale keys; 0: none is said */
};
/* Opens and places them. Outcomes as sdt_pipeline_open_files and app_place. The options outlive
 * the models. To be closed after a failure, too. */
enum sdt_status serve_models_open(struct serve_models *models, const struct app_strings *paths,
                                  const struct serve_model_options *options, struct sdt_error *err);
void serve_models_close(struct serve_models *models);
/* -1: there is none of that name. */
int serve_models_find(const struct serve_models *models, const char *name);

/* Do they fit on the devices together? Clears `together` where not, and sets each one's bytes; one
 * line of how much they take for who starts the server. As sdt_plan_make of each one's defaults. */
enum sdt_status serve_models_measure(struct serve_models *models, char *text, size_t size,
                                     struct sdt_error *err);
/* What a request takes of the devices by its plan; 0: it cannot be planned, or there is one model
 * alone. From any thread. */
double serve_model_bytes(struct serve_models *models, int model, const struct sdt_request *request);
/* Bits that do not depend on the devices: jobs may change between a share and all of them. */
bool serve_models_widen(const struct serve_models *models);
/* The same on a share, of those with the fewest devices: how long, and how many bytes of the host
 * (0 on GPUs, which have their own). As sdt_plan_make. From any thread. */
enum sdt_status serve_model_share(struct serve_models *models, int model,
                                  const struct sdt_request *request, struct serve_work *work,
                                  double *bytes, struct sdt_error *err);
/* May it run here, on all devices, and how long will it take? As sdt_plan_make. From any thread. */
enum sdt_status serve_model_plan(struct serve_models *models, int model,
                                 const struct sdt_request *request, struct serve_work *work,
                                 struct sdt_error *err);
/* The same, with all that stardit-generate's statistics say of a plan. NULL: *err says why. */
json_t *serve_model_plan_object(struct serve_models *models, int model,
                                const struct sdt_request *request, struct sdt_error *err);
/* What a state of it says beside the state. *recipe is to be cleared, after a failure too. */
enum sdt_status serve_model_recipe(struct serve_models *models, int model,
                                   const struct sdt_request *request, struct app_recipe *recipe,
                                   struct sdt_error *err);
#endif
