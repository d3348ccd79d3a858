/* What a streamed decode takes, from the list of layers: FLOPs, tasks and bytes of memory. Nothing
 * is inserted here; what wavefront_decode.c inserts must be what these predict. */
#include <math.h>
#include <stdlib.h>

#include "graph/models/wavefront.h"
#include "graph/run/parameters.h"
#include "kernels/cuda/scratch.h"

static int at_most(int a, int b) { return a < b ? a : b; }

static enum sdt_device_kind kind_of(const struct sdt_vae_job *job, int device) {
    if (job->place)
        return job->place[device].kind;
    return job->dtype == SDT_BF16 ? SDT_DEVICE_CUDA : SDT_DEVICE_CPU;
}

/* Frames that a layer computes of a latent's `frames`. */
static double frames_of(const struct frame_layer *l, int frames) {
    double all = l->time * (frames - 1.0) + 1.0;
    return l->kind == FRAME_TIME ? all - 1.0 /* the first passes by */ : all;
}

/* How many of a layer's first frames have zeros before them instead of frames, frame f of all but
 * f + 1: CPUs leave those products out. */
static int early_frames(const struct frame_layer *l, double frames, enum sdt_device_kind kind) {
    return l->kind == FRAME_CONV && !l->repeats && kind == SDT_DEVICE_CPU
               ? at_most(l->conv.kt - 1, (int)frames)
               : 0;
}

double sdt__wavefront_flops(const struct sdt_vae *opened, const struct sdt_vae_job *job) {
    const struct wavefront_vae *vae = sdt__wavefront_of(opened);
    struct wavefront all;
    struct vae_tiling t = sdt__vae_tiling(&vae->vae, job);
    double flops = 0.0;
    sdt__wavefront_init(&all, vae, job->frames);
    for (int n = 0; n < t.rows * t.cols; n++) {
        struct vae_tile tile = sdt__vae_tile(&t, job, n);
        double rows = tile.rows, cols = tile.cols;
        for (int i = 0; i < all.layers; i++) {
            double frames = frames_of(&all.layer[i], job->frames);
            int early = early_frames(&all.layer[i], frames, kind_of(job, 0));
            for (int f = 0; f < early; f++)
                frames -= 1.0 - (f + 1.0) / all.layer[i].conv.kt;
            flops += all.layer[i].flops / all.layer[i].time * frames * rows * cols;
            if (all.layer[i].kind == FRAME_ATTEND)
                flops +=
                    4.0 * frames * rows * cols * rows * cols * all.edge[all.layer[i].out].channels;
        }
    }
    sdt__wavefront_clear(&all);
    return flops;
}

/* The tasks of a layer for one frame of a tile, cut into bands of `band` latent rows; a part of a
 * task stands for a shorter last band. */
static struct sdt_operation operation_of(const struct wavefront *all, const struct frame_layer *l,
                                         struct vae_tile tile, int band) {
    const struct frame_edge *in = l->in[0] < 0 ? NULL : &all->edge[l->in[0]];
    const struct frame_edge *at = in ? in : &all->edge[l->out];
    int looked_at = at->whole ? tile.rows : band;
    int height = looked_at * at->space, width = tile.cols * at->space;
    struct sdt_operation o = {
        .tasks = (double)tile.rows / looked_at, .rows = height * width, .n = at->channels};
    switch (l->kind) {
    case FRAME_CONV:
        o.kind = SDT_OPERATION_CONV;
        o.conv = l->conv;
        o.conv.height = height;
        o.conv.width = width;
        o.residual = l->in[1] >= 0;
        break;
    case FRAME_TIME: /* as a product: the neighbours in time of a pixel, and two pixels out of it */
        o.kind = SDT_OPERATION_LINEAR;
        o.n = 2 * at->channels;
        o.k = 3 * at->channels;
        o.conv = sdt__time_half(height, width, at->channels);
        break;
    case FRAME_NORM:
    case FRAME_LAYER_NORM:
        o.kind = SDT_OPERATION_CHANNEL_NORM;
        break;
    case FRAME_ATTEND:
        o.kind = SDT_OPERATION_ATTENTION;
        o.heads = 1;
        o.e = all->edge[l->out].channels;
        o.keys = o.rows;
        break;
    case FRAME_LINEAR: /* two frames read, one of four times the size written */
        o.kind = SDT_OPERATION_ELEMENTS;
        o.n = 6 * at->channels;
        break;
    default: /* read and written once */
        o.kind = SDT_OPERATION_ELEMENTS;
        o.n = 2 * at->channels;
        break;
    }
    return o;
}

