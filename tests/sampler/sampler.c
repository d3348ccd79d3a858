/* Schedules, solvers and noise against the reference's numbers: a closed loop with the toy model
 * v = tanh(0.7 x + w t / 1000), so that an error in any step shows in all later ones. */
#include "graph/sampler/sampler.h"
#include "stardit/safetensors.h"
#include "tests/check.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double scheduler_limit = 5e-6, noise_limit = 2e-6;

/* Tensor `name` as floats; caller frees. Leaves the test when it is not there. */
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

static double largest_difference(size_t n, const float *a /* [n] */, const float *b /* [n] */) {
    double largest = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double difference = fabs((double)a[i] - (double)b[i]);
        if (!(difference <= largest)) /* NaN too */
            largest = difference;
    }
    return largest;
}

static void closed_loop(const struct sdt_safetensors *file, const char *name,
                        enum sdt_sampler_kind kind, int steps, double shift) {
    struct sdt_sampler sampler;
    struct sdt_error err;
    char tensor[64];
    size_t n, count;
    double largest = 0.0;

    const enum sdt_sampler_schedule schedule =
        kind == SDT_SAMPLER_EULER ? SDT_SCHEDULE_LINEAR : SDT_SCHEDULE_NEW;
    if (sdt_sampler_init(&sampler, kind, schedule, steps, shift, &err) != SDT_OK) {
        CHECK(0, "%s: %s", name, err.message);
        return;
    }
    float *x = load(file, &n, "in.x0"), *w = load(file, &count, "in.w");
    float *v = malloc(n * sizeof *v), *buffers = malloc(3 * n * sizeof *buffers);
    if (!v || !buffers)
        exit(99);
    /* Undefined at the start: what a coefficient of 0 says must not be read. */
    for (size_t i = 0; i < 3 * n; i++)
        buffers[i] = NAN;

    snprintf(tensor, sizeof tensor, "%s.sigmas", name);
    float *expected = load(file, &count, tensor);
    CHECK(count == (size_t)steps + 1 && !memcmp(expected, sampler.sigmas, count * sizeof(float)),
          "%s: sigmas differ by %g", name, largest_difference(count, expected, sampler.sigmas));
    free(expected);
    snprintf(tensor, sizeof tensor, "%s.timesteps", name);
    expected = load(file, &count, tensor);
    CHECK(count == (size_t)steps && !memcmp(expected, sampler.timesteps, count * sizeof(float)),
          "%s: timesteps differ by %g", name,
          largest_difference(count, expected, sampler.timesteps));
    free(expected);

    for (int i = 0; i < steps; i++) {
        for (size_t j = 0; j < n; j++)
            v[j] = tanhf(0.7f * x[j] + w[j] * sampler.timesteps[i] / 1000.0f);
        sdt_sampler_step(&sampler.step[i], n, v, NULL, x, buffers, buffers + n, buffers + 2 * n);
        snprintf(tensor, sizeof tensor, "%s.x%d", name, i);
        expected = load(file, &count, tensor);
        const double error = largest_difference(n, expected, x);
        CHECK(count == n && error <= scheduler_limit, "%s: error %g after step %d, limit %g", name,
              error, i, scheduler_limit);
        if (!(error <= largest))
            largest = error;
        free(expected);
    }
    printf("%-18s max abs error %.3g (limit %g)\n", name, largest, scheduler_limit);
    free(x);
    free(w);
    free(v);
    free(buffers);
    sdt_sampler_clear(&sampler);
}

/* What every solver must be exact on: if the model always points at the same latent c, each sample
 * is (1 - sigma) c + sigma e, and the last one c. */
static void constant_model(enum sdt_sampler_kind kind, enum sdt_sampler_schedule schedule,
                           int steps, double shift) {
    struct sdt_sampler sampler;
    struct sdt_error err;
    const float c = 0.8f, e = -1.3f;
    float last, m0, m1;

    if (sdt_sampler_init(&sampler, kind, schedule, steps, shift, &err) != SDT_OK) {
        CHECK(0, "%s", err.message);
        return;
    }
    float x = (1.0f - sampler.sigmas[0]) * c + sampler.sigmas[0] * e;
    for (int i = 0; i < steps; i++) {
        const float v = (x - c) / sampler.sigmas[i];
        sdt_sampler_step(&sampler.step[i], 1, &v, NULL, &x, &last, &m0, &m1);
        const double sigma = sampler.sigmas[i + 1], expected = (1.0 - sigma) * c + sigma * e;
        CHECK(fabs(x - expected) < 1e-5,
              "kind %d, schedule %d, %d steps, shift %g: %g after step "
              "%d, expected %g",
              (int)kind, (int)schedule, steps, shift, (double)x, i, expected);
    }
    CHECK(x == m0 || kind == SDT_SAMPLER_EULER, "the last step does not give x0 exactly");
    sdt_sampler_clear(&sampler);
}

