/* The hand-made case of the design, in simulated time: 8 GPUs, a layer of 4 ms projection, 30 ms
 * attention and 8 ms of everything else on each, and exchanges of 5.3 ms in all if nothing hides
 * them (q, k, v and o, 1.325 ms each). 24 heads, so 3 chunks of one head on each GPU.
 *
 *   handmade STRATEGY joined|apart
 *
 * The strategies, the layout and the policy are the real ones; only the model's own parts are
 * stand-ins that last as long as said. joined: one task projects q, k and v; apart: three of a
 * third each, as Wan's. Prints one line: strategy, variant, ms a layer, what it should be, the
 * difference, the two bounds that it cannot beat (work and transfers, ms), bytes moved over the
 * strategy's own formula. TRACE=FILE in the environment: a Chrome trace in virtual time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/strategies/strategy.h"
#include "runtime/clock.h"
#include "runtime/cuda.h"
#include "runtime/devices.h"
#include "runtime/machine.h"
#include "runtime/simulation.h"

enum { GPUS = 8, HEADS = 24, ROWS = 1024, DIM = 128, CHUNKS = HEADS / GPUS };
#define PROJECT_MS 4.0
#define ATTENTION_MS 30.0
#define REST_MS 8.0
#define EXCHANGE_MS 5.3
#define WORK_MS (PROJECT_MS + ATTENTION_MS + REST_MS)

/* What a GPU receives of one of q, k, v, o: its heads of all other GPUs' tokens. */
#define RECEIVED_BYTES (4.0 * DIM * ROWS * (GPUS - 1) * CHUNKS)

static const struct sdt_platform platform = {
    .kinds = 1,
    .kind = {{.memory_gb = 80.0}},
    .devices = GPUS,
    .link_gbps = RECEIVED_BYTES * 1e-9 / (EXCHANGE_MS * 1e-3 / 4.0),
    .host_gbps = 50.0,
};

/* ---- the model ------------------------------------------------------------------------------- */

struct model {
    const struct sdt_layout *layout;
    const struct sdt_attention_buffers *buffers;
    sdt_handle z[GPUS];
    bool joined;
};

static void never(void *buffers[], void *cl_arg) {
    (void)buffers;
    (void)cl_arg;
}

