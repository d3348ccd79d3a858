/* The clock of tasks and requests, in real and in simulated time. */
#ifndef STARDIT_RUNTIME_CLOCK_H
#define STARDIT_RUNTIME_CLOCK_H

/* Seconds; only differences mean something, and only while one machine is open. */
double sdt__now(void);
#endif
