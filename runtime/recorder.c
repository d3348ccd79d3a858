/* Counting finished tasks, and keeping records and edges where a trace or a graph was asked for. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "runtime/recorder.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/target.h"
#include "runtime/handles.h"
#include "runtime/task.h"

#define MAX_DEVICES (SDT_MAX_DEVICES + 1) /* slot 0: the host */

struct record {
    struct sdt_tag tag;
    int worker, device; /* that ran it */
    /* since StarPU's start: all that it depends on had ended; its inputs were there; it ran */
    double ready_us, fetched_us, start_us, end_us;
};

struct edge {
    uint64_t from, to : 63, order : 1; /* order: nothing that was written is read */
};

/* Who touched a handle last, in insertion order: what StarPU derives dependencies from. */
struct touch {
    struct touch *next; /* all of the recorder, for freeing */
    uint64_t writer;    /* id + 1 of the last writing task, 0: none */
    uint64_t *readers;  /* since that write */
    size_t count, capacity;
    double written_us, used_us; /* the longest chain up to that write, and to any use */
};

enum { REQUESTS = 256 }; /* whose chains are told apart */

struct sdt_recorder {
    pthread_mutex_t mutex;
    bool keep_records, keep_edges, lost; /* lost: out of memory, the trace is incomplete */
    uint64_t inserted;
    unsigned long finished;
    struct sdt_role_totals totals[MAX_DEVICES][SDT_ROLES];
    size_t peak[STARPU_MAXNODES];
    int devices;
    unsigned node[MAX_DEVICES]; /* [devices] whose memories they are */
    struct record *records;
    size_t nrecords, records_capacity;
    struct sdt_tag *nodes; /* of the graph, by id */
    size_t nodes_capacity;
    struct edge *edges;
    size_t nedges, edges_capacity;
    struct touch *touches;
    bool keep_bounds;
    struct sdt_bounds bounds;
    double home_us[REQUESTS]; /* up to a request's last input or output */
    struct sdt_step_record given[SDT_RECORDER_SLOTS];
};

struct sdt_recorder *sdt__recorder_new(bool keep_records, bool keep_edges) {
    struct sdt_recorder *recorder = calloc(1, sizeof *recorder);
    if (!recorder)
        return NULL;
    pthread_mutex_init(&recorder->mutex, NULL);
    recorder->keep_records = keep_records;
    recorder->keep_edges = keep_edges;
    return recorder;
}

void sdt__recorder_devices(struct sdt_recorder *recorder, int devices,
                           const struct sdt_place *device) {
    recorder->devices = devices;
    for (int d = 0; d < devices; d++)
        recorder->node[d] = device[d].node;
}

/* The device whose memory it is, -1: the host. The home decides where both have one. */
static int device_at(const struct sdt_recorder *recorder, unsigned node, int home) {
    if (home >= 0 && home < recorder->devices && recorder->node[home] == node)
        return home;
    for (int d = 0; node > 0 && d < recorder->devices; d++)
        if (recorder->node[d] == node)
            return d;
    return -1;
}

void sdt__recorder_free(struct sdt_recorder *recorder) {
    if (!recorder)
        return;
    while (recorder->touches) {
        struct touch *touch = recorder->touches;
        recorder->touches = touch->next;
        free(touch->readers);
        free(touch);
    }
    free(recorder->records);
    free(recorder->nodes);
    free(recorder->edges);
    pthread_mutex_destroy(&recorder->mutex);
    free(recorder);
}

/* Room for one more element in a growing array; false (and lost) when there is no memory. */
static bool reserve(struct sdt_recorder *recorder, void **array, size_t count, size_t *capacity,
                    size_t size) {
    if (count < *capacity)
        return true;
    size_t wanted = *capacity ? 2 * *capacity : 256;
    void *bigger = realloc(*array, wanted * size);
    if (!bigger) {
        recorder->lost = true;
        return false;
    }
    *array = bigger;
    *capacity = wanted;
    return true;
}

static void add_edge(struct sdt_recorder *recorder, uint64_t from, uint64_t to, bool order) {
    if (from == to)
        return;
    if (reserve(recorder, (void **)&recorder->edges, recorder->nedges, &recorder->edges_capacity,
                sizeof *recorder->edges))
        recorder->edges[recorder->nedges++] = (struct edge){.from = from, .to = to, .order = order};
}

