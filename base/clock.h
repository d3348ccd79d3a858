/* The host's clock: for code below StarPU, and for programs before a machine is open.
 *
 * Where StarPU runs, runtime/clock.h has the clock that is true in simulated time as well. */
#ifndef STARDIT_BASE_CLOCK_H
#define STARDIT_BASE_CLOCK_H

/* Seconds since some moment in the past; never goes backwards. */
double sdt__host_now(void);
#endif
