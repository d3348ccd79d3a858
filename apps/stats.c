/* --stats: the recorder's totals and StarPU's byte counters as one JSON object. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/stats.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <starpu.h>

#include "config.h"

json_t *app_stats_begin(const char *program) {
    char starpu[48];
    int major, minor, release;

    starpu_get_version(&major, &minor, &release);
    snprintf(starpu, sizeof starpu, "%d.%d.%d", major, minor, release);
    return json_pack("{s:s, s:s, s:s}", "program", program, "version", PACKAGE_VERSION, "starpu",
                     starpu);
}

static json_t *totals_object(struct sdt_role_totals totals) {
    return json_pack("{s:I, s:I, s:f, s:f, s:f, s:f, s:f}", "tasks", (json_int_t)totals.tasks,
                     "visiting", (json_int_t)totals.visiting, "busy_seconds", totals.busy_us * 1e-6,
                     "travel_seconds", totals.travel_us * 1e-6, "wait_seconds",
                     totals.wait_us * 1e-6, "flops", totals.flops, "bytes", totals.bytes);
}

static void add(struct sdt_role_totals *sum, struct sdt_role_totals totals) {
    sum->tasks += totals.tasks;
    sum->visiting += totals.visiting;
    sum->busy_us += totals.busy_us;
    sum->travel_us += totals.travel_us;
    sum->wait_us += totals.wait_us;
    sum->flops += totals.flops;
    sum->bytes += totals.bytes;
}

/* One device (-1: the host): its totals, by role where there are any, and its memory's peak. */
static json_t *place_object(const struct sdt_machine *machine, int device) {
    struct sdt_role_totals sum = {0};
    json_t *object = json_object(), *roles = json_object();

    for (int r = 0; r < SDT_ROLES; r++) {
        struct sdt_role_totals totals = sdt_machine_totals(machine, device, r);
        add(&sum, totals);
        if (totals.tasks)
            json_object_set_new(roles, sdt_role_name(r), totals_object(totals));
    }
    json_object_set_new(object, "tasks", json_integer((json_int_t)sum.tasks));
    json_object_set_new(object, "busy_seconds", json_real(sum.busy_us * 1e-6));
    json_object_set_new(object, "peak_bytes",
                        json_integer((json_int_t)sdt_machine_peak_bytes(machine, device)));
    json_object_set_new(object, "roles", roles);
    return object;
}

void app_stats_machine(json_t *stats, const struct sdt_machine *machine, const int *tiles,
                       const int *heads) {
    json_t *tasks = json_object(), *roles = json_object(), *devices = json_array();
    const int count = sdt_machine_devices(machine);

    json_object_set_new(stats, "devices", json_integer(count));
    json_object_set_new(stats, "workers_per_device",
                        json_integer(sdt_machine_workers(machine, -1)));
    json_object_set_new(stats, "scheduler", json_string(sdt_machine_scheduler(machine)));
    for (int r = 0; r < SDT_ROLES; r++) {
        struct sdt_role_totals sum = {0};
        for (int d = -1; d < count; d++)
            add(&sum, sdt_machine_totals(machine, d, r));
        json_object_set_new(roles, sdt_role_name(r), totals_object(sum));
    }
    json_object_set_new(tasks, "total", json_integer((json_int_t)sdt_machine_tasks(machine)));
    json_object_set_new(tasks, "roles", roles);
    json_object_set_new(stats, "tasks", tasks);
    struct sdt_role_totals exchange = {0};
    for (int d = -1; d < count; d++)
        add(&exchange, sdt_machine_totals(machine, d, SDT_ROLE_EXCHANGE));
    if (exchange.travel_us > 0.0)
        json_object_set_new(stats, "exchange_hidden",
                            json_real(1.0 - exchange.wait_us / exchange.travel_us));
    json_object_set_new(stats, "host", place_object(machine, -1));
    for (int d = 0; d < count; d++) {
        json_t *device = place_object(machine, d);
        char name[SDT_DEVICE_NAME];
        json_object_set_new(device, "device", json_integer(d));
        json_object_set_new(device, "name",
                            json_string(sdt_device_name(sdt_machine_device(machine, d), name)));
        json_object_set_new(device, "workers", json_integer(sdt_machine_workers(machine, d)));
        json_object_set_new(device, "speed", json_real(sdt_machine_speed(machine, d)));
        if (tiles)
            json_object_set_new(device, "tiles", json_integer(tiles[d]));
        if (heads)
            json_object_set_new(device, "heads", json_integer(heads[d]));
        json_array_append_new(devices, device);
    }
    json_object_set_new(stats, "device", devices);
}