/* NULL: not one of ours, as nobody else's tasks are in the graph either, or out of memory. */
static struct touch *touch_of(struct sdt_recorder *recorder, starpu_data_handle_t handle) {
    void **slot = sdt__handle_touch(handle);
    if (!slot)
        return NULL;
    struct touch *touch = *slot;
    if (!touch) {
        touch = calloc(1, sizeof *touch);
        if (!touch) {
            recorder->lost = true;
            return NULL;
        }
        touch->next = recorder->touches;
        recorder->touches = touch;
        *slot = touch;
    }
    return touch;
}

static void add_access(struct sdt_recorder *recorder, starpu_data_handle_t handle,
                       enum starpu_data_access_mode mode, uint64_t id) {
    struct touch *touch = touch_of(recorder, handle);
    const bool reads = mode & STARPU_R;
    if (!touch)
        return;
    if (touch->writer && (reads || !touch->count))
        add_edge(recorder, touch->writer - 1, id, !reads);
    if (!(mode & STARPU_W)) {
        if (reserve(recorder, (void **)&touch->readers, touch->count, &touch->capacity,
                    sizeof *touch->readers))
            touch->readers[touch->count++] = id;
        return;
    }
    for (size_t i = 0; i < touch->count; i++)
        add_edge(recorder, touch->readers[i], id, true);
    touch->count = 0;
    touch->writer = id + 1;
}

/* ---- bounds ---------------------------------------------------------------------------------- */

void sdt__recorder_keep_bounds(struct sdt_recorder *recorder) { recorder->keep_bounds = true; }

bool sdt__recorder_keeps_bounds(const struct sdt_recorder *recorder) {
    return recorder->keep_bounds;
}

struct sdt_bounds sdt__recorder_bounds(const struct sdt_recorder *recorder) {
    return recorder->bounds;
}

static const struct sdt_step_record *given_of(const struct sdt_recorder *recorder,
                                              const struct sdt_tag *tag) {
    return &recorder->given[sdt__recorder_slot(tag->request, tag->step)];
}

static bool is_given(const struct starpu_task *task, const struct sdt_tag *tag) {
    return task->cl->model == &sdt__cost_models[SDT_CLASS_GIVEN] && tag->role == SDT_ROLE_DENOISE;
}

/* The chain that ends with this task: behind all that it waits for, which StarPU derives from the
 * order of insertion in the same way. A decode begins when its latent has come home. */
static void add_bounds(struct sdt_recorder *recorder, const struct starpu_task *task,
                       const struct sdt_tag *tag, struct sdt_least least) {
    double *home = &recorder->home_us[tag->request >= 0 ? tag->request % REQUESTS : 0];
    double chain = tag->role == SDT_ROLE_VAE ? *home : 0.0;
    if (is_given(task, tag)) { /* of what it stands for; one of the step's tasks has its work */
        const struct sdt_step_record *step = given_of(recorder, tag);
        least.us *= step->path_us / step->us;
        least.work_us = tag->tile == 0 ? step->work_us : 0.0;
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < task->nbuffers; i++) {
            enum starpu_data_access_mode mode = STARPU_TASK_GET_MODE(task, i);
            struct touch *touch =
                mode & STARPU_SCRATCH ? NULL : touch_of(recorder, STARPU_TASK_GET_HANDLE(task, i));
            if (!touch)
                continue;
            double after = mode & STARPU_W ? touch->used_us : touch->written_us;
            if (pass == 0) {
                chain = after > chain ? after : chain;
                continue;
            }
            touch->used_us = chain > touch->used_us ? chain : touch->used_us;
            if (mode & STARPU_W)
                touch->written_us = chain;
        }
        chain += pass == 0 ? least.us : 0.0;
    }
    if (tag->role == SDT_ROLE_IO && chain > *home)
        *home = chain;
    recorder->bounds.work_us += least.work_us;
    if (chain > recorder->bounds.path_us)
        recorder->bounds.path_us = chain;
}

