/* The first number that is none: at every place, of every kind, among the largest finite ones. */
#include "tests/kernels/operation.h"

#include <float.h>

enum { KINDS = 5 };
static const float kinds[KINDS] = {NAN, -NAN, INFINITY, -INFINITY, 3.3e38f};

/* n, the number's place (n: there is none), its kind */
static void finite_grid(const struct operation *operation) {
    static const int sizes[] = {0, 1, 7, 64, 1023, 1024, 1025, 2048, 5000};
    int most = backend.kind == CPU ? 4 : KINDS; /* the last one is a number */
    for (size_t s = 0; s < COUNT(sizes); s++)
        for (int place = 0; place <= sizes[s]; place += 1 + place / 5)
            for (int kind = 0; kind < most; kind++)
                TRY(sizes[s], place, kind);
    for (int n = 1; n <= 41 && backend.kind != CPU; n++)
        for (int place = 0; place < n; place += 1 + n / 7)
            for (int kind = 0; kind < most; kind++)
                TRY(n, place, kind);
}

static void finite_make(struct call *c) {
    int n = c->size[0], place = c->size[1];
    float *x = in(c, (size_t)n, 1.f)->start, value = kinds[c->size[2]];
    if (n > 2 && c->dtype == SDT_F32) {
        x[0] = FLT_MAX;
        x[1] = -FLT_MAX;
        x[2] = FLT_TRUE_MIN;
    }
    if (place < n)
        x[place] = value;
    if (place + 3 < n)
        x[place + 3] = -value; /* a later one does not count */
}

/* CPUs say where, GPUs whether. */
static void finite_plain(struct call *c) {
    size_t n = (size_t)c->size[0], found = sdt_find_not_finite_reference(n, at(c, 0));
    size_t want = c->size[2] < 4 ? (size_t)c->size[1] : n;
    check_count++;
    if (found != want && ++check_failures)
        fprintf(stderr, "%zu numbers: the plain version finds one at %zu, not %zu\n", n, found,
                want);
    c->value = backend.kind == CPU ? (double)found : found < n;
}
static void finite_cpu(struct call *c) {
    c->value = (double)sdt_find_not_finite((size_t)c->size[0], at(c, 0));
}
static void finite_cuda(struct call *c) {
    volatile int *found = sdt_cuda_found(cuda);
    *found = 0;
    done(c, sdt_cuda_check_finite(cuda, c->dtype, (size_t)c->size[0], at(c, 0)));
    c->value = *found;
    *found = 0;
}

const struct operation finite_operations[] = {
    {.name = "find_not_finite",
     .grid = finite_grid,
     .make = finite_make,
     .plain = finite_plain,
     .cpu = finite_cpu,
     .cuda = finite_cuda},
    {0},
};
