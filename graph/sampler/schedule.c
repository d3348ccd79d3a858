/* The sigmas and timesteps of a run, and the life of a struct sdt_sampler.
 *
 * Roundings follow the reference, because a timestep that is truncated to an integer shows every
 * one of them: sigmas are computed in double and rounded once, but for what Euler's reference has
 * in float. */
#include "graph/sampler/schedule.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int train_steps = 1000;

/* A product as the reference has it. Left to itself the compiler may fuse it with the addition that
 * follows, which rounds once instead of twice. */
static double product(double a, double b) {
    volatile double c = a * b;
    return c;
}

static float product_float(float a, float b) {
    volatile float c = a * b;
    return c;
}

void sdt__schedule_unipc(struct sdt_sampler *sampler, enum sdt_sampler_schedule schedule,
                         double shift) {
    const int n = sampler->steps;
    const double stride = (1.0 / train_steps - 1.0) / n;

    for (int i = 0; i < n; i++) {
        double u;
        if (schedule == SDT_SCHEDULE_NEW)
            u = 1.0 + product(i, stride);
        else
            u = 1.0 - (1.0 + product(n - i, stride));
        double sigma = shift * u / (1.0 + product(shift - 1.0, u));
        /* At sigma 1 the log-SNR is minus infinity. */
        if (schedule == SDT_SCHEDULE_NEW && i == 0 && fabs(sigma - 1.0) < 1e-6)
            sigma -= 1e-6;
        sampler->sigmas[i] = (float)sigma;
        sampler->timesteps[i] = (float)trunc(sigma * train_steps);
    }
    sampler->sigmas[n] = 0.0f;
}

static float shifted_float(float s, double shift) {
    return (float)shift * s / (1.0f + product_float((float)(shift - 1.0), s));
}

/* FlowMatchEulerDiscreteScheduler lays n sigmas evenly between the largest and the smallest of its
 * 1000 training sigmas, which are shifted already, and then shifts them: the last one is shifted
 * twice. */
static void pipeline_sigmas(struct sdt_sampler *sampler, double shift) {
    const int n = sampler->steps;
    const double first = (double)shifted_float(1.0f, shift) * train_steps;
    const double last = (double)shifted_float(1.0f / train_steps, shift) * train_steps;
    const double stride = n > 1 ? (last - first) / (n - 1) : 0.0;

    for (int i = 0; i < n; i++) {
        const double t = i > 0 && i == n - 1 ? last : product(i, stride) + first;
        const double s = t / train_steps;
        sampler->sigmas[i] = (float)(shift * s / (1.0 + product(shift - 1.0, s)));
    }
}

void sdt__schedule_euler(struct sdt_sampler *sampler, enum sdt_sampler_schedule schedule,
                         double shift) {
    const int n = sampler->steps;

    if (schedule == SDT_SCHEDULE_LINEAR)
        for (int i = 0; i < n; i++)
            sampler->sigmas[i] = shifted_float((float)(1.0 - (double)i / n), shift);
    else
        pipeline_sigmas(sampler, shift);
    for (int i = 0; i < n; i++)
        sampler->timesteps[i] = sampler->sigmas[i] * (float)train_steps;
    sampler->sigmas[n] = 0.0f;
}

/* A level u becomes shift u / (1 + (shift - 1) u), in double, and is rounded once. UniPC's
 * timesteps are whole numbers and its first level stays below 1, as of its own schedule. */
void sdt__schedule_given(struct sdt_sampler *sampler, const double *sigmas, double shift) {
    const bool whole = sampler->kind == SDT_SAMPLER_UNIPC;
    for (int i = 0; i < sampler->steps; i++) {
        double u = sigmas[i], sigma = shift * u / (1.0 + product(shift - 1.0, u));
        if (whole && i == 0 && fabs(sigma - 1.0) < 1e-6)
            sigma -= 1e-6;
        sampler->sigmas[i] = (float)sigma;
        sampler->timesteps[i] =
            whole ? (float)trunc(sigma * train_steps) : sampler->sigmas[i] * (float)train_steps;
    }
    sampler->sigmas[sampler->steps] = 0.0f;
}

/* Given levels fall, also once they are shifted and floats. */
static enum sdt_status check_given(const struct sdt_noise_levels *levels, struct sdt_error *err) {
    const double *u = levels->sigmas;
    for (int i = 0; i < levels->steps; i++) {
        const double before = i ? u[i - 1] : 1.0;
        if (!(u[i] > 0.0) || !(i ? u[i] < before : u[i] <= before))
            return sdt_fail(
                err, SDT_ERROR_USAGE,
                "sigma %d of %d is %.9g: sigmas fall from 1 at most to above 0, and the "
                "last step's end, 0, is not among them",
                i + 1, levels->steps, u[i]);
    }
    return SDT_OK;
}

/* UniPC divides by differences of ln((1 - sigma) / sigma): float sigmas that touch 1 or each other
 * would turn every latent into NaN. An extreme shift makes them do that. */
static enum sdt_status check_sigmas(const struct sdt_sampler *sampler, double shift,
                                    struct sdt_error *err) {
    const float *sigmas = sampler->sigmas;

    for (int i = 0; i < sampler->steps; i++)
        if ((sampler->kind == SDT_SAMPLER_UNIPC && !(sigmas[i] < 1.0f)) ||
            !(sigmas[i + 1] < sigmas[i]))
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "flow shift %g with %d steps: noise levels %d and %d (%.9g, %.9g) "
                            "cannot be told apart in float; use a shift nearer to 1 or fewer steps",
                            shift, sampler->steps, i, i + 1, (double)sigmas[i],
                            (double)sigmas[i + 1]);
    return SDT_OK;
}

