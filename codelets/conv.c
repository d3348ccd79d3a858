/* Video convolutions frame by frame, norms of channels, and the mid block's attention. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

size_t sdt__conv_scratch(enum sdt_device_kind kind, enum sdt_dtype dtype,
                         const struct sdt_conv *conv) {
    (void)kind; /* without CUDA neither matters */
    (void)dtype;
    return SDT_SCRATCH(kind, sdt_conv_scratch(conv), sdt_cuda_conv_frame_scratch(dtype, conv));
}

size_t sdt__time_upsample_scratch(enum sdt_device_kind kind, enum sdt_dtype dtype, int height,
                                  int width, int channels) {
    return SDT_SCRATCH(kind, sdt_time_upsample_scratch((size_t)height * (size_t)width),
                       sdt_cuda_time_upsample_scratch(dtype, height, width, channels));
}

size_t sdt__frame_attention_scratch(enum sdt_device_kind kind, enum sdt_dtype dtype, int pixels,
                                    int channels) {
    return SDT_SCRATCH(kind, sdt_frame_attention_scratch(pixels, channels),
                       sdt_cuda_frame_attention_scratch(dtype, pixels, channels));
}

/* ---- sdt_insert_conv ------------------------------------------------------------------------ */

enum { MOST_BANDS = 3 * SDT_MOST_CONV_BANDS };

struct conv {
    struct sdt_conv conv;
    struct sdt_conv_part part;
    int x[MOST_BANDS], w, bias, residual, y, scratch;
};

static void conv_cpu(void *buffers[], void *cl_arg) {
    const struct conv *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const float *x[MOST_BANDS];
    for (int i = 0; i < a->conv.kt * a->part.bands; i++)
        x[i] = sdt__floats(buffers, a->x[i]);
    struct sdt_conv_input input = {x, a->part.bands, a->part.first_band, a->part.band_rows};
    sdt_conv_rows(&a->conv, a->part.y0, a->part.rows, &input, sdt__weight(buffers, a->w),
                  sdt__floats(buffers, a->bias), sdt__floats(buffers, a->residual),
                  sdt__floats(buffers, a->y), sdt__floats(buffers, a->scratch));
}

#ifdef HAVE_CUDA
static void conv_cuda(void *buffers[], void *cl_arg) {
    const struct conv *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const void *x[3]; /* whole frames: sdt_insert_conv refuses others */
    for (int i = 0; i < 3; i++)
        x[i] = i < a->conv.kt ? sdt__pointer(buffers, a->x[i]) : NULL;
    sdt__cuda_done(
        cl_arg, sdt_cuda_conv_frame(sdt__cuda(), sdt__dtype(buffers, a->y), &a->conv, x,
                                    sdt__pointer(buffers, a->w), sdt__floats(buffers, a->bias),
                                    sdt__pointer(buffers, a->residual), sdt__pointer(buffers, a->y),
                                    sdt__pointer(buffers, a->scratch)));
}
#endif

struct starpu_codelet sdt__conv_codelet = {
    .name = "conv",
    SDT_ON_BOTH(conv_cpu, conv_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_CONV],
};

struct starpu_codelet sdt__narrow_conv_codelet = {
    .name = "narrow_conv",
    SDT_ON_BOTH(conv_cpu, conv_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_NARROW_CONV],
};

void sdt_insert_conv(struct sdt_flow *flow, const char *name, const struct sdt_conv *conv,
                     const struct sdt_conv_part *part, const sdt_handle *x, sdt_handle w,
                     sdt_handle bias, sdt_handle residual, sdt_handle y) {
    int height = conv->height * (conv->upsample ? 2 : 1);
    struct sdt_conv_part whole = {.rows = height, .bands = 1, .band_rows = conv->height};
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    if (!part)
        part = &whole;
    if (part->bands > SDT_MOST_CONV_BANDS ||
        (flow->place->kind == SDT_DEVICE_CUDA && (part->rows != height || part->bands != 1))) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_LIMIT,
                     "%s: a convolution of %d of %d rows over %d bands; at most %d bands work, and "
                     "on GPUs whole frames",
                     name, part->rows, height, part->bands, SDT_MOST_CONV_BANDS);
        return;
    }
    struct conv a = {.conv = *conv, .part = *part};
    for (int i = 0; i < MOST_BANDS; i++)
        a.x[i] = i < conv->kt * part->bands ? sdt__task_read(&task, x[i]) : -1;
    a.w = sdt__task_read(&task, w);
    a.bias = sdt__task_read(&task, bias);
    a.residual = sdt__task_read(&task, residual);
    a.y = sdt__task_write(&task, y);
    a.scratch =
        sdt__task_scratch(&task, sdt__conv_scratch(flow->place->kind, sdt__handle_dtype(y), conv));
    double out = (double)part->rows * conv->width * (conv->upsample ? 2.0 : 1.0);
    double in = conv->upsample ? out / 4.0 : out;
    double taps = (double)conv->kt * conv->ks * conv->ks;
    double bytes =
        sdt__element(y) * (in * conv->kt * conv->in + out * conv->out * (residual ? 2.0 : 1.0) +
                           taps * conv->in * conv->out);
    struct starpu_codelet *codelet =
        conv->out <= SDT_NARROW ? &sdt__narrow_conv_codelet : &sdt__conv_codelet;
    sdt__task_submit(&task, codelet, name, 2.0 * out * conv->in * conv->out * taps, bytes, &a,
                     sizeof a);
}