void sdt__recorder_inserted(struct sdt_recorder *recorder, const struct starpu_task *task,
                            struct sdt_tag *tag, const struct sdt_least *least) {
    pthread_mutex_lock(&recorder->mutex);
    tag->id = recorder->inserted++;
    if (recorder->keep_bounds)
        add_bounds(recorder, task, tag, *least);
    if (recorder->keep_edges && !recorder->lost &&
        reserve(recorder, (void **)&recorder->nodes, tag->id, &recorder->nodes_capacity,
                sizeof *recorder->nodes)) {
        recorder->nodes[tag->id] = *tag;
        for (int i = 0; i < task->nbuffers; i++) {
            enum starpu_data_access_mode mode = STARPU_TASK_GET_MODE(task, i);
            if (mode & STARPU_SCRATCH)
                continue;
            add_access(recorder, STARPU_TASK_GET_HANDLE(task, i), mode, tag->id);
        }
    }
    pthread_mutex_unlock(&recorder->mutex);
}

static double microseconds(struct timespec time) {
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec * 1e-3;
}

static void count_task(struct sdt_recorder *recorder, const struct sdt_tag *tag, int device,
                       const struct starpu_profiling_task_info *info) {
    struct sdt_role_totals *totals = &recorder->totals[device + 1][tag->role];
    recorder->finished++;
    totals->tasks++;
    totals->visiting += device != tag->device;
    totals->flops += tag->flops;
    totals->bytes += tag->bytes;
    if (!info)
        return;
    double fetched = microseconds(info->acquire_data_end_time);
    totals->busy_us += microseconds(info->end_time) - microseconds(info->start_time);
    totals->travel_us += fetched - microseconds(info->push_start_time);
    totals->wait_us += fetched - microseconds(info->acquire_data_start_time);
}

/* totals: by device + 1 */
static void add_totals(struct sdt_recorder *recorder,
                       const struct sdt_role_totals (*totals)[SDT_ROLES], unsigned long tasks) {
    recorder->finished += tasks;
    for (int d = 0; d < MAX_DEVICES; d++)
        for (int r = 0; r < SDT_ROLES; r++) {
            struct sdt_role_totals *to = &recorder->totals[d][r];
            const struct sdt_role_totals *from = &totals[d][r];
            to->tasks += from->tasks;
            to->visiting += from->visiting;
            to->busy_us += from->busy_us;
            to->travel_us += from->travel_us;
            to->wait_us += from->wait_us;
            to->flops += from->flops;
            to->bytes += from->bytes;
        }
}

void sdt__recorder_steps(struct sdt_recorder *recorder, struct sdt_step_record *record) {
    *record = (struct sdt_step_record){0};
    pthread_mutex_lock(&recorder->mutex);
    for (int d = 0; d < MAX_DEVICES; d++)
        for (int r = 0; r < SDT_ROLES; r++)
            if (r != SDT_ROLE_VAE && r != SDT_ROLE_TEXT && r != SDT_ROLE_IO) {
                record->totals[d][r] = recorder->totals[d][r];
                record->tasks += recorder->totals[d][r].tasks;
            }
    pthread_mutex_unlock(&recorder->mutex);
}

static void add_count(unsigned long *count, unsigned long other, double factor) {
    *count = (unsigned long)((double)*count + factor * (double)other + 0.5);
}

void sdt__step_record_add(struct sdt_step_record *record, const struct sdt_step_record *other,
                          double factor) {
    for (int d = 0; d < MAX_DEVICES; d++)
        for (int r = 0; r < SDT_ROLES; r++) {
            struct sdt_role_totals *t = &record->totals[d][r];
            const struct sdt_role_totals *o = &other->totals[d][r];
            add_count(&t->tasks, o->tasks, factor);
            add_count(&t->visiting, o->visiting, factor);
            t->busy_us += factor * o->busy_us;
            t->travel_us += factor * o->travel_us;
            t->wait_us += factor * o->wait_us;
            t->flops += factor * o->flops;
            t->bytes += factor * o->bytes;
        }
    add_count(&record->tasks, other->tasks, factor);
    record->us += factor * other->us;
    record->path_us += factor * other->path_us;
    record->work_us += factor * other->work_us;
}

void sdt__recorder_give(struct sdt_recorder *recorder, int slot,
                        const struct sdt_step_record *step) {
    pthread_mutex_lock(&recorder->mutex);
    recorder->given[slot] = *step;
    pthread_mutex_unlock(&recorder->mutex);
}

void sdt__recorder_each(const struct sdt_recorder *recorder,
                        void (*call)(void *arg, const struct sdt_record_view *record), void *arg) {
    for (size_t i = 0; i < recorder->nrecords; i++) {
        const struct record *r = &recorder->records[i];
        const struct sdt_record_view view = {&r->tag, r->device, r->start_us, r->end_us};
        call(arg, &view);
    }
}

