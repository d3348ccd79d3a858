/* stardit-eval: runs one component of a checkpoint on given tensors, and compares the result with
 * what another program got for the same. It is how parity with diffusers is checked. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/devices.h"
#include "apps/options.h"
#include "apps/stats.h"
#include "apps/strategy.h"
#include "graph/run/forward.h"
#include "graph/sampler/sampler.h"
#include "runtime/devices.h"

static const char name_of_program[] = "stardit-eval";

/* What --compare accepts of a forward in bfloat16: relative L2. */
#define BF16_RELATIVE 2e-2

struct eval {
    const char *model, *component, *input, *output, *strategy_name, *scheduler, *stats;
    const char *devices_text, *dtype_text;
    struct app_devices list;
    struct sdt_kinds kinds;
    bool compare, force;
    double atol;
    const char *workers, *speed;
    const struct sdt_strategy *strategy;
    int ulysses_degree, chunk_heads;
    const struct sdt_safetensors *file;
    const char *path;
    struct sdt_machine *machine; /* NULL: the component is computed without StarPU */
    int tiles[SDT_MAX_DEVICES], heads[SDT_MAX_DEVICES];
    bool has_layout;
};

/* ---- results --------------------------------------------------------------------------------- */

struct results {
    struct sdt_stored *tensor; /* [count]; name and data are malloc'ed */
    size_t count, capacity;
};

static void results_clear(struct results *results) {
    for (size_t i = 0; i < results->count; i++) {
        free((char *)results->tensor[i].name);
        free((float *)results->tensor[i].data);
    }
    free(results->tensor);
    *results = (struct results){0};
}

/* Takes values (malloc'ed, [product of shape]), on failure too. */
static enum sdt_status add_result(struct results *results, const char *name, int rank,
                                  const int64_t *shape, float *values, struct sdt_error *err) {
    struct sdt_stored tensor = {.dtype = SDT_F32, .rank = rank, .count = 1, .data = values};
    char *copy = strdup(name);

    if (results->count == results->capacity) {
        size_t capacity = results->capacity ? 2 * results->capacity : 16;
        struct sdt_stored *bigger = realloc(results->tensor, capacity * sizeof *bigger);
        if (bigger) {
            results->tensor = bigger;
            results->capacity = capacity;
        }
    }
    if (!copy || !values || results->count == results->capacity) {
        free(copy);
        free(values);
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for the result %s", name);
    }
    for (int i = 0; i < rank; i++) {
        tensor.shape[i] = shape[i];
        tensor.count *= (size_t)shape[i];
    }
    tensor.bytes = tensor.count * sizeof(float);
    tensor.name = copy;
    results->tensor[results->count++] = tensor;
    return SDT_OK;
}

/* The same with a copy of values. */
static enum sdt_status add_copy(struct results *results, const char *name, int rank,
                                const int64_t *shape, const float *values, struct sdt_error *err) {
    size_t count = 1;
    for (int i = 0; i < rank; i++)
        count *= (size_t)shape[i];
    float *copy = malloc(count * sizeof *copy);
    if (copy)
        memcpy(copy, values, count * sizeof *copy);
    return add_result(results, name, rank, shape, copy, err);
}

static const struct sdt_stored *find_result(const struct results *results, const char *name) {
    for (size_t i = 0; i < results->count; i++)
        if (!strcmp(results->tensor[i].name, name))
            return &results->tensor[i];
    return NULL;
}

/* ---- inputs ---------------------------------------------------------------------------------- */

static const char *shape_text(const struct sdt_stored *tensor, char *text, size_t size) {
    size_t at = 0;
    text[0] = 0;
    for (int i = 0; i < tensor->rank && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%lld", i ? "," : "",
                               (long long)tensor->shape[i]);
    return text;
}

static int64_t stored_integer(const struct sdt_stored *tensor, size_t i) {
    if (tensor->dtype == SDT_I64) {
        int64_t value;
        memcpy(&value, (const char *)tensor->data + i * sizeof value, sizeof value);
        return value;
    }
    int32_t value;
    memcpy(&value, (const char *)tensor->data + i * sizeof value, sizeof value);
    return value;
}

static bool is_integer(const struct sdt_stored *tensor) {
    return tensor->dtype == SDT_I64 || tensor->dtype == SDT_I32;
}

/* Input `name` of the given rank; `meaning` is its shape in words. Caller frees *values. */
static enum sdt_status get_input(const struct eval *eval, const char *name, int rank,
                                 const char *meaning, const struct sdt_stored **tensor,
                                 float **values, struct sdt_error *err) {
    char shape[200];

    *values = NULL;
    *tensor = sdt_safetensors_find(eval->file, name);
    if (!*tensor)
        return sdt_fail(err, SDT_ERROR_MISSING, "%s: no tensor %s; --component %s needs it, %s",
                        eval->path, name, eval->component, meaning);
    if ((*tensor)->rank != rank || (*tensor)->count == 0 || (*tensor)->shape[0] != 1)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: %s has the shape [%s]; it must be %s",
                        eval->path, name, shape_text(*tensor, shape, sizeof shape), meaning);
    if (!is_integer(*tensor)) {
        enum sdt_status status = sdt_stored_check_finite(eval->path, *tensor, err);
        return status == SDT_OK ? sdt_stored_floats(*tensor, values, err) : status;
    }
    *values = malloc((*tensor)->count * sizeof **values);
    if (!*values)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %s", name);
    for (size_t i = 0; i < (*tensor)->count; i++)
        (*values)[i] = (float)stored_integer(*tensor, i);
    return SDT_OK;
}

