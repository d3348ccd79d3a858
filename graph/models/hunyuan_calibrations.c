/* What MagCache's authors measured of HunyuanVideo at 960x544 (arXiv 2506.09045): in 50 steps,
 * how large what the layers add is beside the step before. */
#include "graph/models/family.h"

static const double ratios[50 * 1] = {
    1.0,     1.06971, 1.29073, 1.11245, 1.09596, 1.05233, 1.01415, 1.05672, 1.00848, 1.03632,
    1.02974, 1.00984, 1.03028, 1.00681, 1.06614, 1.05022, 1.02592, 1.01776, 1.02985, 1.00726,
    1.03727, 1.01502, 1.00992, 1.03371, 0.9976,  1.02742, 1.0093,  1.01869, 1.00815, 1.01461,
    1.01152, 1.03082, 1.0061,  1.02162, 1.01999, 0.99063, 1.01186, 1.0217,  0.99947, 1.01711,
    0.9904,  1.00258, 1.00878, 0.97039, 0.97686, 0.94315, 0.97728, 0.91154, 0.86139, 0.76592};

extern const struct sdt_calibration sdt__hunyuan_calibrations[];
const struct sdt_calibration sdt__hunyuan_calibrations[] = {
    {.name = "HunyuanVideo (960x544)",
     .layers = 60,
     .width = 3072,
     .steps = 50,
     .branches = 1,
     .ratios = ratios,
     .threshold = 0.24,
     .most = 6,
     .up_to = true},
    {NULL},
};
