/* Flows and vectors of programs outside: what goes in comes out from any device, every mistake is
 * an error that stays in its flow, flows of several threads do not meet, and a stop ends them. And
 * handles: each is counted while it lives. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <stdatomic.h>
#include <time.h>

#include "runtime/machine.h"

enum { DEVICES = 3, N = 1000, ROUNDS = 20 };

static int failures;

static void expect(bool ok, const char *what, const struct sdt_error *err) {
    printf("%s: %s%s%s\n", what, ok ? "ok" : "FAIL", err && err->status ? ", " : "",
           err && err->status ? err->message : "");
    failures += !ok;
}

/* silu on one device after the other: each reads what the one before has written. */
static enum sdt_status chain(struct sdt_machine *machine, float start, float *last) {
    struct sdt_error err = {0};
    struct sdt_flow *flow = NULL;
    float x[N], want[N], got[N];
    sdt_handle v[ROUNDS + 1];
    enum sdt_status status = sdt_flow_new(machine, &flow, &err);
    if (status != SDT_OK)
        return status;
    for (int i = 0; i < N; i++)
        want[i] = x[i] = start + 0.001f * (float)i;
    for (int r = 0; r <= ROUNDS; r++)
        v[r] = sdt_vector_new(flow, N, "x");
    sdt_vector_put(flow, v[0], x, N);
    for (int r = 0; r < ROUNDS; r++) {
        sdt_flow_place(flow, r % (DEVICES + 1) - 1);
        sdt_flow_priority(flow, r % 3);
        sdt_flow_tag(flow)->layer = r;
        sdt_insert_silu(flow, "silu", N, v[r], v[r + 1]);
        sdt_vector_free(v[r]);
        sdt_silu(N, want, want);
    }
    status = sdt_vector_get(flow, v[ROUNDS], got, N, &err);
    if (status == SDT_OK && memcmp(got, want, sizeof got))
        status = SDT_ERROR_FORMAT;
    *last = got[N - 1];
    sdt_vector_free(v[ROUNDS]);
    sdt_flow_free(flow);
    return status;
}

struct thread {
    pthread_t thread;
    struct sdt_machine *machine;
    float start, last;
    enum sdt_status status;
};

static void *run_thread(void *arg) {
    struct thread *t = arg;
    t->status = chain(t->machine, t->start, &t->last);
    return NULL;
}

/* Flow after flow, each with one mistake. */
static void mistakes(struct sdt_machine *machine) {
    static const char *const name[] = {"no such device", "no such priority", "a vector of nothing",
                                       "too many floats put", "put into NULL"};
    static const enum sdt_status want[] = {SDT_ERROR_USAGE, SDT_ERROR_USAGE, SDT_ERROR_LIMIT,
                                           SDT_ERROR_USAGE, SDT_ERROR_USAGE};
    float x[N] = {0}, y[N + 1];
    for (int i = 0; i < 5; i++) {
        struct sdt_error err = {0};
        struct sdt_flow *flow = NULL;
        if (sdt_flow_new(machine, &flow, &err) != SDT_OK) {
            expect(false, "a flow", &err);
            return;
        }
        sdt_handle v = sdt_vector_new(flow, N, "x");
        if (i == 0)
            sdt_flow_place(flow, DEVICES);
        else if (i == 1)
            sdt_flow_priority(flow, 17);
        else if (i == 2)
            expect(!sdt_vector_new(flow, 0, "empty"), "no vector", NULL);
        else if (i == 3)
            sdt_vector_put(flow, v, y, N + 1);
        else
            sdt_vector_put(flow, NULL, x, N);
        sdt_vector_put(flow, v, x, N); /* does nothing any more */
        enum sdt_status status = sdt_vector_get(flow, v, y, N, &err);
        expect(status == want[i] && sdt_flow_wait(flow, NULL) == want[i], name[i], &err);
        sdt_vector_free(v);
        sdt_flow_free(flow);
    }
    struct sdt_error err = {0};
    struct sdt_flow *flow = NULL;
    expect(sdt_flow_new(machine, &flow, &err) == SDT_OK, "a flow", &err);
    sdt_handle v = sdt_vector_new(flow, N, "x");
    expect(sdt_vector_get(flow, v, y, N, &err) == SDT_ERROR_USAGE, "get of nothing", &err);
    sdt_vector_put(flow, v, x, N);
    err = (struct sdt_error){0};
    expect(sdt_vector_get(flow, v, y, N - 1, &err) == SDT_ERROR_USAGE, "get of too few", &err);
    err = (struct sdt_error){0};
    expect(sdt_vector_get(flow, v, y, N, &err) == SDT_OK, "the flow goes on after both", &err);
    sdt_vector_free(v);
    sdt_flow_free(flow);
}

