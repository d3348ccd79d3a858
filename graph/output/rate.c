/* Frames per second as the fraction that containers want. */
#include "graph/output/writer.h"

#include <math.h>

enum sdt_status sdt__frame_rate(double fps, int *numerator, int *denominator,
                                struct sdt_error *err) {
    const int largest = 65535; /* MPEG-4 part 2 has 16 bits for it */
    const double film = round(fps * 1.001);

    if (!(fps >= 0.01) || fps > 1000.0)
        return sdt_fail(err, SDT_ERROR_USAGE, "%g frames per second: must be 0.01 to 1000", fps);
    /* 23.976, 29.97 and 59.94 are written so, and mean 24000/1001 and so on. */
    if (fps != round(fps) && film > 0.0 && film * 1000.0 <= largest &&
        fabs(fps * 1001.0 / (film * 1000.0) - 1.0) < 2e-6) {
        *numerator = (int)film * 1000;
        *denominator = 1001;
        return SDT_OK;
    }
    /* The continued fraction, until it is near enough or too large. */
    double rest = fps;
    long p0 = 1, q0 = 0, p1 = (long)floor(fps), q1 = 1;
    while (fabs((double)p1 / (double)q1 / fps - 1.0) > 1e-9) {
        rest = 1.0 / (rest - floor(rest));
        if (!(rest <= largest))
            break;
        const long a = (long)rest;
        if (a * p1 + p0 > largest || a * q1 + q0 > largest)
            break;
        const long p = a * p1 + p0, q = a * q1 + q0;
        p0 = p1, q0 = q1, p1 = p, q1 = q;
    }
    *numerator = (int)p1;
    *denominator = (int)q1;
    return SDT_OK;
}
