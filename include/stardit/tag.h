/* What a scheduler may know of a task: all that schedulers/ and the rest of stardit share.
 *
 * Every task that stardit inserts carries a `struct sdt_tag`; sdt_task_tag() finds it. Tasks of
 * another StarPU program have none (NULL), and a policy must cope: it then knows what StarPU
 * itself says about the task (priority, worker mask, performance model).
 *
 * Where a task may run is said by StarPU's own worker mask (task->workerids), so that policies
 * which know nothing of tags obey it too. The tag says where the task would rather be and why. */
#ifndef STARDIT_TAG_H
#define STARDIT_TAG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct starpu_task;

/* role, the word used in traces and statistics */
#define SDT_ROLE_TABLE(X)                                                                          \
    X(PROJECT, "project")     /* q, k, v and output projections */                                 \
    X(ATTENTION, "attention") /* softmax(q k^T) v: carries no weights, may run anywhere */         \
    X(EXCHANGE, "exchange")   /* moves pieces between devices, tokens <-> heads */                 \
    X(ROUND, "round")     /* starts a round of transfers; ends, in another thread, with them */    \
    X(DENOISE, "denoise") /* everything else of a denoising step */                                \
    X(VAE, "vae")                                                                                  \
    X(TEXT, "text")                                                                                \
    X(IO, "io") /* reads a checkpoint, places noise, collects frames */

enum sdt_role {
#define SDT_ROLE_ENUM(name, word) SDT_ROLE_##name,
    SDT_ROLE_TABLE(SDT_ROLE_ENUM) SDT_ROLES
#undef SDT_ROLE_ENUM
};
const char *sdt_role_name(enum sdt_role role);

struct sdt_tag {
    uint64_t mark;    /* SDT_TAG_MARK: this really is a tag */
    uint64_t id;      /* order of insertion, from 0 */
    const char *name; /* what the task does, "ffn_up"; static text */
    enum sdt_role role;
    int request;  /* which prompt */
    int branch;   /* forward of guidance: 0 of the prompt, 1 of the negative prompt */
    int step;     /* denoising step, -1 outside */
    int layer;    /* -1 outside a layer */
    int chunk;    /* head chunk or time chunk, -1 */
    int tile;     /* token tile or spatial tile, -1 */
    int device;   /* home device, -1: none (the host) */
    int worker;   /* a worker of the home device, -1: none */
    double flops; /* of this task */
    double bytes; /* read and written by it */
};
#define SDT_TAG_MARK UINT64_C(0x5da6d17a6)

/* The task's tag, NULL if it is not one of ours. */
const struct sdt_tag *sdt_task_tag(const struct starpu_task *task);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