/* Input `name` of a model that may need none: *values stays NULL where there is none. */
static enum sdt_status get_optional(const struct eval *eval, const char *name, int rank,
                                    const char *meaning, const struct sdt_stored **tensor,
                                    float **values, struct sdt_error *err) {
    *values = NULL;
    *tensor = sdt_safetensors_find(eval->file, name);
    return *tensor ? get_input(eval, name, rank, meaning, tensor, values, err) : SDT_OK;
}

static bool fits_int(const struct sdt_stored *tensor) {
    for (int i = 0; i < tensor->rank; i++)
        if (tensor->shape[i] < 1 || tensor->shape[i] > 1000000)
            return false;
    return true;
}

static bool is_zero(const float *values, int count) {
    for (int i = 0; i < count; i++)
        if (values[i] != 0.0f)
            return false;
    return true;
}

/* Tiles and heads of each device. */
static void note_layout(const struct sdt_layout *layout, int *tiles /* [devices] */,
                        int *heads /* [devices] */) {
    for (int d = 0; d < layout->devices; d++) {
        tiles[d] = layout->first_tile[d + 1] - layout->first_tile[d];
        heads[d] = 0;
        for (int c = 0; c < layout->chunks; c++)
            if (layout->owner[c] == d % layout->ulysses)
                heads[d] += layout->head[c + 1] - layout->head[c];
    }
}

/* ---- transformer ----------------------------------------------------------------------------- */

static void look(void *arg, const struct sdt_layout *layout) {
    struct eval *eval = arg;
    note_layout(layout, eval->tiles, eval->heads);
    eval->has_layout = true;
}

/* in.x, in.t and in.txt of a transformer; in.pool, in.mask and in.guidance of those that take
 * them. */
struct dit_inputs {
    const struct sdt_stored *x_tensor;
    float *x, *text, *t, *pooled, *guidance;
    int rows, pad_rows;
};

static void dit_inputs_clear(struct dit_inputs *in) {
    free(in->x);
    free(in->text);
    free(in->t);
    free(in->pooled);
    free(in->guidance);
}

/* Do the inputs have the shapes that this transformer takes? */
static enum sdt_status check_shapes(const struct eval *eval, const struct sdt_dit *dit,
                                    const struct sdt_stored *x, const struct sdt_stored *text,
                                    const struct sdt_stored *t, const struct sdt_stored *pooled,
                                    struct sdt_error *err) {
    char shape[200];
    if (x->shape[1] != dit->channels || !fits_int(x) || x->count > UINT32_MAX)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: in.x has the shape [%s]; this transformer takes [1, %d, frames, "
                        "height, width], in all at most 4294967295 numbers",
                        eval->path, shape_text(x, shape, sizeof shape), dit->channels);
    if (text->shape[2] != dit->text_dim || !fits_int(text) || t->count != 1)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: in.txt has the shape [%s]; this transformer takes [1, rows, %d]",
                        eval->path, shape_text(text, shape, sizeof shape), dit->text_dim);
    if (pooled && pooled->shape[1] != dit->pooled_dim)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: in.pool has the shape [%s]; this transformer takes [1, %d]",
                        eval->path, shape_text(pooled, shape, sizeof shape), dit->pooled_dim);
    return SDT_OK;
}

/* Rows of in.txt that in.mask marks with other than 0, which stand in front; the others are left
 * out. */
static enum sdt_status apply_mask(const struct eval *eval, struct dit_inputs *in,
                                  struct sdt_error *err) {
    const struct sdt_stored *tensor;
    float *mask;
    enum sdt_status status = get_optional(eval, "in.mask", 2, "[1, rows]", &tensor, &mask, err);
    if (status != SDT_OK || !mask)
        return status;
    int all = in->rows, rows = 0;
    for (size_t i = 0; i < tensor->count; i++)
        rows += mask[i] != 0.0f;
    bool fits = tensor->shape[1] == all && rows > 0;
    for (int i = 0; fits && i < all; i++)
        fits = (mask[i] != 0.0f) == (i < rows);
    if (!fits)
        status =
            sdt_fail(err, SDT_ERROR_FORMAT,
                     "%s: in.mask must be [1, %d], of 1 for the first rows of in.txt and 0 for "
                     "those behind them",
                     eval->path, all);
    in->rows = rows;
    free(mask);
    return status;
}

static enum sdt_status get_dit_inputs(const struct eval *eval, const struct sdt_dit *dit,
                                      struct dit_inputs *in, struct sdt_error *err) {
    const struct sdt_stored *text, *t, *pooled = NULL, *guidance;
    enum sdt_status status = get_input(eval, "in.x", 5, "[1, channels, frames, height, width]",
                                       &in->x_tensor, &in->x, err);
    if (status == SDT_OK)
        status = get_input(eval, "in.txt", 3, "[1, rows, text width]", &text, &in->text, err);
    if (status == SDT_OK)
        status = get_input(eval, "in.t", 1, "[1]", &t, &in->t, err);
    if (status == SDT_OK && dit->pooled_dim)
        status = get_input(eval, "in.pool", 2, "[1, width]", &pooled, &in->pooled, err);
    if (status == SDT_OK)
        status = get_optional(eval, "in.guidance", 1, "[1]", &guidance, &in->guidance, err);
    if (status == SDT_OK)
        status = check_shapes(eval, dit, in->x_tensor, text, t, pooled, err);
    if (status != SDT_OK)
        return status;
    in->rows = (int)text->shape[1];
    status = apply_mask(eval, in, err);
    if (dit->text_joins || status != SDT_OK)
        return status;
    int all = in->rows;
    /* Zero rows at the end are padding, which the model attends to: one key stands for them all. */
    while (in->rows > 1 &&
           is_zero(in->text + (size_t)(in->rows - 1) * (size_t)dit->text_dim, dit->text_dim))
        in->rows--;
    in->pad_rows = all - in->rows;
    return SDT_OK;
}

