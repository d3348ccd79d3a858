/* The first failure wins, whoever else stops the work meanwhile. */
#include "runtime/halt.h"

void sdt__halt_init(struct sdt_halt *halt, const atomic_bool *also) {
    *halt = (struct sdt_halt){.also = also};
    starpu_pthread_mutex_init(&halt->mutex, NULL);
}

void sdt__halt_clear(struct sdt_halt *halt) { starpu_pthread_mutex_destroy(&halt->mutex); }

void sdt__halt_fail(struct sdt_halt *halt, const struct sdt_error *error) {
    starpu_pthread_mutex_lock(&halt->mutex);
    if (halt->error.status == SDT_OK)
        halt->error = *error;
    starpu_pthread_mutex_unlock(&halt->mutex);
    atomic_store(&halt->failed, true);
    atomic_store(&halt->stop, true);
}

enum sdt_status sdt__halt_status(struct sdt_halt *halt, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    if (!sdt__halted(halt))
        return SDT_OK;
    starpu_pthread_mutex_lock(&halt->mutex);
    status = halt->error.status;
    if (status != SDT_OK && err)
        *err = halt->error;
    starpu_pthread_mutex_unlock(&halt->mutex);
    if (status == SDT_OK)
        status = sdt_fail(err, SDT_ERROR_INTERRUPTED, "stopped on request");
    return status;
}
