/* A task that fails ends the run: the first failure is what every wait returns, tasks after it do
 * nothing and call nothing back, and what goes on after a stop does so. */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "codelets/codelets.h"
#include "runtime/machine.h"
#include "tests/check.h"

enum { DEVICES = 2, N = 100 };

/* ---- a codelet that fails on purpose --------------------------------------------------------- */

struct breaks {
    enum sdt_status status;
    char message[40];
    int x;
};

static void breaks_cpu(void *buffers[], void *cl_arg) {
    const struct breaks *a = sdt__task_args(cl_arg);
    (void)buffers;
    if (a && a->status != SDT_OK)
        sdt__task_fail(cl_arg, a->status, a->message);
}

static struct starpu_codelet breaks_codelet = {
    .name = "breaks",
    SDT_ON_CPU(breaks_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

static atomic_int called;

static void count(void *arg, int index) {
    (void)arg;
    atomic_fetch_add(&called, index);
}

/* status SDT_OK: a task that works. Counts `index` when it has. */
static void insert_breaks(struct sdt_flow *flow, enum sdt_status status, const char *message,
                          sdt_handle x, int index) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct breaks a = {.status = status, .x = sdt__task_update(&task, x)};
    snprintf(a.message, sizeof a.message, "%s", message);
    sdt__task_done(&task, count, NULL, index);
    sdt__task_submit(&task, &breaks_codelet, status ? "breaks" : "works", 0.0, 0.0, &a, sizeof a);
}

/* ---- runs ------------------------------------------------------------------------------------ */

static struct sdt_machine *open_machine(void) {
    struct sdt_machine_options options = {.devices = DEVICES};
    struct sdt_machine *machine = NULL;
    struct sdt_error err = {0};
    if (sdt_machine_open(&options, &machine, &err) != SDT_OK)
        CHECK(false, "a machine: %s", err.message);
    return machine;
}

/* What a wait must return. */
static void expect(struct sdt_flow *flow, enum sdt_status want, const char *message,
                   const char *what) {
    struct sdt_error err = {0};
    enum sdt_status status = sdt__flow_wait(flow, &err);
    CHECK(status == want && !strcmp(err.message, message), "%s: %s, \"%s\"", what,
          sdt_status_name(status), err.message);
}

static void fails_in_a_run(void) {
    static const char failure[] = "task breaks on device 1: on purpose";
    struct sdt_machine *machine = open_machine();
    float zeros[N] = {0};
    if (!machine)
        return;
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    struct sdt_flow other = sdt_machine_flow(machine, SDT_LANE_DECODE);
    sdt_handle x = sdt__vector(&flow, N, "x"), y = sdt__vector(&other, N, "y");

    atomic_store(&called, 0);
    sdt_insert_load(&flow, "put", SDT_F32, zeros, N, 1, 1, 1, NULL, x);
    sdt_insert_load(&other, "put", SDT_F32, zeros, N, 1, 1, 1, NULL, y);
    expect(&other, SDT_OK, "", "before the failure");
    insert_breaks(&flow, SDT_OK, "", x, 1);
    flow.place = &machine->device[1];
    insert_breaks(&flow, SDT_ERROR_DEVICE, "on purpose", x, 100);
    flow.place = &machine->device[0];
    for (int i = 0; i < 50; i++)
        insert_breaks(&flow, i % 2 ? SDT_ERROR_LIMIT : SDT_OK, "too late", x, 10000);
    expect(&flow, SDT_ERROR_DEVICE, failure, "the failing flow");
    CHECK(atomic_load(&called) == 1, "%d called back; only the task before the failure should",
          atomic_load(&called));
    CHECK(atomic_load(&machine->halt.stop), "the machine is not stopped");

    insert_breaks(&other, SDT_OK, "", y, 10000);
    expect(&other, SDT_ERROR_DEVICE, failure, "another lane");
    CHECK(atomic_load(&called) == 1, "a task of another lane ran after the failure");

    struct sdt_flow rescue = sdt_machine_flow(machine, SDT_LANE_DECODE);
    struct sdt_halt own;
    sdt__halt_init(&own, NULL);
    rescue.halt = &own;
    insert_breaks(&rescue, SDT_OK, "", y, 10);
    expect(&rescue, SDT_OK, "", "a flow that goes on after a stop");
    CHECK(atomic_load(&called) == 11, "its task did not run");

    struct sdt_flow again = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    expect(&again, SDT_ERROR_DEVICE, failure, "a flow that comes later");
    sdt__unregister(x);
    sdt__unregister(y);
    sdt_machine_close(machine);
}

/* A decoder that finishes after a stop: its own failure is not lost, and is its own affair. */
static void fails_beside(void) {
    static const char failure[] = "task breaks on the host: no room";
    struct sdt_machine *machine = open_machine();
    float zeros[N] = {0};
    if (!machine)
        return;
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DECODE);
    struct sdt_flow other = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    sdt_handle x = sdt__vector(&flow, N, "x");
    struct sdt_halt own;
    sdt__halt_init(&own, NULL);
    flow.halt = &own;
    sdt_insert_load(&flow, "put", SDT_F32, zeros, N, 1, 1, 1, NULL, x);
    insert_breaks(&flow, SDT_ERROR_LIMIT, "no room", x, 1);
    expect(&flow, SDT_ERROR_LIMIT, failure, "a failing flow that goes on after a stop");
    expect(&other, SDT_OK, "", "a flow beside it");
    sdt__unregister(x);
    sdt_machine_close(machine);
}

/* A stop from outside is no failure. */
static void stops(void) {
    struct sdt_machine *machine = open_machine();
    float zeros[N] = {0};
    if (!machine)
        return;
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    sdt_handle x = sdt__vector(&flow, N, "x");
    sdt_insert_load(&flow, "put", SDT_F32, zeros, N, 1, 1, 1, NULL, x);
    expect(&flow, SDT_OK, "", "before a stop");
    sdt_machine_stop(machine);
    insert_breaks(&flow, SDT_ERROR_DEVICE, "never", x, 1);
    expect(&flow, SDT_ERROR_INTERRUPTED, "stopped on request", "after a stop");
    sdt__unregister(x);
    sdt_machine_close(machine);
}

int main(void) {
    fails_in_a_run();
    fails_beside();
    stops();
    return failures ? 1 : 0;
}
