/* How near two videos or latents are: peak signal-to-noise ratio and structural similarity. */
#ifndef STARDIT_APPS_METRICS_H
#define STARDIT_APPS_METRICS_H

#include "apps/options.h"
#include "stardit/stardit.h"

/* "1,16,21,60,104" */
const char *app_shape_text(const struct sdt_stored *tensor, char *text, size_t size);

/* 10 log10(peak^2 / mean (a - b)^2); infinite where they are equal. */
double app_psnr(size_t n, const float *a /* [n] */, const float *b /* [n] */, double peak);
/* Structural similarity of two planes of 0..255 (Wang et al. 2004): Gaussian windows of 11 x 11,
 * sigma 1.5, that lie wholly inside; the mean of all. NaN: a plane has none, or no memory. */
double app_ssim(int height, int width, const float *a /* [height, width] */,
                const float *b /* [height, width] */);

/* Compares the tensors of one name in two .safetensors files, a line each on standard output: a
 * video [3, frames, height, width] of 0..1 in 8 bits; others, as latents, by the range of the first
 * one's values. The exit code, after a message where it is not 0. */
int app_metrics(const struct app_program *program, const char *a, const char *b);
#endif