static json_t *kind_object(enum sdt_device_kind kind, enum sdt_dtype dtype) {
    return json_pack("{s:s, s:s}", "kind", sdt_device_kind_name(kind), "dtype",
                     dtype == SDT_BF16 ? "bfloat16" : "float32");
}

void app_stats_kinds(json_t *stats, const struct sdt_plan *plan, bool text_with_vae) {
    json_t *on = json_object();
    json_object_set_new(on, "text",
                        text_with_vae ? kind_object(plan->vae_kind, plan->vae_dtype)
                                      : kind_object(plan->dit_kind, plan->dit_dtype));
    json_object_set_new(on, "denoise", kind_object(plan->dit_kind, plan->dit_dtype));
    json_object_set_new(on, "decode", kind_object(plan->vae_kind, plan->vae_dtype));
    json_object_set_new(
        on, "note",
        json_string("one kind of device, number of devices and dtype gives the same "
                    "bits every time; others agree within golden tolerance only"));
    json_object_set_new(stats, "computed_on", on);
}

void app_stats_cudnn(json_t *stats, const struct sdt_cudnn_use *use) {
    if (use->gpus == 0)
        return;
    json_object_set_new(stats, "cudnn",
                        json_pack("{s:s?, s:s?, s:i, s:i, s:i, s:i, s:f}", "version",
                                  *use->version ? use->version : NULL, "why",
                                  *use->why ? use->why : NULL, "plans_made", use->made,
                                  "plans_ahead", use->ahead, "plans_read", use->read,
                                  "plans_missing", use->none, "plan_seconds", use->seconds));
}

bool app_stats_fell_back(const struct sdt_cudnn_use *use, char *text, size_t size) {
    static const char after[] = "own kernels computed there, slower and with other bits";
    if (use->gpus == 0 || (*use->version && use->none == 0))
        return false;
    if (!*use->version)
        snprintf(text, size, "attention and convolutions without cuDNN: %s; %s", use->why, after);
    else
        snprintf(text, size, "cuDNN %s has no plan for %d shape%s, the first: %s; %s", use->version,
                 use->none, use->none == 1 ? "" : "s", use->why, after);
    return true;
}

void app_stats_moved(json_t *stats, const double *bytes, double collective, int devices) {
    int n = devices + 1;
    double between = 0.0, host = 0.0;
    json_t *matrix = json_array();

    for (int from = 0; from < n; from++) {
        json_t *row = json_array();
        for (int to = 0; to < n; to++) {
            double value = bytes[from * n + to];
            json_array_append_new(row, json_integer((json_int_t)value));
            if (from > 0 && to > 0 && from != to)
                between += value;
            else if (from != to)
                host += value;
        }
        json_array_append_new(matrix, row);
    }
    json_object_set_new(stats, "moved",
                        json_pack("{s:I, s:I, s:I, s:o}", "between_devices_bytes",
                                  (json_int_t)between, "collective_bytes", (json_int_t)collective,
                                  "host_bytes", (json_int_t)host, "matrix_bytes", matrix));
}