/* Sinusoids of the thousands that guidance is, as an input, differ by an ulp of their float32
 * arguments from program to program. */
#define GUIDANCE_LIMIT 5e-4

/* out.y, and out.y_guidanceG: the same with G for in.guidance. */
static enum sdt_status forward_to(struct eval *eval, struct sdt_dit *dit,
                                  const struct dit_inputs *in, const char *name, float guidance,
                                  struct results *results, struct sdt_error *err) {
    const int64_t *shape = in->x_tensor->shape;
    struct sdt_placement together = {.ulysses_degree = eval->ulysses_degree,
                                     .chunk_heads = eval->chunk_heads};
    struct sdt_forward forward = {
        .dit = dit,
        .machine = eval->machine,
        .parallel = sdt_parallel_of(eval->strategy, &together, eval->machine->devices, 0),
        .geometry = {(int)shape[2], (int)shape[3], (int)shape[4]},
        .latent = in->x,
        .text = in->text,
        .rows = in->rows,
        .pad_rows = in->pad_rows,
        .pooled = in->pooled,
        .t = in->t[0],
        .guidance = guidance / 1000.0f,
        .look = look,
        .look_arg = eval};
    forward.parallel.place = eval->machine->device;
    forward.parallel.dtype = eval->kinds.dit_dtype;
    float *y = calloc(in->x_tensor->count, sizeof *y);
    if (!y)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for the result");
    enum sdt_status status = sdt_forward_once(&forward, y, err);
    if (status == SDT_OK)
        return add_result(results, name, 5, shape, y, err);
    if (status != SDT_ERROR_STALLED)
        free(y);
    return status;
}

static enum sdt_status eval_transformer(struct eval *eval, const char *folder,
                                        struct results *results, struct sdt_error *err) {
    struct sdt_placement together = {.ulysses_degree = eval->ulysses_degree,
                                     .chunk_heads = eval->chunk_heads};
    struct dit_inputs in = {0};
    struct sdt_dit *dit = NULL;
    enum sdt_status status = sdt_dit_open(folder, NULL, 0, &dit, err);

    if (status == SDT_OK)
        status = sdt_strategy_allows(eval->strategy, &together, eval->machine->devices, dit, err);
    if (status == SDT_OK)
        status = get_dit_inputs(eval, dit, &in, err);
    if (status == SDT_OK)
        status = forward_to(eval, dit, &in, "out.y", in.guidance ? in.guidance[0] : 1000.0f,
                            results, err);
    for (size_t i = 0; i < sdt_safetensors_count(eval->file) && status == SDT_OK; i++) {
        const char *name = sdt_safetensors_at(eval->file, i)->name;
        float guidance;
        int end = 0;
        if (sscanf(name, "out.y_guidance%f%n", &guidance, &end) == 1 && !name[end])
            status = forward_to(eval, dit, &in, name, guidance, results, err);
    }
    if (status == SDT_ERROR_STALLED)
        return status; /* tasks may still read the inputs */
    sdt_dit_close(dit);
    dit_inputs_clear(&in);
    return status;
}

/* ---- vae ------------------------------------------------------------------------------------- */

/* [F, H, W, 3] -> [3, F, H, W]; NULL: out of memory. */
static float *channels_first(const float *video, size_t pixels) {
    float *y = malloc(3 * pixels * sizeof *y);
    for (size_t i = 0; y && i < pixels; i++)
        for (size_t c = 0; c < 3; c++)
            y[c * pixels + i] = video[3 * i + c];
    return y;
}

/* A latent of a file, and its values. */
struct latent {
    const struct sdt_stored *tensor;
    float *z;
};

/* Decodes as the output's name says: "out.whole" or "out.y", "out.framewise" as a pipeline does
 * without spatial tiles, or "out.tiled_S_RxC" with tiles of SxS pixels every R rows and C columns.
 * The first takes in.z, the others in.zl where the file has it. */
