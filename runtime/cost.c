/* What kernels reach. Every constant of the cost model of GPUs stands here. */
#include "runtime/cost.h"

/* Shares of the data sheet's rate. Assumed: about what large products reach on Ampere and Hopper;
 * that of attention is fitted to published times (docs/platforms.md). None was compared with a run
 * of ours on a GPU yet. */
static const double reached[SDT_CLASSES] = {
    [SDT_CLASS_OTHER] = 0.5, /* bound by memory, not by this */
    [SDT_CLASS_LOAD] = 0.5,       [SDT_CLASS_LINEAR] = 0.5,
    [SDT_CLASS_ATTENTION] = 0.55, [SDT_CLASS_CROSS_ATTENTION] = 0.25,
    [SDT_CLASS_CONV] = 0.3,       [SDT_CLASS_NARROW_CONV] = 0.3,
};
/* Of copies and norms; assumed as well. */
#define MEMORY 0.8

double sdt__reached(enum sdt_class class) { return reached[class]; }
double sdt__reached_memory(void) { return MEMORY; }
