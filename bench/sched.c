/* Empty tasks per second through our policy and through StarPU's, these as shipped and with a pop
 * that gives the core away.
 *
 * Made for machines that do other things too. The measurements of one repetition follow each other,
 * forwards and backwards in turn, so that whatever else the machine does meets all of them; each
 * consists of short rounds, of which the quickest counts, being the least disturbed. Two ratios are
 * printed, and where they agree the machine was quiet enough: of the best speeds, and the median of
 * those of neighbours. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bench/sched.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/options.h"
#include "base/clock.h"
#include "bench/child.h"
#include "codelets/codelets.h"
#include "runtime/machine.h"
#include "runtime/task.h"

static const char name_of_program[] = "stardit-bench sched";

struct settings {
    int tasks, repeats, only_workers;
    bool brief;
    double seconds; /* no measurement inserts for longer */
};

struct policy {
    const char *name;
    bool as_shipped;
};
/* The two that the verdict is about are neighbours. */
enum { OURS, WRAPPED_LWS };
static const struct policy policies[] = {{"pipedit", false}, {"lws", false}, {"dmda", false},
                                         {"ws", false},      {"lws", true},  {"dmda", true},
                                         {"ws", true}};
static const int workers[] = {2, 8}, handles[] = {0, 2, 6};
enum {
    POLICIES = sizeof policies / sizeof policies[0],
    WORKERS = sizeof workers / sizeof workers[0],
    HANDLES = sizeof handles / sizeof handles[0],
    SET = 64,   /* handles that the tasks touch */
    ROUNDS = 5, /* of a measurement */
    MOST_REPEATS = 101
};

static void do_nothing(void *buffers[], void *arg) {
    (void)buffers;
    (void)arg;
}

static struct starpu_codelet empty_codelet = {
    .cpu_funcs = {do_nothing},
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .name = "empty",
    .model = &sdt__cost_model,
};

struct task_case {
    struct policy policy;
    int tasks, workers, handles;
    double seconds;
};

static void measure_tasks(const void *arg, struct app_measured *measured) {
    const struct task_case *c = arg;
    struct sdt_machine_options options = {.devices = 1,
                                          .workers_per_device = c->workers,
                                          .scheduler = c->policy.name,
                                          .as_shipped = c->policy.as_shipped};
    struct sdt_machine *machine = NULL;
    struct sdt_error err;
    sdt_handle handle[SET];

    if (sdt_machine_open(&options, &machine, &err) != SDT_OK) {
        app_failed(measured, &err);
        return;
    }
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    flow.tag.role = SDT_ROLE_DENOISE;
    for (int i = 0; i < SET; i++) {
        handle[i] = sdt__vector(&flow, 64, "bench");
        struct sdt_task task;
        sdt__task_begin(&task, &flow);
        sdt__task_write(&task, handle[i]);
        sdt__task_submit(&task, &empty_codelet, "first", 0.0, 0.0, &i, sizeof i);
    }
    enum sdt_status status = sdt__flow_wait(&flow, &err);
    double begin = sdt__host_now();
    int t = 0;
    for (int round = 0; round < ROUNDS && status == SDT_OK; round++) {
        double start = sdt__host_now();
        int first = t, last = (int)((int64_t)c->tasks * (round + 1) / ROUNDS);
        /* Each task updates one handle and reads its neighbours: short chains, as in a forward. */
        for (; t < last && sdt__host_now() - begin < c->seconds; t++) {
            struct sdt_task task;
            sdt__task_begin(&task, &flow);
            for (int h = 0; h < c->handles; h++)
                sdt__task_access(&task, handle[(t + h * 11) % SET], h ? STARPU_R : STARPU_RW);
            sdt__task_submit(&task, &empty_codelet, "empty", 0.0, 0.0, &t, sizeof t);
        }
        status = sdt__flow_wait(&flow, &err);
        double speed = (t - first) / (sdt__host_now() - start);
        if (speed > measured->speed)
            measured->speed = speed;
    }
    if (status != SDT_OK)
        app_failed(measured, &err);
    for (int i = 0; i < SET; i++)
        sdt__unregister(handle[i]);
    sdt_machine_close(machine);
}

