/* Pairs of events around tasks, in a ring; a pair is read when its turn comes again. */
#include "runtime/busy.h"

#ifdef HAVE_CUDA
#include <math.h>
#include <stdlib.h>

/* Many more than StarPU lets run ahead: whoever comes round finds the events long past. */
enum { PAIRS = 64 };

struct sdt__busy {
    cudaStream_t stream;
    cudaEvent_t begin[PAIRS], end[PAIRS];
    unsigned long first, next; /* pairs that have not been read yet: first..next-1 */
    bool open, failed;
    double seconds;
};

struct sdt__busy *sdt__busy_new(cudaStream_t stream) {
    struct sdt__busy *busy = calloc(1, sizeof *busy);
    if (!busy)
        return NULL;
    busy->stream = stream;
    for (int i = 0; i < PAIRS; i++)
        if (cudaEventCreate(&busy->begin[i]) != cudaSuccess ||
            cudaEventCreate(&busy->end[i]) != cudaSuccess) {
            sdt__busy_free(busy);
            return NULL;
        }
    return busy;
}

void sdt__busy_free(struct sdt__busy *busy) {
    for (int i = 0; busy && i < PAIRS; i++) {
        if (busy->begin[i])
            cudaEventDestroy(busy->begin[i]);
        if (busy->end[i])
            cudaEventDestroy(busy->end[i]);
    }
    free(busy);
}

static void read_first(struct sdt__busy *busy) {
    unsigned long at = busy->first++ % PAIRS;
    float milliseconds = 0.f;
    if (cudaEventSynchronize(busy->end[at]) != cudaSuccess ||
        cudaEventElapsedTime(&milliseconds, busy->begin[at], busy->end[at]) != cudaSuccess)
        busy->failed = true;
    busy->seconds += 1e-3 * (double)milliseconds;
}

void sdt__busy_begin(struct sdt__busy *busy) {
    if (busy->open)
        return;
    if (busy->next - busy->first == PAIRS)
        read_first(busy);
    busy->open = true;
    busy->failed |= cudaEventRecord(busy->begin[busy->next % PAIRS], busy->stream) != cudaSuccess;
}

void sdt__busy_end(struct sdt__busy *busy) {
    if (!busy->open)
        return;
    busy->open = false;
    busy->failed |= cudaEventRecord(busy->end[busy->next++ % PAIRS], busy->stream) != cudaSuccess;
}

double sdt__busy_seconds(struct sdt__busy *busy) {
    sdt__busy_end(busy);
    while (busy->first != busy->next)
        read_first(busy);
    return busy->failed ? NAN : busy->seconds;
}
#endif