/* Devices of a plan may not be known yet: alike then. */
static const struct sdt_place *places_of(const struct sdt_vae_job *job, int devices,
                                         struct sdt_place *alike /* [devices] */) {
    for (int d = 0; d < devices; d++)
        alike[d] = (struct sdt_place){.speed = 1.0};
    return job->place ? job->place : alike;
}

static void add_frames(struct sdt_operations *list, const struct frame_layer *l,
                       struct sdt_operation of_frame, const struct sdt_vae_job *job,
                       enum sdt_device_kind kind) {
    double frames = frames_of(l, job->frames);
    int early = early_frames(l, frames, kind);
    for (int f = 0; f < early; f++) {
        struct sdt_operation first = of_frame;
        first.conv.kt = f + 1;
        sdt_operations_add(list, first);
    }
    of_frame.tasks *= frames - early;
    sdt_operations_add(list, of_frame);
}

void sdt__wavefront_operations(const struct sdt_vae *opened, const struct sdt_vae_job *job,
                               int devices, struct sdt_operations *list) {
    const struct wavefront_vae *vae = sdt__wavefront_of(opened);
    struct wavefront all;
    struct vae_tiling t = sdt__vae_tiling(&vae->vae, job);
    struct sdt_place alike[SDT_MAX_DEVICES];
    const struct sdt_place *place = places_of(job, devices, alike);
    int tiles = t.rows * t.cols, taken[SDT_MAX_DEVICES] = {0};
    int band = sdt__wavefront_band_rows(job, at_most(t.size_rows, job->height));
    sdt__wavefront_init(&all, vae, job->frames);
    sdt__wavefront_place(&all, place, devices, -1);
    for (int n = 0; n < tiles && !all.failed; n++) {
        struct vae_tile tile = sdt__vae_tile(&t, job, n);
        int device = sdt__vae_next_device(place, devices, taken);
        for (int i = 0; i < all.layers; i++) {
            struct sdt_operation o =
                operation_of(&all, &all.layer[i], tile, at_most(band, tile.rows));
            o.device = tiles == 1 ? all.layer[i].device : device;
            add_frames(list, &all.layer[i], o, job, kind_of(job, 0));
        }
    }
    list->failed |= all.failed;
    sdt__wavefront_clear(&all);
}

static double weight_bytes(const struct wavefront *all, const struct frame_layer *l,
                           enum sdt_device_kind kind, enum sdt_dtype dtype) {
    int channels = l->in[0] < 0 ? 0 : all->edge[l->in[0]].channels, n = l->conv.out;
    int k = l->conv.in * l->conv.kt * l->conv.ks * l->conv.ks;
    if (l->kind == FRAME_NORM)
        return sizeof(float) * (double)channels;
    if (l->kind == FRAME_LAYER_NORM)
        return 2 * sizeof(float) * (double)channels;
    if (l->kind == FRAME_TIME) {
        n = 2 * channels;
        k = 3 * channels;
    } else if (l->kind != FRAME_CONV) {
        return 0.0;
    }
    double matrix = kind == SDT_DEVICE_CPU ? (double)sdt_packed_size(SDT_F32, n, k)
                                           : (double)sdt_dtype_size(dtype) * n * k;
    return matrix + sizeof(float) * (double)n;
}

/* Work space of a layer's tasks. */
static size_t scratch_bytes(const struct wavefront *all, const struct frame_layer *l,
                            enum sdt_device_kind kind, enum sdt_dtype dtype, int rows, int cols) {
    if (l->in[0] < 0)
        return 0;
    const struct frame_edge *in = &all->edge[l->in[0]];
    struct sdt_conv conv = l->conv;
    conv.height = rows * in->space;
    conv.width = cols * in->space;
    switch (l->kind) {
    case FRAME_CONV:
        return sdt__conv_scratch(kind, dtype, &conv);
    case FRAME_TIME:
        return sdt__time_upsample_scratch(kind, dtype, conv.height, conv.width, in->channels);
    case FRAME_LINEAR:
        return sdt__linear_upsample_scratch(
            kind, &(struct sdt_linear_upsample){.channels = in->channels, .width = conv.width});
    case FRAME_ATTEND:
        return sdt__frame_attention_scratch(kind, dtype, conv.height * conv.width,
                                            all->edge[l->out].channels);
    default:
        return 0;
    }
}