static enum sdt_status decode(struct eval *eval, struct sdt_vae *vae, const char *name,
                              const struct latent *latents /* [2] */, struct results *results,
                              struct sdt_error *err) {
    bool whole = !strcmp(name, "out.whole") || !strcmp(name, "out.y");
    const struct latent *from = !whole && latents[1].tensor ? &latents[1] : &latents[0];
    const struct sdt_stored *z_tensor = from->tensor;
    float *z = from->z;
    struct sdt_vae_job job = {.frames = (int)z_tensor->shape[2],
                              .height = (int)z_tensor->shape[3],
                              .width = (int)z_tensor->shape[4],
                              .whole = whole,
                              .as_decoded = true,
                              .dtype = eval->kinds.dit_dtype};
    struct sdt_flow flow = sdt_machine_flow(eval->machine, SDT_LANE_DENOISE);
    sdt_handle latent, frames;
    int end = 0, size, rows, columns;
    enum sdt_status status;

    if (sscanf(name, "out.tiled_%d_%dx%d%n", &size, &rows, &columns, &end) == 3 && !name[end])
        job.tiling = (struct sdt_vae_tiling){size, size, rows, columns};
    else if (!whole && strcmp(name, "out.framewise"))
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: %s: a vae gives out.whole, also called out.y, out.framewise and "
                        "out.tiled_S_RxC (tile size S, stride R rows by C columns, pixels)",
                        eval->path, name);
    status = vae->kind->check(vae, &job, err);
    if (status != SDT_OK)
        return status;
    int64_t space = vae->space_ratio;
    int64_t shape[5] = {1, 3, (int64_t)vae->time_ratio * (job.frames - 1) + 1, space * job.height,
                        space * job.width};
    size_t pixels = (size_t)(shape[2] * shape[3] * shape[4]);
    if (3 * pixels > UINT32_MAX)
        return sdt_fail(err, SDT_ERROR_LIMIT, "%s would have %zu numbers; the limit is 4294967295",
                        name, 3 * pixels);
    float *video = calloc(3 * pixels, sizeof *video);
    if (!video)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %s", name);
    latent = sdt__host_vector(&flow, z, z_tensor->count, "latent");
    frames = sdt__host_vector(&flow, video, 3 * pixels, "video");
    status = vae->kind->decode(&flow, vae, eval->machine, &job, latent, frames, err);
    if (status == SDT_ERROR_STALLED)
        return status;
    sdt__unregister(latent);
    sdt__unregister(frames);
    if (status == SDT_OK)
        status = add_result(results, name, 5, shape, channels_first(video, pixels), err);
    free(video);
    return status;
}

/* A latent that fits the decoder. */
static enum sdt_status get_latent(const struct eval *eval, const struct sdt_vae *vae,
                                  const char *name, struct latent *latent, struct sdt_error *err) {
    const struct sdt_stored *z;
    char shape[200];
    enum sdt_status status = get_input(eval, name, 5, "[1, channels, frames, height, width]",
                                       &latent->tensor, &latent->z, err);
    if (status != SDT_OK)
        return status;
    z = latent->tensor;
    if (z->shape[1] != vae->channels || !fits_int(z) || z->count > UINT32_MAX)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: %s has the shape [%s]; this decoder takes [1, %d, frames, height, "
                        "width], in all at most 4294967295 numbers",
                        eval->path, name, shape_text(z, shape, sizeof shape), vae->channels);
    return SDT_OK;
}

static enum sdt_status eval_vae(struct eval *eval, const char *folder, struct results *results,
                                struct sdt_error *err) {
    struct latent latents[2] = {{NULL, NULL}, {NULL, NULL}};
    struct sdt_vae *vae = NULL;
    bool any = false;
    enum sdt_status status = sdt_vae_open(folder, NULL, &vae, err);

    if (status != SDT_OK)
        return status;
    status = get_latent(eval, vae, "in.z", &latents[0], err);
    if (status == SDT_OK && sdt_safetensors_find(eval->file, "in.zl"))
        status = get_latent(eval, vae, "in.zl", &latents[1], err);
    for (size_t i = 0; i < sdt_safetensors_count(eval->file) && status == SDT_OK; i++) {
        const char *name = sdt_safetensors_at(eval->file, i)->name;
        if (strncmp(name, "out.", 4))
            continue;
        any = true;
        status = decode(eval, vae, name, latents, results, err);
    }
    if (status == SDT_OK && !any)
        status = decode(eval, vae, "out.whole", latents, results, err);
    free(latents[0].z);
    free(latents[1].z);
    sdt_vae_close(vae);
    return status;
}

/* ---- text encoder ---------------------------------------------------------------------------- */

static enum sdt_status first_row(const struct eval *eval, const char *suffix, int tokens,
                                 int *first, struct sdt_error *err) {
    char name[200];
    snprintf(name, sizeof name, "in.first%s", suffix);
    const struct sdt_stored *tensor = sdt_safetensors_find(eval->file, name);
    int64_t value = tensor && is_integer(tensor) && tensor->count == 1 ? stored_integer(tensor, 0)
                    : tensor                                           ? -1
                                                                       : 0;
    if (value < 0 || value >= tokens)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: %s must be one integer, 0 to %d", eval->path,
                        name, tokens - 1);
    *first = (int)value;
    return SDT_OK;
}

/* in.ids<suffix> [1, tokens] -> out.y<suffix> [1, rows, width]: a row for each token from
 * in.first<suffix> on (0 without it), or the one row of a pooled encoder. */
static enum sdt_status encode(struct eval *eval, struct sdt_text *encoder,
                              const struct sdt_stored *tensor, struct results *results,
                              struct sdt_error *err) {
    struct sdt_flow flow = sdt_machine_flow(eval->machine, SDT_LANE_DENOISE);
    const char *suffix = tensor->name + strlen("in.ids");
    int32_t *ids = NULL;
    float *states = NULL;
    char *name = NULL;
    char shape[200];
    enum sdt_status status;

    if (tensor->rank != 2 || tensor->shape[0] != 1 || !is_integer(tensor) || tensor->count < 1 ||
        tensor->count > 65536)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: %s is %s [%s]; it must be I64 or I32 [1, tokens], 1 to 65536 tokens",
                        eval->path, tensor->name, sdt_dtype_name(tensor->dtype),
                        shape_text(tensor, shape, sizeof shape));
    int tokens = (int)tensor->count;
    int first = 0;
    status = first_row(eval, suffix, tokens, &first, err);
    if (status != SDT_OK)
        return status;
    int64_t result_shape[3] = {1, sdt_text_rows(encoder, tokens, first), encoder->width};
    size_t size = (size_t)result_shape[1] * (size_t)result_shape[2];
    ids = malloc((size_t)tokens * sizeof *ids);
    states = calloc(size, sizeof *states);
    if (!ids || !states || asprintf(&name, "out.y%s", suffix) < 0) {
        name = NULL;
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %s", tensor->name);
        goto out;
    }
    for (int i = 0; i < tokens; i++) {
        int64_t id = stored_integer(tensor, (size_t)i);
        if (id < 0 || id >= encoder->vocabulary) {
            status =
                sdt_fail(err, SDT_ERROR_FORMAT, "%s: %s: id %lld at position %d; ids are 0 to %d",
                         eval->path, tensor->name, (long long)id, i, encoder->vocabulary - 1);
            goto out;
        }
        ids[i] = (int32_t)id;
    }
    sdt_handle handle = sdt__host_vector(&flow, states, size, "states");
    status = encoder->kind->encode(&flow, encoder, eval->machine, &eval->machine->device[0],
                                   eval->kinds.dit_dtype, ids, tokens, first, handle, err);
    if (status == SDT_ERROR_STALLED)
        return status;
    sdt__unregister(handle);
    if (status == SDT_OK) {
        status = add_result(results, name, 3, result_shape, states, err);
        states = NULL;
    }
