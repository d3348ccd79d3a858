/* near A B LIMIT: every tensor of the safetensors file B is in A with the same shape, both float32,
 * and |a - b|_2 <= LIMIT |b|_2. One line a tensor; exit 1 where one differs by more. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stardit/safetensors.h"

static int compare(const struct sdt_stored *a, const struct sdt_stored *b, double limit) {
    double error = 0., norm = 0.;
    if (!a || a->dtype != SDT_F32 || b->dtype != SDT_F32 || a->rank != b->rank ||
        memcmp(a->shape, b->shape, (size_t)b->rank * sizeof *b->shape) != 0) {
        printf("%s: missing or of another shape or type\n", b->name);
        return 1;
    }
    for (size_t i = 0; i < b->count; i++) {
        float x, y;
        memcpy(&x, (const char *)a->data + i * sizeof x, sizeof x);
        memcpy(&y, (const char *)b->data + i * sizeof y, sizeof y);
        error += ((double)x - y) * ((double)x - y);
        norm += (double)y * y;
    }
    int good = sqrt(error) <= limit * sqrt(norm); /* no NaN */
    printf("%s rel_l2 %.3g limit %g %s\n", b->name, sqrt(error / (norm > 0. ? norm : 1.)), limit,
           good ? "ok" : "FAIL");
    return !good;
}

int main(int argc, char **argv) {
    struct sdt_safetensors *a = NULL, *b = NULL;
    struct sdt_error err;
    int differs = 0;
    if (argc != 4) {
        fprintf(stderr, "usage: near A B LIMIT\n");
        return 2;
    }
    if (sdt_safetensors_open(argv[1], &a, &err) != SDT_OK ||
        sdt_safetensors_open(argv[2], &b, &err) != SDT_OK) {
        fprintf(stderr, "near: %s\n", err.message);
        sdt_safetensors_close(a);
        return 2;
    }
    for (size_t i = 0; i < sdt_safetensors_count(b); i++) {
        const struct sdt_stored *want = sdt_safetensors_at(b, i);
        differs |= compare(sdt_safetensors_find(a, want->name), want, atof(argv[3]));
    }
    sdt_safetensors_close(a);
    sdt_safetensors_close(b);
    return differs;
}
