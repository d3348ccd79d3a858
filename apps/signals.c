#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* SIGSTKFLT, SIGPWR */
#endif
#include "apps/signals.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"

enum { TOGETHER_NS = 1000000000 };

static void (*_Atomic stop_work)(void);
static atomic_int first;            /* the first signal that came; 0: none has */
static _Atomic int64_t first_stamp; /* when, ns */

/* timeout(1) sends two signals, systemd and a closing terminal a SIGHUP beside: what comes with the
 * first is no second wish. The stamp is set before anything is decided by it, whichever thread's
 * handler is first. */
static void on_signal(int number, siginfo_t *info, void *context) {
    int64_t now = (int64_t)(1e9 * sdt__host_now()), before = 0;
    int none = 0;
    (void)context;
    /* Not somebody's, but the kernel's about a write of ours, which fails with EFBIG then. */
    if (number == SIGXFSZ && (info->si_code > 0 || info->si_pid == getpid()))
        return;
    const bool second = !atomic_compare_exchange_strong(&first_stamp, &before, now);
    atomic_compare_exchange_strong(&first, &none, number);
    if (second && (number == SIGINT || number == SIGTERM || number == SIGQUIT) &&
        now - before > TOGETHER_NS)
        _exit(1);
    void (*stop)(void) = atomic_load(&stop_work);
    if (stop)
        stop();
}

/* ulimit -t sets both limits of CPU time, and the kernel kills at the second without a warning: the
 * first comes earlier then, with time enough to keep what there is. */
static void warn_of_cpu_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_CPU, &limit) != 0 || limit.rlim_max == RLIM_INFINITY ||
        limit.rlim_cur < limit.rlim_max || limit.rlim_max < 2)
        return;
    limit.rlim_cur = limit.rlim_max - (limit.rlim_max > 100 ? 10 : (limit.rlim_max + 9) / 10);
    setrlimit(RLIMIT_CPU, &limit);
}

/* Handlers of others, as a profiler's, stay. */
static void catch_one(int number) {
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_RESTART | SA_SIGINFO};
    struct sigaction before;
    sigemptyset(&action.sa_mask);
    if (sigaction(number, NULL, &before) != 0)
        return;
    const bool ignored = before.sa_handler == SIG_IGN;
    if ((before.sa_handler == SIG_DFL || ignored) && !(number == SIGHUP && ignored))
        sigaction(number, &action, NULL);
}

void app_signals_catch(void (*stop)(void)) {
    static const int ends[] = {SIGINT,  SIGTERM, SIGHUP,    SIGQUIT, SIGXCPU, SIGXFSZ, SIGUSR1,
                               SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO,   SIGPWR,  SIGSTKFLT};
    atomic_store(&stop_work, stop);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        catch_one(ends[i]);
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
        catch_one(number);
    warn_of_cpu_limit();
    /* Whoever reads the progress may go: writing fails then, and the work goes on. */
    signal(SIGPIPE, SIG_IGN);
}

bool app_signals_came(void) { return atomic_load(&first) != 0; }

const char *app_signals_reason(void) {
    return atomic_load(&first) == SIGXCPU ? "its CPU time is used up (ulimit -t)" : NULL;
}
