/* PSNR and SSIM: closed forms, and the definition written out, window by window. */
#include "apps/metrics.h"

#include <math.h>
#include <stdlib.h>

#include "tests/check.h"

enum { H = 17, W = 23, N = H * W };

static double plain_ssim(const float *a, const float *b) {
    const double c1 = 6.5025, c2 = 58.5225;
    double sum = 0.0;
    int windows = 0;
    for (int top = 0; top + 11 <= H; top++)
        for (int left = 0; left + 11 <= W; left++, windows++) {
            double all = 0.0, ma = 0.0, mb = 0.0, aa = 0.0, bb = 0.0, ab = 0.0;
            for (int pass = 0; pass < 2; pass++)
                for (int y = 0; y < 11; y++)
                    for (int x = 0; x < 11; x++) {
                        double d = (y - 5) * (y - 5) + (x - 5) * (x - 5), w = exp(-d / 4.5);
                        double p = (double)a[(top + y) * W + left + x];
                        double q = (double)b[(top + y) * W + left + x];
                        if (pass == 0) {
                            all += w;
                            ma += w * p;
                            mb += w * q;
                        } else {
                            aa += w / all * (p - ma) * (p - ma);
                            bb += w / all * (q - mb) * (q - mb);
                            ab += w / all * (p - ma) * (q - mb);
                        }
                        if (pass == 0 && y == 10 && x == 10) {
                            ma /= all;
                            mb /= all;
                        }
                    }
            sum += (2 * ma * mb + c1) * (2 * ab + c2) / ((ma * ma + mb * mb + c1) * (aa + bb + c2));
        }
    return sum / windows;
}

int main(void) {
    float a[N], b[N];
    srand(7);
    for (int i = 0; i < N; i++) {
        a[i] = (float)(rand() % 256);
        b[i] = a[i] + (float)(rand() % 41 - 20);
    }
    double got = app_ssim(H, W, a, b), want = plain_ssim(a, b);
    printf("SSIM %.9g, written out %.9g\n", got, want);
    CHECK(fabs(got - want) < 1e-9, "SSIM is %.9g, not %.9g", got, want);
    CHECK(want > 0.5 && want < 0.999, "the case shows nothing: %g", want);
    CHECK(fabs(app_ssim(H, W, a, a) - 1.0) < 1e-12, "an image beside itself");
    CHECK(isinf(app_psnr(N, a, a, 255.0)), "no noise");
    for (int i = 0; i < N; i++)
        b[i] = a[i] + (i % 2 ? 10.0f : -10.0f);
    CHECK(fabs(app_psnr(N, a, b, 255.0) - 20.0 * log10(25.5)) < 1e-9, "PSNR of an error of 10: %g",
          app_psnr(N, a, b, 255.0));
    CHECK(isnan(app_ssim(10, W, a, b)), "no window fits");
    if (failures)
        fprintf(stderr, "%d checks failed\n", failures);
    return failures != 0;
}
