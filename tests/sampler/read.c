/* Scheduler folders: what is taken, what is refused and by which name. */
#include "graph/sampler/sampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAN                                                                                        \
    "\"_class_name\": \"UniPCMultistepScheduler\", \"prediction_type\": \"flow_prediction\", "     \
    "\"use_flow_sigmas\": true"
#define EULER "\"_class_name\": \"FlowMatchEulerDiscreteScheduler\""

#define ANCESTRAL                                                                                  \
    "\"_class_name\": \"EulerAncestralDiscreteScheduler\", \"prediction_type\": "                  \
    "\"v_prediction\", \"rescale_betas_zero_snr\": true, \"timestep_spacing\": \"trailing\""

static const struct {
    const char *json;
    enum sdt_status status;
    enum sdt_sampler_kind kind;
    double shift;
    const char *says; /* part of the message */
} cases[] = {
    /* As diffusers 0.33 writes it for Wan 2.1. */
    {"{\"_class_name\": \"UniPCMultistepScheduler\", \"_diffusers_version\": \"0.33.0.dev0\","
     "\"beta_end\": 0.02, \"beta_schedule\": \"linear\", \"beta_start\": 0.0001,"
     "\"disable_corrector\": [], \"dynamic_thresholding_ratio\": 0.995,"
     "\"final_sigmas_type\": \"zero\", \"flow_shift\": 3.0, \"lower_order_final\": true,"
     "\"num_train_timesteps\": 1000, \"predict_x0\": true,"
     "\"prediction_type\": \"flow_prediction\", \"rescale_betas_zero_snr\": false,"
     "\"sample_max_value\": 1.0, \"solver_order\": 2, \"solver_p\": null,"
     "\"solver_type\": \"bh2\", \"steps_offset\": 0, \"thresholding\": false,"
     "\"timestep_spacing\": \"linspace\", \"trained_betas\": null, \"use_beta_sigmas\": false,"
     "\"use_exponential_sigmas\": false, \"use_flow_sigmas\": true,"
     "\"use_karras_sigmas\": false}",
     SDT_OK, SDT_SAMPLER_UNIPC, 3.0, NULL},
    {"{" WAN ", \"flow_shift\": 5}", SDT_OK, SDT_SAMPLER_UNIPC, 5.0, NULL},
    {"{" WAN "}", SDT_OK, SDT_SAMPLER_UNIPC, 1.0, NULL},
    /* As HunyuanVideo has it, and with later versions' keys. */
    {"{" EULER ", \"num_train_timesteps\": 1000, \"shift\": 7.0}", SDT_OK, SDT_SAMPLER_EULER, 7.0,
     NULL},
    {"{" EULER ", \"shift\": 7.0, \"use_dynamic_shifting\": false, \"base_shift\": 0.5,"
     "\"time_shift_type\": \"exponential\", \"stochastic_sampling\": false,"
     "\"shift_terminal\": null, \"invert_sigmas\": false}",
     SDT_OK, SDT_SAMPLER_EULER, 7.0, NULL},
    {"{" EULER "}", SDT_OK, SDT_SAMPLER_EULER, 1.0, NULL},

    /* As diffusers 0.42 writes it for Open-Sora-Plan 1.3. */
    {"{" ANCESTRAL ", \"num_train_timesteps\": 1000, \"beta_start\": 0.0001, \"beta_end\": 0.02,"
     "\"beta_schedule\": \"linear\", \"trained_betas\": null, \"steps_offset\": 0}",
     SDT_OK, SDT_SAMPLER_EULER_ANCESTRAL, 1.0, NULL},
    {"{" ANCESTRAL ", \"beta_end\": 0.012}", SDT_ERROR_UNSUPPORTED, 0, 0, "betas from 0.0001"},
    {"{" ANCESTRAL ", \"beta_schedule\": \"scaled_linear\"}", SDT_ERROR_UNSUPPORTED, 0, 0,
     "beta_schedule"},
    {"{\"_class_name\": \"EulerAncestralDiscreteScheduler\"}", SDT_ERROR_UNSUPPORTED, 0, 0,
     "prediction_type"},
    {"{\"_class_name\": \"EulerAncestralDiscreteScheduler\", \"prediction_type\": \"epsilon\","
     "\"rescale_betas_zero_snr\": true, \"timestep_spacing\": \"trailing\"}",
     SDT_ERROR_UNSUPPORTED, 0, 0, "prediction_type"},

    {"{\"_class_name\": \"DDIMScheduler\"}", SDT_ERROR_UNSUPPORTED, 0, 0, "DDIMScheduler"},
    {"{\"flow_shift\": 3.0}", SDT_ERROR_MISSING, 0, 0, "_class_name"},
    {"{\"_class_name\": \"UniPCMultistepScheduler\"}", SDT_ERROR_UNSUPPORTED, 0, 0,
     "prediction_type"},
    {"{\"_class_name\": \"UniPCMultistepScheduler\", \"prediction_type\": \"flow_prediction\"}",
     SDT_ERROR_UNSUPPORTED, 0, 0, "use_flow_sigmas"},
    {"{\"_class_name\": \"UniPCMultistepScheduler\", \"prediction_type\": \"epsilon\","
     "\"use_flow_sigmas\": true}",
     SDT_ERROR_UNSUPPORTED, 0, 0, "prediction_type"},
    {"{" WAN ", \"solver_order\": 3}", SDT_ERROR_UNSUPPORTED, 0, 0, "solver_order"},
    {"{" WAN ", \"solver_type\": \"bh1\"}", SDT_ERROR_UNSUPPORTED, 0, 0, "solver_type"},
    {"{" WAN ", \"predict_x0\": false}", SDT_ERROR_UNSUPPORTED, 0, 0, "predict_x0"},
    {"{" WAN ", \"lower_order_final\": false}", SDT_ERROR_UNSUPPORTED, 0, 0, "lower_order_final"},
    {"{" WAN ", \"final_sigmas_type\": \"sigma_min\"}", SDT_ERROR_UNSUPPORTED, 0, 0,
     "final_sigmas_type"},
    {"{" WAN ", \"disable_corrector\": [0]}", SDT_ERROR_UNSUPPORTED, 0, 0, "disable_corrector"},
    {"{" WAN ", \"use_karras_sigmas\": true}", SDT_ERROR_UNSUPPORTED, 0, 0, "use_karras_sigmas"},
    {"{" WAN ", \"num_train_timesteps\": 500}", SDT_ERROR_UNSUPPORTED, 0, 0, "num_train_timesteps"},
    {"{" WAN ", \"flow_shift\": 0}", SDT_ERROR_FORMAT, 0, 0, "flow_shift"},
    {"{" WAN ", \"flow_shift\": \"3\"}", SDT_ERROR_FORMAT, 0, 0, "flow_shift"},
    {"{" EULER ", \"use_dynamic_shifting\": true}", SDT_ERROR_UNSUPPORTED, 0, 0,
     "use_dynamic_shifting"},
    {"{" EULER ", \"stochastic_sampling\": true}", SDT_ERROR_UNSUPPORTED, 0, 0,
     "stochastic_sampling"},
    {"{" EULER ", \"shift\": -1}", SDT_ERROR_FORMAT, 0, 0, "shift"},
};