/* Timesteps as diffusers' pipelines had them, bit for bit: <class>-shift<S>_n<N>_g<G>.timesteps. */
static void pipelines(const char *path) {
    struct sdt_safetensors *file = NULL;
    struct sdt_error err;
    int compared = 0;

    if (sdt_safetensors_open(path, &file, &err) != SDT_OK) {
        CHECK(0, "%s", err.message);
        return;
    }
    for (size_t i = 0; i < sdt_safetensors_count(file); i++) {
        const struct sdt_stored *want = sdt_safetensors_at(file, i);
        struct sdt_sampler sampler;
        double shift;
        int steps;

        if (!strstr(want->name, ".timesteps") ||
            sscanf(want->name + 5, "-shift%lf_n%d_", &shift, &steps) != 2)
            continue;
        const enum sdt_sampler_kind kind =
            strncmp(want->name, "euler", 5) ? SDT_SAMPLER_UNIPC : SDT_SAMPLER_EULER;
        if (sdt_sampler_init(&sampler, kind, SDT_SCHEDULE_NEW, steps, shift, &err) != SDT_OK) {
            CHECK(0, "%s: %s", want->name, err.message);
            continue;
        }
        CHECK(want->count == (size_t)steps && !memcmp(want->data, sampler.timesteps, want->bytes),
              "%s: differ by %g", want->name,
              largest_difference((size_t)steps, want->data, sampler.timesteps));
        compared++;
        sdt_sampler_clear(&sampler);
    }
    CHECK(compared == 90, "%d schedules of pipelines, should be 90", compared);
    printf("%d schedules of pipelines: equal bits\n", compared);
    sdt_safetensors_close(file);
}

static void schedules(void) {
    static const struct {
        enum sdt_sampler_kind kind;
        enum sdt_sampler_schedule schedule;
        int steps;
        double shift;
        int index;
        float timestep;
    } known[] = {
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_NEW, 50, 3, 0, 999},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_NEW, 50, 3, 1, 993},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_NEW, 50, 3, 2, 986},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_NEW, 50, 3, 3, 979},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_NEW, 50, 3, 47, 162},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_NEW, 50, 3, 48, 113},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_NEW, 50, 3, 49, 60},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_OLD, 50, 3, 0, 999},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_OLD, 50, 3, 1, 992},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_OLD, 50, 3, 2, 985},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_OLD, 50, 3, 3, 978},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_OLD, 50, 3, 47, 160},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_OLD, 50, 3, 48, 111},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_OLD, 50, 3, 49, 57},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_NEW, 50, 5, 3, 987},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_OLD, 50, 5, 3, 987},
        {SDT_SAMPLER_UNIPC, SDT_SCHEDULE_OLD, 50, 5, 49, 92},
        {SDT_SAMPLER_EULER, SDT_SCHEDULE_LINEAR, 50, 7, 0, 1000.0f},
        {SDT_SAMPLER_EULER, SDT_SCHEDULE_LINEAR, 50, 7, 1, 997.093f},
        {SDT_SAMPLER_EULER, SDT_SCHEDULE_LINEAR, 50, 7, 2, 994.0829f},
        {SDT_SAMPLER_EULER, SDT_SCHEDULE_LINEAR, 50, 7, 49, 125.0f},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct sdt_sampler sampler;
        if (sdt_sampler_init(&sampler, known[i].kind, known[i].schedule, known[i].steps,
                             known[i].shift, NULL) != SDT_OK) {
            CHECK(0, "row %zu: refused", i);
            continue;
        }
        const float timestep = sampler.timesteps[known[i].index];
        const float allowed = known[i].kind == SDT_SAMPLER_UNIPC ? 0.0f : 1e-3f;
        CHECK(fabsf(timestep - known[i].timestep) <= allowed, "row %zu: timestep %g, expected %g",
              i, (double)timestep, (double)known[i].timestep);
        CHECK(sampler.sigmas[known[i].steps] == 0.0f, "row %zu: the last sigma is not 0", i);
        for (int j = 0; j < known[i].steps; j++)
            CHECK(sampler.step[j].guidance == 1.0f && sampler.step[j].sigma == sampler.sigmas[j],
                  "row %zu, step %d: guidance or sigma", i, j);
        sdt_sampler_clear(&sampler);
    }
}

