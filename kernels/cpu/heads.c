/* Between tokens and heads: the rotary table, and the split of one token tile into pieces by heads
 * and back (heads_body.h). */
#include "kernels/cpu/vector_kernels.h"

#include <math.h>
#include <string.h>

size_t sdt_rope_table_size(const struct sdt_rope *rope) {
    size_t n = 0;
    for (int a = 0; a < 3; a++)
        n += (size_t)rope->size[a] * rope->pairs[a] * 2;
    return n;
}

void sdt_rope_table(const struct sdt_rope *rope, double theta, float *table) {
    for (int a = 0; a < 3; a++)
        for (int pos = 0; pos < rope->size[a]; pos++)
            for (int i = 0; i < rope->pairs[a]; i++) {
                double angle = pos * pow(theta, -(double)i / rope->pairs[a]);
                *table++ = (float)cos(angle);
                *table++ = (float)sin(angle);
            }
}

void sdt_split_heads(int rows, int valid_rows, int heads, int e, const float *x,
                     const float *weight, float eps, const struct sdt_rope *rope,
                     const float *table, int64_t first_token, int pieces, const int *head,
                     float *const *y) {
    sdt__vector_kernels()->split_heads(rows, valid_rows, heads, e, x, weight, eps, rope, table,
                                       first_token, pieces, head, y);
}

void sdt_merge_heads(int rows, int heads, int e, int pieces, const int *head, const float *const *x,
                     float *y) {
    sdt__vector_kernels()->merge_heads(rows, heads, e, pieces, head, x, y);
}

void sdt_rotate_halves(int rows, int heads, int e, const float *table, float *x) {
    sdt__vector_kernels()->rotate_halves(rows, heads, e, table, x);
}

void sdt_copy_part(const struct sdt_copy_part *part, const float *x, float *y) {
    for (int h = 0; part->count && h < part->heads; h++)
        memcpy(y + (size_t)h * part->y_stride + part->y_at,
               x + (size_t)h * part->x_stride + part->x_at, part->count * sizeof *y);
}
