/* PSNR and SSIM of videos and latents that runs have written. */
#include "apps/metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stardit/safetensors.h"

const char *app_shape_text(const struct sdt_stored *tensor, char *text, size_t size) {
    size_t at = 0;
    text[0] = 0;
    for (int i = 0; i < tensor->rank && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%lld", i ? "," : "",
                               (long long)tensor->shape[i]);
    return text;
}

double app_psnr(size_t n, const float *a, const float *b, double peak) {
    double sum = 0.0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        sum += d * d;
    }
    return 10.0 * log10(peak * peak * (double)n / sum);
}

/* ---- structural similarity ------------------------------------------------------------------- */

enum { WINDOW = 11, MOMENTS = 5 };

/* The moments of a pixel of each: a, b, a^2, b^2, ab. */
static void moments_of(double a, double b, double m[MOMENTS]) {
    m[0] = a;
    m[1] = b;
    m[2] = a * a;
    m[3] = b * b;
    m[4] = a * b;
}

static double similarity(const double m[MOMENTS]) {
    const double c1 = 0.01 * 255.0 * 0.01 * 255.0, c2 = 0.03 * 255.0 * 0.03 * 255.0;
    double aa = m[2] - m[0] * m[0], bb = m[3] - m[1] * m[1], ab = m[4] - m[0] * m[1];
    return (2.0 * m[0] * m[1] + c1) * (2.0 * ab + c2) /
           ((m[0] * m[0] + m[1] * m[1] + c1) * (aa + bb + c2));
}

/* Along rows first, then along columns. */
double app_ssim(int height, int width, const float *a, const float *b) {
    const int rows = height - WINDOW + 1, columns = width - WINDOW + 1;
    double weight[WINDOW], all = 0.0, sum = 0.0;
    if (rows < 1 || columns < 1)
        return NAN;
    double(*across)[MOMENTS] = calloc((size_t)height * (size_t)columns, sizeof *across);
    if (!across)
        return NAN;
    for (int i = 0; i < WINDOW; i++)
        all += weight[i] = exp(-(i - WINDOW / 2) * (i - WINDOW / 2) / (2.0 * 1.5 * 1.5));
    for (int y = 0; y < height; y++)
        for (int x = 0; x < columns; x++)
            for (int i = 0; i < WINDOW; i++) {
                double m[MOMENTS], *to = across[y * columns + x];
                moments_of((double)a[y * width + x + i], (double)b[y * width + x + i], m);
                for (int k = 0; k < MOMENTS; k++)
                    to[k] += weight[i] / all * m[k];
            }
    for (int y = 0; y < rows; y++)
        for (int x = 0; x < columns; x++) {
            double m[MOMENTS] = {0.0};
            for (int i = 0; i < WINDOW; i++)
                for (int k = 0; k < MOMENTS; k++)
                    m[k] += weight[i] / all * across[(y + i) * columns + x][k];
            sum += similarity(m);
        }
    free(across);
    return sum / rows / columns;
}

/* ---- two files ------------------------------------------------------------------------------- */

/* To what a file of 8 bits holds. */
static void to_bytes(size_t n, float *x /* [n] 0..1 in place */) {
    for (size_t i = 0; i < n; i++)
        x[i] = floorf(fminf(fmaxf(x[i], 0.0f), 1.0f) * 255.0f + 0.5f);
}

/* The mean of all frames and colours. */
static double ssim_of(const struct sdt_stored *video, const float *a, const float *b) {
    const int height = (int)video->shape[2], width = (int)video->shape[3];
    const size_t plane = (size_t)height * (size_t)width, planes = video->count / plane;
    double sum = 0.0;
    for (size_t p = 0; p < planes; p++)
        sum += app_ssim(height, width, a + p * plane, b + p * plane);
    return sum / (double)planes;
}