void sdt__recorder_finished(struct sdt_recorder *recorder, const struct starpu_task *task,
                            const struct sdt_tag *tag) {
    const struct starpu_profiling_task_info *info = task->profiling_info;
    double start = info ? microseconds(info->start_time) : 0.0;
    double end = info ? microseconds(info->end_time) : 0.0;
    double ready = info ? microseconds(info->push_start_time) : 0.0;
    double fetched = info ? microseconds(info->acquire_data_end_time) : 0.0;
    int worker = info ? info->workerid : -1;
    unsigned node = worker < 0 ? 0 : starpu_worker_get_memory_node((unsigned)worker);
    size_t used = starpu_memory_get_used(node);
    int device = device_at(recorder, node, tag->device);

    pthread_mutex_lock(&recorder->mutex);
    if (task && is_given(task, tag)) {
        if (tag->tile == 0) /* one of the step's tasks counts it */
            add_totals(recorder, given_of(recorder, tag)->totals, given_of(recorder, tag)->tasks);
    } else {
        count_task(recorder, tag, device, info);
    }
    if (used > recorder->peak[node])
        recorder->peak[node] = used;
    if (recorder->keep_records && reserve(recorder, (void **)&recorder->records, recorder->nrecords,
                                          &recorder->records_capacity, sizeof *recorder->records))
        recorder->records[recorder->nrecords++] =
            (struct record){*tag, worker, device, ready, fetched, start, end};
    pthread_mutex_unlock(&recorder->mutex);
}

void sdt__recorder_sums(const struct sdt_recorder *recorder, struct sdt_recorder_sums *sums) {
    memcpy(sums->totals, recorder->totals, sizeof sums->totals);
    sums->tasks = recorder->finished;
}

void sdt__recorder_take(struct sdt_recorder *recorder, const struct sdt_recorder_sums *sums) {
    add_totals(recorder, sums->totals, sums->tasks);
}

unsigned long sdt__recorder_tasks(const struct sdt_recorder *recorder) {
    return recorder->finished;
}

struct sdt_role_totals sdt__recorder_totals(struct sdt_recorder *recorder, int device,
                                            enum sdt_role role) {
    pthread_mutex_lock(&recorder->mutex);
    const struct sdt_role_totals totals = recorder->totals[device + 1][role];
    pthread_mutex_unlock(&recorder->mutex);
    return totals;
}

size_t sdt__recorder_peak(struct sdt_recorder *recorder, unsigned node) {
    pthread_mutex_lock(&recorder->mutex);
    const size_t peak = recorder->peak[node];
    pthread_mutex_unlock(&recorder->mutex);
    return peak;
}

/* What a trace shows. */
struct trace {
    const struct record *record; /* [count] */
    size_t count;
    bool used[MAX_DEVICES]; /* by device + 1: it has a row */
};

static void write_trace(FILE *file, const void *arg) {
    const struct trace *trace = arg;
    fprintf(file, "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n");
    for (int device = -1; device < MAX_DEVICES - 1; device++) {
        if (!trace->used[device + 1])
            continue;
        if (device < 0)
            fprintf(file, "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":0,\"args\":{\"name\":"
                          "\"host\"}},\n");
        else
            fprintf(file,
                    "{\"ph\":\"M\",\"name\":\"process_name\",\"pid\":%d,\"args\":{\"name\":"
                    "\"device %d\"}},\n",
                    device + 1, device);
    }
    for (size_t i = 0; i < trace->count; i++) {
        const struct record *r = &trace->record[i];
        const struct sdt_tag *t = &r->tag;
        fprintf(file,
                "{\"ph\":\"X\",\"name\":\"%s\",\"cat\":\"%s\",\"pid\":%d,\"tid\":%d,\"ts\":%.3f,"
                "\"dur\":%.3f,\"args\":{\"id\":%llu,\"home\":%d,\"request\":%d,\"branch\":%d,"
                "\"step\":%d,\"layer\":%d,\"chunk\":%d,\"tile\":%d,\"flops\":%.0f,\"bytes\":%.0f,"
                "\"ready\":%.3f,\"fetched\":%.3f}}%s\n",
                t->name, sdt_role_name(t->role), r->device + 1, r->worker, r->start_us,
                r->end_us - r->start_us, (unsigned long long)t->id, t->device, t->request,
                t->branch, t->step, t->layer, t->chunk, t->tile, t->flops, t->bytes, r->ready_us,
                r->fetched_us, i + 1 < trace->count ? "," : "");
    }
    fprintf(file, "]}\n");
}

