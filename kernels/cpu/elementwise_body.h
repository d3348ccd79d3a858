/* Kernels that touch each number once: activations and sums. */

static void silu(size_t n, const float *x, float *y) {
#define BODY(i, left) vec_store(y + (i), left, vec_silu(vec_load(x + (i), left)))
    EACH_VECTOR(n, BODY);
#undef BODY
}

static void gated_gelu(size_t n, const float *a, const float *b, float *y) {
#define BODY(i, left)                                                                              \
    vec_store(y + (i), left, vec_gelu_tanh(vec_load(a + (i), left)) * vec_load(b + (i), left))
    EACH_VECTOR(n, BODY);
#undef BODY
}

static void gated_silu(size_t n, const float *a, const float *b, float *y) {
#define BODY(i, left)                                                                              \
    vec_store(y + (i), left, vec_silu(vec_load(a + (i), left)) * vec_load(b + (i), left))
    EACH_VECTOR(n, BODY);
#undef BODY
}

static void quick_gelu(size_t n, const float *x, float *y) {
#define BODY(i, left) vec_store(y + (i), left, vec_quick_gelu(vec_load(x + (i), left)))
    EACH_VECTOR(n, BODY);
#undef BODY
}

static void gelu(size_t n, const float *x, float *y) {
#define BODY(i, left) vec_store(y + (i), left, vec_gelu(vec_load(x + (i), left)))
    EACH_VECTOR(n, BODY);
#undef BODY
}

static void add(size_t n, const float *x, float *y) {
#define BODY(i, left) vec_store(y + (i), left, vec_load(y + (i), left) + vec_load(x + (i), left))
    EACH_VECTOR(n, BODY);
#undef BODY
}

static void sum(size_t n, float sign, const float *x, float *y) {
    const vec s = vec_set(sign);
#define BODY(i, left)                                                                              \
    vec_store(y + (i), left, vec_load(x + (i), left) + s * vec_load(y + (i), left))
    EACH_VECTOR(n, BODY);
#undef BODY
}
