/* Windows of the latent, one value at a time. */
#include "kernels/reference.h"

void sdt_latent_window_reference(const struct sdt_window *window, const float *latent,
                                 const float *std, const float *mean, float *y) {
    const struct sdt_window *w = window;
    for (int t = 0; t < w->nframes; t++)
        for (int r = 0; r < w->rows; r++)
            for (int x = 0; x < w->cols; x++)
                for (int c = 0; c < w->channels; c++) {
                    size_t line = ((size_t)c * w->frames + w->frame0 + t) * w->height + w->y0 + r;
                    double z = latent[line * w->width + w->x0 + x];
                    *y++ = (float)(z * (std ? std[c] : 1.) + (mean ? mean[c] : 0.));
                }
}