out:
    free(ids);
    free(states);
    free(name);
    return status;
}

static enum sdt_status eval_text_encoder(struct eval *eval, const char *folder,
                                         struct results *results, struct sdt_error *err) {
    struct sdt_text *encoder = NULL;
    bool any = false;
    enum sdt_status status = sdt_text_open(folder, NULL, &encoder, err);

    if (status != SDT_OK)
        return status;
    for (size_t i = 0; i < sdt_safetensors_count(eval->file) && status == SDT_OK; i++) {
        const struct sdt_stored *tensor = sdt_safetensors_at(eval->file, i);
        if (strncmp(tensor->name, "in.ids", 6))
            continue;
        any = true;
        status = encode(eval, encoder, tensor, results, err);
    }
    if (status == SDT_OK && !any)
        status = sdt_fail(err, SDT_ERROR_MISSING,
                          "%s: no tensor in.ids; --component text_encoder needs it, [1, tokens]",
                          eval->path);
    sdt_text_close(encoder);
    return status;
}

/* ---- scheduler ------------------------------------------------------------------------------- */

/* What a tensor's name asks for. */
struct loop {
    enum sdt_sampler_kind kind;
    enum sdt_sampler_schedule schedule;
    int steps;
    double shift;
};

/* The closed loop of the golden file: v = tanh(0.7 x + w t / 1000), a model of one line. */
static enum sdt_status eval_loop(struct eval *eval, const char *prefix, const struct loop *loop,
                                 struct results *results, struct sdt_error *err) {
    const struct sdt_stored *start = sdt_safetensors_find(eval->file, "in.x0");
    const struct sdt_stored *weight = sdt_safetensors_find(eval->file, "in.w");
    struct sdt_sampler sampler = {0};
    float *x = NULL, *w = NULL, *v = NULL, *memory = NULL;
    char name[128];
    enum sdt_status status;

    if (!start || !weight || start->count != weight->count || start->count == 0)
        return sdt_fail(err, SDT_ERROR_MISSING,
                        "%s: --component scheduler needs in.x0 and in.w of one size for %s",
                        eval->path, prefix);
    size_t n = start->count;
    status = sdt_sampler_init(&sampler, loop->kind, loop->schedule, loop->steps, loop->shift, err);
    if (status == SDT_OK)
        status = sdt_stored_check_finite(eval->path, start, err);
    if (status == SDT_OK)
        status = sdt_stored_check_finite(eval->path, weight, err);
    if (status == SDT_OK)
        status = sdt_stored_floats(start, &x, err);
    if (status == SDT_OK)
        status = sdt_stored_floats(weight, &w, err);
    v = malloc(n * sizeof *v);
    memory = calloc(3 * n, sizeof *memory);
    if (status == SDT_OK && (!v || !memory))
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %s", prefix);
    if (status == SDT_OK) {
        snprintf(name, sizeof name, "%s.sigmas", prefix);
        status = add_copy(results, name, 1, (int64_t[]){loop->steps + 1}, sampler.sigmas, err);
    }
    if (status == SDT_OK) {
        snprintf(name, sizeof name, "%s.timesteps", prefix);
        status = add_copy(results, name, 1, (int64_t[]){loop->steps}, sampler.timesteps, err);
    }
    for (int i = 0; i < loop->steps && status == SDT_OK; i++) {
        for (size_t j = 0; j < n; j++)
            v[j] = tanhf(0.7f * x[j] + w[j] * sampler.timesteps[i] / 1000.0f);
        sdt_sampler_step(&sampler.step[i], n, v, NULL, x, memory, memory + n, memory + 2 * n);
        snprintf(name, sizeof name, "%s.x%d", prefix, i);
        status = add_copy(results, name, start->rank, start->shape, x, err);
    }
    sdt_sampler_clear(&sampler);
    free(x);
    free(w);
    free(v);
    free(memory);
    return status;
}

static enum sdt_status eval_noise(const char *name, uint64_t seed, int64_t count,
                                  struct results *results, struct sdt_error *err) {
    float *y = malloc((size_t)count * sizeof *y);
    if (y)
        sdt_randn(seed, (size_t)count, y);
    return add_result(results, name, 1, &count, y, err);
}