static void write_dot(FILE *file, const void *arg) {
    const struct sdt_recorder *recorder = arg;
    static const char *const colour[SDT_ROLES] = {
        [SDT_ROLE_PROJECT] = "lightblue", [SDT_ROLE_ATTENTION] = "gold",
        [SDT_ROLE_EXCHANGE] = "salmon",   [SDT_ROLE_ROUND] = "coral",
        [SDT_ROLE_DENOISE] = "lightgrey", [SDT_ROLE_VAE] = "palegreen",
        [SDT_ROLE_TEXT] = "orchid",       [SDT_ROLE_IO] = "white"};
    fprintf(file, "digraph stardit {\n  node [shape=box, style=filled];\n");
    for (uint64_t id = 0; id < recorder->inserted; id++) {
        const struct sdt_tag *t = &recorder->nodes[id];
        fprintf(file, "  t%llu [label=\"%s", (unsigned long long)id, t->name);
        if (t->layer >= 0)
            fprintf(file, " l%d", t->layer);
        if (t->tile >= 0)
            fprintf(file, " t%d", t->tile);
        if (t->chunk >= 0)
            fprintf(file, " c%d", t->chunk);
        if (t->device < 0)
            fprintf(file, "\\nhost\"");
        else
            fprintf(file, "\\ndevice %d\"", t->device);
        fprintf(file, ", fillcolor=%s, tooltip=\"request %d, step %d, branch %d\"];\n",
                colour[t->role], t->request, t->step, t->branch);
    }
    for (size_t i = 0; i < recorder->nedges; i++)
        fprintf(file, "  t%llu -> t%llu%s;\n", (unsigned long long)recorder->edges[i].from,
                (unsigned long long)recorder->edges[i].to,
                recorder->edges[i].order ? " [style=dashed]" : "");
    fprintf(file, "}\n");
}

static enum sdt_status lost(const char *path, struct sdt_error *err) {
    return sdt_fail(err, SDT_ERROR_MEMORY, "%s: out of memory while recording tasks", path);
}

enum sdt_status sdt__recorder_write_trace(const struct sdt_recorder *recorder, const char *path,
                                          struct sdt_error *err) {
    struct trace trace = {.record = recorder->records, .count = recorder->nrecords};
    for (int d = 0; d < MAX_DEVICES; d++)
        for (int role = 0; role < SDT_ROLES; role++)
            trace.used[d] |= recorder->totals[d][role].tasks > 0;
    return recorder->lost ? lost(path, err) : sdt__target_write(path, write_trace, &trace, err);
}

/* Takes the request's records out, to `taken` where it is not NULL. */
static void take_out(struct sdt_recorder *recorder, int request, struct record *taken) {
    size_t left = 0, count = 0;
    for (size_t i = 0; i < recorder->nrecords; i++) {
        const struct record *r = &recorder->records[i];
        if (r->tag.request != request)
            recorder->records[left++] = *r;
        else if (taken)
            taken[count++] = *r;
    }
    recorder->nrecords = left;
}

enum sdt_status sdt__recorder_take_trace(struct sdt_recorder *recorder, int request,
                                         const char *path, struct sdt_error *err) {
    struct record *taken = NULL;
    struct trace trace = {0};
    bool whole;

    pthread_mutex_lock(&recorder->mutex);
    for (size_t i = 0; i < recorder->nrecords; i++)
        trace.count += recorder->records[i].tag.request == request;
    if (path)
        taken = malloc((trace.count + 1) * sizeof *taken);
    take_out(recorder, request, taken);
    whole = taken && !recorder->lost;
    pthread_mutex_unlock(&recorder->mutex);
    trace.record = taken;
    for (size_t i = 0; whole && i < trace.count; i++)
        trace.used[taken[i].device + 1] = true;
    enum sdt_status status = !path    ? SDT_OK
                             : !whole ? lost(path, err)
                                      : sdt__target_write(path, write_trace, &trace, err);
    free(taken);
    return status;
}

enum sdt_status sdt__recorder_write_dot(const struct sdt_recorder *recorder, const char *path,
                                        struct sdt_error *err) {
    return recorder->lost ? lost(path, err) : sdt__target_write(path, write_dot, recorder, err);
}