/* Bytes that a layer's task reads and writes: what a device must hold at once. */
static double task_bytes(const struct wavefront *all, const struct frame_layer *l,
                         enum sdt_dtype dtype, int rows, int cols) {
    if (l->kind != FRAME_CONV)
        return 0.0;
    const struct frame_edge *in = &all->edge[l->in[0]], *out = &all->edge[l->out];
    double read = (double)rows * cols * in->space * in->space * in->channels;
    double written = (double)rows * cols * out->space * out->space * out->channels;
    return (double)sdt_dtype_size(dtype) *
           (l->conv.kt * read + (l->in[1] < 0 ? 1.0 : 2.0) * written);
}

/* What a device holds of decoded tiles until those below and beside them have been blended with
 * them: its share of a row of tiles and of those under way, and copies of their neighbours to the
 * left and of one above. */
static double seam_bytes(const struct wavefront_vae *vae, const struct sdt_vae_job *job,
                         int devices) {
    struct vae_tiling t = sdt__vae_tiling(&vae->vae, job);
    int ratio = vae->vae.space_ratio, frames = vae->vae.time_ratio * (job->frames - 1) + 1;
    int rows = at_most(t.size_rows, job->height), cols = at_most(t.size_cols, job->width);
    double copies = devices > 1 ? ceil((double)t.cols / devices) + 1.0 : 0.0;
    double tiles = ceil((t.cols + 1.0) / devices) + 1.0 + copies;
    if (t.rows * t.cols == 1)
        return 0.0;
    return sizeof(float) * fmin(tiles, t.rows * t.cols) *
           (double)sdt__vae_tile_values(frames, rows * ratio, cols * ratio);
}

double sdt__wavefront_bytes(const struct sdt_vae *opened, const struct sdt_vae_job *job,
                            int devices, int device) {
    const struct wavefront_vae *vae = sdt__wavefront_of(opened);
    struct wavefront all;
    struct vae_tiling t = sdt__vae_tiling(&vae->vae, job);
    struct sdt_place alike[SDT_MAX_DEVICES];
    const struct sdt_place *place = places_of(job, devices, alike);
    int rows = at_most(t.size_rows, job->height), cols = at_most(t.size_cols, job->width);
    enum sdt_device_kind kind = kind_of(job, device);
    int workers = job->place ? place[device].workers : 1;
    bool whole = t.rows * t.cols == 1, puts = false;
    double bytes = 0.0, largest = 0.0, size = (double)sdt_dtype_size(job->dtype);
    uint64_t scratch = 0;

    /* After as many frames as an edge may hold, a decode needs no more memory. */
    sdt__wavefront_init(&all, vae, at_most(job->frames, 2 * WAVEFRONT_FRAMES));
    if (!all.failed)
        sdt__wavefront_place(&all, place, devices, whole ? -1 : device);
    if (!all.failed)
        sdt__wavefront_pools_init(&all, job, rows, 0);
    if (!all.failed)
        sdt__wavefront_rehearse(&all);
    /* Without memory for either, the run that is asked for finds that out itself. */
    bool *here = all.failed ? NULL : calloc((size_t)all.edges + 1, sizeof *here);
    for (int i = 0; here && i < all.layers; i++) {
        const struct frame_layer *l = &all.layer[i];
        if (l->device != device)
            continue;
        int edge[] = {l->in[0], l->in[1], l->in[2], l->out};
        for (int e = 0; e < FRAME_INPUTS + 1; e++)
            if (edge[e] >= 0) {
                here[edge[e]] = true;
                if (all.edge[edge[e]].alias >= 0)
                    here[all.edge[edge[e]].alias] = true;
            }
        double weights = weight_bytes(&all, l, kind, job->dtype);
        uint64_t work = sdt__scratch_size(scratch_bytes(&all, l, kind, job->dtype, rows, cols));
        bytes += weights;
        puts |= l->kind == FRAME_PUT;
        scratch |= work; /* a handle for each power of two */
        largest =
            fmax(largest, task_bytes(&all, l, job->dtype, rows, cols) + weights + (double)work);
    }
    for (int e = 0; here && e < all.edges; e++) {
        struct frame_pool *pool = here[e] ? &all.pool[all.edge[e].pool] : NULL;
        if (!pool)
            continue;
        bytes += size * pool->slots * pool->channels * pool->space * pool->space * rows * cols;
        pool->slots = 0; /* counted */
    }
    free(here);
    sdt__wavefront_clear(&all);
    bytes += sdt__vae_ends_bytes(opened, job, kind, whole && puts, rows, cols, 1);
    return fmax(bytes + workers * (double)scratch + seam_bytes(vae, job, devices), largest);
}
