/* PipeSP natively: the trace shows each outgoing chunk's transfer requested when its attention task
 * ends, not when the last one does.
 *
 * One forward of the demo transformer is inserted while StarPU is paused, so that no request can
 * wait for an insertion. Then, from the trace alone: between the end of an attention task and
 * `ready` of the exchange that takes its piece home, the worker has begun nothing else. The same is
 * asked of ulysses, whose exchange waits for all chunks: there it must not hold. That `ready` is
 * the time of the request is shown by standing in front of StarPU's own function for it. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <jansson.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/run/latent.h"
#include "tests/check.h"

enum { DEVICES = 3, TEXT_ROWS = 4, MOST_TASKS = 20000 };

/* ---- requests, as StarPU gets them ----------------------------------------------------------- */

static _Atomic double requested_us[MOST_TASKS]; /* by task id; 0: not yet */

/* The policy's call ends here, because a program's symbols come before its libraries'. */
int starpu_prefetch_task_input_for(struct starpu_task *task, unsigned worker) {
    static int (*real)(struct starpu_task * task, unsigned worker);
    const struct sdt_tag *tag = sdt_task_tag(task);
    if (!real) /* always the same value, whoever writes it */
        *(void **)&real = dlsym(RTLD_NEXT, "starpu_prefetch_task_input_for");
    if (tag && tag->id < MOST_TASKS)
        atomic_store(&requested_us[tag->id], starpu_timing_now());
    return real(task, worker);
}

/* ---- the trace ------------------------------------------------------------------------------- */

struct event {
    const char *name;
    int device, worker, request, layer, chunk, tile;
    uint64_t id;
    double start, end, ready, fetched;
};

static int integer(const json_t *object, const char *key) {
    return (int)json_integer_value(json_object_get(object, key));
}

/* The events of the trace, malloc'ed; names belong to the document. */
static struct event *read_events(const json_t *root, size_t *count) {
    const json_t *array = json_object_get(root, "traceEvents"), *item;
    struct event *event = calloc(json_array_size(array) + 1, sizeof *event);
    size_t i;
    *count = 0;
    json_array_foreach(array, i, item) {
        const json_t *args = json_object_get(item, "args");
        if (strcmp(json_string_value(json_object_get(item, "ph")), "X"))
            continue;
        double start = json_number_value(json_object_get(item, "ts"));
        event[(*count)++] = (struct event){
            .name = json_string_value(json_object_get(item, "name")),
            .device = integer(item, "pid") - 1,
            .worker = integer(item, "tid"),
            .request = integer(args, "request"),
            .layer = integer(args, "layer"),
            .chunk = integer(args, "chunk"),
            .tile = integer(args, "tile"),
            .id = (uint64_t)json_integer_value(json_object_get(args, "id")),
            .start = start,
            .end = start + json_number_value(json_object_get(item, "dur")),
            .ready = json_number_value(json_object_get(args, "ready")),
            .fetched = json_number_value(json_object_get(args, "fetched")),
        };
    }
    return event;
}

/* The exchange that takes the piece of attention task a to its tile's home: of its chunk, or of
 * all. */
static const struct event *taker(const struct event *event, size_t count, const struct event *a) {
    const struct event *of_all = NULL;
    for (size_t i = 0; i < count; i++) {
        const struct event *e = &event[i];
        if (strcmp(e->name, "exchange_o") || e->request != a->request || e->layer != a->layer ||
            e->tile != a->tile)
            continue;
        if (e->chunk == a->chunk)
            return e;
        if (e->chunk < 0)
            of_all = e;
    }
    return of_all;
}

struct found {
    int travelling, late; /* pieces that leave their device; requested only after other work */
    int early;            /* while attention of the layer was still to begin on the device */
};

static struct found examine(const struct event *event, size_t count, int request) {
    struct found found = {0};
    for (size_t i = 0; i < count; i++) {
        const struct event *a = &event[i];
        if (strcmp(a->name, "attention") || a->request != request)
            continue;
        const struct event *e = taker(event, count, a);
        CHECK(e, "layer %d, chunk %d, tile %d: no exchange", a->layer, a->chunk, a->tile);
        if (!e || e->device == a->device)
            continue;
        double asked = e->id < MOST_TASKS ? atomic_load(&requested_us[e->id]) : 0.0;
        bool late = false, early = false;
        for (size_t j = 0; j < count; j++) {
            const struct event *other = &event[j];
            if (other->worker != a->worker || other->start < a->end)
                continue;
            late |= other->start < e->ready || other->start < asked;
            early |= other->layer == a->layer && !strcmp(other->name, "attention") &&
                     other->start >= e->ready;
        }
        found.travelling++;
        found.late += late;
        found.early += early;
        CHECK(e->ready >= a->end, "ready %.3f us before the piece is computed", a->end - e->ready);
        CHECK(asked >= e->ready && asked <= e->fetched && e->fetched <= e->start,
              "%s of layer %d, chunk %d, tile %d: ready %.3f, requested %.3f, fetched %.3f, begun "
              "%.3f us",
              e->name, e->layer, e->chunk, e->tile, e->ready, asked, e->fetched, e->start);
    }
    return found;
}