const char *sdt_sampler_kind_name(enum sdt_sampler_kind kind) {
    static const char *const name[] = {[SDT_SAMPLER_UNIPC] = "unipc",
                                       [SDT_SAMPLER_EULER] = "euler",
                                       [SDT_SAMPLER_EULER_ANCESTRAL] = "euler-ancestral",
                                       [SDT_SAMPLER_RENOISE] = "renoise"};
    return name[kind];
}

enum sdt_status sdt_sampler_check(enum sdt_sampler_kind kind, enum sdt_sampler_schedule schedule,
                                  struct sdt_error *err) {
    if ((kind == SDT_SAMPLER_EULER || kind == SDT_SAMPLER_RENOISE) && schedule == SDT_SCHEDULE_OLD)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "sampler schedule old is one of UniPC; with %s, new or linear would work",
                        sdt_sampler_kind_name(kind));
    if (kind == SDT_SAMPLER_EULER_ANCESTRAL && schedule != SDT_SCHEDULE_NEW)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "sampler euler-ancestral has one schedule; leave --sampler-schedule out, or "
            "say new");
    if (kind == SDT_SAMPLER_UNIPC && schedule == SDT_SCHEDULE_LINEAR)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "sampler schedule linear is one of euler; with unipc, new or old would "
                        "work");
    return SDT_OK;
}

/* Levels and timesteps of a flow's solver. */
static enum sdt_status lay_out(struct sdt_sampler *sampler, const struct sdt_noise_levels *levels,
                               struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    if (levels->sigmas) {
        status = check_given(levels, err);
        if (status == SDT_OK)
            sdt__schedule_given(sampler, levels->sigmas, levels->shift);
    } else if (sampler->kind == SDT_SAMPLER_UNIPC) {
        sdt__schedule_unipc(sampler, levels->schedule, levels->shift);
    } else {
        sdt__schedule_euler(sampler, levels->schedule, levels->shift);
    }
    if (status == SDT_OK && (levels->sigmas || sampler->kind == SDT_SAMPLER_UNIPC))
        status = check_sigmas(sampler, levels->shift, err);
    return status;
}

enum sdt_status sdt_sampler_init(struct sdt_sampler *sampler, enum sdt_sampler_kind kind,
                                 enum sdt_sampler_schedule schedule, int steps, double shift,
                                 struct sdt_error *err) {
    const struct sdt_noise_levels levels = {schedule, steps, shift, NULL};
    return sdt_sampler_init_levels(sampler, kind, &levels, err);
}

enum sdt_status sdt_sampler_init_levels(struct sdt_sampler *sampler, enum sdt_sampler_kind kind,
                                        const struct sdt_noise_levels *levels,
                                        struct sdt_error *err) {
    const int steps = levels->steps;
    const double shift = levels->shift;
    enum sdt_status status = SDT_OK;

    memset(sampler, 0, sizeof *sampler);
    if (steps < 1 || steps > train_steps)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d inference steps: must be 1 to %d", steps,
                        train_steps);
    if (!(shift > 0.0) || shift > FLT_MAX)
        return sdt_fail(err, SDT_ERROR_USAGE, "flow shift %g: must be greater than 0", shift);
    status = sdt_sampler_check(kind, levels->schedule, err);
    if (status == SDT_OK && levels->sigmas && kind == SDT_SAMPLER_EULER_ANCESTRAL)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "sigmas are of flows; sampler euler-ancestral has timesteps of a "
                          "diffusion, which the number of steps lays out");
    if (status != SDT_OK)
        return status;

    sampler->kind = kind;
    sampler->steps = steps;
    sampler->sigmas = calloc((size_t)steps + 1, sizeof *sampler->sigmas);
    sampler->timesteps = calloc((size_t)steps, sizeof *sampler->timesteps);
    sampler->step = calloc((size_t)steps, sizeof *sampler->step);
    if (!sampler->sigmas || !sampler->timesteps || !sampler->step) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "no memory for the schedule of %d steps", steps);
        goto end;
    }

    if (kind == SDT_SAMPLER_EULER_ANCESTRAL) {
        const struct sdt__betas betas = {train_steps, 1e-4, 0.02, true, true};
        status = sdt__schedule_ancestral(sampler, &betas, err);
    } else {
        status = lay_out(sampler, levels, err);
    }
    if (status != SDT_OK)
        goto end;
    if (kind == SDT_SAMPLER_UNIPC)
        sdt__coefficients_unipc(sampler);
    else if (kind == SDT_SAMPLER_EULER_ANCESTRAL)
        sdt__coefficients_ancestral(sampler);
    else if (kind == SDT_SAMPLER_RENOISE)
        sdt__coefficients_renoise(sampler);
    else
        sdt__coefficients_euler(sampler);
end:
    if (status != SDT_OK)
        sdt_sampler_clear(sampler);
    return status;
}

void sdt_sampler_clear(struct sdt_sampler *sampler) {
    free(sampler->sigmas);
    free(sampler->timesteps);
    free(sampler->step);
    memset(sampler, 0, sizeof *sampler);
}
