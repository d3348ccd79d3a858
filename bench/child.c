/* A measurement in a child process, its result through a pipe. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bench/child.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

double app_cpu_now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

void app_failed(struct app_measured *measured, const struct sdt_error *err) {
    measured->status = err->status;
    snprintf(measured->message, sizeof measured->message, "%s", err->message);
}

enum sdt_status app_in_child(void (*measure)(const void *arg, struct app_measured *measured),
                             const void *arg, struct app_measured *measured,
                             struct sdt_error *err) {
    int ends[2], wait_status;
    ssize_t got = 0;

    fflush(stdout);
    if (pipe(ends))
        return sdt_fail(err, SDT_ERROR_IO, "no pipe: %s", strerror(errno));
    pid_t child = fork();
    if (child == 0) {
        memset(measured, 0, sizeof *measured);
        measure(arg, measured);
        ssize_t sent = write(ends[1], measured, sizeof *measured);
        _exit(sent != sizeof *measured);
    }
    close(ends[1]);
    if (child > 0) {
        got = read(ends[0], measured, sizeof *measured); /* less than a pipe's atomic size */
        waitpid(child, &wait_status, 0);
    }
    close(ends[0]);
    if (child < 0)
        return sdt_fail(err, SDT_ERROR_IO, "no process for a measurement: %s", strerror(errno));
    if (got != sizeof *measured)
        return sdt_fail(err, SDT_ERROR_DEVICE, "a measurement's process ended early");
    if (measured->status != SDT_OK)
        return sdt_fail(err, measured->status, "%s", measured->message);
    return SDT_OK;
}