/* ---- the forwards ---------------------------------------------------------------------------- */

static enum sdt_status forward(struct sdt_machine *machine, struct sdt_dit *dit,
                               const char *strategy, int request, struct sdt_error *err) {
    struct sdt_geometry geometry = {3, 16, 16};
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    struct sdt_parallel parallel = {.strategy = sdt_strategy_find(strategy),
                                    .place = machine->device,
                                    .devices = DEVICES,
                                    .chunk_heads = 1,
                                    .tile_rows = 8};
    size_t size = (size_t)dit->channels * 3 * 16 * 16;
    float *noise = malloc(size * sizeof *noise);
    float *text = calloc(TEXT_ROWS * (size_t)dit->text_dim, sizeof *text);
    struct sdt_latent latent;
    struct sdt_prompt prompt;

    flow.tag.request = request;
    struct sdt_run *run = sdt_run_new(&flow, dit, machine, NULL, &parallel, geometry, 1, TEXT_ROWS);
    if (!run || !noise || !text)
        return sdt_fail(err, SDT_ERROR_MEMORY, "no run: %s", flow.error.message);
    sdt_randn(1, size, noise);
    sdt_handle whole = sdt__host_vector(&flow, noise, size, "noise");
    sdt_handle states = sdt__host_vector(&flow, text, TEXT_ROWS * (size_t)dit->text_dim, "text");
    starpu_pause();
    struct sdt_text_states words = {states, TEXT_ROWS, 0};
    sdt_latent_init(&flow, &latent, &run->layout, sdt_patch_of(dit, geometry), 0, 0, NULL, NULL);
    sdt_latent_scatter(&flow, &latent, 0, SDT_SOLVER_X, whole);
    sdt_run_prompt(&flow, run, 0, &words, &prompt);
    run->branch[0].prompt = &prompt;
    sdt_run_step(&flow, run, 1, 500.0f, sdt_latent_tiles(&latent, 0));
    starpu_resume();
    enum sdt_status status = sdt__flow_wait(&flow, err);
    sdt_latent_clear(&latent);
    sdt_prompt_clear(&prompt);
    sdt_run_free(run);
    sdt__unregister(whole);
    sdt__unregister(states);
    free(noise);
    free(text);
    return status;
}

int main(void) {
    static const char *const strategy[] = {"pipesp", "ulysses"};
    struct sdt_machine_options options = {
        .devices = DEVICES, .workers_per_device = 1, .keep_records = true};
    struct sdt_machine *machine = NULL;
    struct sdt_dit *dit = NULL;
    struct sdt_error err = {0};
    json_error_t json_error;
    char path[4096], trace[] = "/tmp/stardit-trace-XXXXXX";

    snprintf(path, sizeof path, "%s/checkpoints/stardit-demo/transformer",
             getenv("STARDIT_SOURCE_DIR"));
    int file = mkstemp(trace);
    if (file < 0 || sdt_dit_open(path, NULL, 0, &dit, &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK) {
        printf("%s: FAIL\n", err.message);
        return 1;
    }
    close(file);
    for (int s = 0; s < 2; s++)
        CHECK(forward(machine, dit, strategy[s], s, &err) == SDT_OK, "%s", err.message);
    CHECK(sdt_machine_write_trace(machine, trace, &err) == SDT_OK, "%s", err.message);
    sdt_machine_close(machine);
    json_t *root = json_load_file(trace, 0, &json_error);
    unlink(trace);
    size_t count;
    struct event *event = read_events(root, &count);
    for (int s = 0; s < 2; s++) {
        struct found f = examine(event, count, s);
        printf("%s on %d devices, 1 head a chunk: %d pieces travel, %d requested before the device "
               "began other work, %d while attention of the layer was still to come\n",
               strategy[s], DEVICES, f.travelling, f.travelling - f.late, f.early);
        CHECK(f.travelling > 100, "too few exchanges to judge by");
        if (s == 0)
            CHECK(f.late == 0 && f.early > f.travelling / 2, "pipesp requests %d pieces late",
                  f.late);
        else
            CHECK(f.late > f.travelling / 2, "ulysses waits for all chunks, which is not seen");
    }
    free(event);
    json_decref(root);
    sdt_dit_close(dit);
    printf("%s\n", failures ? "FAIL" : "ok");
    return failures ? 1 : 0;
}
