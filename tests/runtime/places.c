/* Places: devices with unequal workers have those and no others, tasks run there, and speeds are
 * what the workers or the caller say. Schedulers are told the same, and StarPU measures no link. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/bus.h"
#include "runtime/cuda.h"
#include "runtime/devices.h"
#include "runtime/machine.h"
#include "tests/check.h"

enum { MOST = 4, TASKS = 200 };

static atomic_int ran[STARPU_NMAXWORKERS]; /* tasks of each worker */

static void count_cpu(void *buffers[], void *cl_arg) {
    (void)buffers;
    (void)cl_arg;
    atomic_fetch_add(&ran[starpu_worker_get_id_check()], 1);
}

static struct starpu_codelet count_codelet = {
    .name = "count",
    SDT_ON_CPU(count_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

static struct sdt_machine *open_machine(const struct sdt_machine_options *options) {
    struct sdt_machine *machine = NULL;
    struct sdt_error err = {0};
    if (sdt_machine_open(options, &machine, &err) != SDT_OK)
        CHECK(false, "%d devices: %s", options->devices, err.message);
    return machine;
}

/* Tasks placed on a device run on its workers, which are on its memory node and on no other
 * device. */
static void check_place(struct sdt_machine *machine, const struct sdt_place *place, int workers,
                        const char *name) {
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    int here = 0, all = 0, foreign = 0;

    for (int w = 0; w < STARPU_NMAXWORKERS; w++)
        atomic_store(&ran[w], 0);
    flow.place = place;
    for (int i = 0; i < TASKS; i++) {
        struct sdt_task task;
        sdt__task_begin(&task, &flow);
        sdt__task_submit(&task, &count_codelet, "count", 1e6, 0.0, NULL, 0);
    }
    CHECK(sdt__flow_wait(&flow, NULL) == SDT_OK, "%s: %s", name, flow.error.message);
    for (unsigned w = 0; w < starpu_worker_get_count(); w++) {
        bool of_it = place->mask[w / 32] >> (w % 32) & 1;
        here += of_it;
        all += atomic_load(&ran[w]);
        foreign += !of_it && atomic_load(&ran[w]) > 0;
        if (of_it)
            CHECK(starpu_worker_get_memory_node(w) == place->node, "%s: worker %u is on node %u",
                  name, w, starpu_worker_get_memory_node(w));
    }
    CHECK(place->workers == workers && here == workers, "%s has %d workers, %d in its mask, not %d",
          name, place->workers, here, workers);
    CHECK(all == TASKS && foreign == 0, "%s: %d tasks ran, on %d workers of others", name, all,
          foreign);
}

static void unequal(int devices, const int *workers, const double *given, const double *want) {
    struct sdt_machine_options options = {
        .devices = devices, .workers = workers, .device_speed = given, .link_mb_per_s = 1234.0};
    struct sdt_machine *machine = open_machine(&options);
    int most = 0;
    if (!machine)
        return;
    if (devices > 1) {
        double link = starpu_transfer_bandwidth(machine->device[0].node, machine->device[1].node);
        CHECK(link > 1233.0 && link < 1235.0, "StarPU has measured a link of %g MB/s", link);
    }
    for (int d = 0; d < devices; d++) {
        char name[40];
        const struct sdt_place *place = &machine->device[d];
        snprintf(name, sizeof name, "device %d of %d", d, devices);
        check_place(machine, place, workers[d], name);
        most = workers[d] > most ? workers[d] : most;
        double share = place->speed / machine->device[0].speed;
        CHECK(share > 0.999 * want[d] && share < 1.001 * want[d], "%s has a speed of %g, not %g",
              name, share, want[d]);
        double factor = machine->costs.factor[place->first_worker];
        double each = want[d] / want[0] * workers[0] / workers[d];
        CHECK(factor > 0.999 * each && factor < 1.001 * each,
              "%s: a worker is %g times as fast as one of device 0, not %g", name, factor, each);
    }
    check_place(machine, &machine->host, most, "the host");
    sdt_machine_close(machine);
}

static void mistakes(void) {
    static const int none[] = {1, 0}, many[] = {1, STARPU_MAXCPUS};
    static const double still[] = {1.0, 0.0}, negative[] = {-1.0, 1.0};
    const struct sdt_machine_options wrong[] = {{.devices = 2, .workers = none},
                                                {.devices = 2, .workers = many},
                                                {.devices = 2, .device_speed = still},
                                                {.devices = 2, .device_speed = negative}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct sdt_machine *machine = NULL;
        struct sdt_error err = {0};
        enum sdt_status status = sdt_machine_open(&wrong[i], &machine, &err);
        CHECK(status == SDT_ERROR_USAGE && !machine, "mistake %zu: %s, %s", i,
              sdt_status_name(status), err.message);
    }
}

/* A GPU's speed is a guess from its kind and clock; what the user says counts for any device. */
static void gpus(void) {
    const struct sdt_device device[] = {
        {SDT_DEVICE_CUDA, 0}, {SDT_DEVICE_CUDA, 1}, {SDT_DEVICE_CPU, 0}};
    const struct sdt_gpus found = {
        .count = 2,
        .all = 2,
        .gpu = {{.major = 9, .multiprocessors = 132, .clock_hz = 1.8e9},
                {.major = 8, .multiprocessors = 108, .clock_hz = 1.4e9}}};
    const int workers[] = {0, 0, 4};
    const double given[] = {2.0, 1.0, 0.1};
    double speed[3];
    struct sdt_error err = {0};
    CHECK(sdt__device_speeds(device, 3, workers, &found, NULL, speed, &err) == SDT_OK &&
              speed[0] == sdt__gpu_guess(&found.gpu[0], SDT_BF16) &&
              speed[1] == sdt__gpu_guess(&found.gpu[1], SDT_BF16) && speed[0] > speed[1] &&
              speed[2] == 4 * SDT_CPU_FLOPS,
          "speeds of two GPUs and the host: %g, %g, %g", speed[0], speed[1], speed[2]);
    CHECK(sdt__device_speeds(device, 3, workers, &found, given, speed, &err) == SDT_OK &&
              speed[1] == speed[0] / 2.0 && speed[2] < 0.051 * speed[0],
          "given speeds: %g, %g, %g", speed[0], speed[1], speed[2]);
}

/* GPUs of two models share work by a plan; the clock does not choose between them. */
static void models(void) {
    const struct sdt_device device[] = {
        {SDT_DEVICE_CPU, 0}, {SDT_DEVICE_CUDA, 1}, {SDT_DEVICE_CUDA, 0}};
    struct sdt_gpus found = {.count = 2,
                             .all = 2,
                             .gpu = {{.name = "One", .major = 9, .multiprocessors = 132},
                                     {.name = "One", .major = 9, .multiprocessors = 132}}};
    const struct sdt_placement dynamic = {.aco = SDT_ACO_DYNAMIC}, fixed = {.aco = SDT_ACO_STATIC};
    char text[160];
    struct sdt_error err = {0};
    CHECK(!sdt__models_differ(device, 3, &found, text, sizeof text) && !text[0] &&
              sdt__models_check(&dynamic, device, 3, &found, &err) == SDT_OK,
          "one model: %s", text);
    found.gpu[0].multiprocessors = 114;
    CHECK(sdt__models_differ(device, 3, &found, text, sizeof text), "132 and 114 are one model");
    snprintf(found.gpu[0].name, sizeof found.gpu[0].name, "Two");
    CHECK(sdt__models_differ(device, 3, &found, text, sizeof text) &&
              !strcmp(text, "cuda:0 is of another model (Two) than cuda:1 (One)"),
          "two models: %s", text);
    CHECK(sdt__models_check(&fixed, device, 3, &found, &err) == SDT_OK, "%s", err.message);
    CHECK(sdt__models_check(&dynamic, device, 3, &found, &err) == SDT_ERROR_USAGE &&
              strstr(err.message, "--aco static would work"),
          "dynamic aco on two models: %s", err.message);
    CHECK(!sdt__models_differ(device, 2, &found, text, sizeof text), "one GPU and a CPU");
}

/* Where StarPU keeps what it has measured. */
static void measured(void) {
    char folder[] = "/tmp/stardit-bus-XXXXXX", path[128], command[160];
    if (!mkdtemp(folder))
        exit(99);
    setenv("STARPU_HOSTNAME", "here", 1);
    setenv("XDG_CACHE_HOME", folder, 1);
    CHECK(!sdt__bus_measured(), "nothing has been measured in %s", folder);
    snprintf(command, sizeof command, "mkdir -p %s/.starpu/sampling/bus", folder);
    snprintf(path, sizeof path, "%s/.starpu/sampling/bus/here.latency", folder);
    FILE *file = system(command) == 0 ? fopen(path, "w") : NULL;
    if (!file || fclose(file))
        exit(99);
    CHECK(sdt__bus_measured(), "%s is not found", path);
    setenv("STARPU_HOSTNAME", "there", 1);
    CHECK(!sdt__bus_measured(), "another machine's links are taken for this one's");
    snprintf(command, sizeof command, "rm -r %s", folder);
    CHECK(system(command) == 0, "%s stays", folder);
    unsetenv("STARPU_HOSTNAME");
    unsetenv("XDG_CACHE_HOME");
}

int main(void) {
    static const int two_one_one[] = {2, 1, 1}, one_four[] = {1, MOST}, three[] = {3};
    static const int two_two[] = {2, 2};
    static const double equal[] = {1.0, 1.0}, given[] = {4.0, 1.0};
    unequal(3, two_one_one, NULL, (const double[]){1.0, 0.5, 0.5});
    unequal(2, one_four, NULL, (const double[]){1.0, 4.0});
    unequal(2, one_four, equal, equal);
    unequal(2, two_two, given, (const double[]){1.0, 0.25});
    unequal(1, three, NULL, equal);
    unequal(2, two_two, NULL, equal); /* nothing is left of those before */
    mistakes();
    gpus();
    models();
    measured();
    return failures ? 1 : 0;
}
