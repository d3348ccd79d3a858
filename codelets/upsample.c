/* Frames enlarged x2: by linear interpolation, and from the bands of a wavelet. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

/* ---- sdt_insert_linear_upsample ------------------------------------------------------------- */

enum { MOST_BANDS = 2 * SDT_MOST_CONV_BANDS };

size_t sdt__linear_upsample_scratch(enum sdt_device_kind kind,
                                    const struct sdt_linear_upsample *up) {
    return SDT_SCRATCH(kind, sdt_linear_upsample_scratch(up), 0);
}

struct linear_upsample {
    struct sdt_linear_upsample up;
    struct sdt_conv_part part;
    int frames;
    int x[MOST_BANDS], y, scratch;
};

static void linear_upsample_cpu(void *buffers[], void *cl_arg) {
    const struct linear_upsample *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const float *x[MOST_BANDS];
    for (int i = 0; i < a->frames * a->part.bands; i++)
        x[i] = sdt__floats(buffers, a->x[i]);
    struct sdt_conv_input input = {x, a->part.bands, a->part.first_band, a->part.band_rows};
    sdt_linear_upsample_rows(&a->up, a->part.y0, a->part.rows, &input, sdt__floats(buffers, a->y),
                             sdt__floats(buffers, a->scratch));
}

#ifdef HAVE_CUDA
static void linear_upsample_cuda(void *buffers[], void *cl_arg) {
    const struct linear_upsample *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg,
                   sdt_cuda_linear_upsample(sdt__cuda(), sdt__dtype(buffers, a->y), &a->up,
                                            sdt__pointer(buffers, a->x[0]),
                                            a->frames > 1 ? sdt__pointer(buffers, a->x[1]) : NULL,
                                            sdt__pointer(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__linear_upsample_codelet = {
    .name = "linear_upsample",
    SDT_ON_BOTH(linear_upsample_cpu, linear_upsample_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_linear_upsample(struct sdt_flow *flow, const char *name,
                                const struct sdt_linear_upsample *up,
                                const struct sdt_conv_part *part, const sdt_handle *x,
                                sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    if (part->bands > SDT_MOST_CONV_BANDS || (flow->place->kind == SDT_DEVICE_CUDA &&
                                              (part->rows != 2 * up->height || part->bands != 1))) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_LIMIT,
                     "%s: %d of %d rows from %d bands; at most %d bands work, and on GPUs whole "
                     "frames",
                     name, part->rows, 2 * up->height, part->bands, SDT_MOST_CONV_BANDS);
        return;
    }
    struct linear_upsample a = {.up = *up, .part = *part, .frames = up->weight < 1.f ? 2 : 1};
    for (int i = 0; i < MOST_BANDS; i++)
        a.x[i] = i < a.frames * part->bands ? sdt__task_read(&task, x[i]) : -1;
    a.y = sdt__task_write(&task, y);
    size_t scratch = sdt__linear_upsample_scratch(flow->place->kind, up);
    a.scratch = scratch ? sdt__task_scratch(&task, scratch) : -1;
    double out = 2.0 * part->rows * up->width * up->channels;
    sdt__task_submit(&task, &sdt__linear_upsample_codelet, name, 7.0 * out,
                     sdt__element(y) * (1.0 + a.frames / 4.0) * out, &a, sizeof a);
}

/* ---- sdt_insert_inverse_haar_2d, sdt_insert_inverse_haar_3d --------------------------------- */

struct haar {
    int height, width;
    bool cube;
    int bands, low, first, y;
};

static void haar_cpu(void *buffers[], void *cl_arg) {
    const struct haar *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const float *bands = sdt__floats(buffers, a->bands), *low = sdt__floats(buffers, a->low);
    if (a->cube)
        sdt_inverse_haar_3d(a->height, a->width, bands, low, sdt__floats(buffers, a->first),
                            sdt__floats(buffers, a->y));
    else
        sdt_inverse_haar_2d(a->height, a->width, bands, low, sdt__floats(buffers, a->y));
}

#ifdef HAVE_CUDA
static void haar_cuda(void *buffers[], void *cl_arg) {
    const struct haar *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    enum sdt_dtype dtype = sdt__dtype(buffers, a->y);
    const void *bands = sdt__pointer(buffers, a->bands), *low = sdt__pointer(buffers, a->low);
    if (a->cube)
        sdt__cuda_done(cl_arg, sdt_cuda_inverse_haar_3d(sdt__cuda(), dtype, a->height, a->width,
                                                        bands, low, sdt__pointer(buffers, a->first),
                                                        sdt__pointer(buffers, a->y)));
    else
        sdt__cuda_done(cl_arg, sdt_cuda_inverse_haar_2d(sdt__cuda(), dtype, a->height, a->width,
                                                        bands, low, sdt__pointer(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__inverse_haar_codelet = {
    .name = "inverse_haar",
    SDT_ON_BOTH(haar_cpu, haar_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

static void insert_haar(struct sdt_flow *flow, const char *name, struct haar a, sdt_handle bands,
                        sdt_handle low, sdt_handle first, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    a.bands = sdt__task_read(&task, bands);
    a.low = sdt__task_read(&task, low);
    a.first = first ? sdt__task_write(&task, first) : -1;
    a.y = sdt__task_write(&task, y);
    double count = (a.cube ? 24.0 : 12.0) * a.height * a.width;
    sdt__task_submit(&task, &sdt__inverse_haar_codelet, name, (a.cube ? 4.0 : 3.0) * count,
                     2.0 * sdt__element(y) * count, &a, sizeof a);
}

void sdt_insert_inverse_haar_2d(struct sdt_flow *flow, const char *name, int height, int width,
                                sdt_handle bands, sdt_handle low, sdt_handle y) {
    insert_haar(flow, name, (struct haar){.height = height, .width = width}, bands, low, NULL, y);
}

void sdt_insert_inverse_haar_3d(struct sdt_flow *flow, const char *name, int height, int width,
                                sdt_handle bands, sdt_handle low, sdt_handle first,
                                sdt_handle second) {
    insert_haar(flow, name, (struct haar){.height = height, .width = width, .cube = true}, bands,
                low, first, second);
}
