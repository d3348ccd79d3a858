/* A diffusers scheduler folder: which solver, and its shift.
 *
 * Options that would change the result and that stardit does not run are refused by name. A key
 * that is absent has diffusers' default; where that is not what stardit runs, the key is
 * required. */
#include "graph/checkpoint/config.h"
#include "graph/sampler/sampler.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct option {
    const char *key, *expected; /* JSON */
};

/* What stardit does, where the key is there: all else lays out other sigmas or changes x0. */
static const struct option unipc_options[] = {
    {"solver_order", "2"},
    {"solver_type", "\"bh2\""},
    {"solver_p", "null"},
    {"predict_x0", "true"},
    {"prediction_type", "\"flow_prediction\""},
    {"use_flow_sigmas", "true"},
    {"final_sigmas_type", "\"zero\""},
    {"lower_order_final", "true"},
    {"disable_corrector", "[]"},
    {"num_train_timesteps", "1000"},
    {"thresholding", "false"},
    {"use_karras_sigmas", "false"},
    {"use_exponential_sigmas", "false"},
    {"use_beta_sigmas", "false"},
    {"use_dynamic_shifting", "false"},
    {"shift_terminal", "null"},
    {"sigma_min", "null"},
    {"sigma_max", "null"},
    {NULL, NULL},
};
static const struct option euler_options[] = {
    {"num_train_timesteps", "1000"},
    {"use_dynamic_shifting", "false"},
    {"shift_terminal", "null"},
    {"invert_sigmas", "false"},
    {"stochastic_sampling", "false"},
    {"use_karras_sigmas", "false"},
    {"use_exponential_sigmas", "false"},
    {"use_beta_sigmas", "false"},
    {NULL, NULL},
};
static const struct option ancestral_options[] = {
    {"num_train_timesteps", "1000"},
    {"beta_schedule", "\"linear\""},
    {"trained_betas", "null"},
    {"prediction_type", "\"v_prediction\""},
    {"rescale_betas_zero_snr", "true"},
    {"timestep_spacing", "\"trailing\""},
    {"steps_offset", "0"},
    {NULL, NULL},
};
/* Without these keys it predicts noise, on other levels. */
static const char *const ancestral_required[] = {"prediction_type", "rescale_betas_zero_snr",
                                                 "timestep_spacing", NULL};
/* Without these keys UniPC predicts noise on a diffusion schedule. */
static const char *const unipc_required[] = {"prediction_type", "use_flow_sigmas", NULL};
static const char *const none_required[] = {NULL};

static const struct family {
    const char *name;
    enum sdt_sampler_kind kind;
    const char *shift_key;
    const struct option *options;
    const char *const *required;
} families[] = {
    {"UniPCMultistepScheduler", SDT_SAMPLER_UNIPC, "flow_shift", unipc_options, unipc_required},
    {"FlowMatchEulerDiscreteScheduler", SDT_SAMPLER_EULER, "shift", euler_options, none_required},
    {"EulerAncestralDiscreteScheduler", SDT_SAMPLER_EULER_ANCESTRAL, NULL, ancestral_options,
     ancestral_required},
};

static const struct family *find_family(const char *name) {
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(families[i].name, name) == 0)
            return &families[i];
    return NULL;
}

/* The levels of noise that the model was trained on. */
static enum sdt_status check_betas(const struct sdt_config *config, struct sdt_error *err) {
    double start = 1e-4, end = 0.02;
    enum sdt_status status = sdt_config_number(config, "beta_start", false, &start, err);
    if (status == SDT_OK)
        status = sdt_config_number(config, "beta_end", false, &end, err);
    if (status == SDT_OK && (start != 1e-4 || end != 0.02))
        status = sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                          "%s: betas from %g to %g; only 0.0001 to 0.02 are supported",
                          sdt_config_path(config), start, end);
    return status;
}

static enum sdt_status read_config(const struct sdt_config *config, enum sdt_sampler_kind *kind,
                                   double *shift, struct sdt_error *err) {
    const char *path = sdt_config_path(config), *name = NULL;
    double value = 1.0; /* diffusers' default of both keys */

    enum sdt_status status = sdt_config_string(config, "_class_name", true, &name, err);
    if (status != SDT_OK)
        return status;
    const struct family *family = find_family(name);
    if (!family)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: scheduler %s is not supported (UniPCMultistepScheduler, "
                        "FlowMatchEulerDiscreteScheduler, EulerAncestralDiscreteScheduler)",
                        path, name);
    for (const char *const *key = family->required; *key; key++)
        if (!sdt_config_has(config, *key))
            return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                            "%s: %s without key %s is not a sampler that this version runs", path,
                            name, *key);
    for (const struct option *option = family->options; option->key; option++) {
        status = sdt_config_only(config, option->key, option->expected, err);
        if (status != SDT_OK)
            return status;
    }
    status = family->shift_key ? sdt_config_number(config, family->shift_key, false, &value, err)
                               : check_betas(config, err);
    if (status != SDT_OK)
        return status;
    if (!(value > 0.0) || !isfinite(value))
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: %s is %g, must be greater than 0", path,
                        family->shift_key, value);
    *kind = family->kind;
    *shift = value;
    return SDT_OK;
}

enum sdt_status sdt_sampler_read(const char *folder, enum sdt_sampler_kind *kind, double *shift,
                                 struct sdt_error *err) {
    struct sdt_config *config = NULL;
    char *path = NULL;
    enum sdt_status status;
    const char *name = "scheduler_config.json";
    const size_t size = strlen(folder) + strlen(name) + 2;

    path = malloc(size);
    if (!path)
        return sdt_fail(err, SDT_ERROR_MEMORY, "no memory for a path of %zu bytes", size);
    snprintf(path, size, "%s/%s", folder, name);
    status = sdt_config_open(path, &config, err);
    if (status == SDT_OK)
        status = read_config(config, kind, shift, err);
    sdt_config_close(config);
    free(path);
    return status;
}
