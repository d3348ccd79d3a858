/* Noise schedules and solvers on the host: what each denoising step multiplies.
 *
 * The latent is kept as the model reads it. Where a scheduler scales the model's input (Euler
 * ancestral: by 1 / sqrt(sigma^2 + 1)), the scale is in the coefficients, and x is the scaled
 * sample; before the first step that is plain noise, and after the last one the sample itself.
 *
 * A sampler turns (steps, shift) into timesteps, sigmas and one struct sdt_sampler_step of
 * coefficients per step; the arithmetic on latents is the kernel sdt_sampler_step. */
#ifndef STARDIT_SAMPLER_H
#define STARDIT_SAMPLER_H

#include "kernels/kernels.h"
#include "stardit/stardit.h"

struct sdt_sampler {
    enum sdt_sampler_kind kind;
    int steps;                     /* n */
    float *sigmas;                 /* [n + 1] */
    float *timesteps;              /* [n], integers for UniPC */
    struct sdt_sampler_step *step; /* [n], guidance left 1 */
    bool noisy;                    /* each step adds fresh noise, which m0 is to hold before it */
};

/* How the noise levels of a run are laid out: as a schedule of the solver's says, or as they are
 * given. */
struct sdt_noise_levels {
    enum sdt_sampler_schedule schedule;
    int steps;
    double shift;
    const double *sigmas; /* [steps], before the shift; NULL: the schedule's */
};

/* Does the solver know this schedule? SDT_ERROR_USAGE with those that it knows. */
enum sdt_status sdt_sampler_check(enum sdt_sampler_kind kind, enum sdt_sampler_schedule schedule,
                                  struct sdt_error *err);
/* shift > 0, 1 <= steps <= 1000, a schedule of the solver. SDT_ERROR_USAGE otherwise,
 * SDT_ERROR_MEMORY. */
enum sdt_status sdt_sampler_init(struct sdt_sampler *sampler, enum sdt_sampler_kind kind,
                                 enum sdt_sampler_schedule schedule, int steps, double shift,
                                 struct sdt_error *err);
/* The same where the levels may be given: falling, from 1 at most to above 0. */
enum sdt_status sdt_sampler_init_levels(struct sdt_sampler *sampler, enum sdt_sampler_kind kind,
                                        const struct sdt_noise_levels *levels,
                                        struct sdt_error *err);
void sdt_sampler_clear(struct sdt_sampler *sampler); /* after a failed init too */

/* Reads a diffusers scheduler folder (scheduler_config.json): UniPCMultistepScheduler (solver_order
 * 2, bh2, predict_x0, flow_prediction, use_flow_sigmas), FlowMatchEulerDiscreteScheduler, or
 * EulerAncestralDiscreteScheduler (v_prediction, linear, rescale_betas_zero_snr, trailing).
 * *shift: flow_shift or shift, or 1. Other classes or options are refused by name. */
enum sdt_status sdt_sampler_read(const char *folder, enum sdt_sampler_kind *kind, double *shift,
                                 struct sdt_error *err);
#endif
