/* Cases in simulated time whose length can be told by hand.
 *
 *   cases NAME
 *
 * Prints the name, the simulated and the expected time, ms: to the end, or until a worker took the
 * task of the case. */
#include <stdio.h>
#include <string.h>

#include "runtime/clock.h"
#include "runtime/cuda.h"
#include "runtime/devices.h"
#include "runtime/machine.h"
#include "runtime/simulation.h"
#include "tests/simulation/program.h"

enum { GPUS = 8, MS = 1000 };
#define GB 250000000u /* floats */

static void never(void *buffers[], void *cl_arg) {
    (void)buffers;
    (void)cl_arg;
}

static struct starpu_codelet work = {
    .name = "work",
    SDT_ON_BOTH(never, never),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_GIVEN],
};

static void at(struct sdt_flow *flow, const struct sdt_machine *machine, int gpu) {
    flow->place = &machine->device[gpu];
    flow->tag.role = SDT_ROLE_DENOISE;
}

/* A task of some milliseconds on a GPU: reads `in`, writes `out` (NULL: none). */
static void insert_long(struct sdt_flow *flow, const struct sdt_machine *machine, int gpu,
                        double ms, sdt_handle in, sdt_handle out) {
    struct sdt_task task;
    at(flow, machine, gpu);
    sdt__task_begin(&task, flow);
    sdt__task_read(&task, in);
    sdt__task_write(&task, out);
    sdt__task_submit(&task, &work, "work", ms * MS, 0.0, NULL, 0);
}

/* The same of one. */
static void insert(struct sdt_flow *flow, const struct sdt_machine *machine, int gpu, sdt_handle in,
                   sdt_handle out) {
    insert_long(flow, machine, gpu, 1.0, in, out);
}

/* 1000 tasks without dependencies, shared out evenly. */
static double independent(struct sdt_flow *flow, const struct sdt_machine *machine) {
    for (int i = 0; i < 1000; i++)
        insert(flow, machine, i % GPUS, NULL, NULL);
    return 1000.0 / GPUS;
}

/* Two tasks on two GPUs with 1 GB between them, at 100 GB/s. */
static double chain(struct sdt_flow *flow, const struct sdt_machine *machine) {
    sdt_handle x = sdt__vector(flow, GB, "x");
    insert(flow, machine, 0, NULL, x);
    insert(flow, machine, 1, x, NULL);
    sdt__flow_wait(flow, NULL);
    sdt__unregister(x);
    return 1.0 + 10.0 + 1.0;
}

/* The same below one PCIe switch of 50 GB/s each way up, and to a GPU of another one: the switch
 * is the narrowest of the way. Four at once share it. */
static double switches(struct sdt_flow *flow, const struct sdt_machine *machine) {
    sdt_handle x[GPUS / 2];
    for (int g = 0; g < GPUS / 2; g++) {
        x[g] = sdt__vector(flow, GB, "x");
        insert(flow, machine, g, NULL, x[g]);
        insert(flow, machine, g + GPUS / 2, x[g], NULL);
    }
    sdt__flow_wait(flow, NULL);
    for (int g = 0; g < GPUS / 2; g++)
        sdt__unregister(x[g]);
    return 1.0 + 4.0 * 20.0 + 1.0;
}

/* Each GPU loads 1 GB from the host, whose memory gives 50 GB/s to all of them. */
static double contention(struct sdt_flow *flow, const struct sdt_machine *machine) {
    float *values = calloc(GB, sizeof *values);
    sdt_handle x[GPUS];
    for (int g = 0; g < GPUS; g++) {
        x[g] = sdt__host_vector(flow, values, GB, "x");
        insert(flow, machine, g, x[g], NULL);
    }
    sdt__flow_wait(flow, NULL);
    for (int g = 0; g < GPUS; g++)
        sdt__unregister(x[g]);
    free(values);
    return 160.0 + 1.0;
}