void app_stats_ranks(json_t *stats, const struct sdt_machine *machine, int ranks) {
    json_t *messages = json_array(), *bytes = json_array(), *roles = json_object();
    json_int_t count = 0, sum = 0;
    for (int r = 0; r < SDT_ROLES; r++) {
        struct sdt_messages sent = sdt_machine_role_messages(machine, r);
        if (sent.count)
            json_object_set_new(roles, sdt_role_name(r),
                                json_pack("{s:I, s:I}", "messages", (json_int_t)sent.count, "bytes",
                                          (json_int_t)sent.bytes));
    }
    for (int from = 0; from < ranks; from++) {
        json_t *row = json_array(), *weights = json_array();
        for (int to = 0; to < ranks; to++) {
            struct sdt_messages sent = sdt_machine_messages(machine, from, to);
            json_array_append_new(row, json_integer((json_int_t)sent.count));
            json_array_append_new(weights, json_integer((json_int_t)sent.bytes));
            count += (json_int_t)sent.count;
            sum += (json_int_t)sent.bytes;
        }
        json_array_append_new(messages, row);
        json_array_append_new(bytes, weights);
    }
    json_object_set_new(stats, "ranks",
                        json_pack("{s:i, s:I, s:I, s:o, s:o, s:o}", "count", ranks, "messages",
                                  count, "bytes", sum, "roles", roles, "matrix_messages", messages,
                                  "matrix_bytes", bytes));
}

/* What each step runs, and is predicted to take. */
static json_t *steps_array(const struct sdt_plan *plan) {
    json_t *array = json_array();
    for (int s = 0; s < plan->steps; s++) {
        const struct sdt_plan_step *step = &plan->step[s];
        json_array_append_new(array, json_pack("{s:i, s:i, s:b, s:f, s:f}", "branches",
                                               step->branches, "forwards", step->forwards,
                                               "kept_difference", step->frozen, "seconds",
                                               step->seconds, "exchanged_bytes", step->exchanged));
    }
    return array;
}

json_t *app_stats_plan(const struct sdt_plan *plan) {
    json_t *bytes = json_array(), *phases = json_array();
    for (int d = 0; d < plan->devices; d++) {
        json_array_append_new(bytes, json_integer((json_int_t)plan->device_bytes[d]));
        json_array_append_new(phases, json_pack("{s:I, s:I, s:I}", "text",
                                                (json_int_t)plan->device_text_bytes[d], "denoise",
                                                (json_int_t)plan->device_denoise_bytes[d], "decode",
                                                (json_int_t)plan->device_decode_bytes[d]));
    }
    return json_pack("{s:I, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:o, "
                     "s:f, s:o}",
                     "tokens", (json_int_t)plan->tokens, "tile_rows", plan->tile_rows, "tiles",
                     plan->tiles, "heads", plan->heads, "forwards_per_step", plan->forwards,
                     "text_flops", plan->text_flops, "step_flops", plan->step_flops, "vae_flops",
                     plan->vae_flops, "total_flops", plan->total_flops, "exchanged_bytes_per_step",
                     plan->exchanged_per_step, "weight_bytes", plan->weight_bytes, "seconds",
                     plan->seconds, "flops_per_second", plan->flops_per_second, "device_peak_bytes",
                     bytes, "device_phase_bytes", phases, "exchanged_bytes", plan->exchanged,
                     "steps", steps_array(plan));
}

enum sdt_status app_stats_write(json_t *stats, const char *path, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    char *part = NULL;
    const size_t flags = JSON_INDENT(2) | JSON_PRESERVE_ORDER;

    if (!strcmp(path, "-")) {
        if (json_dumpf(stats, stdout, flags) || putchar('\n') == EOF || fflush(stdout))
            status = sdt_fail(err, SDT_ERROR_IO, "standard output: %s", strerror(errno));
        goto out;
    }
    if (asprintf(&part, "%s.part", path) < 0) {
        part = NULL;
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while writing %s", path);
        goto out;
    }
    FILE *file = fopen(part, "w");
    if (!file) {
        status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", part, strerror(errno));
        goto out;
    }
    bool failed = json_dumpf(stats, file, flags) != 0;
    failed |= putc('\n', file) == EOF;
    failed |= fclose(file) != 0;
    if (failed || rename(part, path)) {
        status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
        unlink(part);
    }
out:
    free(part);
    json_decref(stats);
    return status;
}
