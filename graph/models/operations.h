/* What a model's tasks compute, as predictions see it: which kernel, of what size, how often. A
 * family lists them (graph/models/family.h); graph/plan/cost.h knows what they take. */
#ifndef STARDIT_OPERATIONS_H
#define STARDIT_OPERATIONS_H

#include <stdbool.h>

#include "stardit/kernels.h"

enum sdt_operation_kind {
    SDT_OPERATION_LINEAR,          /* [rows, k] x [n, k]^T */
    SDT_OPERATION_ATTENTION,       /* heads, rows and e over keys in tiles of `rows` */
    SDT_OPERATION_CROSS_ATTENTION, /* the same over a prompt's keys */
    SDT_OPERATION_NORM,            /* rows of n */
    SDT_OPERATION_SPLIT_HEADS,     /* rows of heads x e: norm, rotation, pieces */
    SDT_OPERATION_CONV,            /* conv */
    SDT_OPERATION_CHANNEL_NORM,    /* rows of n */
    SDT_OPERATION_ELEMENTS,        /* rows of n elements, read or written */
    SDT_OPERATIONS
};

/* How often a transformer does it. */
enum sdt_operation_when {
    SDT_EACH_LAYER,  /* for each tile in each layer of a forward */
    SDT_EACH_TILE,   /* for each tile of a forward */
    SDT_EACH_FORWARD /* once */
};

struct sdt_operation {
    enum sdt_operation_kind kind;
    enum sdt_operation_when when; /* transformers */
    int device;                   /* decoders: which of the job's */
    double tasks;                 /* of this size */
    int rows, n, k;
    enum sdt_epilogue epilogue; /* linear */
    int heads, e;
    int64_t keys;
    struct sdt_conv conv; /* also of a linear that GPUs compute as a convolution; else all 0 */
    bool residual;        /* conv: added to */
};

/* FLOPs of one task. */
double sdt_operation_flops(const struct sdt_operation *operation);
/* Elements that one task reads and writes, each once. */
double sdt_operation_elements(const struct sdt_operation *operation);

struct sdt_operations {
    struct sdt_operation *item; /* [count] */
    int count, capacity;
    bool failed; /* out of memory */
};
void sdt_operations_add(struct sdt_operations *list, struct sdt_operation operation);
void sdt_operations_clear(struct sdt_operations *list);
#endif