/* Levels that are given: the few steps of distilled checkpoints, whose sigmas and timesteps stand
 * in LightX2V's and FastVideo's code. */
static void given(void) {
    static const struct {
        enum sdt_sampler_kind kind;
        int steps;
        double shift, levels[4], sigmas[4];
    } known[] = {
        {SDT_SAMPLER_EULER, 4, 5.0, {1.0, .75, .5, .25}, {1.0, .9375, 5.0 / 6.0, .625}},
        {SDT_SAMPLER_RENOISE, 3, 8.0, {1.0, .757, .522}, {1.0, .961422, .897293}},
        {SDT_SAMPLER_UNIPC, 2, 1.0, {.8, .3}, {.8, .3}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const struct sdt_noise_levels levels = {
            .steps = known[i].steps, .shift = known[i].shift, .sigmas = known[i].levels};
        struct sdt_sampler sampler;
        struct sdt_error err = {.message = ""};
        bool ok = sdt_sampler_init_levels(&sampler, known[i].kind, &levels, &err) == SDT_OK;
        CHECK(ok, "list %zu: %s", i, err.message);
        for (int j = 0; ok && j < known[i].steps; j++) {
            double sigma = (double)sampler.sigmas[j], t = (double)sampler.timesteps[j];
            double limit = known[i].kind == SDT_SAMPLER_UNIPC ? 1.0 : 1e-3;
            CHECK(fabs(sigma - known[i].sigmas[j]) < 1e-6, "list %zu: sigma %d is %.9g", i, j,
                  sigma);
            CHECK(fabs(t - 1000.0 * sigma) < limit, "list %zu: timestep %d is %.9g", i, j, t);
        }
        CHECK(!ok || sampler.sigmas[known[i].steps] == 0.0f, "list %zu: the end is not 0", i);
        sdt_sampler_clear(&sampler);
    }
}

/* Euler along given levels has a closed form where the velocity is a x + b: x is multiplied by
 * 1 + (s' - s) a and moved by (s' - s) b at each; renoising mixes the clean latent with noise. */
static void few_steps(void) {
    const double list[4] = {1.0, .75, .5, .25}, a = .3, b = -.7;
    const struct sdt_noise_levels levels = {.steps = 4, .shift = 5.0, .sigmas = list};
    struct sdt_sampler euler, renoise;
    if (sdt_sampler_init_levels(&euler, SDT_SAMPLER_EULER, &levels, NULL) != SDT_OK ||
        sdt_sampler_init_levels(&renoise, SDT_SAMPLER_RENOISE, &levels, NULL) != SDT_OK)
        exit(99);
    float x = 1.1f, y = 1.1f, last, m0 = 0.0f, m1 = 0.0f, v;
    double want = (double)x, wanted = (double)y;
    for (int i = 0; i < 4; i++) {
        const double s = (double)euler.sigmas[i], next = (double)euler.sigmas[i + 1];
        const float noise = .4f - .3f * (float)i;
        v = (float)a * x + (float)b;
        sdt_sampler_step(&euler.step[i], 1, &v, NULL, &x, &last, &m0, &m1);
        want = want * (1.0 + (next - s) * a) + (next - s) * b;
        v = (float)a * y + (float)b;
        m0 = noise;
        sdt_sampler_step(&renoise.step[i], 1, &v, NULL, &y, &last, &m0, &m1);
        wanted = (1.0 - next) * (wanted - s * (a * wanted + b)) + next * (double)noise;
        CHECK(fabs((double)x - want) < 1e-6, "euler: %g after step %d, not %g", (double)x, i, want);
        CHECK(fabs((double)y - wanted) < 1e-6, "renoise: %g after step %d, not %g", (double)y, i,
              wanted);
    }
    sdt_sampler_clear(&euler);
    sdt_sampler_clear(&renoise);
}

/* The levels of a schedule, written down and given, are that schedule. */
static void given_again(enum sdt_sampler_kind kind, int steps, double shift) {
    double level[1000];
    for (int i = 0; i < steps; i++)
        level[i] = 1.0 + i * ((1.0 / 1000.0 - 1.0) / steps);
    const struct sdt_noise_levels levels = {SDT_SCHEDULE_NEW, steps, shift, level};
    struct sdt_sampler a = {0}, b = {0};
    if (kind == SDT_SAMPLER_EULER) { /* floats of its own: as they are, without a shift */
        const struct sdt_noise_levels again = {SDT_SCHEDULE_NEW, steps, 1.0, level};
        if (sdt_sampler_init(&a, kind, SDT_SCHEDULE_NEW, steps, shift, NULL) != SDT_OK)
            exit(99);
        for (int i = 0; i < steps; i++)
            level[i] = (double)a.sigmas[i];
        if (sdt_sampler_init_levels(&b, kind, &again, NULL) != SDT_OK)
            exit(99);
    } else if (sdt_sampler_init(&a, kind, SDT_SCHEDULE_NEW, steps, shift, NULL) != SDT_OK ||
               sdt_sampler_init_levels(&b, kind, &levels, NULL) != SDT_OK) {
        exit(99);
    }
    CHECK(!memcmp(a.sigmas, b.sigmas, ((size_t)steps + 1) * sizeof *a.sigmas) &&
              !memcmp(a.timesteps, b.timesteps, (size_t)steps * sizeof *a.timesteps) &&
              !memcmp(a.step, b.step, (size_t)steps * sizeof *a.step),
          "%s, %d steps, shift %g: other numbers from its own levels", sdt_sampler_kind_name(kind),
          steps, shift);
    sdt_sampler_clear(&a);
    sdt_sampler_clear(&b);
}

static void given_refused(void) {
    static const struct {
        int steps;
        double levels[3];
        enum sdt_sampler_kind kind;
    } lists[] = {
        {3, {1.0, 1.0, .5}, SDT_SAMPLER_EULER},
        {3, {.5, .75, .25}, SDT_SAMPLER_EULER},
        {2, {1.0, .0}, SDT_SAMPLER_EULER},
        {2, {1.0, -.5}, SDT_SAMPLER_EULER},
        {1, {1.5}, SDT_SAMPLER_EULER},
        {2, {(double)NAN, .5}, SDT_SAMPLER_EULER},
        {2, {1.0, (double)NAN}, SDT_SAMPLER_EULER},
        {2, {1.0, .5}, SDT_SAMPLER_EULER_ANCESTRAL},
        {2, {.5, .5 - 1e-12}, SDT_SAMPLER_EULER},
        {2, {.5, .5 - 1e-12}, SDT_SAMPLER_UNIPC},
    };
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        const struct sdt_noise_levels levels = {
            .steps = lists[i].steps, .shift = 3.0, .sigmas = lists[i].levels};
        struct sdt_sampler sampler;
        struct sdt_error err = {.message = ""};
        CHECK(sdt_sampler_init_levels(&sampler, lists[i].kind, &levels, &err) == SDT_ERROR_USAGE &&
                  err.message[0],
              "list %zu is not refused", i);
        sdt_sampler_clear(&sampler);
    }
}

