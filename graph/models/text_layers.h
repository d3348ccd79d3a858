/* What text encoders share: activations of a prompt cut by columns, and layers whose weights come
 * and go.
 *
 * A matrix is cut into parts of its rows, each a task's, which computes so many columns of the
 * result for all tokens: every weight is read by one task, and all workers work. Bits do not depend
 * on the parts. GPUs compute whole matrices: one part. */
#ifndef STARDIT_TEXT_LAYERS_H
#define STARDIT_TEXT_LAYERS_H

#include "graph/models/family.h"

/* How many parts keep a place's workers busy. */
int sdt_text_cuts(const struct sdt_place *place);
/* Parts of about the same width, a multiple of `unit`; at most `count`. */
struct sdt_parts sdt_text_cut(int width, int unit, int count);
/* A multiple of the step of products over so many columns, and of `e` columns. */
int sdt_text_step(int width, int e);
static inline int sdt_text_columns(const struct sdt_parts *parts, int p) {
    return parts->bound[p + 1] - parts->bound[p];
}

/* [tokens, columns of the part] behind each handle of [parts]. */
void sdt_text_parts_init(struct sdt_flow *flow, enum sdt_dtype dtype, const struct sdt_parts *parts,
                         int tokens, const char *name, sdt_handle *handle);
void sdt_text_parts_clear(const sdt_handle *handle /* [SDT_MOST_PARTS] */);

/* Part p of y = x w^T + bias [+ y]. x: in parts `in`; y: the part of `out`. */
void sdt_text_linear(struct sdt_flow *flow, const char *name, int tokens,
                     const struct sdt_parts *in, const sdt_handle *x, struct sdt_linear_handles w,
                     const struct sdt_parts *out, int p, bool add, sdt_handle y);
/* The same without a bias. */
void sdt_text_product(struct sdt_flow *flow, const char *name, int tokens,
                      const struct sdt_parts *in, const sdt_handle *x, sdt_handle w,
                      const struct sdt_parts *out, int p, bool add, sdt_handle y);
/* y [tokens, width] whole, of x in parts. */
void sdt_text_rms_norm(struct sdt_flow *flow, const char *name, int tokens, float eps,
                       const struct sdt_parts *parts, const sdt_handle *x, sdt_handle weight,
                       sdt_handle y);

void sdt_text_layer_norm(struct sdt_flow *flow, const char *name, int tokens, float eps,
                         const struct sdt_parts *parts, const sdt_handle *x,
                         struct sdt_linear_handles norm, sdt_handle y);

/* SDT_ERROR_USAGE for no tokens, or an id out of range. */
enum sdt_status sdt_text_check_ids(const struct sdt_text *text, const int32_t *ids /* [tokens] */,
                                   int tokens, struct sdt_error *err);
/* Rows of a table as x in parts, by tasks of the host; place: a table of positions, which are
 * added; NULL: none. */
void sdt_text_embed(struct sdt_flow *flow, const struct sdt_machine *machine,
                    const struct sdt_text *text, const struct sdt_stored *table,
                    const struct sdt_stored *place, const struct sdt_parts *parts, int tokens,
                    const int32_t *ids /* [tokens] */, const sdt_handle *x /* [parts] */);
/* Layers 0..layers-1 one after the other: `insert` names layer l's tensors to the visit, which
 * makes handles, and inserts its tasks. Waits for the layer before the last one inserted, and drops
 * its weights, unless they are kept: those whose names begin with PREFIX, its number and a dot. */
struct sdt_text_layers {
    struct sdt_parameters *parameters;
    bool keep;
    enum sdt_dtype dtype;
    int layers;
    const char *prefix;
    void (*insert)(void *arg, struct sdt_flow *flow, struct sdt_tensor_visit *visit, int layer);
    void *arg;
};
void sdt_text_layers_run(struct sdt_flow *flow, const struct sdt_place *place,
                         const struct sdt_text_layers *layers);
/* What a layer needs beside its weights. */
struct sdt_text_work {
    void (*name)(const struct sdt_text *text, struct sdt_tensor_visit *visit, int layer);
    double columns;   /* values of a token in all activations */
    double floats;    /* of a token, float32 whatever the type */
    size_t attention; /* floats of work space of its attention, CPUs */
};
/* bytes() of struct sdt_text_kind: of two layers one after the other, since the first one's weights
 * are there until its tasks have ended. */
double sdt_text_bytes(const struct sdt_text *text, const struct sdt_text_work *work,
                      enum sdt_device_kind kind, enum sdt_dtype dtype, int workers, int tokens);
/* describe() of struct sdt_files for encoders whose heads do not follow from shapes: a
 * configuration has to say them. */
enum sdt_status sdt_text_describe(const struct sdt_recognised *file, const struct sdt_config *like,
                                  char text[SDT_CONFIG_ROOM], struct sdt_error *err);
/* The encoder's weights: those that were kept, or new handles; NULL: out of memory. */
struct sdt_parameters *sdt_text_parameters(struct sdt_text *text, struct sdt_machine *machine);
/* All tasks have ended: keeps them, or frees them and gives the pages of the files back. */
void sdt_text_done(struct sdt_text *text, struct sdt_parameters *parameters);
#endif