static int ascending(const void *a, const void *b) {
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, ascending);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2.0;
}

static enum sdt_status measure_workers(const struct settings *s, int w, struct sdt_error *err) {
    static double speed[HANDLES][POLICIES][MOST_REPEATS];
    double best[HANDLES][POLICIES] = {{0.0}}, ratio[HANDLES][MOST_REPEATS];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    int count = s->brief ? WRAPPED_LWS + 1 : POLICIES;

    for (int i = 0; i < s->repeats; i++)
        for (int h = 0; h < HANDLES; h++) {
            for (int k = 0; k < count; k++) {
                int p = i % 2 ? count - 1 - k : k;
                /* Spinning with more workers than cores takes milliseconds a task. */
                bool slow = policies[p].as_shipped && workers[w] > cores;
                struct task_case c = {policies[p], slow ? s->tasks / 100 + 1 : s->tasks, workers[w],
                                      handles[h], s->seconds};
                struct app_measured measured;
                enum sdt_status status = app_in_child(measure_tasks, &c, &measured, err);
                if (status != SDT_OK)
                    return status;
                speed[h][p][i] = measured.speed;
                if (measured.speed > best[h][p])
                    best[h][p] = measured.speed;
            }
            ratio[h][i] = speed[h][OURS][i] / speed[h][WRAPPED_LWS][i];
        }
    for (int p = 0; p < count; p++) {
        printf("%-8d %-8s %-11s", workers[w], policies[p].name,
               p == OURS                ? "ours"
               : policies[p].as_shipped ? "as shipped"
                                        : "wrapped");
        for (int h = 0; h < HANDLES; h++)
            printf(" %10.0f", best[h][p]);
        printf("\n");
    }
    printf("%-8d %-20s", workers[w], "ours / wrapped lws");
    for (int h = 0; h < HANDLES; h++)
        printf(" %10.2f", best[h][OURS] / best[h][WRAPPED_LWS]);
    printf("\n%-8d %-20s", workers[w], "  median of pairs");
    for (int h = 0; h < HANDLES; h++)
        printf(" %10.2f", median(ratio[h], s->repeats));
    printf("\n");
    return SDT_OK;
}

int app_bench_sched(int argc, char **argv) {
    struct settings s = {.tasks = 60000, .repeats = 5, .seconds = 5.0};
    struct app_option options[] = {
        APP_INT_OPTION("tasks", "N", &s.tasks, 1, 100000000,
                       "empty tasks a measurement, in 5 rounds; a hundredth of them where a policy "
                       "as shipped has more workers than cores (default 60000)"),
        APP_INT_OPTION("repeats", "N", &s.repeats, 1, MOST_REPEATS,
                       "measurements of each, in turn (default 5)"),
        APP_INT_OPTION("workers", "N", &s.only_workers, 2, 8, "2 or 8 only (default: both)"),
        APP_FLAG_OPTION("brief", &s.brief, "only the two policies that the ratios are of"),
    };
    struct app_program program = {
        .name = name_of_program,
        .usage = "[options]",
        .summary = "Prints empty tasks per second through stardit's policy and through StarPU's, "
                   "with 2 and 8 workers and 0, 2 and 6 handles a task.",
        .options = options,
        .count = sizeof options / sizeof options[0],
    };
    struct sdt_error err;
    enum sdt_status status = SDT_OK;

    int code = app_parse(&program, argc, argv);
    if (code >= 0)
        return code;
    if (s.only_workers != 0 && s.only_workers != 2 && s.only_workers != 8)
        return app_usage(program.name, "--workers must be 2 or 8");
    printf("empty tasks per second on %ld cores, one device, best of %d with %d tasks each\n",
           sysconf(_SC_NPROCESSORS_ONLN), s.repeats, s.tasks);
    printf("%-8s %-8s %-11s %10s %10s %10s\n", "workers", "policy", "pop", "0 handles", "2 handles",
           "6 handles");
    for (int w = 0; w < WORKERS && status == SDT_OK; w++)
        if (s.only_workers == 0 || s.only_workers == workers[w])
            status = measure_workers(&s, w, &err);
    if (status != SDT_OK)
        return app_report(program.name, &err);
    return app_flush(program.name);
}
