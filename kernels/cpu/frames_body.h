/* Decoded frames, [frames, height, width, 3] in -1..1: clamping, and the cross-fade where two
 * decoded tiles overlap. */

static void clamp_frames(size_t n, float *x) {
    const vec low = vec_set(-1.f), high = vec_set(1.f);
#define BODY(i, left) vec_store(x + (i), left, vec_min(vec_max(vec_load(x + (i), left), low), high))
    EACH_VECTOR(n, BODY);
#undef BODY
}

/* b = a (1 - k/extent) + b (k/extent) over n neighbouring floats */
static void blend(size_t n, int k, int extent, const float *a /* [n] */,
                  float *b /* [n] in place */) {
    float weight = (float)k / (float)extent;
    vec of_a = vec_set(1.f - weight), of_b = vec_set(weight);
#define BODY(i, left)                                                                              \
    vec_store(b + (i), left, vec_load(a + (i), left) * of_a + vec_load(b + (i), left) * of_b)
    EACH_VECTOR(n, BODY);
#undef BODY
}

static void blend_rows(int frames, int width, int extent, int a_rows, const float *a, int b_rows,
                       float *b) {
    size_t line = (size_t)width * 3;
    for (int f = 0; f < frames; f++)
        for (int k = 0; k < extent; k++)
            blend(line, k, extent, a + ((size_t)f * a_rows + a_rows - extent + k) * line,
                  b + ((size_t)f * b_rows + k) * line);
}