/* Ten rounds of 100 MB from each GPU to each other one, behind a task and before one. */
static double all_to_all(struct sdt_flow *flow, const struct sdt_machine *machine) {
    enum { ROUNDS = 10 };
    sdt_handle piece[GPUS][GPUS], state[GPUS];
    for (int g = 0; g < GPUS; g++) {
        state[g] = sdt__vector(flow, 1, "state");
        insert(flow, machine, g, NULL, state[g]);
        for (int h = 0; h < GPUS; h++)
            piece[g][h] = sdt__vector(flow, GB / 10, "piece");
    }
    sdt__flow_wait(flow, NULL);
    for (int round = 0; round < ROUNDS; round++)
        for (int half = 0; half < 2; half++)
            for (int g = 0; g < GPUS; g++) {
                struct sdt_task task;
                at(flow, machine, g);
                sdt__task_begin(&task, flow);
                sdt__task_update(&task, state[g]);
                for (int h = 0; h < GPUS; h++)
                    if (half == 0)
                        sdt__task_write(&task, piece[g][h]);
                    else
                        sdt__task_read(&task, piece[h][g]);
                sdt__task_submit(&task, &work, "round", MS, 0.0, NULL, 0);
            }
    sdt__flow_wait(flow, NULL);
    for (int g = 0; g < GPUS; g++) {
        sdt__unregister(state[g]);
        for (int h = 0; h < GPUS; h++)
            sdt__unregister(piece[g][h]);
    }
    return 1.0 + ROUNDS * (1.0 + 7.0 + 1.0);
}

/* A GPU with room for two of three: two go to the host and one comes back, at 25 GB/s. */
static double eviction(struct sdt_flow *flow, const struct sdt_machine *machine) {
    sdt_handle x[3];
    for (int i = 0; i < 3; i++) {
        x[i] = sdt__vector(flow, GB, "x");
        insert(flow, machine, 0, NULL, x[i]);
        sdt__flow_wait(flow, NULL);
    }
    insert(flow, machine, 0, x[0], NULL);
    sdt__flow_wait(flow, NULL);
    return 4.0 + 3.0 * 40.0;
}

/* ---- when a worker takes a task -------------------------------------------------------------- */

static struct starpu_codelet watched = {
    .name = "watched",
    SDT_ON_BOTH(never, never),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_GIVEN],
};

extern struct starpu_sched_policy sdt_policy_pipedit;
static double taken; /* s; 0: no such task was */
static struct starpu_task *(*pop)(unsigned context);

static struct starpu_task *watched_pop(unsigned context) {
    struct starpu_task *task = pop(context);
    if (task && task->cl == &watched)
        taken = sdt__now();
    return task;
}

/* Before the policy is read. */
__attribute__((constructor)) static void watch(void) {
    pop = sdt_policy_pipedit.pop_task;
    sdt_policy_pipedit.pop_task = watched_pop;
}

/* On GPU 0, which has been busy for 2 of 20 ms: an exchange that reads x, and has precedence. */
static void insert_exchange(struct sdt_flow *flow, const struct sdt_machine *machine,
                            sdt_handle x) {
    struct sdt_task task;
    for (int i = 0; i < 4; i++)
        insert_long(flow, machine, 0, 5.0, NULL, NULL);
    starpu_sleep(2e-3f);
    at(flow, machine, 0);
    flow->tag.role = SDT_ROLE_EXCHANGE;
    flow->priority = 3;
    sdt__task_begin(&task, flow);
    sdt__task_read(&task, x);
    sdt__task_submit(&task, &watched, "exchange", MS, 0.0, NULL, 0);
    flow->priority = 0;
    sdt__flow_wait(flow, NULL);
    sdt__unregister(x);
}

/* What it reads is there: it is queued behind the running task, at the first moment when the worker
 * has room for a second one. */
static double exchange_here(struct sdt_flow *flow, const struct sdt_machine *machine) {
    sdt_handle x = sdt__vector(flow, GB, "x");
    insert(flow, machine, 0, NULL, x);
    sdt__flow_wait(flow, NULL);
    insert_exchange(flow, machine, x);
    return 1.0 + 5.0;
}