static double range_of(size_t n, const float *x /* [n] */) {
    float least = x[0], most = x[0];
    for (size_t i = 1; i < n; i++) {
        least = fminf(least, x[i]);
        most = fmaxf(most, x[i]);
    }
    return (double)most - (double)least;
}

static void print(const struct sdt_stored *tensor, float *a /* [count] */, float *b /* [count] */) {
    const size_t n = tensor->count;
    double most = 0.0, difference = 0.0, all = 0.0;
    char shape[200];
    for (size_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        most = fmax(most, fabs(d));
        difference += d * d;
        all += (double)a[i] * (double)a[i];
    }
    printf("%s [%s] max_abs %.3g rel_l2 %.3g", tensor->name,
           app_shape_text(tensor, shape, sizeof shape), most,
           difference > 0.0 ? sqrt(difference / all) : 0.0);
    if (!strcmp(tensor->name, "video") && tensor->rank == 4 && tensor->shape[0] == 3) {
        to_bytes(n, a);
        to_bytes(n, b);
        printf(" PSNR %.2f dB SSIM %.4f of 8 bits\n", app_psnr(n, a, b, 255.0),
               ssim_of(tensor, a, b));
    } else {
        double range = range_of(n, a);
        printf(" PSNR %.2f dB of a range of %.4g\n", app_psnr(n, a, b, range), range);
    }
}

static enum sdt_status compare(const char *path, const struct sdt_stored *a,
                               const struct sdt_stored *b, struct sdt_error *err) {
    float *x = NULL, *y = NULL;
    char of_a[200], of_b[200];
    if (a->rank != b->rank || memcmp(a->shape, b->shape, (size_t)a->rank * sizeof a->shape[0]))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--metrics %.200s: %.80s has the shape [%s] there and [%s] in the other "
                        "file; they must be alike",
                        path, a->name, app_shape_text(a, of_a, sizeof of_a),
                        app_shape_text(b, of_b, sizeof of_b));
    enum sdt_status status = sdt_stored_floats(a, &x, err);
    if (status == SDT_OK)
        status = sdt_stored_floats(b, &y, err);
    if (status == SDT_OK)
        status = sdt_stored_check_finite(path, a, err);
    if (status == SDT_OK)
        status = sdt_stored_check_finite("the other file", b, err);
    if (status == SDT_OK)
        print(a, x, y);
    free(x);
    free(y);
    return status;
}

int app_metrics(const struct app_program *program, const char *a, const char *b) {
    struct sdt_safetensors *file[2] = {NULL, NULL};
    struct sdt_error err;
    int compared = 0;

    for (size_t i = 0; i < program->count; i++) {
        const char *name = program->options[i].name;
        if (name && strcmp(name, "metrics") && app_given(program, name))
            return app_usage(program->name, "--%s does not go with --metrics, which compares files",
                             name);
    }
    if (!b)
        return app_usage(program->name, "--metrics %s needs a second file: --metrics A B", a);
    enum sdt_status status = sdt_safetensors_open(a, &file[0], &err);
    if (status == SDT_OK)
        status = sdt_safetensors_open(b, &file[1], &err);
    for (size_t i = 0; status == SDT_OK && i < sdt_safetensors_count(file[0]); i++) {
        const struct sdt_stored *tensor = sdt_safetensors_at(file[0], i);
        const struct sdt_stored *other = sdt_safetensors_find(file[1], tensor->name);
        if (!other || tensor->count == 0)
            continue;
        status = compare(a, tensor, other, &err);
        compared++;
    }
    if (status == SDT_OK && !compared)
        status = sdt_fail(&err, SDT_ERROR_MISSING,
                          "--metrics: %.200s and %.200s have no tensor of the same name; "
                          "--output x.safetensors and --save-latent write what can be compared",
                          a, b);
    sdt_safetensors_close(file[0]);
    sdt_safetensors_close(file[1]);
    return status == SDT_OK ? app_flush(program->name) : app_report(program->name, &err);
}
