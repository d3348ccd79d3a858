/* The clock of tasks and requests, in real and in simulated time.
 *
 * The host's own clock (base/clock.h) says nothing about a simulated run: there a whole video
 * passes while the host computes for a second. */
#ifndef STARDIT_RUNTIME_CLOCK_H
#define STARDIT_RUNTIME_CLOCK_H

/* Seconds; only differences mean something, and only while one machine is open. */
double sdt__now(void);
#endif