/* What it reads comes for 10 ms from 3 ms on: nothing waits for it meanwhile. */
static double exchange_away(struct sdt_flow *flow, const struct sdt_machine *machine) {
    sdt_handle x = sdt__vector(flow, GB, "x");
    insert(flow, machine, 1, NULL, x);
    sdt__flow_wait(flow, NULL);
    insert_exchange(flow, machine, x);
    return 1.0 + 15.0;
}

/* ---- a task away from home ------------------------------------------------------------------- */

/* GPU 0 is busy for 40 ms. GPU 1 has three chains of more urgent tasks of 1 ms each, for 60 ms.
 * What may run on both, and is at home on GPU 0, goes to GPU 1 after 2.5 ms, and before what is
 * queued there. */
static double visitor(struct sdt_flow *flow, const struct sdt_machine *machine) {
    enum { CHAINS = 3, LINKS = 20 };
    sdt_handle chain[CHAINS];
    struct sdt_place both = machine->device[0];
    struct sdt_task task;
    insert_long(flow, machine, 0, 40.0, NULL, NULL);
    flow->priority = 3;
    for (int c = 0; c < CHAINS; c++)
        chain[c] = sdt__vector(flow, 1, "chain");
    for (int i = 0; i < LINKS * CHAINS; i++) {
        at(flow, machine, 1);
        sdt__task_begin(&task, flow);
        sdt__task_access(&task, chain[i % CHAINS], i < CHAINS ? STARPU_W : STARPU_RW);
        sdt__task_submit(&task, &work, "link", MS, 0.0, NULL, 0);
    }
    starpu_sleep(2.5e-3f);
    for (unsigned i = 0; i < both.mask_length; i++)
        both.mask[i] |= machine->device[1].mask[i];
    flow->place = &both;
    flow->tag.role = SDT_ROLE_ATTENTION;
    flow->priority = 2;
    sdt__task_begin(&task, flow);
    sdt__task_submit(&task, &watched, "attention", MS, 0.0, NULL, 0);
    flow->priority = 0;
    sdt__flow_wait(flow, NULL);
    for (int c = 0; c < CHAINS; c++)
        sdt__unregister(chain[c]);
    return 3.0;
}

static const struct {
    const char *name;
    double (*insert)(struct sdt_flow *flow, const struct sdt_machine *machine);
} cases[] = {{"independent", independent},
             {"chain", chain},
             {"switches", switches},
             {"contention", contention},
             {"all-to-all", all_to_all},
             {"eviction", eviction},
             {"exchange-here", exchange_here},
             {"exchange-away", exchange_away},
             {"visitor", visitor}};

static struct sdt_platform platform_of(char **argv) {
    const char *name = argv[1];
    struct sdt_platform p = {.kinds = 1,
                             .kind = {{.memory_gb = 80.0}},
                             .devices = GPUS,
                             .link_gbps = 100.0,
                             .host_gbps = 25.0};
    if (!strcmp(name, "contention"))
        p.host_total_gbps = 50.0;
    if (!strcmp(name, "eviction"))
        p.kind[0].memory_gb = 2.5;
    if (!strcmp(name, "switches")) {
        p.pcie = true;
        p.switches = 2;
        p.below[0] = (struct sdt_platform_switch){50.0, 0x0f};
        p.below[1] = (struct sdt_platform_switch){50.0, 0xf0};
    }
    return p;
}

static const char usage[] = "NAME";
static const int arguments = 1;

static int run(struct sdt_machine *machine, char **argv) {
    struct sdt_error err = {0};
    size_t i = 0, count = sizeof cases / sizeof cases[0];
    while (i < count && strcmp(cases[i].name, argv[1]))
        i++;
    if (i == count) {
        fprintf(stderr, "%s: no such case\n", argv[1]);
        return 2;
    }
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    double begin = sdt__now();
    double expected = cases[i].insert(&flow, machine);
    sdt__flow_wait(&flow, &err);
    double end = taken > 0.0 ? taken : sdt__now();
    printf("%-13s %10.3f %10.3f\n", argv[1], 1e3 * (end - begin), expected);
    return flow.error.status == SDT_OK ? 0 : 1;
}