/* ---- sdt_insert_time_upsample --------------------------------------------------------------- */

struct time_upsample {
    int height, width, channels;
    int x[3], w, bias, first, second, scratch;
};

static void time_upsample_cpu(void *buffers[], void *cl_arg) {
    const struct time_upsample *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const float *x[3];
    for (int i = 0; i < 3; i++)
        x[i] = sdt__floats(buffers, a->x[i]);
    sdt_time_upsample((size_t)a->height * (size_t)a->width, a->channels, x,
                      sdt__weight(buffers, a->w), sdt__floats(buffers, a->bias),
                      sdt__floats(buffers, a->first), sdt__floats(buffers, a->second),
                      sdt__floats(buffers, a->scratch));
}

#ifdef HAVE_CUDA
static void time_upsample_cuda(void *buffers[], void *cl_arg) {
    const struct time_upsample *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const void *x[3];
    for (int i = 0; i < 3; i++)
        x[i] = sdt__pointer(buffers, a->x[i]);
    sdt__cuda_done(cl_arg,
                   sdt_cuda_time_upsample(
                       sdt__cuda(), sdt__dtype(buffers, a->first), a->height, a->width, a->channels,
                       x, sdt__pointer(buffers, a->w), sdt__floats(buffers, a->bias),
                       sdt__pointer(buffers, a->first), sdt__pointer(buffers, a->second),
                       sdt__pointer(buffers, a->scratch)));
}
#endif

struct starpu_codelet sdt__time_upsample_codelet = {
    .name = "time_upsample",
    SDT_ON_BOTH(time_upsample_cpu, time_upsample_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_CONV],
};

void sdt_insert_time_upsample(struct sdt_flow *flow, const char *name, int height, int width,
                              int channels, const sdt_handle *x, sdt_handle w, sdt_handle bias,
                              sdt_handle first, sdt_handle second) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct time_upsample a = {.height = height, .width = width, .channels = channels};
    for (int i = 0; i < 3; i++)
        a.x[i] = sdt__task_read(&task, x[i]);
    a.w = sdt__task_read(&task, w);
    a.bias = sdt__task_read(&task, bias);
    a.first = sdt__task_write(&task, first);
    a.second = sdt__task_write(&task, second);
    a.scratch = sdt__task_scratch(&task, sdt__time_upsample_scratch(flow->place->kind,
                                                                    sdt__handle_dtype(first),
                                                                    height, width, channels));
    double pixels = (double)height * width;
    sdt__task_submit(&task, &sdt__time_upsample_codelet, name, 12.0 * pixels * channels * channels,
                     5.0 * sdt__element(first) * pixels * channels, &a, sizeof a);
}

/* ---- sdt_insert_channel_norm ---------------------------------------------------------------- */

struct channel_norm {
    size_t pixels;
    int channels, silu;
    int x, gamma, y;
};

static void channel_norm_cpu(void *buffers[], void *cl_arg) {
    const struct channel_norm *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_channel_norm(a->pixels, a->channels, sdt__floats(buffers, a->x),
                     sdt__floats(buffers, a->gamma), a->silu, sdt__floats(buffers, a->y));
}

