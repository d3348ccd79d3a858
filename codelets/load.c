/* Weights from the checkpoint's mapping into a handle: converted to its type, or packed for CPUs.
 *
 * Tensors that are stored as they are wanted need no task: graph/run/parameters.c registers the
 * mapping itself. */
#include "codelets/codelets.h"
#include "stardit/graph.h"

static void begin(const struct sdt_reading *reading) {
    if (reading->begin)
        reading->begin(reading->arg);
}

static void end(const struct sdt_reading *reading) {
    if (reading->end)
        reading->end(reading->arg);
}

/* NULL: nothing is to be called. */
static struct sdt_reading given(const struct sdt_reading *reading) {
    return reading ? *reading : (struct sdt_reading){0};
}

/* ---- sdt_insert_load ------------------------------------------------------------------------ */

struct load {
    enum sdt_dtype dtype;
    const void *data;
    size_t count;
    int out, in, taps;
    int ld;                /* above 0: columns of a matrix, [out, in] of [out, ld] */
    int y, stored, packed; /* the last two for convolutions: [count] floats each */
    struct sdt_reading reading;
};

static void load_columns(const struct load *a, enum sdt_dtype dtype, void *y) {
    size_t to = (size_t)a->in * sdt_dtype_size(dtype);
    size_t from = (size_t)a->ld * sdt_dtype_size(a->dtype);
    for (size_t r = 0; r < (size_t)a->out; r++)
        sdt_convert_to(a->dtype, (size_t)a->in, (const char *)a->data + r * from, dtype,
                       (char *)y + r * to);
}

static void load_cpu(void *buffers[], void *cl_arg) {
    const struct load *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    enum sdt_dtype dtype = sdt__dtype(buffers, a->y);
    void *y = sdt__pointer(buffers, a->y); /* [count] */
    float *stored = sdt__floats(buffers, a->stored), *packed = sdt__floats(buffers, a->packed);
    begin(&a->reading);
    if (!stored) {
        if (a->ld)
            load_columns(a, dtype, y);
        else
            sdt_convert_to(a->dtype, a->count, a->data, dtype, y);
        end(&a->reading);
        /* What is stored as F32 is a caller's own (sdt_vector_put), or not read twice. */
        if (a->dtype != SDT_F32 && dtype == SDT_F32 && sdt_find_not_finite(a->count, y) < a->count)
            sdt__task_not_finite(cl_arg);
        return;
    }
    sdt_convert(a->dtype, a->count, a->data, stored);
    end(&a->reading);
    if (sdt_find_not_finite(a->count, stored) < a->count)
        sdt__task_not_finite(cl_arg);
    sdt_conv_pack(a->out, a->in, a->taps, stored, packed ? packed : y);
    if (packed)
        sdt_convert_to(SDT_F32, a->count, packed, dtype, y);
}

struct starpu_codelet sdt__load_codelet = {
    .name = "load",
    SDT_ON_CPU(load_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_LOAD],
};

void sdt_insert_load(struct sdt_flow *flow, const char *name, enum sdt_dtype dtype,
                     const void *data, size_t count, int out, int in, int taps,
                     const struct sdt_reading *reading, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct load a = {dtype,
                     data,
                     count,
                     out,
                     in,
                     taps,
                     .y = sdt__task_write(&task, y),
                     .stored = -1,
                     .packed = -1,
                     .reading = given(reading)};
    if (taps > 1)
        a.stored = sdt__task_scratch(&task, count * sizeof(float));
    if (taps > 1 && sdt__handle_dtype(y) != SDT_F32)
        a.packed = sdt__task_work(&task, count * sizeof(float));
    sdt__task_submit(&task, &sdt__load_codelet, name, 0.0,
                     (double)count * (sdt__element(y) + (double)sdt_dtype_size(dtype)), &a,
                     sizeof a);
}

void sdt_insert_load_columns(struct sdt_flow *flow, const char *name, enum sdt_dtype dtype,
                             const void *data, int rows, int columns, int ld,
                             const struct sdt_reading *reading, sdt_handle y) {
    struct sdt_task task;
    size_t count = (size_t)rows * (size_t)columns;
    sdt__task_begin(&task, flow);
    struct load a = {.dtype = dtype,
                     .data = data,
                     .count = count,
                     .out = rows,
                     .in = columns,
                     .taps = 1,
                     .ld = ld,
                     .y = sdt__task_write(&task, y),
                     .stored = -1,
                     .packed = -1,
                     .reading = given(reading)};
    sdt__task_submit(&task, &sdt__load_codelet, name, 0.0,
                     (double)count * (sdt__element(y) + (double)sdt_dtype_size(dtype)), &a,
                     sizeof a);
}

void sdt_vector_put(struct sdt_flow *flow, sdt_handle vector, const float *data, size_t count) {
    const struct sdt_place *place = flow->place;
    enum sdt_role role = flow->tag.role;
    if (flow->error.status != SDT_OK || sdt__vector_check(vector, count, &flow->error) != SDT_OK)
        return;
    flow->place = flow->host;
    flow->tag.role = SDT_ROLE_IO;
    sdt_insert_load(flow, "put", SDT_F32, data, count, 1, 1, 1, NULL, vector);
    flow->tag.role = role;
    flow->place = place;
}

/* ---- sdt_insert_pack_weight ----------------------------------------------------------------- */

struct pack_weight {
    enum sdt_dtype dtype;
    const void *data;
    int n, k, ld, taps, run;
    int y, stored, ordered; /* the last two for convolutions: [n * k] floats each */
    struct sdt_reading reading;
};

static void pack_weight_cpu(void *buffers[], void *cl_arg) {
    const struct pack_weight *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    float *stored = sdt__floats(buffers, a->stored), *ordered = sdt__floats(buffers, a->ordered);
    void *y = sdt__pointer(buffers, a->y);
    begin(&a->reading);
    if (!stored) {
        sdt_pack_columns(a->dtype, a->n, a->k, a->ld, a->run, a->data, y);
        end(&a->reading);
        return;
    }
    size_t count = (size_t)a->n * (size_t)a->k;
    sdt_convert(a->dtype, count, a->data, stored);
    end(&a->reading);
    /* Of a matrix, the step's result shows it; a frame's norms may hide it. */
    if (sdt_find_not_finite(count, stored) < count)
        sdt__task_not_finite(cl_arg);
    sdt_conv_pack(a->n, a->k / a->taps, a->taps, stored, ordered);
    sdt_pack_weight(SDT_F32, a->n, a->k, a->run, ordered, y);
}

struct starpu_codelet sdt__pack_weight_codelet = {
    .name = "pack_weight",
    SDT_ON_CPU(pack_weight_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_LOAD],
};

void sdt_insert_pack_weight(struct sdt_flow *flow, const char *name, enum sdt_dtype dtype,
                            const void *data, int n, int k, int ld, int taps, int run,
                            const struct sdt_reading *reading, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct pack_weight a = {dtype,
                            data,
                            n,
                            k,
                            ld,
                            taps,
                            run,
                            .y = sdt__task_write(&task, y),
                            .stored = -1,
                            .ordered = -1,
                            .reading = given(reading)};
    if (taps > 1) {
        size_t bytes = (size_t)n * (size_t)k * sizeof(float);
        a.stored = sdt__task_scratch(&task, bytes);
        a.ordered = sdt__task_work(&task, bytes);
    }
    sdt__task_submit(&task, &sdt__pack_weight_codelet, name, 0.0,
                     (double)n * k * sdt_dtype_size(dtype) + (double)sdt_packed_size(dtype, n, k),
                     &a, sizeof a);
}
