/* Birth and end of handles, and the count of those between. */
#include "runtime/handles.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/task.h"

#define MARK UINT64_C(0x5da4a7d1e)

/* How numbers come that are not there before they are read. */
struct fill {
    sdt_fill call;
    max_align_t arg[];
};

/* What StarPU keeps with a handle for us. */
struct birth {
    uint64_t mark;               /* MARK: this really is one */
    struct sdt_handles *handles; /* that count it; NULL: work space */
    int owner;                   /* index of handles->bytes */
    size_t bytes;
    void *touch;              /* the recorder's */
    struct sdt_owners owners; /* where there are several ranks */
    struct fill *fill;        /* NULL: none, or done */
};

static struct birth *birth_of(starpu_data_handle_t handle) {
    struct birth *birth = starpu_data_get_user_data(handle);
    return birth && birth->mark == MARK ? birth : NULL;
}

static int owner_index(const struct sdt_place *owner) {
    return owner ? owner->device + 1 : SDT_MAX_DEVICES + 1;
}

static starpu_data_handle_t make(struct sdt_flow *flow, struct sdt_handles *handles,
                                 const struct sdt_place *place, size_t size, size_t count,
                                 const void *host, const char *name) {
    starpu_data_handle_t handle = NULL;
    const bool ranks = flow->crossing && handles;
    const int owner = handles ? owner_index(place) : 0;
    if (flow->error.status != SDT_OK)
        return NULL;
    if (count == 0 || count > UINT32_MAX) {
        sdt_fail(&flow->error, SDT_ERROR_LIMIT,
                 "%s would hold %zu numbers; a StarPU vector holds 1 to 4294967295", name, count);
        return NULL;
    }
    struct birth *birth = malloc(sizeof *birth);
    if (!birth) {
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for %s", name);
        return NULL;
    }
    *birth =
        (struct birth){.mark = MARK, .handles = handles, .owner = owner, .bytes = count * size};
    const uint64_t writers = !ranks || !host ? 0 : place ? place->ranks : flow->crossing->all;
    if (ranks && !(writers & flow->crossing->here))
        host = NULL;
    starpu_vector_data_register(&handle, host ? STARPU_MAIN_RAM : -1, (uintptr_t)host,
                                (uint32_t)count, size);
    starpu_data_set_name(handle, name);
    starpu_data_set_user_data(handle, birth);
    if (ranks)
        sdt__owners_init(&birth->owners, handle, flow->lane->next_tag++, writers);
    if (handles) {
        atomic_fetch_add(&handles->alive, 1);
        atomic_fetch_add(&handles->bytes[owner], birth->bytes);
    }
    return handle;
}

starpu_data_handle_t sdt__register(struct sdt_flow *flow, const struct sdt_place *owner,
                                   enum sdt_dtype dtype, size_t count, const void *host,
                                   const char *name) {
    return make(flow, flow->handles, owner, sdt_dtype_size(dtype), count, host, name);
}

/* Nothing of ours looks at the handle after this. */
static void forget(starpu_data_handle_t handle) {
    struct birth *birth = birth_of(handle);
    if (!birth)
        return;
    if (birth->handles) {
        atomic_fetch_sub(&birth->handles->alive, 1);
        atomic_fetch_sub(&birth->handles->bytes[birth->owner], birth->bytes);
    }
    starpu_data_set_user_data(handle, NULL);
    free(birth->fill);
    free(birth);
}

void sdt__unregister(starpu_data_handle_t handle) {
    if (!handle)
        return;
    forget(handle);
    starpu_data_unregister(handle);
}

void sdt__unregister_submit(starpu_data_handle_t handle) {
    if (!handle)
        return;
    forget(handle);
    starpu_data_unregister_submit(handle);
}

starpu_data_handle_t sdt__tensor(struct sdt_flow *flow, enum sdt_dtype dtype, size_t count,
                                 const char *name) {
    return sdt__register(flow, NULL, dtype, count, NULL, name);
}

starpu_data_handle_t sdt__vector(struct sdt_flow *flow, size_t floats, const char *name) {
    return sdt__register(flow, NULL, SDT_F32, floats, NULL, name);
}

starpu_data_handle_t sdt__packed(struct sdt_flow *flow, size_t bytes, const char *name) {
    return make(flow, flow->handles, NULL, SDT_PACKED_ELEMENT, bytes / SDT_PACKED_ELEMENT, NULL,
                name);
}

starpu_data_handle_t sdt__host_vector(struct sdt_flow *flow, float *values, size_t floats,
                                      const char *name) {
    return sdt__register(flow, flow->host, SDT_F32, floats, values, name);
}

starpu_data_handle_t sdt__scratch_vector(struct sdt_flow *flow, size_t floats) {
    return make(flow, NULL, NULL, sizeof(float), floats, NULL, "scratch");
}

long sdt__handles_alive(const struct sdt_handles *handles) { return atomic_load(&handles->alive); }

size_t sdt__handles_bytes(const struct sdt_handles *handles, const struct sdt_place *owner) {
    return atomic_load(&handles->bytes[owner_index(owner)]);
}

void **sdt__handle_touch(starpu_data_handle_t handle) {
    struct birth *birth = birth_of(handle);
    return birth ? &birth->touch : NULL;
}

struct sdt_owners *sdt__handle_owners(starpu_data_handle_t handle) {
    struct birth *birth = birth_of(handle);
    return birth && birth->handles ? &birth->owners : NULL;
}

void sdt__fill_later(struct sdt_flow *flow, starpu_data_handle_t handle, sdt_fill fill,
                     const void *arg, size_t size) {
    struct birth *birth = birth_of(handle);
    birth->fill = malloc(sizeof *birth->fill + size);
    if (!birth->fill) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for what is read later");
        return;
    }
    birth->fill->call = fill;
    memcpy(birth->fill->arg, arg, size);
    birth->owners.writers = birth->owners.holders = flow->crossing->all;
}

void sdt__fill_now(struct sdt_flow *flow, starpu_data_handle_t handle) {
    struct birth *birth = birth_of(handle);
    struct fill *fill = birth ? birth->fill : NULL;
    if (!fill)
        return;
    birth->fill = NULL;
    fill->call(flow, handle, fill->arg);
    if (flow->error.status == SDT_OK)
        free(fill);
    else
        birth->fill = fill; /* nothing has been inserted */
}