#ifdef HAVE_CUDA
static void channel_norm_cuda(void *buffers[], void *cl_arg) {
    const struct channel_norm *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg, sdt_cuda_channel_norm(sdt__cuda(), sdt__dtype(buffers, a->x), a->pixels,
                                                 a->channels, sdt__pointer(buffers, a->x),
                                                 sdt__floats(buffers, a->gamma), a->silu,
                                                 sdt__pointer(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__channel_norm_codelet = {
    .name = "channel_norm",
    SDT_ON_BOTH(channel_norm_cpu, channel_norm_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_channel_norm(struct sdt_flow *flow, const char *name, size_t pixels, int channels,
                             bool silu, sdt_handle x, sdt_handle gamma, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct channel_norm a = {pixels, channels, silu, .gamma = sdt__task_read(&task, gamma)};
    if (x == y) {
        a.x = a.y = sdt__task_update(&task, x);
    } else {
        a.x = sdt__task_read(&task, x);
        a.y = sdt__task_write(&task, y);
    }
    double count = (double)pixels * channels;
    sdt__task_submit(&task, &sdt__channel_norm_codelet, name, 12.0 * count,
                     2.0 * sdt__element(x) * count, &a, sizeof a);
}

/* ---- sdt_insert_channel_layer_norm ---------------------------------------------------------- */

struct channel_layer_norm {
    size_t pixels;
    int channels, silu;
    float eps;
    int x, weight, bias, y;
};

static void channel_layer_norm_cpu(void *buffers[], void *cl_arg) {
    const struct channel_layer_norm *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_channel_layer_norm(a->pixels, a->channels, a->eps, sdt__floats(buffers, a->x),
                           sdt__floats(buffers, a->weight), sdt__floats(buffers, a->bias), a->silu,
                           sdt__floats(buffers, a->y));
}

#ifdef HAVE_CUDA
static void channel_layer_norm_cuda(void *buffers[], void *cl_arg) {
    const struct channel_layer_norm *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt__cuda_done(cl_arg,
                   sdt_cuda_channel_layer_norm(
                       sdt__cuda(), sdt__dtype(buffers, a->x), a->pixels, a->channels, a->eps,
                       sdt__pointer(buffers, a->x), sdt__floats(buffers, a->weight),
                       sdt__floats(buffers, a->bias), a->silu, sdt__pointer(buffers, a->y)));
}
#endif

struct starpu_codelet sdt__channel_layer_norm_codelet = {
    .name = "channel_layer_norm",
    SDT_ON_BOTH(channel_layer_norm_cpu, channel_layer_norm_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_channel_layer_norm(struct sdt_flow *flow, const char *name, size_t pixels,
                                   int channels, float eps, bool silu, sdt_handle x,
                                   sdt_handle weight, sdt_handle bias, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct channel_layer_norm a = {pixels,
                                   channels,
                                   silu,
                                   eps,
                                   .weight = sdt__task_read(&task, weight),
                                   .bias = sdt__task_read(&task, bias)};
    if (x == y) {
        a.x = a.y = sdt__task_update(&task, x);
    } else {
        a.x = sdt__task_read(&task, x);
        a.y = sdt__task_write(&task, y);
    }
    double count = (double)pixels * channels;
    sdt__task_submit(&task, &sdt__channel_layer_norm_codelet, name, 14.0 * count,
                     2.0 * sdt__element(x) * count, &a, sizeof a);
}

/* ---- sdt_insert_frame_attention ------------------------------------------------------------- */

struct frame_attention {
    int pixels, channels, first, rows;
    int q, k, v, o, scratch; /* k and v -1: beside q */
};

/* What lies from pixel to pixel. */
static int row_of(const struct frame_attention *a) {
    return a->k < 0 ? 3 * a->channels : a->channels;
}

static void frame_attention_cpu(void *buffers[], void *cl_arg) {
    const struct frame_attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const float *q = sdt__floats(buffers, a->q);
    const float *k = a->k < 0 ? q + a->channels : sdt__floats(buffers, a->k);
    const float *v = a->v < 0 ? q + 2 * a->channels : sdt__floats(buffers, a->v);
    sdt_frame_attention(a->pixels, a->channels, a->first, a->rows, q, k, v, row_of(a),
                        sdt__floats(buffers, a->o), sdt__floats(buffers, a->scratch));
}

#ifdef HAVE_CUDA
static void frame_attention_cuda(void *buffers[], void *cl_arg) {
    const struct frame_attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    enum sdt_dtype dtype = sdt__dtype(buffers, a->q);
    const char *q = sdt__pointer(buffers, a->q);
    size_t part = sdt_dtype_size(dtype) * (size_t)a->channels;
    const void *k = a->k < 0 ? q + part : sdt__pointer(buffers, a->k);
    const void *v = a->v < 0 ? q + 2 * part : sdt__pointer(buffers, a->v);
    sdt__cuda_done(cl_arg, sdt_cuda_frame_attention(sdt__cuda(), dtype, a->pixels, a->channels, q,
                                                    k, v, row_of(a), sdt__pointer(buffers, a->o),
                                                    sdt__pointer(buffers, a->scratch)));
}
#endif

struct starpu_codelet sdt__frame_attention_codelet = {
    .name = "frame_attention",
    SDT_ON_BOTH(frame_attention_cpu, frame_attention_cuda),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_models[SDT_CLASS_CROSS_ATTENTION],
};

void sdt_insert_frame_attention(struct sdt_flow *flow, const char *name, int pixels, int channels,
                                int first, int rows, sdt_handle q, sdt_handle k, sdt_handle v,
                                sdt_handle o) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    if (flow->place->kind == SDT_DEVICE_CUDA && rows != pixels) {
        if (flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_LIMIT,
                     "%s: attention of %d of %d pixels; on GPUs frames are whole", name, rows,
                     pixels);
        return;
    }
    struct frame_attention a = {
        pixels,
        channels,
        first,
        rows,
        sdt__task_read(&task, q),
        sdt__task_read(&task, k),
        sdt__task_read(&task, v),
        sdt__task_write(&task, o),
        sdt__task_scratch(&task, sdt__frame_attention_scratch(
                                     flow->place->kind, sdt__handle_dtype(q), pixels, channels))};
    double p = (double)pixels;
    sdt__task_submit(&task, &sdt__frame_attention_codelet, name, 4.0 * rows * p * channels,
                     sdt__element(q) * (2.0 * p + 2.0 * rows) * channels, &a, sizeof a);
}