/* Every handle is counted from its birth to its end, with its bytes, by owner. */
static void handles(struct sdt_machine *machine) {
    const struct sdt_handles *all = &machine->handles;
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    const struct sdt_place *place = &machine->device[1];
    float x[N] = {0};
    expect(sdt__handles_alive(all) == 0, "no handle is left", NULL);
    sdt_handle nobody = sdt__tensor(&flow, SDT_BF16, N, "nobody's");
    sdt_handle owned = sdt__register(&flow, place, SDT_F32, N, NULL, "owned");
    sdt_handle host = sdt__host_vector(&flow, x, N, "host's");
    sdt_insert_silu(&flow, "silu", N, host, owned);
    expect(sdt__handles_alive(all) == 3 && sdt__handles_bytes(all, NULL) == 2 * N &&
               sdt__handles_bytes(all, place) == 4 * N &&
               sdt__handles_bytes(all, &machine->device[0]) == 0 &&
               sdt__handles_bytes(all, &machine->host) == 4 * N,
           "three handles and their bytes", NULL);
    sdt__unregister_submit(owned);
    sdt__unregister(host);
    sdt__unregister(nobody);
    sdt__unregister(NULL);
    expect(sdt__flow_wait(&flow, NULL) == SDT_OK && sdt__handles_alive(all) == 0 &&
               sdt__handles_bytes(all, place) + sdt__handles_bytes(all, &machine->host) == 0,
           "all of them have ended", NULL);
    expect(!sdt__register(&flow, place, SDT_F32, 0, NULL, "empty") &&
               flow.error.status == SDT_ERROR_LIMIT && sdt__handles_alive(all) == 0,
           "none is born of a mistake", &flow.error);
}

struct bound {
    struct sdt_machine *machine;
    int allowed;
    atomic_int most;
};

/* At a task's end, which counts as pending: waits until the inserting thread has run ahead as far
 * as it may once, and then gives it time to go too far. */
static void look(void *arg) {
    const struct timespec moment = {0, 1000 * 1000};
    struct bound *bound = arg;
    do {
        nanosleep(&moment, NULL);
        int pending = atomic_load(&bound->machine->lane[SDT_LANE_OWN].pending);
        if (pending > atomic_load(&bound->most))
            atomic_store(&bound->most, pending);
    } while (atomic_load(&bound->most) < bound->allowed);
}

/* A lane never holds more tasks than asked for. */
static void check_bound(int most) {
    struct sdt_machine_options options = {
        .devices = 1, .workers_per_device = 1, .max_pending = most};
    struct bound bound = {.allowed = most};
    struct sdt_error err = {0};
    struct sdt_flow *flow = NULL;
    if (sdt_machine_open(&options, &bound.machine, &err) != SDT_OK ||
        sdt_flow_new(bound.machine, &flow, &err) != SDT_OK) {
        expect(false, "a machine with a bound", &err);
        return;
    }
    float x[N] = {0};
    sdt_handle v = sdt_vector_new(flow, N, "x"), y = sdt_vector_new(flow, N, "y");
    bound.machine->watch.task_ended_arg = &bound;
    bound.machine->watch.task_ended = look;
    sdt_vector_put(flow, v, x, N);
    for (int i = 0; i < 40; i++)
        sdt_insert_silu(flow, "silu", N, v, y);
    bool ended = sdt_flow_wait(flow, &err) == SDT_OK;
    printf("at most %d pending: %d were\n", most, bound.most);
    expect(ended && bound.most == most, "the bound", &err);
    sdt_vector_free(v);
    sdt_vector_free(y);
    sdt_flow_free(flow);
    sdt_machine_close(bound.machine);
}

int main(void) {
    struct sdt_error err = {0};
    struct sdt_machine_options options = {.devices = DEVICES};
    struct sdt_machine *machine = NULL;
    struct sdt_flow *flow[SDT_MAX_FLOWS] = {NULL}, *more = NULL;
    struct thread thread[SDT_MAX_FLOWS];
    float alone[SDT_MAX_FLOWS];
    bool same = true;

    if (sdt_machine_open(&options, &machine, &err) != SDT_OK) {
        expect(false, "a machine", &err);
        return 1;
    }
    expect(sdt_machine_devices(machine) == DEVICES, "devices", NULL);
    for (int t = 0; t < SDT_MAX_FLOWS; t++)
        same &= chain(machine, 0.1f * (float)t, &alone[t]) == SDT_OK;
    expect(same, "flows one after the other", NULL);
    for (int t = 0; t < SDT_MAX_FLOWS; t++) {
        thread[t] = (struct thread){.machine = machine, .start = 0.1f * (float)t};
        if (pthread_create(&thread[t].thread, NULL, run_thread, &thread[t]))
            return 99;
    }
    for (int t = 0; t < SDT_MAX_FLOWS; t++) {
        pthread_join(thread[t].thread, NULL);
        same &= thread[t].status == SDT_OK && thread[t].last == alone[t];
    }
    expect(same, "flows side by side", NULL);
    mistakes(machine);
    handles(machine);

    same = true;
    for (int f = 0; f < SDT_MAX_FLOWS; f++)
        same &= sdt_flow_new(machine, &flow[f], &err) == SDT_OK;
    expect(same, "as many flows as there can be", &err);
    expect(sdt_flow_new(machine, &more, &err) == SDT_ERROR_LIMIT && !more, "one more", &err);
    sdt_flow_free(NULL);
    sdt_vector_free(NULL);

    float x[N] = {0};
    sdt_handle v = sdt_vector_new(flow[0], N, "x");
    sdt_machine_stop(machine);
    sdt_vector_put(flow[0], v, x, N);
    expect(sdt_vector_get(flow[0], v, x, N, &err) == SDT_ERROR_INTERRUPTED, "stopped", &err);
    sdt_vector_free(v);
    for (int f = 0; f < SDT_MAX_FLOWS; f++)
        sdt_flow_free(flow[f]);
    sdt_machine_close(machine);
    for (int most = 1; most <= 5; most++)
        check_bound(most);
    return failures ? 1 : 0;
}
