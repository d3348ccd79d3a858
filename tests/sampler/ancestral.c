/* Euler ancestral against diffusers: levels, closed loops with noise from torch's generator
 * (tests/golden/make_euler_ancestral.py), and the sum that diffusers' own test asserts. */
#include "graph/sampler/schedule.h"
#include "stardit/safetensors.h"
#include "tests/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of max(1, |expected|): noise differs by some of the last bits of a float (2e-6), and steps carry
 * it on. */
static const double limit = 5e-6;

static float *load(const struct sdt_safetensors *file, size_t *count, const char *name) {
    struct sdt_error err;
    float *values = NULL;
    const struct sdt_stored *tensor = sdt_safetensors_find(file, name);
    if (!tensor || sdt_stored_floats(tensor, &values, &err) != SDT_OK) {
        fprintf(stderr, "golden tensor %s: %s\n", name, tensor ? err.message : "missing");
        exit(1);
    }
    *count = tensor->count;
    return values;
}

static double error_of(size_t n, const float *got /* [n] */, const float *want /* [n] */) {
    double largest = 0.0;
    for (size_t i = 0; i < n; i++) {
        double error = fabs((double)got[i] - want[i]) / fmax(1.0, fabs((double)want[i]));
        if (!(error <= largest)) /* NaN too */
            largest = error;
    }
    return largest;
}

/* Compares with tensor NAME.WHAT, where there is one. */
static void compare(const struct sdt_safetensors *file, const char *name, const char *what,
                    size_t n, const float *got, double allowed, double *worst) {
    char tensor[64];
    size_t count;
    snprintf(tensor, sizeof tensor, "%s.%s", name, what);
    if (!sdt_safetensors_find(file, tensor))
        return;
    float *want = load(file, &count, tensor);
    double error = error_of(n, got, want);
    CHECK(count == n && error <= allowed, "%s: error %g, limit %g", tensor, error, allowed);
    *worst = error > *worst ? error : *worst;
    free(want);
}

/* One step as the graph takes it: the noise stands in m0. */
static void step(const struct sdt_sampler *sampler, int i, size_t n, const float *v, float *x,
                 struct sdt_generator *generator, float *memory /* [3, n] */) {
    sdt_normal(generator, n, memory + n);
    sdt_sampler_step(&sampler->step[i], n, v, NULL, x, memory, memory + n, memory + 2 * n);
}

/* The first step of diffusers takes a difference of samples of thousands, whose last bits are worth
 * 2^-11; here it is taken of scaled ones. */
static double allowed_after(const struct sdt_sampler *sampler, int steps) {
    return steps == 1 ? limit + 0x1p-10 / hypot((double)sampler->sigmas[1], 1.0) : limit;
}

static void closed_loop(const struct sdt_safetensors *file, int steps, uint64_t seed) {
    struct sdt_sampler sampler;
    struct sdt_generator generator;
    struct sdt_error err;
    char name[32], what[16];
    size_t n;
    double levels = 0.0, worst = 0.0;
    snprintf(name, sizeof name, "n%d_seed%d", steps, (int)seed);
    if (sdt_sampler_init(&sampler, SDT_SAMPLER_EULER_ANCESTRAL, SDT_SCHEDULE_NEW, steps, 1.0,
                         &err) != SDT_OK) {
        CHECK(0, "%s: %s", name, err.message);
        return;
    }
    float *w = load(file, &n, "in.w"), *x = malloc(n * sizeof *x), *v = malloc(n * sizeof *v);
    float *memory = malloc(3 * n * sizeof *memory);
    if (!x || !v || !memory)
        exit(99);
    compare(file, name, "timesteps", (size_t)steps, sampler.timesteps, 0.0, &levels);
    compare(file, name, "sigmas", (size_t)steps, sampler.sigmas, 2e-5, &levels);
    sdt_generator_seed(&generator, seed);
    sdt_normal(&generator, n, x);
    for (int i = 0; i < steps; i++) {
        snprintf(what, sizeof what, "x%d", i);
        compare(file, name, what, n, x, allowed_after(&sampler, i), &worst);
        for (size_t j = 0; j < n; j++)
            v[j] = tanhf(0.7f * x[j] + w[j] * sampler.timesteps[i] / 1000.0f);
        step(&sampler, i, n, v, x, &generator, memory);
    }
    snprintf(what, sizeof what, "x%d", steps);
    compare(file, name, what, n, x, allowed_after(&sampler, steps), &worst);
    printf("%-12s error of levels %.3g (limit 2e-05), of samples %.3g (limit %g, %.2g after "
           "one step)\n",
           name, levels, worst, limit, allowed_after(&sampler, 1));
    free(w);
    free(x);
    free(v);
    free(memory);
    sdt_sampler_clear(&sampler);
}

/* diffusers' test of the scheduler: 1100 training steps, levels evenly spaced, v = x t / (t + 1) of
 * the scaled sample x, which it steps from as well. */