static struct starpu_codelet work_codelet = {
    .name = "work",
    SDT_ON_BOTH(never, never),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

static void at_home(struct sdt_flow *flow, const struct model *model, int tile,
                    enum sdt_role role) {
    flow->place = &model->layout->place[model->layout->home[tile]];
    flow->tag.role = role;
    flow->tag.tile = tile;
}

static void project(struct sdt_flow *flow, void *arg, enum sdt_projection which, int tile,
                    const sdt_handle *piece) {
    struct model *model = arg;
    int chunks = model->layout->chunks;
    struct sdt_task task;
    (void)piece; /* of all projections: the buffers have them */

    if (model->joined && which != SDT_PROJECT_V) /* the first that strategies ask for does all */
        return;
    at_home(flow, model, tile, SDT_ROLE_PROJECT);
    sdt__task_begin(&task, flow);
    sdt__task_read(&task, model->z[tile]);
    for (int p = 0; p < SDT_PROJECTIONS; p++)
        for (int c = 0; c < chunks && (model->joined || p == (int)which); c++)
            sdt__task_write(&task, model->buffers->piece[p][tile * chunks + c]);
    double ms = model->joined ? PROJECT_MS : PROJECT_MS / SDT_PROJECTIONS;
    sdt__task_submit(&task, &work_codelet, "project", ms * 1e3, 0.0, NULL, 0);
}

static void join(struct sdt_flow *flow, void *arg, int tile) {
    struct model *model = arg;
    struct sdt_task task;
    at_home(flow, model, tile, SDT_ROLE_DENOISE);
    sdt__task_begin(&task, flow);
    sdt__task_update(&task, model->z[tile]);
    sdt__task_submit(&task, &work_codelet, "rest", REST_MS * 1e3, 0.0, NULL, 0);
}

static void begin(struct sdt_flow *flow, struct model *model, int tile) {
    struct sdt_task task;
    model->z[tile] = sdt__vector(flow, (size_t)ROWS * HEADS * DIM, "z");
    at_home(flow, model, tile, SDT_ROLE_DENOISE);
    sdt__task_begin(&task, flow);
    sdt__task_write(&task, model->z[tile]);
    sdt__task_submit(&task, &work_codelet, "begin", 0.0, 0.0, NULL, 0);
}

/* ---- the run --------------------------------------------------------------------------------- */

static double run_ms(struct sdt_flow *flow, const struct sdt_strategy *strategy,
                     const struct sdt_self_attention *attention, int layers) {
    double start = sdt__now();
    for (int l = 0; l < layers; l++) {
        flow->tag.layer = l;
        strategy->self_attention(flow, attention);
    }
    sdt__flow_wait(flow, NULL);
    return (sdt__now() - start) * 1e3;
}

/* What a layer takes. PipeSP hides every exchange that can be hidden. Of what comes in, the first
 * chunk is waited for: of q, k and v if they come out of one task; of k alone if v and q travel
 * during the projections after theirs. Of what goes out, the last piece: a chunk's share of one
 * other GPU's tokens. Ulysses hides nothing, except that with three projections v and k travel
 * before q is projected. */
static double expected_ms(const struct sdt_strategy *strategy, bool joined) {
    double tensor = EXCHANGE_MS / 4.0, chunk = tensor / CHUNKS;
    if (!strcmp(strategy->name, "pipesp"))
        return WORK_MS + (joined ? 3.0 : 1.0) * chunk + chunk / (GPUS - 1);
    return WORK_MS + (joined ? 4.0 : 2.0) * tensor;
}

/* A simulated GPU is a GPU: its kind, the type it computes in unless told otherwise, its tiles, and
 * the scratch memory of its kernels. */
static bool are_gpus(const struct sdt_machine *machine) {
    struct sdt_placement placement = {0};
    struct sdt_kinds kinds;
    struct sdt_parallel parallel = {
        .strategy = sdt_strategy_find("ulysses"), .place = machine->device, .devices = GPUS};
    struct sdt_layout layout = {0};
    struct sdt_error err = {0};
    const int64_t tokens = 32760;
    bool right = machine->host.kind == SDT_DEVICE_CPU && machine->host.device == -1;
    for (int d = 0; d < GPUS; d++) {
        struct sdt_device what = sdt_machine_device(machine, d);
        right &= what.kind == SDT_DEVICE_CUDA && what.index == d &&
                 machine->device[d].kind == SDT_DEVICE_CUDA && machine->device[d].workers == 1;
    }
    right &= sdt__settle_kinds(&placement, machine->what, GPUS, &kinds, &err) == SDT_OK &&
             kinds.dit == SDT_DEVICE_CUDA && kinds.dit_dtype == SDT_BF16;
    right &= sdt_parallel_layout(&parallel, tokens, 0, 1, HEADS, DIM, &layout, &err) == SDT_OK &&
             layout.rows == sdt_cuda_tile_rows(tokens, GPUS, NULL);
    right &= SDT_SCRATCH(machine->device[0].kind, 1000, (size_t)7) == 7;
    sdt_layout_clear(&layout);
    if (!right)
        fprintf(stderr, "a simulated GPU is not taken for one\n");
    return right;
}

/* Before libstarpu's main: see runtime/simulation.h. */
__attribute__((constructor)) static void launch(int argc, char **argv) {
    struct sdt_error err;
    int code = 1;
    (void)argc;
    if (sdt_simulation_launched())
        return;
    if (sdt_simulation_launch(&platform, argv, &code, &err) != SDT_OK)
        fprintf(stderr, "%s\n", err.message);
    exit(code);
}

int main(int argc, char **argv) {
    struct sdt_error err = {0};
    struct sdt_machine_options options = {
        .devices = GPUS, .workers_per_device = 1, .keep_records = getenv("TRACE") != NULL};
    struct sdt_machine *machine = NULL;
    struct sdt_layout layout;
    struct sdt_attention_buffers buffers;
    enum { SHORT = 4, LONG = 8 };
    double traffic[(GPUS + 1) * (GPUS + 1)] = {0}, moved = 0.0;

    const struct sdt_strategy *strategy = argc == 3 ? sdt_strategy_find(argv[1]) : NULL;
    if (!strategy || (strcmp(argv[2], "joined") && strcmp(argv[2], "apart"))) {
        fprintf(stderr, "usage: %s STRATEGY joined|apart\n", argv[0]);
        return 2;
    }
    struct model model = {&layout, &buffers, {NULL}, !strcmp(argv[2], "joined")};
    if (sdt_machine_open(&options, &machine, &err) != SDT_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    if (!are_gpus(machine))
        return 1;
    for (int g = 0; g < GPUS; g++) {
        struct sdt_rates *rate = machine->costs.rate[machine->device[g].first_worker];
        for (int class = 0; class < SDT_CLASSES; class ++)
            rate[class] = (struct sdt_rates){1.0, 0.0};
        rate[SDT_CLASS_ATTENTION].flops_per_us =
            CHUNKS * 4.0 * DIM * ROWS * GPUS * ROWS * GPUS / (ATTENTION_MS * 1e3);
    }
    struct sdt_parallel parallel = {.strategy = strategy,
                                    .place = machine->device,
                                    .devices = GPUS,
                                    .tile_rows = ROWS,
                                    .dtype = SDT_F32};
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    if (sdt_parallel_layout(&parallel, (int64_t)ROWS * GPUS, 0, 1, HEADS, DIM, &layout, &err) !=
        SDT_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    sdt_attention_buffers_init(&flow, &buffers, strategy, &layout, NULL);
    for (int t = 0; t < layout.tiles; t++)
        begin(&flow, &model, t);
    struct sdt_self_attention attention = {.layout = &layout,
                                           .buffers = &buffers,
                                           .model = &model,
                                           .project = project,
                                           .z = model.z,
                                           .keys = layout.tokens,
                                           .layers = 1,
                                           .join = join};

    /* The difference of two runs: without their beginnings and ends. */
    double few = run_ms(&flow, strategy, &attention, SHORT);
    sdt_machine_traffic(machine, traffic); /* counts from here */
    memset(traffic, 0, sizeof traffic);
    double many = run_ms(&flow, strategy, &attention, LONG);
    sdt_machine_traffic(machine, traffic);
    for (int i = 0; i < (GPUS + 1) * (GPUS + 1); i++)
        moved += traffic[i];
    double layer = (many - few) / (LONG - SHORT);
    double formula = strategy->exchanged(&layout) * LONG;
    double expected = expected_ms(strategy, model.joined);
    printf("%-8s %-7s %9.3f %9.3f %+7.2f%% %9.3f %9.3f %9.6f\n", strategy->name, argv[2], layer,
           expected, 100.0 * (layer / expected - 1.0), WORK_MS, EXCHANGE_MS, moved / formula);
    if (getenv("TRACE"))
        sdt__recorder_write_trace(machine->recorder, getenv("TRACE"), &err);
    for (int t = 0; t < layout.tiles; t++)
        sdt__unregister_submit(model.z[t]);
    sdt_attention_buffers_clear(&buffers);
    sdt_machine_close(machine);
    sdt_layout_clear(&layout);
    if (flow.error.status != SDT_OK) {
        fprintf(stderr, "%s\n", flow.error.message);
        return 1;
    }
    sdt_simulation_finish();
    return 0;
}
