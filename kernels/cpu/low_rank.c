/* A product of two thin matrices added to a third: how a LoRA changes a weight. */
#include "kernels/kernels.h"

void sdt_add_low_rank(int rows, int columns, int rank, const float *up, const float *down,
                      float scale, float *w) {
    enum { ACROSS = 32 }; /* sums side by side */
    for (int r = 0; r < rows; r++) {
        const float *u = up + (size_t)r * (size_t)rank;
        float *y = w + (size_t)r * (size_t)columns;
        int c = 0;
        for (; c + ACROSS <= columns; c += ACROSS) {
            float sum[ACROSS] = {0.0f};
            for (int i = 0; i < rank; i++)
                for (int j = 0; j < ACROSS; j++)
                    sum[j] += u[i] * down[(size_t)i * (size_t)columns + (size_t)(c + j)];
            for (int j = 0; j < ACROSS; j++)
                y[c + j] += scale * sum[j];
        }
        for (; c < columns; c++) {
            float sum = 0.0f;
            for (int i = 0; i < rank; i++)
                sum += u[i] * down[(size_t)i * (size_t)columns + (size_t)c];
            y[c] += scale * sum;
        }
    }
}
