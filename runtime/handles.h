/* Handles: the one place where they are born and where they end.
 *
 * A handle is an array of one type that StarPU moves and keeps coherent. Whoever makes one says
 * whose it is: the place that works on it, or nobody in particular (a weight goes wherever a task
 * reads it). The machine counts the handles that live and the bytes that each place owns, so that a
 * test sees a leak and a prediction can be compared with what is there. */
#ifndef STARDIT_HANDLES_H
#define STARDIT_HANDLES_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <starpu.h>

#include "runtime/owners.h"
#include "stardit/device.h"

struct sdt_flow;
struct sdt_place;

/* Of one machine; all zero at its start. Work space (sdt__task_scratch) is not counted: it is the
 * machine's own, and stays until it closes. */
struct sdt_handles {
    atomic_long alive;
    /* By owner: 0 the host, d + 1 device d, the last one nobody. */
    atomic_size_t bytes[SDT_MAX_DEVICES + 2];
};

/* An array of `count` numbers of `dtype`, owned by `owner` (NULL: nobody).
 *
 * host NULL: it has no contents, and StarPU takes memory on each device where a task first uses it.
 * Else it lies in the host's memory at `host`, which must outlive the handle; the numbers there are
 * current again when sdt__unregister has returned. name: static text or what outlives the handle.
 * Of several ranks, those of the owner have the numbers; elsewhere nothing is taken from `host` or
 * put there.
 *
 * NULL when the flow has failed, or fails with this: SDT_ERROR_LIMIT for a count of 0 or above
 * 4294967295, SDT_ERROR_MEMORY. */
starpu_data_handle_t sdt__register(struct sdt_flow *flow, const struct sdt_place *owner,
                                   enum sdt_dtype dtype, size_t count, const void *host,
                                   const char *name);
/* The end of a handle; NULL is fine. The first waits for all tasks that use it and brings numbers
 * in the host's memory up to date. The second returns at once; the numbers are lost. */
void sdt__unregister(starpu_data_handle_t handle);
void sdt__unregister_submit(starpu_data_handle_t handle);

/* Short forms: without a home and an owner, the same of floats, floats in the host's memory. */
starpu_data_handle_t sdt__tensor(struct sdt_flow *flow, enum sdt_dtype dtype, size_t count,
                                 const char *name);
starpu_data_handle_t sdt__vector(struct sdt_flow *flow, size_t floats, const char *name);
starpu_data_handle_t sdt__host_vector(struct sdt_flow *flow, float *values /* [floats] */,
                                      size_t floats, const char *name);
/* Packed weights (sdt_pack_weight), which have elements of their own; bytes: of sdt_packed_size. */
starpu_data_handle_t sdt__packed(struct sdt_flow *flow, size_t bytes, const char *name);
/* Work space of floats, for runtime/task.c. */
starpu_data_handle_t sdt__scratch_vector(struct sdt_flow *flow, size_t floats);

/* Handles that were born and have not been ended; and the bytes of those that a place owns (NULL:
 * nobody). From any thread. */
long sdt__handles_alive(const struct sdt_handles *handles);
size_t sdt__handles_bytes(const struct sdt_handles *handles, const struct sdt_place *owner);

/* Where there are several ranks: the numbers are brought on each rank by itself, and not before a
 * task reads them there. `fill` inserts the task that writes them; arg is copied.
 * SDT_ERROR_MEMORY: stays in the flow. */
typedef void (*sdt_fill)(struct sdt_flow *flow, starpu_data_handle_t handle, const void *arg);
void sdt__fill_later(struct sdt_flow *flow, starpu_data_handle_t handle, sdt_fill fill,
                     const void *arg, size_t size);
/* Before such a task: has that done, if it has not been. */
void sdt__fill_now(struct sdt_flow *flow, starpu_data_handle_t handle);
/* NULL: a handle that was not born here, or work space. */
struct sdt_owners *sdt__handle_owners(starpu_data_handle_t handle);

/* For the recorder: a pointer of its own with each handle, NULL at first. NULL: a handle that was
 * not born here. */
void **sdt__handle_touch(starpu_data_handle_t handle);
#endif
