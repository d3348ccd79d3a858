/* What a decode of HunyuanVideo takes, from the list of layers: FLOPs, tasks and bytes of memory.
 * Nothing is inserted here; what hunyuan_vae_decode.c inserts must be what these predict. */
#include <math.h>
#include <stdlib.h>

#include "graph/models/hunyuan_vae.h"
#include "graph/run/parameters.h"
#include "kernels/cuda/scratch.h"

static int at_most(int a, int b) { return a < b ? a : b; }

static int frames_of(const struct hunyuan_layer *l, const struct hunyuan_tile *tile) {
    return sdt__hunyuan_frames(l->time, tile->frames);
}

/* Keys of a tile's queries, on average over its frames: those of a frame and of all before it. */
static double mean_keys(const struct hunyuan_tile *tile) {
    return 0.5 * (tile->frames + 1.0) * tile->space.rows * tile->space.cols;
}

double sdt__hunyuan_vae_flops(const struct sdt_vae *opened, const struct sdt_vae_job *job) {
    const struct hunyuan_vae *vae = sdt__hunyuan_vae_of(opened);
    struct hunyuan_layers all;
    struct hunyuan_tiling t = sdt__hunyuan_tiling(opened, job);
    double flops = 0.0;
    sdt__hunyuan_layers_init(&all, vae);
    for (int n = 0; n < t.tiles; n++) {
        struct hunyuan_tile tile = sdt__hunyuan_tile(&t, job, n);
        double pixels = (double)tile.space.rows * tile.space.cols;
        for (int i = 0; i < all.layers; i++) {
            const struct hunyuan_layer *l = &all.layer[i];
            double frames = frames_of(l, &tile) * pixels;
            flops += l->flops * frames;
            if (l->kind == HUNYUAN_ATTEND)
                flops += 4.0 * frames * mean_keys(&tile) * all.edge[l->out].channels;
        }
    }
    sdt__hunyuan_layers_clear(&all);
    return flops;
}

/* ---- tasks ----------------------------------------------------------------------------------- */

/* The tasks of a layer for one frame of a tile, cut into bands of `band` latent rows; a part of a
 * task stands for a shorter last band. */
