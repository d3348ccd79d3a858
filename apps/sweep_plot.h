/* A plot of times over the values of an option. */
#ifndef STARDIT_APPS_SWEEP_PLOT_H
#define STARDIT_APPS_SWEEP_PLOT_H

#include "stardit/status.h"

struct app_plot {
    const char *title, *x, *y; /* what it is of, and the axes */
    int count;
    const char *const
        *label;          /* [count] values; where all are numbers, they stand at their places */
    const double *value; /* [count] seconds; NaN: none */
};
/* The file appears whole or not at all. SDT_ERROR_USAGE, SDT_ERROR_IO, SDT_ERROR_MEMORY. */
enum sdt_status app_plot_write(const struct app_plot *plot, const char *path,
                               struct sdt_error *err);
#endif
