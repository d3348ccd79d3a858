/* A transformer's forward on given inputs. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/eval.h"
#include "apps/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/run/forward.h"

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
        tiles[d] = heads[d] = 0;
        for (int t = 0; t < layout->tiles; t++)
            tiles[d] += layout->home[t] == d;
        for (int c = 0; c < layout->chunks; c++)
            if (layout->owner[c] == d % layout->ulysses)
                heads[d] += layout->head[c + 1] - layout->head[c];
    }
}

static void look(void *arg, const struct sdt_layout *layout) {
    struct app_eval *eval = arg;
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
static enum sdt_status check_shapes(const struct app_eval *eval, const struct sdt_dit *dit,
                                    const struct sdt_stored *x, const struct sdt_stored *text,
                                    const struct sdt_stored *t, const struct sdt_stored *pooled,
                                    struct sdt_error *err) {
    char shape[200];
    if (x->shape[1] != dit->channels || !app_eval_fits(x) || x->count > UINT32_MAX)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: in.x has the shape [%s]; this transformer takes [1, %d, frames, "
                        "height, width], in all at most 4294967295 numbers",
                        eval->path, app_shape_text(x, shape, sizeof shape), dit->channels);
    if (text->shape[2] != dit->text_dim || !app_eval_fits(text) || t->count != 1)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: in.txt has the shape [%s]; this transformer takes [1, rows, %d]",
                        eval->path, app_shape_text(text, shape, sizeof shape), dit->text_dim);
    if (pooled && pooled->shape[1] != dit->pooled_dim)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: in.pool has the shape [%s]; this transformer takes [1, %d]",
                        eval->path, app_shape_text(pooled, shape, sizeof shape), dit->pooled_dim);
    return SDT_OK;
}

/* Rows of in.txt that in.mask marks with other than 0, which stand in front; the others are left
 * out. */
static enum sdt_status apply_mask(const struct app_eval *eval, struct dit_inputs *in,
                                  struct sdt_error *err) {
    const struct sdt_stored *tensor;
    float *mask;
    enum sdt_status status =
        app_eval_optional(eval, "in.mask", 2, "[1, rows]", &tensor, &mask, err);
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

static enum sdt_status get_dit_inputs(const struct app_eval *eval, const struct sdt_dit *dit,
                                      struct dit_inputs *in, struct sdt_error *err) {
    const struct sdt_stored *text, *t, *pooled = NULL, *guidance;
    enum sdt_status status = app_eval_input(eval, "in.x", 5, "[1, channels, frames, height, width]",
                                            &in->x_tensor, &in->x, err);
    if (status == SDT_OK)
        status = app_eval_input(eval, "in.txt", 3, "[1, rows, text width]", &text, &in->text, err);
    if (status == SDT_OK)
        status = app_eval_input(eval, "in.t", 1, "[1]", &t, &in->t, err);
    if (status == SDT_OK && dit->pooled_dim)
        status = app_eval_input(eval, "in.pool", 2, "[1, width]", &pooled, &in->pooled, err);
    if (status == SDT_OK)
        status = app_eval_optional(eval, "in.guidance", 1, "[1]", &guidance, &in->guidance, err);
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

/* out.y, and out.y_guidanceG: the same with G for in.guidance. */
static enum sdt_status forward_to(struct app_eval *eval, struct sdt_dit *dit,
                                  const struct dit_inputs *in, const char *name, float guidance,
                                  struct app_results *results, struct sdt_error *err) {
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
        return app_eval_add(results, name, 5, shape, y, err);
    if (status != SDT_ERROR_STALLED)
        free(y);
    return status;
}

static enum sdt_status eval_transformer(struct app_eval *eval, const char *folder,
                                        struct app_results *results, struct sdt_error *err) {
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

/* Sinusoids of the thousands that guidance is, as an input, differ by an ulp of their float32
 * arguments from program to program. */
#define GUIDANCE_LIMIT 5e-4

const struct app_component app_eval_transformer = {.name = "transformer",
                                                   .needs_machine = true,
                                                   .limit = 5e-5,
                                                   .guidance_limit = GUIDANCE_LIMIT,
                                                   .run = eval_transformer};