static void refusals(void) {
    static const struct {
        enum sdt_sampler_kind kind;
        int steps;
        double shift;
        int ok;
    } requests[] = {
        {SDT_SAMPLER_UNIPC, 1, 3.0, 1},
        {SDT_SAMPLER_UNIPC, 1000, 1.0, 1},
        {SDT_SAMPLER_UNIPC, 0, 3.0, 0},
        {SDT_SAMPLER_UNIPC, 1001, 3.0, 0},
        {SDT_SAMPLER_EULER, -5, 3.0, 0},
        {SDT_SAMPLER_EULER, 50, 0.0, 0},
        {SDT_SAMPLER_EULER, 50, -1.0, 0},
        {SDT_SAMPLER_UNIPC, 50, (double)NAN, 0},
        {SDT_SAMPLER_UNIPC, 50, (double)INFINITY, 0},
        {SDT_SAMPLER_UNIPC, 50, 1e12, 0},
        {SDT_SAMPLER_UNIPC, 2, 1e-60, 0},
        {SDT_SAMPLER_EULER, 1000, 17.0, 1},
    };
    for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
        struct sdt_sampler sampler;
        struct sdt_error err = {.message = ""};
        const enum sdt_status status =
            sdt_sampler_init(&sampler, requests[i].kind, SDT_SCHEDULE_NEW, requests[i].steps,
                             requests[i].shift, &err);
        CHECK(status == (requests[i].ok ? SDT_OK : SDT_ERROR_USAGE), "request %zu: %s (%s)", i,
              sdt_status_name(status), err.message);
        CHECK(requests[i].ok || (err.message[0] && !strchr(err.message, '\n')),
              "request %zu: no line of text", i);
        for (int j = 0; status == SDT_OK && j < requests[i].steps; j++) {
            const struct sdt_sampler_step *s = &sampler.step[j];
            const float sum = s->sigma + s->c_last + s->c_m0 + s->c_m1 + s->c_x0 + s->p_x +
                              s->p_x0 + s->p_m0 + s->p_v;
            CHECK(isfinite(sum), "request %zu, step %d: not finite", i, j);
        }
        sdt_sampler_clear(&sampler);
        sdt_sampler_clear(&sampler);
    }
}

