/* How much the time embedding of Wan 2.1 changes from step to step, for step caches: the same
 * arithmetic as a step's, here, in double precision, before any runs. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/lora.h"
#include "graph/models/family.h"

#define EMBEDDER "condition_embedder."

/* y [count, n] = x [count, k] w^T + b; four sums side by side, in this order. */
static enum sdt_status linear(const struct sdt_dit *dit, const char *name, int count, size_t n,
                              size_t k, const double *x, double *y, struct sdt_error *err) {
    char of_weight[80], of_bias[80];
    snprintf(of_weight, sizeof of_weight, EMBEDDER "%s.weight", name);
    snprintf(of_bias, sizeof of_bias, EMBEDDER "%s.bias", name);
    const struct sdt_stored *w = sdt_weights_find(dit->weights, of_weight);
    const struct sdt_stored *b = sdt_weights_find(dit->weights, of_bias);
    float *row = malloc((k + n) * sizeof *row), *bias = row ? row + k : NULL;
    if (!row || !w || !b || w->count != n * k || b->count != n) {
        free(row);
        return sdt_fail(err, SDT_ERROR_MEMORY, "no memory for the time embedding");
    }
    sdt_stored_fetch(w);
    sdt_stored_fetch(b);
    sdt_convert(b->dtype, n, b->data, bias);
    for (size_t i = 0; i < n; i++) {
        sdt_convert(w->dtype, k, (const char *)w->data + i * k * sdt_dtype_size(w->dtype), row);
        for (int t = 0; t < count; t++) {
            const double *in = x + (size_t)t * k;
            double sum[4] = {0.0};
            for (size_t j = 0; j < k; j++)
                sum[j % 4] += (double)row[j] * in[j];
            y[(size_t)t * n + i] = (double)bias[i] + ((sum[0] + sum[1]) + (sum[2] + sum[3]));
        }
    }
    sdt_stored_release(w);
    sdt_stored_release(b);
    free(row);
    return SDT_OK;
}

static void silu(size_t n, double *x /* [n] in place */) {
    for (size_t i = 0; i < n; i++)
        x[i] /= 1.0 + exp(-x[i]);
}

/* change[i] of e [count, n] beside e of i - 1. */
static void differences(int count, size_t n, const double *e, double *change /* [count] */) {
    change[0] = 0.0;
    for (int t = 1; t < count; t++) {
        const double *now = e + (size_t)t * n, *before = now - n;
        double moved = 0.0, size = 0.0;
        for (size_t i = 0; i < n; i++) {
            moved += fabs(now[i] - before[i]);
            size += fabs(before[i]);
        }
        change[t] = size > 0.0 ? moved / size : 0.0;
    }
}

extern enum sdt_status sdt__wan_changes(const struct sdt_dit *dit, bool modulation, int count,
                                        const float *t, double *change, struct sdt_error *err);

enum sdt_status sdt__wan_changes(const struct sdt_dit *dit, bool modulation, int count,
                                 const float *t, double *change, struct sdt_error *err) {
    const struct sdt_stored *first =
        sdt_weights_find(dit->weights, EMBEDDER "time_embedder.linear_1.weight");
    const size_t d = (size_t)dit->width;
    const size_t dim = first && first->rank == 2 ? (size_t)first->shape[1] : 0;
    const size_t steps = (size_t)count;
    double *x = calloc(steps, (dim + 8 * d) * sizeof *x);
    float *angles = malloc((dim + 1) * sizeof *angles);
    enum sdt_status status = SDT_OK;
    if (!x || !angles || dim == 0) {
        status =
            sdt_fail(err, SDT_ERROR_MEMORY, "no memory for the time embedding of %d steps", count);
        goto out;
    }
    double *hidden = x + steps * dim, *e = hidden + steps * d, *m = e + steps * d;
    for (size_t s = 0; s < steps; s++) {
        sdt_sinusoid(t[s], (int)dim, angles);
        for (size_t i = 0; i < dim; i++)
            x[s * dim + i] = (double)angles[i];
    }
    status = linear(dit, "time_embedder.linear_1", count, d, dim, x, hidden, err);
    silu(steps * d, hidden);
    if (status == SDT_OK)
        status = linear(dit, "time_embedder.linear_2", count, d, d, hidden, e, err);
    if (status == SDT_OK && modulation) {
        memcpy(hidden, e, steps * d * sizeof *e);
        silu(steps * d, hidden);
        status = linear(dit, "time_proj", count, 6 * d, d, hidden, m, err);
    }
    if (status == SDT_OK)
        differences(count, modulation ? 6 * d : d, modulation ? m : e, change);
out:
    free(angles);
    free(x);
    return status;
}