static struct sdt_operation operation_of(const struct hunyuan_layers *all,
                                         const struct hunyuan_layer *l,
                                         const struct hunyuan_tile *tile, int band) {
    const struct hunyuan_edge *in = l->in < 0 ? NULL : &all->edge[l->in];
    const struct hunyuan_edge *out = l->out < 0 ? NULL : &all->edge[l->out];
    const struct hunyuan_edge *at = in ? in : out;
    bool whole = at->whole || (out && out->whole) || l->kind == HUNYUAN_MOMENTS;
    int looked_at = whole ? tile->space.rows : band;
    int height = looked_at * at->space, width = tile->space.cols * at->space;
    struct sdt_operation o = {
        .tasks = (double)tile->space.rows / looked_at, .rows = height * width, .n = at->channels};
    switch (l->kind) {
    case HUNYUAN_CONV:
        o.kind = SDT_OPERATION_CONV;
        o.conv = l->conv;
        o.conv.height = height;
        o.conv.width = width;
        o.residual = l->beside >= 0;
        break;
    case HUNYUAN_NORM:
        o.kind = SDT_OPERATION_CHANNEL_NORM;
        break;
    case HUNYUAN_ATTEND:
        o.kind = SDT_OPERATION_ATTENTION;
        o.heads = 1;
        o.e = at->channels;
        o.keys = (int64_t)mean_keys(tile);
        break;
    default: /* what is read, or copied */
        o.kind = SDT_OPERATION_ELEMENTS;
        o.n = (l->kind == HUNYUAN_MOMENTS ? 1 : l->kind == HUNYUAN_KEYS ? 4 : 2) * at->channels;
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

void sdt__hunyuan_vae_operations(const struct sdt_vae *opened, const struct sdt_vae_job *job,
                                 int devices, struct sdt_operations *list) {
    struct hunyuan_layers all;
    struct hunyuan_tiling t = sdt__hunyuan_tiling(opened, job);
    struct sdt_place alike[SDT_MAX_DEVICES];
    const struct sdt_place *place = places_of(job, devices, alike);
    int taken[SDT_MAX_DEVICES] = {0};
    sdt__hunyuan_layers_init(&all, sdt__hunyuan_vae_of(opened));
    for (int n = 0; n < t.tiles && !all.failed; n++) {
        struct hunyuan_tile tile = sdt__hunyuan_tile(&t, job, n);
        int device = sdt__vae_next_device(place, devices, taken);
        int band = sdt__hunyuan_band_rows(job, device, tile.space.rows);
        for (int i = 0; i < all.layers; i++) {
            struct sdt_operation o =
                operation_of(&all, &all.layer[i], &tile, at_most(band, tile.space.rows));
            o.tasks *= frames_of(&all.layer[i], &tile);
            o.device = device;
            sdt_operations_add(list, o);
        }
    }
    list->failed |= all.failed;
    sdt__hunyuan_layers_clear(&all);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static double weight_bytes(const struct hunyuan_layers *all, const struct hunyuan_layer *l,
                           enum sdt_device_kind kind, enum sdt_dtype dtype) {
    const struct sdt_conv *c = &l->conv;
    int k = c->in * c->kt * c->ks * c->ks;
    if (l->kind == HUNYUAN_NORM)
        return 2.0 * sizeof(float) * all->edge[l->in].channels;
    if (l->kind != HUNYUAN_CONV)
        return 0.0;
    double matrix = kind == SDT_DEVICE_CPU ? (double)sdt_packed_size(SDT_F32, c->out, k)
                                           : (double)sdt_dtype_size(dtype) * c->out * k;
    return matrix + sizeof(float) * (double)c->out;
}

/* Work space of a layer's tasks. */
static size_t scratch_bytes(const struct hunyuan_layers *all, const struct hunyuan_layer *l,
                            enum sdt_device_kind kind, enum sdt_dtype dtype,
                            const struct hunyuan_tile *tile, int band) {
    const struct hunyuan_edge *in = l->in < 0 ? NULL : &all->edge[l->in];
    struct sdt_conv conv = l->conv;
    if (l->kind == HUNYUAN_CONV) {
        conv.height = tile->space.rows * in->space;
        conv.width = tile->space.cols * in->space;
        return sdt__conv_scratch(kind, dtype, &conv);
    }
    if (l->kind == HUNYUAN_MOMENTS)
        return sdt__frame_moments_scratch(kind, tile->space.rows * in->space, in->channels);
    return l->kind == HUNYUAN_ATTEND
               ? sdt__wide_attention_scratch(kind, dtype, band * tile->space.cols,
                                             tile->space.rows * tile->space.cols * tile->frames,
                                             in->channels)
               : 0;
}

/* Work space for ordering the largest weight: a device that is alone orders them itself, on any of
 * its workers. */
static double load_bytes(const struct hunyuan_layers *all) {
    size_t most = 0;
    for (int i = 0; i < all->layers; i++) {
        const struct sdt_conv *c = &all->layer[i].conv;
        size_t bytes = sizeof(float) * (size_t)c->out * (size_t)(c->in * c->kt * c->ks * c->ks);
        most = c->kt * c->ks > 1 && bytes > most ? bytes : most;
    }
    return 2.0 * (double)sdt__scratch_size(most);
}

/* What is registered on the way of a tile, and the most of it. */
struct account {
    const struct hunyuan_layers *all;
    double latents, size; /* pixels of the tile's frames; bytes of an element */
    double pools, keys, most;
};

static void note(struct account *a) { a->most = fmax(a->most, a->pools + a->keys); }

static void add_slot(void *arg, struct hunyuan_pool *pool, int slot) {
    struct account *a = arg;
    (void)slot;
    a->pools += a->size * pool->values * a->latents;
    note(a);
}

static void end_pool(void *arg, struct hunyuan_pool *pool) {
    struct account *a = arg;
    a->pools -= a->size * pool->values * a->latents * pool->slots;
}

static void end_segment(void *arg, int layer) {
    struct account *a = arg;
    const struct hunyuan_layer *l = &a->all->layer[layer];
    a->keys = 0.0;
    if (l->kind == HUNYUAN_KEYS)
        a->keys = 2.0 * a->size * a->latents * a->all->frames * a->all->edge[l->in].channels;
    note(a);
}

/* Frames of the largest tile. */
static double frame_bytes(struct hunyuan_layers *all, const struct sdt_vae_job *job,
                          const struct hunyuan_tile *tile, int device) {
    struct account account = {.all = all,
                              .latents = (double)tile->space.rows * tile->space.cols,
                              .size = (double)sdt_dtype_size(job->dtype)};
    const struct hunyuan_visit visit = {
        .arg = &account, .end = end_segment, .slot = add_slot, .clear = end_pool};
    int band = sdt__hunyuan_band_rows(job, device, tile->space.rows);
    int bands = (tile->space.rows + band - 1) / band;
    sdt__hunyuan_pools_init(all, tile->frames, bands, sdt__hunyuan_in_flight(job, device, bands),
                            false);
    all->frames = tile->frames;
    for (int first = 0; !all->failed && first < all->layers;)
        first = sdt__hunyuan_pass(all, first, &visit);
    return account.most;
}

/* What a device holds of decoded tiles until all their seams have been blended: its share of those
 * of one time, of a row of tiles and of those under way, and copies of neighbours. */
static double tile_bytes(const struct sdt_vae *vae, const struct hunyuan_tiling *t,
                         const struct hunyuan_tile *tile, int devices) {
    int ratio = vae->space_ratio;
    double of_time = t->space.rows * t->space.cols;
    double held = t->space.cols + 1.0 + (t->times > 1 ? of_time : 0.0);
    double beside = of_time > 1.0 ? ceil((double)t->space.cols / devices) + 1.0 : 0.0;
    double copies = devices > 1 ? beside + (t->times > 1 ? 1.0 : 0.0) : 0.0;
    double tiles = ceil(held / devices) + 2.0 + copies; /* a new one, one whose seams wait */
    if (t->tiles == 1)
        return 0.0;
    return sizeof(float) * fmin(tiles, t->tiles) *
           (double)sdt__vae_tile_values(sdt__hunyuan_tile_frames(vae, tile),
                                        tile->space.rows * ratio, tile->space.cols * ratio);
}

/* The largest tile that a device decodes; false: it decodes none. */
static bool largest_tile(const struct hunyuan_tiling *t, const struct sdt_vae_job *job,
                         const struct sdt_place *place, int devices, int device,
                         struct hunyuan_tile *largest) {
    int taken[SDT_MAX_DEVICES] = {0};
    double most = 0.0;
    for (int n = 0; n < t->tiles; n++) {
        struct hunyuan_tile tile = sdt__hunyuan_tile(t, job, n);
        double size = (double)tile.frames * tile.space.rows * tile.space.cols;
        if (sdt__vae_next_device(place, devices, taken) == device && size > most) {
            most = size;
            *largest = tile;
        }
    }
    return most > 0.0;
}

double sdt__hunyuan_vae_bytes(const struct sdt_vae *opened, const struct sdt_vae_job *job,
                              int devices, int device) {
    struct hunyuan_layers all;
    struct hunyuan_tiling t = sdt__hunyuan_tiling(opened, job);
    struct hunyuan_tile tile;
    struct sdt_place alike[SDT_MAX_DEVICES];
    const struct sdt_place *place = places_of(job, devices, alike);
    enum sdt_device_kind kind = job->place               ? place[device].kind
                                : job->dtype == SDT_BF16 ? SDT_DEVICE_CUDA
                                                         : SDT_DEVICE_CPU;
    int workers = job->place ? place[device].workers : 1;
    double bytes = 0.0;
    uint64_t scratch = 0;

    if (!largest_tile(&t, job, place, devices, device, &tile))
        return 0.0;
    int band = at_most(sdt__hunyuan_band_rows(job, device, tile.space.rows), tile.space.rows);
    sdt__hunyuan_layers_init(&all, sdt__hunyuan_vae_of(opened));
    for (int i = 0; !all.failed && i < all.layers; i++) {
        const struct hunyuan_layer *l = &all.layer[i];
        bytes += weight_bytes(&all, l, kind, job->dtype);
        size_t work = scratch_bytes(&all, l, kind, job->dtype, &tile, band);
        scratch |= work ? sdt__scratch_size(work) : 0;
    }
    if (!all.failed) /* without memory, the run that is asked for finds that out itself */
        bytes += frame_bytes(&all, job, &tile, device);
    double load = kind == SDT_DEVICE_CPU && devices == 1 && !all.failed ? load_bytes(&all) : 0.0;
    sdt__hunyuan_layers_clear(&all);
    bytes +=
        sdt__vae_ends_bytes(opened, job, kind, t.tiles == 1, tile.space.rows, tile.space.cols, 4);
    return bytes + workers * ((double)scratch + load) + tile_bytes(opened, &t, &tile, devices);
}
