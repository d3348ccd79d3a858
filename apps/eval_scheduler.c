/* Samplers in a closed loop, and noise. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/sampler/sampler.h"

/* What a tensor's name asks for. */
struct loop {
    enum sdt_sampler_kind kind;
    enum sdt_sampler_schedule schedule;
    int steps;
    double shift;
};

/* The closed loop of the golden file: v = tanh(0.7 x + w t / 1000), a model of one line. */
static enum sdt_status eval_loop(struct app_eval *eval, const char *prefix, const struct loop *loop,
                                 struct app_results *results, struct sdt_error *err) {
    const struct sdt_stored *start = sdt_safetensors_find(eval->file, "in.x0");
    const struct sdt_stored *weight = sdt_safetensors_find(eval->file, "in.w");
    struct sdt_sampler sampler = {0};
    float *x = NULL, *w = NULL, *v = NULL, *memory = NULL;
    char name[128];
    enum sdt_status status;

    if (!start || !weight || start->count != weight->count || start->count == 0)
        return sdt_fail(err, SDT_ERROR_MISSING,
                        "%s: --component scheduler needs in.x0 and in.w of one size for %s",
                        eval->path, prefix);
    size_t n = start->count;
    status = sdt_sampler_init(&sampler, loop->kind, loop->schedule, loop->steps, loop->shift, err);
    if (status == SDT_OK)
        status = sdt_stored_check_finite(eval->path, start, err);
    if (status == SDT_OK)
        status = sdt_stored_check_finite(eval->path, weight, err);
    if (status == SDT_OK)
        status = sdt_stored_floats(start, &x, err);
    if (status == SDT_OK)
        status = sdt_stored_floats(weight, &w, err);
    v = malloc(n * sizeof *v);
    memory = calloc(3 * n, sizeof *memory);
    if (status == SDT_OK && (!v || !memory))
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %s", prefix);
    if (status == SDT_OK) {
        snprintf(name, sizeof name, "%s.sigmas", prefix);
        status =
            app_eval_add_copy(results, name, 1, (int64_t[]){loop->steps + 1}, sampler.sigmas, err);
    }
    if (status == SDT_OK) {
        snprintf(name, sizeof name, "%s.timesteps", prefix);
        status =
            app_eval_add_copy(results, name, 1, (int64_t[]){loop->steps}, sampler.timesteps, err);
    }
    for (int i = 0; i < loop->steps && status == SDT_OK; i++) {
        for (size_t j = 0; j < n; j++)
            v[j] = tanhf(0.7f * x[j] + w[j] * sampler.timesteps[i] / 1000.0f);
        sdt_sampler_step(&sampler.step[i], n, v, NULL, x, memory, memory + n, memory + 2 * n);
        snprintf(name, sizeof name, "%s.x%d", prefix, i);
        status = app_eval_add_copy(results, name, start->rank, start->shape, x, err);
    }
    sdt_sampler_clear(&sampler);
    free(x);
    free(w);
    free(v);
    free(memory);
    return status;
}

static enum sdt_status eval_noise(const char *name, uint64_t seed, int64_t count,
                                  struct app_results *results, struct sdt_error *err) {
    float *y = malloc((size_t)count * sizeof *y);
    if (y)
        sdt_randn(seed, (size_t)count, y);
    return app_eval_add(results, name, 1, &count, y, err);
}

static enum sdt_status eval_scheduler(struct app_eval *eval, const char *folder,
                                      struct app_results *results, struct sdt_error *err) {
    (void)folder;
    for (size_t i = 0; i < sdt_safetensors_count(eval->file); i++) {
        const char *name = sdt_safetensors_at(eval->file, i)->name;
        unsigned long long seed;
        long long count;
        int end = 0, steps;
        double shift;
        char prefix[96];
        enum sdt_status status = SDT_OK;

        if (sscanf(name, "rng.seed%llu_n%lld%n", &seed, &count, &end) == 2 && !name[end]) {
            if (count < 1 || count > 100000000)
                return sdt_fail(err, SDT_ERROR_FORMAT, "%s: %s: count must be 1 to 100000000",
                                eval->path, name);
            status = eval_noise(name, seed, count, results, err);
        } else {
            const char *ending = strstr(name, ".sigmas");
            size_t length = ending ? (size_t)(ending - name) : 0;
            if (!ending || ending[7] || length >= sizeof prefix)
                continue;
            memcpy(prefix, name, length);
            prefix[length] = 0;
            bool unipc = !strncmp(prefix, "unipc_", 6), euler = !strncmp(prefix, "euler_", 6);
            if ((!unipc && !euler) ||
                sscanf(prefix + 6, "n%d_shift%lf%n", &steps, &shift, &end) != 2 || prefix[6 + end])
                return sdt_fail(
                    err, SDT_ERROR_FORMAT,
                    "%s: %s: names are unipc_nN_shiftS.sigmas or euler_nN_shiftS.sigmas",
                    eval->path, name);
            const struct loop loop = {unipc ? SDT_SAMPLER_UNIPC : SDT_SAMPLER_EULER,
                                      unipc ? SDT_SCHEDULE_NEW : SDT_SCHEDULE_LINEAR, steps, shift};
            status = eval_loop(eval, prefix, &loop, results, err);
        }
        if (status != SDT_OK)
            return status;
    }
    if (!results->count)
        return sdt_fail(err, SDT_ERROR_MISSING,
                        "%s: no tensor named unipc_nN_shiftS.sigmas, euler_nN_shiftS.sigmas or "
                        "rng.seedS_nN says what to compute",
                        eval->path);
    return SDT_OK;
}

const struct app_component app_eval_scheduler = {
    .name = "scheduler", .limit = 5e-6, .run = eval_scheduler};