static void diffusers_sum(void) {
    enum { N = 4 * 3 * 8 * 8, STEPS = 10 };
    const struct sdt__betas betas = {1100, 1e-4, 0.02, false, false};
    struct sdt_generator generator;
    struct sdt_error err;
    struct sdt_sampler_step steps[STEPS];
    float sigmas[STEPS + 1], timesteps[STEPS], x[N], v[N], memory[3 * N];
    struct sdt_sampler sampler = {
        .steps = STEPS, .sigmas = sigmas, .timesteps = timesteps, .step = steps};
    if (sdt__schedule_ancestral(&sampler, &betas, &err) != SDT_OK)
        exit(99);
    sdt__coefficients_ancestral(&sampler);
    double largest = (double)sigmas[0], begin = sqrt(largest * largest + 1.0), sum = 0.0;
    for (int b = 0; b < 4; b++) /* torch.arange(N).reshape(3, 8, 8, 4).permute(3, 0, 1, 2) / N */
        for (int i = 0; i < N / 4; i++)
            x[b * (N / 4) + i] = (float)((i * 4 + b) / (double)N * begin);
    sdt_generator_seed(&generator, 0);
    for (int i = 0; i < STEPS; i++) {
        double t = (double)timesteps[i], s = (double)sigmas[i], next = (double)sigmas[i + 1];
        double r = sqrt(s * s + 1.0), r_next = sqrt(next * next + 1.0);
        for (int j = 0; j < N; j++) {
            double scaled = (double)x[j] / r;
            v[j] = (float)(scaled * t / (t + 1.0));
            x[j] = (float)(scaled / r);
        }
        step(&sampler, i, N, v, x, &generator, memory);
        for (int j = 0; j < N; j++)
            x[j] = (float)((double)x[j] * r_next);
    }
    for (int j = 0; j < N; j++)
        sum += fabs((double)x[j]);
    printf("sum of diffusers' test: %.4f (108.4439 there, limit 0.01)\n", sum);
    CHECK(fabs(sum - 108.4439) < 1e-2, "the sum of diffusers' test is %g", sum);
}

/* Noise that is skipped is the noise that is drawn, whatever its length. */
static void skipping(void) {
    enum { MOST = 100 };
    static const size_t lengths[] = {1, 3, 15, 16, 17, 77, 96};
    float drawn[MOST], skipped[MOST];
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        struct sdt_generator a, b;
        size_t n = lengths[l];
        sdt_generator_seed(&a, 9);
        sdt_generator_seed(&b, 9);
        for (int i = 0; i < 12; i++) {
            sdt_normal(&a, n, drawn);
            if (i < 11)
                sdt_normal_skip(&b, n);
        }
        sdt_normal(&b, n, skipped);
        CHECK(!memcmp(drawn, skipped, n * sizeof *drawn), "%zu numbers, 11 times skipped", n);
        sdt_randn(9, n, drawn);
        CHECK(memcmp(drawn, skipped, n * sizeof *drawn) != 0, "%zu numbers are drawn again", n);
    }
}

/* Every number of steps for which diffusers runs one more is refused, and no other. */
static void longer(const struct sdt_safetensors *file) {
    enum { MOST = 1000 };
    struct sdt_error err = {0};
    size_t count, next = 0;
    float *steps = load(file, &count, "in.longer");
    for (int n = 1; n <= MOST; n++) {
        struct sdt_sampler sampler;
        bool more = next < count && (int)steps[next] == n;
        enum sdt_status status =
            sdt_sampler_init(&sampler, SDT_SAMPLER_EULER_ANCESTRAL, SDT_SCHEDULE_NEW, n, 1.0, &err);
        CHECK(status == (more ? SDT_ERROR_USAGE : SDT_OK), "%d steps: status %d", n, (int)status);
        if (status == SDT_OK)
            sdt_sampler_clear(&sampler);
        next += more;
    }
    printf("%zu of %d numbers of steps are refused: %s\n", count, MOST, err.message);
    CHECK(next == count && count > 0, "%zu of %zu numbers of steps", next, count);
    free(steps);
}

int main(void) {
    const char *source = getenv("STARDIT_SOURCE_DIR");
    struct sdt_safetensors *file = NULL;
    struct sdt_error err;
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/golden/euler_ancestral/io.safetensors",
             source ? source : ".");
    if (sdt_safetensors_open(path, &file, &err) != SDT_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    closed_loop(file, 1, 3);
    closed_loop(file, 5, 7);
    closed_loop(file, 10, 11);
    closed_loop(file, 50, 42);
    longer(file);
    diffusers_sum();
    skipping();
    CHECK(sdt_sampler_check(SDT_SAMPLER_EULER_ANCESTRAL, SDT_SCHEDULE_OLD, NULL) ==
                  SDT_ERROR_USAGE &&
              sdt_sampler_check(SDT_SAMPLER_EULER_ANCESTRAL, SDT_SCHEDULE_LINEAR, NULL) ==
                  SDT_ERROR_USAGE,
          "a schedule of another solver is not refused");
    sdt_safetensors_close(file);
    return failures != 0;
}
