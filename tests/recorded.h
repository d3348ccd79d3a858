/* What a machine ran, for tests that ask which version of something a task read: its tasks in the
 * order of insertion, and which of them read what which one had written. Both are what --trace and
 * --dot write; no clock is asked. */
#ifndef STARDIT_TESTS_RECORDED_H
#define STARDIT_TESTS_RECORDED_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/machine.h"
#include "tests/check.h"

struct recorded_task {
    char name[24];
    int branch, step, layer, chunk, tile;
    int block; /* whose it is, where the test finds out */
};

struct recorded_edge {
    int from, to; /* ids; `to` reads what `from` wrote */
};

struct recorded {
    int tasks, edges;
    struct recorded_task *task; /* by id */
    struct recorded_edge *edge; /* in the order of `to` */
};

static inline int recorded_integer(const json_t *args, const char *key) {
    return (int)json_integer_value(json_object_get(args, key));
}

static inline void read_tasks(struct recorded *r, const char *trace) {
    json_error_t error;
    json_t *root = json_load_file(trace, 0, &error), *item;
    const json_t *array = json_object_get(root, "traceEvents");
    size_t i;
    CHECK(root, "%s: %s", trace, error.text);
    r->task = calloc(json_array_size(array) + 1, sizeof *r->task);
    json_array_foreach(array, i, item) {
        const json_t *args = json_object_get(item, "args");
        const char *name = json_string_value(json_object_get(item, "name"));
        int id = recorded_integer(args, "id");
        if (!r->task || !name || !json_object_get(args, "id"))
            continue;
        CHECK(id >= 0 && id < (int)json_array_size(array), "task %d of %zu", id,
              json_array_size(array));
        struct recorded_task *task = &r->task[id];
        snprintf(task->name, sizeof task->name, "%s", name);
        task->branch = recorded_integer(args, "branch");
        task->step = recorded_integer(args, "step");
        task->layer = recorded_integer(args, "layer");
        task->chunk = recorded_integer(args, "chunk");
        task->tile = recorded_integer(args, "tile");
        r->tasks = id >= r->tasks ? id + 1 : r->tasks;
    }
    json_decref(root);
}

static inline int recorded_order(const void *a, const void *b) {
    const struct recorded_edge *x = a, *y = b;
    return x->to != y->to ? x->to - y->to : x->from - y->from;
}

/* Of the graph's lines those of edges, without the dashed ones: these say order alone. */
static inline void read_edges(struct recorded *r, const char *dot) {
    FILE *file = fopen(dot, "r");
    char line[300];
    int capacity = 0;
    CHECK(file, "%s is not there", dot);
    while (file && fgets(line, sizeof line, file)) {
        struct recorded_edge edge;
        if (sscanf(line, " t%d -> t%d", &edge.from, &edge.to) != 2 || strchr(line, '['))
            continue;
        if (r->edges == capacity) {
            capacity = capacity ? 2 * capacity : 1024;
            r->edge = realloc(r->edge, (size_t)capacity * sizeof *r->edge);
        }
        r->edge[r->edges++] = edge;
    }
    if (file)
        fclose(file);
    if (r->edges)
        qsort(r->edge, (size_t)r->edges, sizeof *r->edge, recorded_order);
}

/* Of a machine that keeps records and edges, when all tasks have ended; the caller clears it. */
static inline struct recorded read_recorded(const struct sdt_machine *machine) {
    char folder[] = "/tmp/stardit-recorded-XXXXXX", trace[80], dot[80];
    struct sdt_error err = {0};
    struct recorded r = {0};
    CHECK(mkdtemp(folder), "no folder in /tmp");
    snprintf(trace, sizeof trace, "%s/trace.json", folder);
    snprintf(dot, sizeof dot, "%s/graph.dot", folder);
    if (sdt_machine_write_trace(machine, trace, &err) == SDT_OK &&
        sdt_machine_write_graph(machine, dot, &err) == SDT_OK) {
        read_tasks(&r, trace);
        read_edges(&r, dot);
    }
    CHECK(err.status == SDT_OK, "%s", err.message);
    unlink(trace);
    unlink(dot);
    rmdir(folder);
    return r;
}

static inline void recorded_clear(struct recorded *r) {
    free(r->task);
    free(r->edge);
    *r = (struct recorded){0};
}

/* The task of that name whose output this one reads, NULL: none does. The last one, where several
 * wrote parts; what these left of the one before is found by asking for its own. */
static inline struct recorded_task *
recorded_source(const struct recorded *r, const struct recorded_task *reader, const char *name) {
    int id = (int)(reader - r->task), first = 0, end = r->edges;
    while (first < end) { /* behind its last edge */
        int middle = first + (end - first) / 2;
        if (r->edge[middle].to <= id)
            first = middle + 1;
        else
            end = middle;
    }
    for (int i = first - 1; i >= 0 && r->edge[i].to == id; i--)
        if (!strcmp(r->task[r->edge[i].from].name, name))
            return &r->task[r->edge[i].from];
    return NULL;
}
#endif
