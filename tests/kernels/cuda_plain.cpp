/* The plain ways of kernels/cuda/plain.h, thread by thread on the host, against the references. */
#include "tests/kernels/cuda_block.h"

#include "kernels/cuda/plain.h"
#include "kernels/reference.h"
extern "C" {
#include "tests/kernels/check.h"
}

static void check_linear(int rows, int n, int k, enum sdt_epilogue epilogue, bool biased) {
    float *x = numbers((size_t)rows * k, 1.f), *w = numbers((size_t)n * k, 1.f);
    float *bias = biased ? numbers(n, 1.f) : NULL;
    float *got = blank((size_t)rows * n), *want = blank((size_t)rows * n);
    std::vector<float> shared(PLAIN_SHARED, NAN);
    struct plain_call call = {rows, n, k, x, w, bias, NULL, NULL, epilogue, false, got};
    for (int r = 0; r < rows; r += PLAIN_TILE)
        for (int c = 0; c < n; c += PLAIN_TILE)
            block_run(PLAIN_THREADS, r > 0,
                      [&] { plain_linear<SDT_F32>(call, r, c, shared.data()); });
    sdt_linear_reference(rows, n, k, x, w, bias, epilogue, want);
    check_near((size_t)rows * n, got, want, 3e-6, "linear %d x %d x %d", rows, n, k);
    for (float *array : {x, w, bias, got, want})
        free(array);
}

static void check_residual(int rows, int n, int k, int gates) {
    float *x = numbers((size_t)rows * k, 1.f), *w = numbers((size_t)n * k, 1.f);
    float *bias = numbers(n, 1.f), *got = numbers((size_t)rows * n, 1.f);
    float *gate_a = gates & 1 ? numbers(n, 1.f) : NULL,
          *gate_b = gates & 2 ? numbers(n, 1.f) : NULL;
    float *want = copy_of((size_t)rows * n, got), *scratch = blank((size_t)rows * n);
    std::vector<float> shared(PLAIN_SHARED, NAN);
    struct plain_call call = {rows, n, k, x, w, bias, gate_a, gate_b, SDT_EPILOGUE_NONE, true, got};
    for (int r = 0; r < rows; r += PLAIN_TILE)
        for (int c = 0; c < n; c += PLAIN_TILE)
            block_run(PLAIN_THREADS, c > 0,
                      [&] { plain_linear<SDT_F32>(call, r, c, shared.data()); });
    sdt_linear_residual_reference(rows, n, k, x, w, bias, gate_a, gate_b, want);
    check_near((size_t)rows * n, got, want, 3e-6, "residual %d x %d x %d, gates %d", rows, n, k,
               gates);
    for (float *array : {x, w, bias, got, gate_a, gate_b, want, scratch})
        free(array);
}

/* Apart, and in place. */
static void check_softmax(int n) {
    float *scores = numbers(n, 20.f), *weights = blank(n), *want = blank(n);
    double largest = -INFINITY, sum = 0.;
    for (int i = 0; i < n; i++)
        largest = fmax(largest, scores[i]);
    for (int i = 0; i < n; i++)
        sum += exp(scores[i] - largest);
    for (int i = 0; i < n; i++)
        want[i] = (float)(exp(scores[i] - largest) / sum);
    float room[SOFTMAX_WARPS];
    block_run(SOFTMAX_THREADS, false, [&] { softmax_row<SDT_F32>(n, scores, weights, room); });
    check_near(n, weights, want, 2e-6, "softmax of %d", n);
    block_run(SOFTMAX_THREADS, true, [&] { softmax_row<SDT_F32>(n, scores, scores, room); });
    check_near(n, scores, want, 2e-6, "softmax of %d in place", n);
    free(scores);
    free(weights);
    free(want);
}

int main() {
#ifdef __SANITIZE_THREAD__
    fprintf(stderr, "skipped: the thread sanitizer does not know coroutines\n");
    return 77;
#endif
    check_linear(1, 1, 1, SDT_EPILOGUE_NONE, false);
    check_linear(3, 12, 20, SDT_EPILOGUE_SILU, true);
    check_linear(65, 50, 33, SDT_EPILOGUE_GELU_TANH, true);
    check_linear(64, 129, 16, SDT_EPILOGUE_NONE, true);
    for (int gates = 0; gates < 4; gates++)
        check_residual(7 + 60 * gates, 66, 12 + gates, gates);
    for (int n : {1, 31, 256, 257, 1000})
        check_softmax(n);
    if (block_faults) {
        fprintf(stderr, "%u faults\n", block_faults);
        check_failures++;
    }
    return check_end("cuda_plain");
}
