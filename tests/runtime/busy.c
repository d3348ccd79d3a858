/* Busy seconds of a GPU by events, on a stream made up here: tasks that lie behind one another and
 * tasks with gaps, more of them than there are events, and events that fail. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include <stdio.h>

#ifdef HAVE_CUDA
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "runtime/busy.h"
#include "tests/check.h"

/* ---- a CUDA runtime of events alone ---------------------------------------------------------- */

static double now; /* of the stream, milliseconds */
static int alive, synchronized;
static bool refuse;

struct CUevent_st {
    double at;
    bool recorded;
};

#undef cudaEventCreate
cudaError_t cudaEventCreate(cudaEvent_t *event) {
    *event = calloc(1, sizeof **event);
    alive++;
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    free(event);
    alive--;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    (void)stream;
    event->at = now;
    event->recorded = true;
    return refuse ? cudaErrorUnknown : cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    CHECK(event->recorded, "an event is waited for that nobody recorded");
    synchronized++;
    return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
    CHECK(from->recorded && to->recorded && to->at >= from->at, "a pair in the wrong order");
    *milliseconds = (float)(to->at - from->at);
    return cudaSuccess;
}

static void task(struct sdt__busy *busy, double gap, double length) {
    now += gap;
    sdt__busy_begin(busy);
    now += 0.5 * length;
    sdt__busy_begin(busy); /* a wrapper that asks for its context twice */
    now += 0.5 * length;
    sdt__busy_end(busy);
    sdt__busy_end(busy);
}

int main(void) {
    struct sdt__busy *busy = sdt__busy_new(NULL);
    for (int t = 0; t < 1000; t++)
        task(busy, t % 3 ? 0.0 : 2.0, t < 64 ? 1.5 : 0.5); /* the ring's first are longer */
    double seconds = sdt__busy_seconds(busy);
    printf("1000 tasks of 0.5 and 1.5 ms in %.3f s: busy %.3f s\n", 1e-3 * now, seconds);
    CHECK(fabs(seconds - 0.564) < 1e-4, "busy for %g s in place of 0.564", seconds);
    CHECK(synchronized == 1000, "%d pairs were read", synchronized);
    task(busy, 100.0, 1.0);
    seconds = sdt__busy_seconds(busy);
    CHECK(fabs(seconds - 0.565) < 1e-4, "busy for %g s in place of 0.565", seconds);
    refuse = true;
    task(busy, 0.0, 1.0);
    CHECK(isnan(sdt__busy_seconds(busy)), "an event that fails goes unseen");
    sdt__busy_free(busy);
    sdt__busy_free(NULL);
    CHECK(alive == 0, "%d events are left", alive);
    return failures > 0;
}
#else
int main(void) {
    printf("skipped: built without CUDA\n");
    return 77;
}
#endif
