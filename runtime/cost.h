/* How long a task is taken to last: what schedulers are told, what simulated tasks last, and what
 * plans are predicted with where nothing is measured.
 *
 * The roofline: launch + max(FLOPs / rate of its class, bytes / rate of the memory). A class is
 * named by a codelet's performance model; what each reaches of a GPU's peak stands in one table, in
 * cost.c. */
#ifndef STARDIT_RUNTIME_COST_H
#define STARDIT_RUNTIME_COST_H

/* What kind of arithmetic a task does. */
enum sdt_class {
    SDT_CLASS_OTHER, /* element by element, norms, copies: as fast as the memory */
    SDT_CLASS_LOAD,  /* weights, converted and packed into memory that is new */
    SDT_CLASS_LINEAR,
    SDT_CLASS_ATTENTION,
    SDT_CLASS_CROSS_ATTENTION, /* few keys: a small product after another */
    SDT_CLASS_CONV,
    SDT_CLASS_NARROW_CONV, /* to at most SDT_NARROW channels: less than a product has columns */
    SDT_CLASS_GIVEN,       /* simulated: lasts as many microseconds as it says it has FLOPs */
    SDT_CLASSES
};
#define SDT_NARROW 16 /* what a CPU kernel computes at a time */
/* The share of a GPU's peak in dense products that a class reaches, and that of its memory's. */
double sdt__reached(enum sdt_class class);
double sdt__reached_memory(void);
/* From cudaLaunchKernel to the kernel's first instruction, seconds. */
#define SDT_LAUNCH_SECONDS 4e-6

/* A rate of 0: that part takes no time. */
struct sdt_rates {
    double flops_per_us, bytes_per_us;
};
static inline double sdt__roofline_us(const struct sdt_rates *rate, double launch_us, double flops,
                                      double bytes) {
    double arithmetic = rate->flops_per_us > 0.0 ? flops / rate->flops_per_us : 0.0;
    double memory = rate->bytes_per_us > 0.0 ? bytes / rate->bytes_per_us : 0.0;
    return launch_us + (arithmetic > memory ? arithmetic : memory);
}
#endif
