/* cuDNN's graph API: a handle per GPU worker, graphs of operations, and the plans made of them,
 * each kept with its shape. The library is loaded at run time, so every function of it goes through
 * `call`.
 *
 * A graph is built with functions that do nothing after a failure; the end asks once whether all
 * went well:
 *     x = sdt__cudnn_tensor(&graph, ...); ... sdt__cudnn_matmul(&graph, x, y, z); ...
 *     if (sdt__cudnn_plan(&graph)) ... sdt__cudnn_run(cuda, &graph, ...)
 * The plan is the first of cuDNN's heuristic (mode A) that builds, needs no more than the
 * workspace, and is deterministic; nothing is measured. */
#ifndef STARDIT_CUDA_CUDNN_H
#define STARDIT_CUDA_CUDNN_H

#include "config.h"
#include "kernels/cuda/context.h"
#include "kernels/cuda/plans.h"

#ifdef HAVE_CUDNN
#include <cudnn_backend.h>
#include <cudnn_version.h>

/* The functions that are used, as the headers declare them. */
struct sdt__cudnn_calls {
    decltype(&::cudnnGetVersion) version;
    decltype(&::cudnnCreate) create;
    decltype(&::cudnnDestroy) destroy;
    decltype(&::cudnnSetStream) set_stream;
    decltype(&::cudnnGetErrorString) error_string;
    decltype(&::cudnnBackendCreateDescriptor) create_part;
    decltype(&::cudnnBackendDestroyDescriptor) destroy_part;
    decltype(&::cudnnBackendSetAttribute) set;
    decltype(&::cudnnBackendGetAttribute) get;
    decltype(&::cudnnBackendFinalize) finalize;
    decltype(&::cudnnBackendExecute) execute;
};

struct sdt__cudnn_graph;

struct sdt__cudnn {
    void *library;
    struct sdt__cudnn_calls call;
    cudnnHandle_t handle; /* NULL: plans are made for `gpu`, and cannot run */
    cudnnBackendDescriptor_t gpu;
    size_t version; /* of the library, 91900 for 9.19.0 */
    char text[24];
    char of[240];                    /* library and GPU: what a plan holds for */
    struct sdt__cudnn_graph *graphs; /* all that were tried */
};

typedef cudnnBackendDescriptor_t sdt__part;

/* Room for what a graph of some ten operations is made of. */
enum { SDT__CUDNN_PARTS = 128, SDT__CUDNN_OPERATIONS = 16, SDT__CUDNN_KEY = SDT__PLAN_KEY };

/* Kinds of graphs, the first number of their keys. */
enum { SDT__CUDNN_ATTENTION = 1, SDT__CUDNN_CONVOLUTION };

struct sdt__cudnn_graph {
    struct sdt__cudnn_graph *next;
    struct sdt__cudnn *cudnn;
    int64_t key[SDT__CUDNN_KEY]; /* what was planned: kind and shape */
    cudnnStatus_t status;        /* of the first call that failed */
    const char *step;            /* and what it was for */
    int parts, operations;
    sdt__part part[SDT__CUDNN_PARTS]; /* all descriptors, alive as long as the plan */
    sdt__part operation[SDT__CUDNN_OPERATIONS];
    sdt__part plan; /* NULL: there is none */
    size_t workspace;
    bool lacking; /* memory was short, or the device failed: no verdict */
};

extern "C" { /* C names, as all that the library exports */
/* Makes plans for a GPU that is not here, described as cuDNN 9.8 and later write it down (JSON);
 * they cannot run. For tests/kernels/cudnn_plans. NULL with the reason in `why` [size]. */
struct sdt__cudnn *sdt__cudnn_absent(const char *gpu, char *why, size_t size);

/* The graph for a key: one made before, or an empty one with *fresh true, which the caller fills
 * and plans. NULL: no memory. Owned by the handle. */
struct sdt__cudnn_graph *sdt__cudnn_find(struct sdt__cudnn *cudnn,
                                         const int64_t key[SDT__CUDNN_KEY], bool *fresh);
/* The same in a few lines: a graph with its plan, from what other threads or the disk have, or by
 * make(cuda, graph, arg), which fills `cuda->cudnn_why` where there is none. NULL: no plan. Where
 * that is for want of memory, `cuda->lacking` is true, and the next call tries again. */
struct sdt__cudnn_graph *sdt__cudnn_planned(
    struct sdt_cuda *cuda, const int64_t key[SDT__CUDNN_KEY],
    void (*make)(struct sdt_cuda *cuda, struct sdt__cudnn_graph *graph, const void *arg),
    const void *arg);
/* Forgets all graphs. */
void sdt__cudnn_drop(struct sdt__cudnn *cudnn);
/* The failure of an operation whose plan is lacking. */
enum sdt_status sdt__cudnn_lacking(struct sdt_cuda *cuda);
/* Empties a graph, for another try with the same key. */
void sdt__cudnn_clear(struct sdt__cudnn_graph *graph);

/* A descriptor of a kind, its attributes, and its end. */
sdt__part sdt__cudnn_part(struct sdt__cudnn_graph *graph, cudnnBackendDescriptorType_t kind,
                          const char *step);
void sdt__cudnn_set(struct sdt__cudnn_graph *graph, sdt__part part,
                    cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                    int64_t count, const void *values);
void sdt__cudnn_finish(struct sdt__cudnn_graph *graph, sdt__part part);

/* Where a tensor's numbers are: in memory, nowhere (between two operations), or one on the host. */
enum sdt__cudnn_home { SDT__CUDNN_MEMORY, SDT__CUDNN_VIRTUAL, SDT__CUDNN_VALUE };
/* Memory is aligned to 16 bytes. */
sdt__part sdt__cudnn_tensor(struct sdt__cudnn_graph *graph, int64_t id, cudnnDataType_t type,
                            enum sdt__cudnn_home home, int dims, const int64_t *size,
                            const int64_t *stride);
/* Operations with float32 arithmetic; y is written. */
void sdt__cudnn_operation(struct sdt__cudnn_graph *graph, sdt__part operation);
void sdt__cudnn_matmul(struct sdt__cudnn_graph *graph, sdt__part a, sdt__part b, sdt__part y);
/* w over x in time, rows and columns, with `pad` zeros on both sides of each. */
void sdt__cudnn_convolution(struct sdt__cudnn_graph *graph, const int64_t pad[3], sdt__part x,
                            sdt__part w, sdt__part y);
void sdt__cudnn_pointwise(struct sdt__cudnn_graph *graph, cudnnPointwiseMode_t mode, sdt__part x,
                          sdt__part b /* or NULL */, sdt__part y);
void sdt__cudnn_reduction(struct sdt__cudnn_graph *graph, cudnnReduceTensorOp_t mode, sdt__part x,
                          sdt__part y);

/* Whether there is a plan now. */
bool sdt__cudnn_plan(struct sdt__cudnn_graph *graph);
/* What stood in the way, in words. */
void sdt__cudnn_reason(const struct sdt__cudnn_graph *graph, char *text, size_t size);

/* Queues the plan with the memory of these tensors (host addresses of values); *done false, and the
 * plan gone for good, where cuDNN refuses it only now. */
enum sdt_status sdt__cudnn_run(struct sdt_cuda *cuda, struct sdt__cudnn_graph *graph, int count,
                               const int64_t *ids, void *const *memory, bool *done);
}
#endif
#endif