static enum sdt_status eval_scheduler(struct eval *eval, const char *folder,
                                      struct results *results, struct sdt_error *err) {
    (void)folder;
    for (size_t i = 0; i < sdt_safetensors_count(eval->file); i++) {
        const char *name = sdt_safetensors_at(eval->file, i)->name;
        unsigned long long seed;
        long long count;
        int end = 0, steps;
        double shift;
        char prefix[96];
        enum sdt_status status = SDT_OK;

        if (sscanf(name, "rng.seed%llu_n%lld%n", &seed, &count, &end) == 2 && !name[end]) {
            if (count < 1 || count > 100000000)
                return sdt_fail(err, SDT_ERROR_FORMAT, "%s: %s: count must be 1 to 100000000",
                                eval->path, name);
            status = eval_noise(name, seed, count, results, err);
        } else {
            const char *ending = strstr(name, ".sigmas");
            size_t length = ending ? (size_t)(ending - name) : 0;
            if (!ending || ending[7] || length >= sizeof prefix)
                continue;
            memcpy(prefix, name, length);
            prefix[length] = 0;
            bool unipc = !strncmp(prefix, "unipc_", 6), euler = !strncmp(prefix, "euler_", 6);
            if ((!unipc && !euler) ||
                sscanf(prefix + 6, "n%d_shift%lf%n", &steps, &shift, &end) != 2 || prefix[6 + end])
                return sdt_fail(
                    err, SDT_ERROR_FORMAT,
                    "%s: %s: names are unipc_nN_shiftS.sigmas or euler_nN_shiftS.sigmas",
                    eval->path, name);
            const struct loop loop = {unipc ? SDT_SAMPLER_UNIPC : SDT_SAMPLER_EULER,
                                      unipc ? SDT_SCHEDULE_NEW : SDT_SCHEDULE_LINEAR, steps, shift};
            status = eval_loop(eval, prefix, &loop, results, err);
        }
        if (status != SDT_OK)
            return status;
    }
    if (!results->count)
        return sdt_fail(err, SDT_ERROR_MISSING,
                        "%s: no tensor named unipc_nN_shiftS.sigmas, euler_nN_shiftS.sigmas or "
                        "rng.seedS_nN says what to compute",
                        eval->path);
    return SDT_OK;
}

/* ---- components ------------------------------------------------------------------------------ */

struct component {
    const char *name;
    bool needs_machine;
    double limit; /* of the largest absolute error */
    enum sdt_status (*run)(struct eval *eval, const char *folder, struct results *results,
                           struct sdt_error *err);
};

static const struct component components[] = {
    {"transformer", true, 5e-5, eval_transformer},
    {"vae", true, 5e-5, eval_vae},
    {"text_encoder", true, 5e-5, eval_text_encoder},
    {"scheduler", false, 5e-6, eval_scheduler},
};

/* ---- comparison ------------------------------------------------------------------------------ */

/* What a result is compared with: out.* of a component, everything but the inputs of a scheduler.
 */
static bool is_reference(const struct eval *eval, const struct sdt_stored *tensor) {
    if (!strcmp(eval->component, "scheduler"))
        return strncmp(tensor->name, "in.", 3) != 0;
    return !strncmp(tensor->name, "out.", 4);
}

/* Is it a transformer's result with guidance of thousands as an input? */
static bool takes_guidance(const struct eval *eval, const char *name) {
    return !strcmp(eval->component, "transformer") && !strcmp(name, "out.y") &&
           sdt_safetensors_find(eval->file, "in.guidance");
}

/* What is written is a number. */
static enum sdt_status check_result(const struct sdt_stored *tensor, struct sdt_error *err) {
    if (sdt_stored_check_finite("the result", tensor, err) == SDT_OK)
        return SDT_OK;
    return err->status = SDT_ERROR_NOT_FINITE; /* nobody's request was wrong */
}

/* One line about one tensor; *ok cleared where the limit is exceeded. */
static enum sdt_status compare_tensor(const struct eval *eval, const struct component *component,
                                      const struct sdt_stored *reference,
                                      const struct sdt_stored *result, bool *ok,
                                      struct sdt_error *err) {
    double limit = !strncmp(reference->name, "rng.", 4) ? 2e-6 : component->limit;
    if (takes_guidance(eval, reference->name))
        limit = GUIDANCE_LIMIT;
    double largest = 0.0, difference2 = 0.0, reference2 = 0.0;
    float *expected = NULL;
    char shape[200], other[200];

    /* bfloat16 has 8 bits: single values are off by more than their neighbours differ. */
    bool rounded =
        eval->kinds.dit_dtype == SDT_BF16 && component->needs_machine && eval->atol < 0.0;
    if (eval->atol >= 0.0)
        limit = eval->atol;
    else if (rounded)
        limit = BF16_RELATIVE;
    shape_text(reference, shape, sizeof shape);
    if (!result || strcmp(shape, shape_text(result, other, sizeof other))) {
        printf("%s [%s] %s%s FAIL\n", reference->name, shape,
               result ? "the result has the shape " : "is not something this component gives",
               result ? other : "");
        *ok = false;
        return SDT_OK;
    }
    enum sdt_status status = sdt_stored_floats(reference, &expected, err);
    if (status != SDT_OK)
        return status;
    const float *values = result->data;
    for (size_t i = 0; i < reference->count; i++) {
        double difference = fabs((double)values[i] - (double)expected[i]);
        if (!(difference <= largest) && !isnan(largest)) /* NaN too, and then it stays */
            largest = difference;
        difference2 += difference * difference;
        reference2 += (double)expected[i] * (double)expected[i];
    }
    double relative = reference2 > 0.0 ? sqrt(difference2 / reference2) : sqrt(difference2);
    bool within = (rounded ? relative : largest) <= limit;
    printf("%s [%s] max_abs %.3g rel_l2 %.3g limit %g%s %s\n", reference->name, shape, largest,
           relative, limit, rounded ? " of rel_l2" : "", within ? "ok" : "FAIL");
    *ok &= within;
    free(expected);
    return SDT_OK;
}