static void noise(const struct sdt_safetensors *file) {
    static const struct {
        const char *name;
        uint64_t seed;
    } cases[] = {{"rng.seed0_n77", 0}, {"rng.seed42_n9", 42}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n;
        float *expected = load(file, &n, cases[i].name), *y = malloc(n * sizeof *y);
        if (!y)
            exit(99);
        sdt_randn(cases[i].seed, n, y);
        const double error = largest_difference(n, expected, y);
        CHECK(error <= noise_limit, "%s: error %g, limit %g", cases[i].name, error, noise_limit);
        printf("%-18s max abs error %.3g (limit %g)\n", cases[i].name, error, noise_limit);
        free(expected);
        free(y);
    }

    /* Only 32 bits of a seed count. */
    float a[80], b[80];
    sdt_randn(0, 16, a);
    sdt_randn(UINT64_C(1) << 32, 16, b);
    CHECK(!memcmp(a, b, 16 * sizeof *a), "seed 2^32 differs from seed 0");
    /* Whole blocks of 16 do not depend on what follows; the last 16 of a ragged end do. */
    sdt_randn(7, 80, a);
    sdt_randn(7, 16, b);
    CHECK(memcmp(a, b, 16 * sizeof *a) == 0, "the first block depends on the length");
    sdt_randn(7, 79, b);
    CHECK(!memcmp(a, b, 63 * sizeof *a) && memcmp(a + 63, b + 63, 16 * sizeof *a),
          "the ragged end is not drawn afresh");
    sdt_randn(7, 0, b);

    /* A large one has mean 0 and variance 1. */
    const size_t n = 1 << 18;
    float *y = malloc(n * sizeof *y);
    double sum = 0.0, squares = 0.0;
    if (!y)
        exit(99);
    sdt_randn(123, n, y);
    for (size_t i = 0; i < n; i++) {
        sum += (double)y[i];
        squares += (double)y[i] * (double)y[i];
    }
    CHECK(fabs(sum / (double)n) < 0.01 && fabs(squares / (double)n - 1.0) < 0.02,
          "mean %g, variance %g", sum / (double)n, squares / (double)n);
    free(y);
}

int main(void) {
    const char *source = getenv("STARDIT_SOURCE_DIR");
    struct sdt_safetensors *file = NULL;
    struct sdt_error err;
    char path[4096];

    snprintf(path, sizeof path, "%s/tests/golden/schedulers/io.safetensors", source ? source : ".");
    if (sdt_safetensors_open(path, &file, &err) != SDT_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    closed_loop(file, "unipc_n10_shift3", SDT_SAMPLER_UNIPC, 10, 3.0);
    closed_loop(file, "unipc_n20_shift5", SDT_SAMPLER_UNIPC, 20, 5.0);
    closed_loop(file, "euler_n10_shift3", SDT_SAMPLER_EULER, 10, 3.0);
    closed_loop(file, "euler_n20_shift5", SDT_SAMPLER_EULER, 20, 5.0);
    for (int steps = 1; steps <= 50; steps = 2 * steps + 1) {
        constant_model(SDT_SAMPLER_UNIPC, SDT_SCHEDULE_NEW, steps, 3.0);
        constant_model(SDT_SAMPLER_UNIPC, SDT_SCHEDULE_OLD, steps, 5.0);
        constant_model(SDT_SAMPLER_EULER, SDT_SCHEDULE_NEW, steps, 7.0);
        constant_model(SDT_SAMPLER_EULER, SDT_SCHEDULE_LINEAR, steps, 7.0);
    }
    schedules();
    snprintf(path, sizeof path, "%s/tests/golden/pipelines/io.safetensors", source ? source : ".");
    pipelines(path);
    given();
    few_steps();
    given_again(SDT_SAMPLER_UNIPC, 50, 3.0);
    given_again(SDT_SAMPLER_UNIPC, 20, 3.0);
    given_again(SDT_SAMPLER_EULER, 50, 7.0);
    given_again(SDT_SAMPLER_EULER, 3, 1.0);
    given_refused();
    refusals();
    CHECK(sdt_sampler_check(SDT_SAMPLER_EULER, SDT_SCHEDULE_OLD, NULL) == SDT_ERROR_USAGE &&
              sdt_sampler_check(SDT_SAMPLER_UNIPC, SDT_SCHEDULE_LINEAR, NULL) == SDT_ERROR_USAGE,
          "a schedule of the other solver is not refused");
    noise(file);
    sdt_safetensors_close(file);
    if (failures)
        fprintf(stderr, "%d checks failed\n", failures);
    return failures != 0;
}