int main(void) {
    char folder[] = "scheduler-XXXXXX", path[64];
    int failures = 0;
    enum sdt_sampler_kind kind;
    double shift;
    struct sdt_error err = {.message = ""};

    if (!mkdtemp(folder))
        return 99;
    snprintf(path, sizeof path, "%s/scheduler_config.json", folder);
    if (sdt_sampler_read(folder, &kind, &shift, &err) == SDT_OK ||
        !strstr(err.message, "scheduler_config.json")) {
        fprintf(stderr, "an empty folder: %s\n", err.message);
        failures++;
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        FILE *file = fopen(path, "w");
        if (!file || fputs(cases[i].json, file) < 0 || fclose(file) != 0)
            return 99;
        kind = (enum sdt_sampler_kind)99;
        shift = -1.0;
        err.message[0] = '\0';
        const enum sdt_status status = sdt_sampler_read(folder, &kind, &shift, &err);
        const int right = status == cases[i].status &&
                          (status == SDT_OK ? kind == cases[i].kind && shift == cases[i].shift
                                            : strstr(err.message, cases[i].says) != NULL);
        if (!right) {
            fprintf(stderr, "case %zu (%s): %s, kind %d, shift %g, %s\n", i, cases[i].json,
                    sdt_status_name(status), (int)kind, shift, err.message);
            failures++;
        }
    }
    unlink(path);
    rmdir(folder);
    return failures != 0;
}