static enum sdt_status compare(const struct eval *eval, const struct component *component,
                               const struct results *results, bool *ok, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    int compared = 0;

    *ok = true;
    for (size_t i = 0; status == SDT_OK && i < sdt_safetensors_count(eval->file); i++) {
        const struct sdt_stored *reference = sdt_safetensors_at(eval->file, i);
        if (!is_reference(eval, reference))
            continue;
        status = compare_tensor(eval, component, reference, find_result(results, reference->name),
                                ok, err);
        compared++;
    }
    if (status == SDT_OK && !compared)
        status =
            sdt_fail(err, SDT_ERROR_MISSING, "%s: no tensor out.* to compare with", eval->path);
    return status;
}

/* ---- program --------------------------------------------------------------------------------- */

/* All devices work together, so they are of one kind. */
static enum sdt_status settle_devices(struct eval *eval, struct sdt_error *err) {
    struct sdt_placement together = {.precision = app_precision(eval->dtype_text)};
    enum sdt_status status = app_devices_read(eval->devices_text, &eval->list, err);
    if (status == SDT_OK && eval->list.count == 0)
        app_devices_stand_ins(&eval->list, 1);
    const struct sdt_device *device = app_devices_list(&eval->list);
    if (status == SDT_OK)
        status = sdt_devices_check(device, eval->list.count, err);
    if (status == SDT_OK)
        status = app_devices_shares(&eval->list, eval->workers, eval->speed, err);
    if (status == SDT_OK)
        status = sdt__settle_kinds(&together, device, eval->list.count, &eval->kinds, err);
    return status;
}

/* The component's folder: the sub-folder of a whole checkpoint, else the folder itself. */
static enum sdt_status find_folder(const struct eval *eval, char **folder, struct sdt_error *err) {
    char *index = NULL;
    enum sdt_status status = SDT_OK;

    if (asprintf(&index, "%s/model_index.json", eval->model) < 0)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory");
    int length = access(index, F_OK) == 0 ? asprintf(folder, "%s/%s", eval->model, eval->component)
                                          : asprintf(folder, "%s", eval->model);
    if (length < 0) {
        *folder = NULL;
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory");
    }
    free(index);
    return status;
}

static enum sdt_status write_stats(const struct eval *eval, struct sdt_error *err) {
    double bytes[(SDT_MAX_DEVICES + 1) * (SDT_MAX_DEVICES + 1)] = {0};
    json_t *stats = app_stats_begin(name_of_program);

    json_object_set_new(stats, "component", json_string(eval->component));
    if (eval->machine) {
        json_object_set_new(stats, "strategy", json_string(sdt_strategy_name(eval->strategy)));
        const struct sdt_plan on = {.dit_kind = eval->kinds.dit,
                                    .vae_kind = eval->kinds.vae,
                                    .dit_dtype = eval->kinds.dit_dtype,
                                    .vae_dtype = eval->kinds.vae_dtype};
        app_stats_kinds(stats, &on, false);
        app_stats_machine(stats, eval->machine, eval->has_layout ? eval->tiles : NULL,
                          eval->has_layout ? eval->heads : NULL);
        sdt_machine_traffic(eval->machine, bytes);
        const struct sdt_cudnn_use use = sdt_machine_cudnn(eval->machine);
        app_stats_cudnn(stats, &use);
        app_stats_moved(stats, bytes, 0.0, eval->machine->devices);
    }
    return app_stats_write(stats, eval->stats, err);
}

static enum sdt_status evaluate(struct eval *eval, const struct component *component, bool *ok,
                                struct sdt_error *err) {
    struct sdt_safetensors *file = NULL;
    struct results results = {0};
    char *folder = NULL;
    enum sdt_status status = sdt_safetensors_open(eval->input, &file, err);

    if (status != SDT_OK)
        return status;
    eval->file = file;
    eval->path = sdt_safetensors_path(file);
    if (eval->model)
        status = find_folder(eval, &folder, err);
    if (status == SDT_OK && component->needs_machine) {
        struct sdt_machine_options options = {.scheduler = eval->scheduler};
        app_devices_options(&eval->list, &options);
        app_devices_announce(name_of_program, &eval->list);
        status = sdt_machine_open(&options, &eval->machine, err);
        if (status == SDT_OK)
            app_devices_tell(name_of_program, eval->machine);
    }
    if (status == SDT_OK)
        status = component->run(eval, folder, &results, err);
    if (status == SDT_ERROR_STALLED)
        _exit(app_report(name_of_program, err)); /* StarPU cannot be stopped any more */
    if (status == SDT_OK && eval->compare)
        status = compare(eval, component, &results, ok, err);
    for (size_t i = 0; status == SDT_OK && eval->output && i < results.count; i++)
        status = check_result(&results.tensor[i], err);
    if (status == SDT_OK && eval->output)
        status = sdt_safetensors_write(eval->output, results.count, results.tensor, err);
    if (status == SDT_OK && eval->stats)
        status = write_stats(eval, err);
    sdt_machine_close(eval->machine);
    results_clear(&results);
    free(folder);
    sdt_safetensors_close(file);
    return status;
}

#define AT(field) APP_AT(struct eval, field)

static char strategy_help[300]; /* filled before the table is read */

