/* Causal video convolutions with their history, channel norm, and the mid block's attention. */
#include "codelets/codelets.h"

/* ---- sdt_insert_conv3d ---------------------------------------------------------------------- */

struct conv3d {
    struct sdt_conv conv;
    bool first;
    int x, history, w, bias, residual, y, scratch;
};

static void conv3d_cpu(void *buffers[], void *cl_arg)
{
    const struct conv3d *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const struct sdt_conv *conv = &a->conv;
    const float *x = sdt__floats(buffers, a->x);
    float *history = sdt__floats(buffers, a->history);
    sdt_conv3d(conv, x, a->first ? NULL : history, sdt__floats(buffers, a->w),
               sdt__floats(buffers, a->bias), sdt__floats(buffers, a->residual),
               sdt__floats(buffers, a->y), sdt__floats(buffers, a->scratch));
    if (history)
        sdt_conv_history(conv->kt - 1, conv->frames,
                         (size_t)conv->height * (size_t)conv->width * (size_t)conv->in, a->first, x,
                         history);
}

struct starpu_codelet sdt__conv3d_codelet = {
    .name = "conv3d",
    .cpu_funcs = {conv3d_cpu},
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_conv3d(struct sdt_flow *flow, const char *name, const struct sdt_conv *conv,
                       bool first, sdt_handle x, sdt_handle history, sdt_handle w, sdt_handle bias,
                       sdt_handle residual, sdt_handle y)
{
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct conv3d a = {*conv, first,
                       .x = sdt__task_read(&task, x),
                       .history = sdt__task_access(&task, history, first ? STARPU_W : STARPU_RW),
                       .w = sdt__task_read(&task, w),
                       .bias = sdt__task_read(&task, bias),
                       .residual = sdt__task_read(&task, residual),
                       .y = sdt__task_write(&task, y),
                       .scratch = sdt__task_scratch(&task, sdt_conv3d_scratch(conv))};
    double in = (double)conv->frames * conv->height * conv->width;
    double out = conv->upsample ? 4.0 * in : in;
    double taps = (double)conv->kt * conv->ks * conv->ks;
    double bytes = 4.0 * (in * conv->in + out * conv->out * (residual ? 2.0 : 1.0) +
                          taps * conv->in * conv->out);
    sdt__task_submit(&task, &sdt__conv3d_codelet, name, 2.0 * out * conv->in * conv->out * taps,
                     bytes, &a, sizeof a);
}

/* ---- sdt_insert_time_upsample --------------------------------------------------------------- */

struct time_upsample {
    int frames, height, width, channels;
    bool first;
    int x, history, w, bias, y, scratch;
};

static void time_upsample_cpu(void *buffers[], void *cl_arg)
{
    const struct time_upsample *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const float *x = sdt__floats(buffers, a->x);
    float *history = sdt__floats(buffers, a->history);
    sdt_time_upsample(a->frames, a->height, a->width, a->channels, x, a->first ? NULL : history,
                      sdt__floats(buffers, a->w), sdt__floats(buffers, a->bias),
                      sdt__floats(buffers, a->y), sdt__floats(buffers, a->scratch));
    sdt_conv_history(2, a->frames, (size_t)a->height * (size_t)a->width * (size_t)a->channels,
                     a->first, x, history);
}

struct starpu_codelet sdt__time_upsample_codelet = {
    .name = "time_upsample",
    .cpu_funcs = {time_upsample_cpu},
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_time_upsample(struct sdt_flow *flow, const char *name, int frames, int height,
                              int width, int channels, bool first, sdt_handle x,
                              sdt_handle history, sdt_handle w, sdt_handle bias, sdt_handle y)
{
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct time_upsample a = {
        frames, height, width, channels, first,
        .x = sdt__task_read(&task, x),
        .history = sdt__task_access(&task, history, first ? STARPU_W : STARPU_RW),
        .w = sdt__task_read(&task, w),
        .bias = sdt__task_read(&task, bias),
        .y = sdt__task_write(&task, y),
        .scratch = sdt__task_scratch(&task, sdt_time_upsample_scratch(width, channels))};
    double pixels = (double)frames * height * width;
    sdt__task_submit(&task, &sdt__time_upsample_codelet, name,
                     12.0 * pixels * channels * channels, 12.0 * pixels * channels, &a, sizeof a);
}

/* ---- sdt_insert_channel_norm ---------------------------------------------------------------- */

struct channel_norm {
    size_t pixels;
    int channels, silu;
    int x, gamma, y;
};

static void channel_norm_cpu(void *buffers[], void *cl_arg)
{
    const struct channel_norm *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    sdt_channel_norm(a->pixels, a->channels, sdt__floats(buffers, a->x),
                     sdt__floats(buffers, a->gamma), a->silu, sdt__floats(buffers, a->y));
}

struct starpu_codelet sdt__channel_norm_codelet = {
    .name = "channel_norm",
    .cpu_funcs = {channel_norm_cpu},
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_channel_norm(struct sdt_flow *flow, const char *name, size_t pixels, int channels,
                             bool silu, sdt_handle x, sdt_handle gamma, sdt_handle y)
{
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct channel_norm a = {pixels, channels, silu, sdt__task_read(&task, x),
                             sdt__task_read(&task, gamma), sdt__task_write(&task, y)};
    double count = (double)pixels * channels;
    sdt__task_submit(&task, &sdt__channel_norm_codelet, name, 12.0 * count, 8.0 * count, &a,
                     sizeof a);
}

/* ---- sdt_insert_frame_attention ------------------------------------------------------------- */

struct frame_attention {
    int frames, pixels, channels;
    int qkv, o, scratch;
};

static void frame_attention_cpu(void *buffers[], void *cl_arg)
{
    const struct frame_attention *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    const float *qkv = sdt__floats(buffers, a->qkv); /* [frames, pixels, 3C] */
    float *o = sdt__floats(buffers, a->o);           /* [frames, pixels, C] */
    size_t frame = (size_t)a->pixels * (size_t)a->channels;
    for (int t = 0; t < a->frames; t++)
        sdt_frame_attention(a->pixels, a->channels, qkv + 3 * frame * (size_t)t,
                            o + frame * (size_t)t, sdt__floats(buffers, a->scratch));
}

struct starpu_codelet sdt__frame_attention_codelet = {
    .name = "frame_attention",
    .cpu_funcs = {frame_attention_cpu},
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_frame_attention(struct sdt_flow *flow, const char *name, int frames, int pixels,
                                int channels, sdt_handle qkv, sdt_handle o)
{
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct frame_attention a = {
        frames, pixels, channels, sdt__task_read(&task, qkv), sdt__task_write(&task, o),
        sdt__task_scratch(&task, sdt_frame_attention_scratch(pixels, channels))};
    double p = (double)pixels;
    sdt__task_submit(&task, &sdt__frame_attention_codelet, name, 4.0 * frames * p * p * channels,
                     16.0 * frames * p * channels, &a, sizeof a);
}
