/* UniPC of order 2 (bh2, x0 prediction, flow) as rows of coefficients.
 *
 * Predictor and corrector are linear in the sample, the last predicted clean latents and the new
 * one, so all of the solver's arithmetic on scalars happens here, once, and in double: the
 * reference's float logarithms and phi functions lose up to six digits where neighbouring steps
 * are close. The one rounding that must stay is the one of sigma itself: 1 - sigma_0 is 1.013e-6
 * and not 1e-6. */
#include "graph/sampler/schedule.h"

#include <math.h>

static double log_snr(double sigma) { return log(1.0 - sigma) - log(sigma); }

/* Order of the predictor of step i: lower at the start, without a history, and at the end. */
static int order_of(int i, int n) {
    int order = 2;
    if (n - i < order)
        order = n - i;
    if (i + 1 < order)
        order = i + 1;
    return order;
}

/* Replaces the sample that the predictor of step i - 1 arrived at, now that x0 is known there. */
static void corrector(const float *sigmas, int i, int order, struct sdt_sampler_step *step) {
    const double sigma_s = sigmas[i - 1], sigma_t = sigmas[i];
    const double lambda_s = log_snr(sigma_s), h = log_snr(sigma_t) - lambda_s;
    const double a = expm1(-h), scale = -(1.0 - sigma_t) * a;
    double rho_0 = 0.0, rho_1 = 0.5, r = 1.0;

    if (order == 2) {
        const double phi_1 = a / -h - 1.0, phi_2 = phi_1 / -h - 0.5;
        const double b1 = phi_1 / a, b2 = 2.0 * phi_2 / a;
        r = (log_snr(sigmas[i - 2]) - lambda_s) / h;
        rho_0 = (b1 - b2) / (1.0 - r);
        rho_1 = b1 - rho_0;
    }
    step->correct = 1;
    step->c_last = (float)(sigma_t / sigma_s);
    step->c_m0 = (float)(scale * (1.0 - rho_0 / r - rho_1));
    step->c_m1 = (float)(scale * (rho_0 / r));
    step->c_x0 = (float)(scale * rho_1);
}

static void predictor(const float *sigmas, int i, int order, struct sdt_sampler_step *step) {
    const double sigma_s = sigmas[i], sigma_t = sigmas[i + 1];

    if (sigma_t == 0.0) { /* h is infinite: the limit is the clean latent itself */
        step->p_x0 = 1.0f;
        return;
    }
    const double lambda_s = log_snr(sigma_s), h = log_snr(sigma_t) - lambda_s;
    const double scale = -(1.0 - sigma_t) * expm1(-h);
    double slope = 0.0;

    if (order == 2)
        slope = 0.5 * h / (log_snr(sigmas[i - 1]) - lambda_s);
    step->p_x = (float)(sigma_t / sigma_s);
    step->p_x0 = (float)(scale * (1.0 - slope));
    step->p_m0 = (float)(scale * slope);
}

void sdt__coefficients_unipc(struct sdt_sampler *sampler) {
    const int n = sampler->steps;

    for (int i = 0; i < n; i++) {
        struct sdt_sampler_step *step = &sampler->step[i];
        *step = (struct sdt_sampler_step){.guidance = 1.0f, .sigma = sampler->sigmas[i]};
        if (i > 0)
            corrector(sampler->sigmas, i, order_of(i - 1, n), step);
        predictor(sampler->sigmas, i, order_of(i, n), step);
    }
}
