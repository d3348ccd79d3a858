/* The first number that is none: at every place, of every kind, among the largest finite ones. */
#include "kernels/reference.h"
#include "tests/kernels/check.h"

#include <float.h>

static void check_at(size_t n, size_t place, float value) {
    float *x = numbers(n, 1.f);
    if (n > 2) {
        x[0] = FLT_MAX;
        x[1] = -FLT_MAX;
        x[2] = FLT_TRUE_MIN;
    }
    if (place < n)
        x[place] = value;
    if (place + 3 < n)
        x[place + 3] = -value; /* a later one does not count */
    size_t got = sdt_find_not_finite(n, x), want = sdt_find_not_finite_reference(n, x);
    if (got != want || want != (place < n ? place : n)) {
        fprintf(stderr, "%zu numbers, %g at %zu: found at %zu, reference %zu\n", n, (double)value,
                place, got, want);
        check_failures++;
    }
    free(x);
}

int main(void) {
    static const size_t sizes[] = {0, 1, 7, 64, 1023, 1024, 1025, 2048, 5000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t place = 0; place <= sizes[s]; place += 1 + place / 5) {
            check_at(sizes[s], place, NAN);
            check_at(sizes[s], place, -NAN);
            check_at(sizes[s], place, INFINITY);
            check_at(sizes[s], place, -INFINITY);
        }
    return check_end("find_not_finite");
}
