/* stardit-bench runtime --case: whole steps and decodes at the sizes of Wan 2.1, with random
 * weights. */
#ifndef STARDIT_APPS_BENCH_MODELS_H
#define STARDIT_APPS_BENCH_MODELS_H

#include "apps/devices.h"

#define APP_BENCH_CASES "block-11k|block-40k|step|vae|frame|text|small|small-vae|all"

struct app_bench_models {
    const char *name;    /* one of APP_BENCH_CASES; all: the first four */
    const char *devices; /* --devices */
    const char *dtype, *strategy, *scheduler;
    const char *workers, *speed;
    int repeats;
};

/* Prints one line a case. */
enum sdt_status app_bench_models(const struct app_bench_models *options, struct sdt_error *err);
#endif
