/* stardit-eval: what its components share. One file runs one component. */
#ifndef STARDIT_APPS_EVAL_H
#define STARDIT_APPS_EVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "apps/devices.h"
#include "runtime/devices.h"
#include "stardit/safetensors.h"
#include "stardit/stardit.h"

struct app_eval {
    const char *model, *component, *input, *output, *strategy_name, *scheduler, *stats;
    const char *devices_text, *dtype_text, *metrics;
    struct app_devices list;
    struct sdt_kinds kinds;
    bool compare, force;
    double atol;
    const char *workers, *speed;
    const struct sdt_strategy *strategy;
    int ulysses_degree, chunk_heads;
    const struct sdt_safetensors *file;
    const char *path;
    struct sdt_machine *machine; /* NULL: the component is computed without StarPU */
    int tiles[SDT_MAX_DEVICES], heads[SDT_MAX_DEVICES];
    bool has_layout;
};

/* ---- components ------------------------------------------------------------------------------ */

struct app_results;

struct app_component {
    const char *name;
    bool needs_machine;
    double limit;          /* of the largest absolute error */
    double guidance_limit; /* the same of out.y with in.guidance; 0: as limit */
    /* Fills results, all that the input's names ask for. `folder` is the component's; NULL without
     * --model. */
    enum sdt_status (*run)(struct app_eval *eval, const char *folder, struct app_results *results,
                           struct sdt_error *err);
};

extern const struct app_component app_eval_transformer, app_eval_vae, app_eval_text_encoder,
    app_eval_scheduler;

/* ---- results --------------------------------------------------------------------------------- */

struct app_results {
    struct sdt_stored *tensor; /* [count]; name and data are malloc'ed */
    size_t count, capacity;
};

void app_eval_clear(struct app_results *results);
/* Takes values (malloc'ed, [product of shape]), on failure too; NULL: SDT_ERROR_MEMORY. */
enum sdt_status app_eval_add(struct app_results *results, const char *name, int rank,
                             const int64_t *shape, float *values, struct sdt_error *err);
/* The same with a copy of values. */
enum sdt_status app_eval_add_copy(struct app_results *results, const char *name, int rank,
                                  const int64_t *shape, const float *values, struct sdt_error *err);
/* NULL: none of that name. */
const struct sdt_stored *app_eval_result(const struct app_results *results, const char *name);

/* ---- inputs ---------------------------------------------------------------------------------- */

/* Element i of a tensor of I64 or I32. */
int64_t app_eval_integer(const struct sdt_stored *tensor, size_t i);
bool app_eval_is_integer(const struct sdt_stored *tensor);
/* Input `name` of the given rank, 1 in front; `meaning` is its shape in words. Caller frees
 * *values, on failure too. SDT_ERROR_MISSING, SDT_ERROR_FORMAT. */
enum sdt_status app_eval_input(const struct app_eval *eval, const char *name, int rank,
                               const char *meaning, const struct sdt_stored **tensor,
                               float **values, struct sdt_error *err);
/* Input `name` of a model that may need none: *values is NULL where there is none. */
enum sdt_status app_eval_optional(const struct app_eval *eval, const char *name, int rank,
                                  const char *meaning, const struct sdt_stored **tensor,
                                  float **values, struct sdt_error *err);
/* Is each side of the shape from 1 to a million? */
bool app_eval_fits(const struct sdt_stored *tensor);

#endif
