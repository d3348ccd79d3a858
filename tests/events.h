/* Tasks of a recorded trace by name, for tests that ask which version of something a task read. */
#ifndef STARDIT_TESTS_EVENTS_H
#define STARDIT_TESTS_EVENTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Clocks of two cores may be so far apart, us, and starts and lengths are rounded: what follows on
 * an end may seem to begin before it. */
#define SKEW 5.0

struct event {
    long long id; /* order of insertion */
    int branch, step, layer, chunk, tile;
    int block;         /* whose it is, where the test finds out */
    double start, end; /* us */
};

struct events {
    int count;
    struct event *event; /* in the order of insertion; the caller frees it */
};

static inline int event_integer(const json_t *args, const char *key) {
    return (int)json_integer_value(json_object_get(args, key));
}

static inline int event_order(const void *a, const void *b) {
    const struct event *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static inline struct events read_events(const json_t *root, const char *name) {
    const json_t *array = json_object_get(root, "traceEvents"), *item;
    struct events found = {0, calloc(json_array_size(array) + 1, sizeof *found.event)};
    size_t i;
    json_array_foreach(array, i, item) {
        const json_t *args = json_object_get(item, "args");
        const char *word = json_string_value(json_object_get(item, "name"));
        const char *phase = json_string_value(json_object_get(item, "ph"));
        double start = json_number_value(json_object_get(item, "ts"));
        if (!found.event || !word || !phase || strcmp(phase, "X") || strcmp(word, name))
            continue;
        found.event[found.count++] = (struct event){
            .id = json_integer_value(json_object_get(args, "id")),
            .branch = event_integer(args, "branch"),
            .step = event_integer(args, "step"),
            .layer = event_integer(args, "layer"),
            .chunk = event_integer(args, "chunk"),
            .tile = event_integer(args, "tile"),
            .start = start,
            .end = start + json_number_value(json_object_get(item, "dur")),
        };
    }
    if (found.event)
        qsort(found.event, (size_t)found.count, sizeof *found.event, event_order);
    return found;
}

/* Of the same forward's place: branch, layer and head chunk. */
static inline bool event_beside(const struct event *a, const struct event *b) {
    return a->branch == b->branch && a->layer == b->layer && a->chunk == b->chunk;
}
#endif
