/* The list of a model's tensors, written once.
 *
 * A model has one function that names its tensors in order, each with its shape and the handle it
 * becomes. What the naming does depends on the visitor: it fills the table that a checkpoint is
 * checked against (and imagined from), it makes the handles of a run, or it counts. So no tensor is
 * spelt twice, and no prediction can forget one. */
#ifndef STARDIT_TENSORS_H
#define STARDIT_TENSORS_H

#include "codelets/codelets.h"
#include "graph/checkpoint/weights.h"
#include "graph/run/parameters.h"

/* In which type a run holds a tensor. */
enum sdt_tensor_type {
    SDT_TENSOR_RUN,    /* the run's: biases of what is over tokens */
    SDT_TENSOR_FLOAT,  /* float32 always: norms, tables, what a step is conditioned on */
    SDT_TENSOR_MATRIX, /* a matrix over tokens that every step uses: the run's; CPUs as below */
    SDT_TENSOR_PROMPT_MATRIX, /* the same that is used once for a prompt */
    SDT_TENSOR_FLOAT_MATRIX,  /* a matrix that every step uses, float32 always */
    /* What is read once for a prompt, by tasks at the host (sdt_run_at_host), and given back then:
     * no device ever holds it. A matrix, and floats. */
    SDT_TENSOR_HOST_MATRIX,
    SDT_TENSOR_HOST_FLOAT,
};
/* On CPUs a matrix is held as sdt_weight_parameter says: in the type that is stored. */
static inline bool sdt_tensor_is_matrix(enum sdt_tensor_type type) {
    return type == SDT_TENSOR_MATRIX || type == SDT_TENSOR_PROMPT_MATRIX ||
           type == SDT_TENSOR_FLOAT_MATRIX || type == SDT_TENSOR_HOST_MATRIX;
}
static inline bool sdt_tensor_is_host(enum sdt_tensor_type type) {
    return type == SDT_TENSOR_HOST_MATRIX || type == SDT_TENSOR_HOST_FLOAT;
}
static inline bool sdt_tensor_is_float(enum sdt_tensor_type type) {
    return type == SDT_TENSOR_FLOAT || type == SDT_TENSOR_FLOAT_MATRIX || sdt_tensor_is_host(type);
}
/* The type of the bias beside such a matrix. */
static inline enum sdt_tensor_type sdt_tensor_bias(enum sdt_tensor_type type) {
    return sdt_tensor_is_host(type)    ? SDT_TENSOR_HOST_FLOAT
           : sdt_tensor_is_float(type) ? SDT_TENSOR_FLOAT
                                       : SDT_TENSOR_RUN;
}

/* Which devices read a tensor, or a part of a prompt: so much is held there. */
enum sdt_reader {
    SDT_READ_BY_TILES, /* those with tiles */
    SDT_READ_BY_VIDEO, /* with tiles of video */
    SDT_READ_BY_TEXT,  /* with tiles of text */
    SDT_READ_BY_MAKER, /* that which makes prompts and a step's vectors: with the first tile of
                         * text, where text has tiles, else the group's first */
    SDT_READERS
};

/* Elements of a model's tensors, but for those that only the host reads. */
struct sdt_tensor_count {
    double all;    /* of the whole */
    double floats; /* of them, always float32 */
    double layers; /* of `all`, those of layers (all layers together) */
};
/* Bytes of the same as CPUs hold them. */
struct sdt_tensor_held {
    double all, layers; /* of the whole; of them, those of layers */
};
/* Bytes of that many, held in `dtype`. */
static inline double sdt_tensor_bytes(struct sdt_tensor_count count, enum sdt_dtype dtype) {
    double size = (double)sdt_dtype_size(dtype);
    return size * (count.all - count.floats) + 4.0 * count.floats;
}

/* Handles of one layer, in the order of their naming: what is fetched ahead. */
struct sdt_tensor_handles {
    sdt_handle *handle;
    int count, capacity;
};

struct sdt_tensor_visit {
    /* set by the model before it names tensors; -1: of no layer */
    int layer;
    enum sdt_reader reader; /* the same; matrices of prompts and vectors are their maker's anyway */
    /* either a table, or weights and what is added up of them, or parameters with what follows
     * them; `count` is filled where there is one */
    struct sdt_tensor_table *table;
    struct sdt_tensor_count *count; /* [SDT_READERS] */
    double *by_layer;               /* [layers] beside it: elements of each; or NULL */
    const struct sdt_weights *weights;
    struct sdt_tensor_held *held; /* [SDT_READERS] */
    double *host_bytes;           /* sdt_host_size() of what only the host reads; with `held` */
    struct sdt_flow *flow;
    struct sdt_parameters *parameters;
    enum sdt_device_kind kind; /* of the devices that compute */
    enum sdt_dtype dtype;
    bool hosts; /* handles of those that only the host reads, not of others */
    struct sdt_tensor_handles *layers; /* [layers], or NULL */
};

/* Names a tensor [shape]. *handle is set where handles are made, and left alone otherwise. */
void sdt_tensor(struct sdt_tensor_visit *visit, sdt_handle *handle, enum sdt_tensor_type type,
                int rank, const int64_t *shape, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

/* Names a matrix [out, bound[parts]] whose columns bound[p]..bound[p+1]-1 are each behind a handle
 * of their own. */
void sdt_tensor_columns(struct sdt_tensor_visit *visit, sdt_handle *handle /* [parts] */,
                        enum sdt_tensor_type type, int64_t out, int parts,
                        const int64_t *bound /* [parts + 1] */, const char *format, ...)
    __attribute__((format(printf, 7, 8)));

/* A linear layer: PREFIXNAME.weight [out, in] of that type, and PREFIXNAME.bias [out]. */
struct sdt_linear_handles {
    sdt_handle weight, bias;
};
void sdt_tensor_linear(struct sdt_tensor_visit *visit, struct sdt_linear_handles *linear,
                       enum sdt_tensor_type type, int64_t out, int64_t in, const char *prefix,
                       const char *name);

/* How a component is opened; NULL: with its plain weights. */
struct sdt_opening {
    /* From its config.json alone: it can be planned and simulated, not run (but see
     * sdt_weights_randomize). */
    bool imagined;
    enum sdt_dtype stored; /* what is imagined, where no files say another; 0: F32 */
    const char *variant;   /* as sdt_weights_open_variant; NULL: none */
    /* Of a file without a config.json of its own: the folder with one that describes it, if it
     * fits. NULL: none. */
    const char *like;
    const struct sdt_lora *lora; /* [loras] merged into the weights */
    int loras;
};
/* The weights of a component folder, checked against the table, or imagined from it. Frees the
 * table (NULL: out of memory). */
enum sdt_status sdt_tensors_open(struct sdt_tensor_table *table, const char *folder,
                                 const struct sdt_opening *how, struct sdt_weights **weights,
                                 struct sdt_error *err);
#endif