static struct app_option options[] = {
    APP_HEADING("What to run"),
    APP_STRING_OPTION("model", "DIR", AT(model),
                      "a component's folder or .safetensors file, or a whole checkpoint in "
                      "diffusers layout (not needed for scheduler)"),
    APP_CHOICE_OPTION("component", "transformer|vae|text_encoder|scheduler", AT(component),
                      "what to run"),
    APP_STRING_OPTION("input", "FILE", AT(input), "safetensors file with the inputs, tensors in.*"),
    APP_STRING_OPTION("output", "FILE", AT(output), "write the results, tensors out.*, F32"),
    APP_FLAG_OPTION("compare", AT(compare),
                    "compare with the tensors out.* of the input file, one line each; exit 1 "
                    "if one is off"),
    APP_DOUBLE_OPTION("atol", "X", AT(atol), 0.0, 1e30,
                      "largest absolute error that --compare accepts (default 5e-5, out.y with "
                      "guidance as an input 5e-4; scheduler 5e-6, its noise 2e-6; in bfloat16 a "
                      "relative L2 of 2e-2)"),
    APP_FLAG_OPTION("force", AT(force), "replace files that are there"),
    APP_HEADING("Where to run"),
    APP_STRING_OPTION("devices", "N|LIST", AT(devices_text), APP_DEVICES_HELP),
    APP_CHOICE_OPTION("dtype", APP_DTYPES, AT(dtype_text), APP_DTYPE_HELP),
    APP_STRING_OPTION("workers-per-device", "W|LIST", AT(workers), APP_WORKERS_HELP),
    APP_STRING_OPTION("device-speed", "LIST", AT(speed), APP_SPEED_HELP),
    APP_STRING_OPTION("strategy", "NAME", AT(strategy_name), strategy_help),
    APP_INT_OPTION("chunk-heads", "K", AT(chunk_heads), 1, 1024,
                   "most heads of one exchange (default: 1 for pipesp, else all of a device)"),
    APP_INT_OPTION("ulysses-degree", "U", AT(ulysses_degree), 1, SDT_MAX_DEVICES,
                   "usp: devices of one ring position (default: all)"),
    APP_STRING_OPTION("scheduler", "NAME", AT(scheduler),
                      "StarPU policy (default STARPU_SCHED, else pipedit)"),
    APP_STRING_OPTION("stats", "FILE", AT(stats),
                      "write JSON about tasks, devices and bytes moved; - prints it"),
};

static struct app_program program = {
    .name = name_of_program,
    .usage = "--component NAME --input FILE [--model DIR] [--compare] [--output FILE]",
    .summary = "Runs one component of a checkpoint on given tensors, to check parity with other "
               "programs.",
    .options = options,
    .count = sizeof options / sizeof options[0],
};

/* What the command line says wrongly, by itself. -1: nothing, else the exit code. */
static int check_settings(const struct eval *eval, const struct component *component) {
    if (!eval->model && component->needs_machine)
        return app_usage(program.name, "--model is needed for --component %s", eval->component);
    if (!eval->compare && !eval->output && !eval->stats)
        return app_usage(program.name, "give --compare, --output or --stats: there is nothing to "
                                       "do with the result");
    const bool dit = !strcmp(component->name, "transformer"), solver = !component->needs_machine;
    static const char no_dit[] = "goes with --component transformer";
    static const char no_machine[] = "--component scheduler is computed here, without StarPU";
    const struct app_idle idle[] = {
        {"model", solver, no_machine},        {"devices", solver, no_machine},
        {"dtype", solver, no_machine},        {"workers-per-device", solver, no_machine},
        {"device-speed", solver, no_machine}, {"scheduler", solver, no_machine},
        {"strategy", !dit, no_dit},           {"chunk-heads", !dit, no_dit},
        {"ulysses-degree", !dit, no_dit},     {"atol", !eval->compare, "goes with --compare"},
    };
    return app_refuse_idle(&program, idle, sizeof idle / sizeof idle[0]);
}

int main(int argc, char **argv) {
    struct eval eval = {.atol = -1.0};
    const struct component *component = NULL;
    struct sdt_error err;
    bool ok = true;

    program.settings = &eval;
    app_strategy_help(strategy_help, sizeof strategy_help);
    int code = app_parse(&program, argc, argv);
    if (code >= 0)
        return code;
    if (!eval.component || !eval.input)
        return app_usage(program.name, "--%s is needed (usage: %s %s)",
                         eval.component ? "input" : "component", program.name, program.usage);
    for (size_t i = 0; i < sizeof components / sizeof components[0]; i++)
        if (!strcmp(components[i].name, eval.component))
            component = &components[i];
    code = check_settings(&eval, component);
    if (code >= 0)
        return code;
    eval.strategy = app_strategy(eval.strategy_name, &err);
    if (eval.strategy && eval.ulysses_degree && !sdt_strategy_has_degree(eval.strategy))
        return app_usage(program.name, "--ulysses-degree: %s has no ring of Ulysses groups",
                         sdt_strategy_name(eval.strategy));
    if (!eval.strategy || settle_devices(&eval, &err) != SDT_OK)
        return app_report(program.name, &err);
    if (app_check_target("output", eval.output, eval.force, &err) != SDT_OK ||
        app_check_target("stats", eval.stats, eval.force, &err) != SDT_OK)
        return app_report(program.name, &err);

    if (evaluate(&eval, component, &ok, &err) != SDT_OK)
        return app_report(program.name, &err);
    return app_flush(program.name) || !ok;
}
