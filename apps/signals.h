/* Signals that ask a program to end: the first one stops its work in good order. */
#ifndef STARDIT_APPS_SIGNALS_H
#define STARDIT_APPS_SIGNALS_H

#include <stdbool.h>

/* From now on each signal that would end the process calls `stop`, in the signal's handler, and
 * nothing else: a hang-up, Ctrl-C and Ctrl-\, alarms, what batch systems send ahead of a limit, and
 * the limit of CPU time, which is set earlier where nothing would come before its kill. Not those
 * of faults. A second Ctrl-C, Ctrl-\ or SIGTERM, a second after the first signal or later, ends the
 * process at once, with status 1. SIGPIPE is ignored, and so is the limit of a file's size: writing
 * fails. A hang-up that is ignored already stays so (nohup). */
void app_signals_catch(void (*stop)(void));
/* Has one come? */
bool app_signals_came(void);
/* Why work ended, where the first signal says more than that it was asked for; else NULL. */
const char *app_signals_reason(void);
#endif
