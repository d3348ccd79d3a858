/* Euler ancestral for models that predict v on a diffusion process: EulerAncestralDiscreteScheduler
 * of diffusers, with terminal SNR zero (arXiv 2305.08891).
 *
 * With a sample X at noise level s, the model reads x = X / r, r = sqrt(s^2 + 1), and
 *   X0 = X / r^2 - s / r v
 *   X' = X + (X - X0) / s (down - s) + up noise,   up^2 = s'^2 (s^2 - s'^2) / s^2,
 *                                                  down^2 = s'^2 - up^2.
 * In terms of x, which is what is kept, x' = ((1 + s down) x + (down - s) v) / (r r') + up / r'
 * noise: levels of thousands never stand in a float beside ones. */
#include "graph/sampler/schedule.h"

#include <math.h>
#include <stdlib.h>

/* torch.linspace in float. */
static float beta_of(const struct sdt__betas *betas, int i) {
    const float first = (float)betas->first, last = (float)betas->last;
    const float step = betas->count > 1 ? (last - first) / (float)(betas->count - 1) : 0.0f;
    return i < betas->count / 2 ? first + step * (float)i
                                : last - step * (float)(betas->count - 1 - i);
}

/* level[i] = product of 1 - beta up to i, rounded as torch's cumprod does. */
static void multiply_up(int n, const float *alpha /* [n] */, float *level /* [n] */) {
    double product = 1.0;
    for (int i = 0; i < n; i++) {
        product *= alpha[i];
        level[i] = (float)product;
    }
}

/* alphas from betas; with zero_snr the square roots of their products are shifted and stretched so
 * that the last one is 0. */
static void alphas_of(const struct sdt__betas *betas, float *alpha /* [count] */,
                      float *level /* [count] work */) {
    const int n = betas->count;
    for (int i = 0; i < n; i++)
        alpha[i] = 1.0f - beta_of(betas, i);
    if (!betas->zero_snr)
        return;
    multiply_up(n, alpha, level);
    const float first = sqrtf(level[0]), last = sqrtf(level[n - 1]);
    for (int i = 0; i < n; i++) {
        float root = (sqrtf(level[i]) - last) * (first / (first - last));
        level[i] = root * root;
    }
    for (int i = 0; i < n; i++) {
        float beta = 1.0f - (i > 0 ? level[i] / level[i - 1] : level[0]);
        alpha[i] = 1.0f - beta;
    }
}

/* Timestep i of n, of training steps 0 to count - 1. */
static double timestep_of(const struct sdt__betas *betas, int i, int n) {
    const int count = betas->count;
    if (!betas->trailing) {
        double step = n > 1 ? (double)(count - 1) / (n - 1) : 0.0;
        return i == 0 && n > 1 ? count - 1 : (double)(n - 1 - i) * step;
    }
    /* numpy.arange takes the difference of its first two elements. */
    double ratio = (double)count / n, delta = (count - ratio) - count;
    return nearbyint(count + i * delta) - 1.0;
}

/* numpy.arange rounds the number of its elements up. */
static int timesteps_of(const struct sdt__betas *betas, int n) {
    const double count = betas->count, ratio = count / n;
    return betas->trailing ? (int)ceil((0.0 - count) / -ratio) : n;
}

/* The nearest number of steps in that direction for which there is a timestep each. */
static int other_steps(const struct sdt__betas *betas, int n, int direction) {
    while (n > 1 && timesteps_of(betas, n) != n)
        n += direction;
    return n;
}

enum sdt_status sdt__schedule_ancestral(struct sdt_sampler *sampler, const struct sdt__betas *betas,
                                        struct sdt_error *err) {
    const int n = sampler->steps, count = betas->count;
    if (timesteps_of(betas, n) != n)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "%d inference steps: for so many the model's own scheduler runs %d, by a "
                        "rounding; %d and %d work",
                        n, timesteps_of(betas, n), other_steps(betas, n, -1),
                        other_steps(betas, n, 1));
    float *alpha = malloc(2 * (size_t)count * sizeof *alpha), *level = alpha + count;
    if (!alpha)
        return sdt_fail(err, SDT_ERROR_MEMORY, "no memory for the schedule of %d steps", n);
    alphas_of(betas, alpha, level);
    multiply_up(count, alpha, level);
    if (betas->zero_snr)
        level[count - 1] = 0x1p-24f; /* a number for a level that is infinite */
    for (int i = 0; i < count; i++)
        alpha[i] = sqrtf((1.0f - level[i]) / level[i]); /* sigmas from here on */
    for (int i = 0; i < n; i++) {
        double t = (float)timestep_of(betas, i, n), below = floor(t);
        int left = (int)below, right = left + 1 < count ? left + 1 : left;
        double slope = (double)alpha[right] - alpha[left];
        sampler->timesteps[i] = (float)t;
        sampler->sigmas[i] = (float)(slope * (t - below) + alpha[left]);
    }
    sampler->sigmas[n] = 0.0f;
    free(alpha);
    return SDT_OK;
}

void sdt__coefficients_ancestral(struct sdt_sampler *sampler) {
    sampler->noisy = true;
    for (int i = 0; i < sampler->steps; i++) {
        const double s = sampler->sigmas[i], next = sampler->sigmas[i + 1];
        const double r = sqrt(s * s + 1.0), r_next = sqrt(next * next + 1.0);
        const double up = sqrt(next * next * (s * s - next * next) / (s * s));
        const double down = sqrt(next * next - up * up);
        sampler->step[i] =
            (struct sdt_sampler_step){.guidance = 1.0f,
                                      .p_x = (float)((1.0 + s * down) / (r * r_next)),
                                      .p_v = (float)((down - s) / (r * r_next)),
                                      .p_m0 = (float)(up / r_next)};
    }
}
