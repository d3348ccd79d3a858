/* cuDNN: loading it, and its graph API made short. */
#include "kernels/cuda/cudnn.h"

extern "C" {
#include "base/clock.h"
}

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef HAVE_CUDNN

struct sdt__cudnn *sdt__cudnn_new(cudaStream_t, char *why, size_t size) {
    snprintf(why, size, "built without cuDNN");
    return NULL;
}
void sdt__cudnn_free(struct sdt__cudnn *) {}
const char *sdt__cudnn_loaded_version(const struct sdt__cudnn *) { return NULL; }

#else

#include <dlfcn.h>

/* ---- the library ----------------------------------------------------------------------------- */

template <class function> static bool find(void *library, const char *name, function *place) {
    void *symbol = dlsym(library, name);
    memcpy(place, &symbol, sizeof symbol);
    return symbol != NULL;
}

static bool find_all(void *library, struct sdt__cudnn_calls *call) {
    return find(library, "cudnnGetVersion", &call->version) &&
           find(library, "cudnnCreate", &call->create) &&
           find(library, "cudnnDestroy", &call->destroy) &&
           find(library, "cudnnSetStream", &call->set_stream) &&
           find(library, "cudnnGetErrorString", &call->error_string) &&
           find(library, "cudnnBackendCreateDescriptor", &call->create_part) &&
           find(library, "cudnnBackendDestroyDescriptor", &call->destroy_part) &&
           find(library, "cudnnBackendSetAttribute", &call->set) &&
           find(library, "cudnnBackendGetAttribute", &call->get) &&
           find(library, "cudnnBackendFinalize", &call->finalize) &&
           find(library, "cudnnBackendExecute", &call->execute);
}

/* The library without a handle. */
static struct sdt__cudnn *load(char *why, size_t size) {
    struct sdt__cudnn *cudnn = (struct sdt__cudnn *)calloc(1, sizeof *cudnn);
    if (!cudnn) {
        snprintf(why, size, "no memory for cuDNN's handle");
        return NULL;
    }
    cudnn->library = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
    if (!cudnn->library) {
        snprintf(why, size, "libcudnn.so.9 cannot be loaded: %s", dlerror());
        goto fail;
    }
    if (!find_all(cudnn->library, &cudnn->call)) {
        snprintf(why, size, "libcudnn.so.9 lacks functions: %s", dlerror());
        goto fail;
    }
    cudnn->version = cudnn->call.version();
    if (cudnn->version < 90000) {
        snprintf(why, size, "libcudnn.so.9 says that it is version %zu", cudnn->version);
        goto fail;
    }
    snprintf(cudnn->text, sizeof cudnn->text, "%zu.%zu.%zu", cudnn->version / 10000,
             cudnn->version / 100 % 100, cudnn->version % 100);
    return cudnn;

fail:
    sdt__cudnn_free(cudnn);
    return NULL;
}

/* What cuDNN's heuristic may look at. Without it, plans are kept nowhere. */
static void name_gpu(struct sdt__cudnn *cudnn) {
    struct cudaDeviceProp gpu;
    int device = 0, driver = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaGetDeviceProperties(&gpu, device) != cudaSuccess ||
        cudaDriverGetVersion(&driver) != cudaSuccess)
        return;
    snprintf(
        cudnn->of, sizeof cudnn->of,
        "cuDNN %s, driver for CUDA %d, %.80s, %d.%d, %d multiprocessors, %zu bytes, %d of cache",
        cudnn->text, driver, gpu.name, gpu.major, gpu.minor, gpu.multiProcessorCount,
        gpu.totalGlobalMem, gpu.l2CacheSize);
}

struct sdt__cudnn *sdt__cudnn_new(cudaStream_t stream, char *why, size_t size) {
    struct sdt__cudnn *cudnn = load(why, size);
    if (!cudnn)
        return NULL;
    const char *step = "does not start";
    cudnnStatus_t status = cudnn->call.create(&cudnn->handle);
    if (status != CUDNN_STATUS_SUCCESS) {
        cudnn->handle = NULL;
    } else {
        step = "does not take the stream";
        status = cudnn->call.set_stream(cudnn->handle, stream);
    }
    if (status == CUDNN_STATUS_SUCCESS) {
        name_gpu(cudnn);
        return cudnn;
    }
    snprintf(why, size, "cuDNN %s %s: %s", cudnn->text, step, cudnn->call.error_string(status));
    sdt__cudnn_free(cudnn);
    return NULL;
}

#if CUDNN_VERSION >= 90800
struct sdt__cudnn *sdt__cudnn_absent(const char *gpu, char *why, size_t size) {
    struct sdt__cudnn *cudnn = load(why, size);
    if (!cudnn)
        return NULL;
    const struct sdt__cudnn_calls *call = &cudnn->call;
    cudnnStatus_t status = call->create_part(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &cudnn->gpu);
    if (status == CUDNN_STATUS_SUCCESS)
        status = call->set(cudnn->gpu, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                           (int64_t)strlen(gpu), gpu);
    if (status == CUDNN_STATUS_SUCCESS)
        status = call->finalize(cudnn->gpu);
    if (status == CUDNN_STATUS_SUCCESS) {
        const char *name = strstr(gpu, "\"deviceName\"");
        snprintf(cudnn->of, sizeof cudnn->of, "cuDNN %s, %.100s", cudnn->text, name ? name : gpu);
        return cudnn;
    }
    snprintf(why, size, "cuDNN %s does not take the description of a GPU: %s", cudnn->text,
             call->error_string(status));
    sdt__cudnn_free(cudnn);
    return NULL;
}
#else
struct sdt__cudnn *sdt__cudnn_absent(const char *, char *why, size_t size) {
    snprintf(why, size, "built with cuDNN %d; plans without a GPU need 9.8", CUDNN_VERSION);
    return NULL;
}
#endif

void sdt__cudnn_free(struct sdt__cudnn *cudnn) {
    if (!cudnn)
        return;
    sdt__cudnn_drop(cudnn);
    if (cudnn->gpu)
        cudnn->call.destroy_part(cudnn->gpu);
    if (cudnn->handle)
        cudnn->call.destroy(cudnn->handle);
    /* The library stays loaded: its threads and its hooks in the CUDA runtime may outlive the
     * handle. */
    free(cudnn);
}

const char *sdt__cudnn_loaded_version(const struct sdt__cudnn *cudnn) { return cudnn->text; }

/* ---- graphs ---------------------------------------------------------------------------------- */

struct sdt__cudnn_graph *sdt__cudnn_find(struct sdt__cudnn *cudnn,
                                         const int64_t key[SDT__CUDNN_KEY], bool *fresh) {
    *fresh = false;
    for (struct sdt__cudnn_graph *graph = cudnn->graphs; graph; graph = graph->next)
        if (memcmp(graph->key, key, sizeof graph->key) == 0)
            return graph;
    struct sdt__cudnn_graph *graph = (struct sdt__cudnn_graph *)calloc(1, sizeof *graph);
    if (!graph)
        return NULL;
    memcpy(graph->key, key, sizeof graph->key);
    graph->cudnn = cudnn;
    graph->status = CUDNN_STATUS_SUCCESS;
    graph->next = cudnn->graphs;
    cudnn->graphs = graph;
    *fresh = true;
    return graph;
}

void sdt__cudnn_drop(struct sdt__cudnn *cudnn) {
    while (cudnn->graphs) {
        struct sdt__cudnn_graph *next = cudnn->graphs->next;
        sdt__cudnn_clear(cudnn->graphs);
        free(cudnn->graphs);
        cudnn->graphs = next;
    }
}

void sdt__cudnn_clear(struct sdt__cudnn_graph *graph) {
    while (graph->parts > 0) /* the newest first: they refer to older ones */
        graph->cudnn->call.destroy_part(graph->part[--graph->parts]);
    graph->operations = 0;
    graph->plan = NULL;
    graph->workspace = 0;
    graph->lacking = false;
    graph->status = CUDNN_STATUS_SUCCESS;
    graph->step = NULL;
}

static bool going(const struct sdt__cudnn_graph *graph) {
    return graph->status == CUDNN_STATUS_SUCCESS;
}

sdt__part sdt__cudnn_part(struct sdt__cudnn_graph *graph, cudnnBackendDescriptorType_t kind,
                          const char *step) {
    sdt__part part = NULL;
    if (!going(graph))
        return NULL;
    graph->step = step;
    if (graph->parts == SDT__CUDNN_PARTS) {
        graph->status = CUDNN_STATUS_INTERNAL_ERROR;
        return NULL;
    }
    graph->status = graph->cudnn->call.create_part(kind, &part);
    if (!going(graph))
        return NULL;
    graph->part[graph->parts++] = part;
    return part;
}

void sdt__cudnn_set(struct sdt__cudnn_graph *graph, sdt__part part,
                    cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                    int64_t count, const void *values) {
    if (going(graph))
        graph->status = graph->cudnn->call.set(part, name, type, count, values);
}

void sdt__cudnn_finish(struct sdt__cudnn_graph *graph, sdt__part part) {
    if (going(graph))
        graph->status = graph->cudnn->call.finalize(part);
}

#if CUDNN_VERSION < 90800 /* never set: there is no `gpu` */
#define CUDNN_ATTR_ENGINEHEUR_DEVICEPROP CUDNN_ATTR_ENGINEHEUR_RESULTS
#define CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP CUDNN_ATTR_EXECUTION_PLAN_HANDLE
#endif

static void set_part(struct sdt__cudnn_graph *graph, sdt__part part,
                     cudnnBackendAttributeName_t name, sdt__part value) {
    sdt__cudnn_set(graph, part, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}

sdt__part sdt__cudnn_tensor(struct sdt__cudnn_graph *graph, int64_t id, cudnnDataType_t type,
                            enum sdt__cudnn_home home, int dims, const int64_t *size,
                            const int64_t *stride) {
    sdt__part part = sdt__cudnn_part(graph, CUDNN_BACKEND_TENSOR_DESCRIPTOR, "a tensor");
    int64_t alignment = 16;
    bool yes = true;
    sdt__cudnn_set(graph, part, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    sdt__cudnn_set(graph, part, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, dims, size);
    sdt__cudnn_set(graph, part, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, dims, stride);
    sdt__cudnn_set(graph, part, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    sdt__cudnn_set(graph, part, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
    if (home == SDT__CUDNN_VIRTUAL)
        sdt__cudnn_set(graph, part, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &yes);
    if (home == SDT__CUDNN_VALUE)
        sdt__cudnn_set(graph, part, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &yes);
    sdt__cudnn_finish(graph, part);
    return part;
}

void sdt__cudnn_operation(struct sdt__cudnn_graph *graph, sdt__part operation) {
    sdt__cudnn_finish(graph, operation);
    if (!going(graph))
        return;
    if (graph->operations == SDT__CUDNN_OPERATIONS)
        graph->status = CUDNN_STATUS_INTERNAL_ERROR;
    else
        graph->operation[graph->operations++] = operation;
}

static const cudnnDataType_t arithmetic = CUDNN_DATA_FLOAT;

void sdt__cudnn_matmul(struct sdt__cudnn_graph *graph, sdt__part a, sdt__part b, sdt__part y) {
    sdt__part kind = sdt__cudnn_part(graph, CUDNN_BACKEND_MATMUL_DESCRIPTOR, "a matrix product");
    sdt__cudnn_set(graph, kind, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &arithmetic);
    sdt__cudnn_finish(graph, kind);
    sdt__part operation =
        sdt__cudnn_part(graph, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, "a matrix product");
    set_part(graph, operation, CUDNN_ATTR_OPERATION_MATMUL_DESC, kind);
    set_part(graph, operation, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    set_part(graph, operation, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    set_part(graph, operation, CUDNN_ATTR_OPERATION_MATMUL_CDESC, y);
    sdt__cudnn_operation(graph, operation);
}

void sdt__cudnn_convolution(struct sdt__cudnn_graph *graph, const int64_t pad[3], sdt__part x,
                            sdt__part w, sdt__part y) {
    const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    const int64_t dims = 3, ones[3] = {1, 1, 1};
    const float one = 1.f, none = 0.f;
    sdt__part kind = sdt__cudnn_part(graph, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, "a convolution");
    sdt__cudnn_set(graph, kind, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1,
                   &arithmetic);
    sdt__cudnn_set(graph, kind, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1,
                   &mode);
    sdt__cudnn_set(graph, kind, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dims);
    sdt__cudnn_set(graph, kind, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, dims, ones);
    sdt__cudnn_set(graph, kind, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, dims,
                   ones);
    sdt__cudnn_set(graph, kind, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, dims, pad);
    sdt__cudnn_set(graph, kind, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, dims, pad);
    sdt__cudnn_finish(graph, kind);
    sdt__part operation = sdt__cudnn_part(
        graph, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, "a convolution");
    set_part(graph, operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, kind);
    set_part(graph, operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
    set_part(graph, operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
    set_part(graph, operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
    sdt__cudnn_set(graph, operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                   CUDNN_TYPE_FLOAT, 1, &one);
    sdt__cudnn_set(graph, operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
                   CUDNN_TYPE_FLOAT, 1, &none);
    sdt__cudnn_operation(graph, operation);
}

void sdt__cudnn_pointwise(struct sdt__cudnn_graph *graph, cudnnPointwiseMode_t mode, sdt__part x,
                          sdt__part b, sdt__part y) {
    const float one = 1.f;
    sdt__part kind =
        sdt__cudnn_part(graph, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, "an element-wise operation");
    sdt__cudnn_set(graph, kind, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    sdt__cudnn_set(graph, kind, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1,
                   &arithmetic);
    sdt__cudnn_finish(graph, kind);
    sdt__part operation = sdt__cudnn_part(graph, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
                                          "an element-wise operation");
    set_part(graph, operation, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, kind);
    set_part(graph, operation, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b)
        set_part(graph, operation, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    set_part(graph, operation, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    sdt__cudnn_set(graph, operation, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA1, CUDNN_TYPE_FLOAT, 1,
                   &one);
    sdt__cudnn_set(graph, operation, CUDNN_ATTR_OPERATION_POINTWISE_ALPHA2, CUDNN_TYPE_FLOAT, 1,
                   &one);
    sdt__cudnn_operation(graph, operation);
}

void sdt__cudnn_reduction(struct sdt__cudnn_graph *graph, cudnnReduceTensorOp_t mode, sdt__part x,
                          sdt__part y) {
    sdt__part kind = sdt__cudnn_part(graph, CUDNN_BACKEND_REDUCTION_DESCRIPTOR, "a reduction");
    sdt__cudnn_set(graph, kind, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE,
                   1, &mode);
    sdt__cudnn_set(graph, kind, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1,
                   &arithmetic);
    sdt__cudnn_finish(graph, kind);
    sdt__part operation =
        sdt__cudnn_part(graph, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, "a reduction");
    set_part(graph, operation, CUDNN_ATTR_OPERATION_REDUCTION_DESC, kind);
    set_part(graph, operation, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    set_part(graph, operation, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    sdt__cudnn_operation(graph, operation);
}

/* ---- plans ----------------------------------------------------------------------------------- */

/* No verdict on a plan, but want of memory or a failing device: a second choice in its place would
 * give other bits than the same run on a quiet GPU. */
static bool no_verdict(cudnnStatus_t status) {
    return status == CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED ||
           status == CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED || status >= 5000;
}

/* Engine configurations that the heuristic may name. */
enum { CANDIDATES = 8 };

/* Whether cuDNN says that an engine adds up in an order that changes from run to run. */
static bool wavering(struct sdt__cudnn_graph *graph, sdt__part config) {
    const struct sdt__cudnn_calls *call = &graph->cudnn->call;
    cudnnBackendNumericalNote_t note[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    sdt__part engine = NULL;
    int64_t count = 0;
    bool found = false;
    if (call->create_part(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) != CUDNN_STATUS_SUCCESS)
        return false;
    if (call->get(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &count,
                  &engine) == CUDNN_STATUS_SUCCESS &&
        call->get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                  CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, note) == CUDNN_STATUS_SUCCESS)
        for (int64_t i = 0; i < count && i < CUDNN_NUMERICAL_NOTE_TYPE_COUNT; i++)
            found = found || note[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
    call->destroy_part(engine);
    return found;
}

/* A plan of one configuration, if it fits. Its failures are no failure of the graph. */
static bool try_config(struct sdt__cudnn_graph *graph, sdt__part config) {
    struct sdt__cudnn *cudnn = graph->cudnn;
    int64_t need = 0, count = 0;
    int before = graph->parts;
    if (wavering(graph, config)) {
        graph->step = "a plan that gives the same bits each time";
        return false;
    }
    sdt__part plan = sdt__cudnn_part(graph, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, "a plan");
    if (cudnn->handle)
        sdt__cudnn_set(graph, plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1,
                       &cudnn->handle);
    else
        set_part(graph, plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, cudnn->gpu);
    set_part(graph, plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config);
    sdt__cudnn_finish(graph, plan);
    if (going(graph))
        graph->status = cudnn->call.get(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                        CUDNN_TYPE_INT64, 1, &count, &need);
    if (going(graph) && (size_t)need <= SDT_CUDA_WORKSPACE) {
        graph->plan = plan;
        graph->workspace = (size_t)need;
        return true;
    }
    if (going(graph)) {
        graph->step = "a plan within the workspace";
        graph->status = CUDNN_STATUS_NOT_SUPPORTED;
    }
    while (graph->parts > before)
        cudnn->call.destroy_part(graph->part[--graph->parts]);
    return false;
}

static bool plan_graph(struct sdt__cudnn_graph *graph) {
    struct sdt__cudnn *cudnn = graph->cudnn;
    cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
    sdt__part config[CANDIDATES] = {}, whole, heuristic;
    int64_t count = 0;
    int made = 0;
    whole = sdt__cudnn_part(graph, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, "the graph");
    sdt__cudnn_set(graph, whole, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                   graph->operations, graph->operation);
    if (cudnn->handle)
        sdt__cudnn_set(graph, whole, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1,
                       &cudnn->handle);
    sdt__cudnn_finish(graph, whole);
    heuristic = sdt__cudnn_part(graph, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, "the heuristic");
    set_part(graph, heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, whole);
    sdt__cudnn_set(graph, heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (!cudnn->handle)
        set_part(graph, heuristic, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, cudnn->gpu);
    sdt__cudnn_finish(graph, heuristic);
    while (going(graph) && made < CANDIDATES)
        config[made++] =
            sdt__cudnn_part(graph, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, "a configuration");
    if (!going(graph))
        return false;
    graph->step = "the heuristic's answer";
    graph->status = cudnn->call.get(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                    CUDNN_TYPE_BACKEND_DESCRIPTOR, made, &count, config);
    if (!going(graph))
        return false;
    cudnnStatus_t first = CUDNN_STATUS_NOT_SUPPORTED;
    const char *step = graph->step;
    for (int64_t i = 0; i < count && i < made; i++) {
        if (try_config(graph, config[i]))
            return true;
        if (no_verdict(graph->status))
            return false;
        if (i == 0) {
            step = graph->step;
            first = going(graph) ? CUDNN_STATUS_NOT_SUPPORTED : graph->status;
        }
        graph->status = CUDNN_STATUS_SUCCESS;
    }
    graph->status = first; /* the reason that counts is the favourite's */
    graph->step = step;
    return false;
}

bool sdt__cudnn_plan(struct sdt__cudnn_graph *graph) {
    bool made = plan_graph(graph);
    graph->lacking = !made && no_verdict(graph->status);
    return made;
}

void sdt__cudnn_reason(const struct sdt__cudnn_graph *graph, char *text, size_t size) {
    snprintf(text, size, "%s: %s", graph->step ? graph->step : "a plan",
             graph->cudnn->call.error_string(graph->status));
}

/* ---- plans as text --------------------------------------------------------------------------- */

static bool finish_plan(struct sdt__cudnn_graph *graph, sdt__part plan) {
    int64_t need = 0, count = 0;
    sdt__cudnn_finish(graph, plan);
    if (going(graph))
        graph->status = graph->cudnn->call.get(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                               CUDNN_TYPE_INT64, 1, &count, &need);
    if (!going(graph) || need < 0 || (size_t)need > SDT_CUDA_WORKSPACE)
        return false;
    graph->plan = plan;
    graph->workspace = (size_t)need;
    return true;
}

static bool plan_of_text(struct sdt__cudnn_graph *graph, const char *text, size_t size) {
    sdt__part plan =
        sdt__cudnn_part(graph, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, "a plan that was kept");
    if (graph->cudnn->handle)
        sdt__cudnn_set(graph, plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1,
                       &graph->cudnn->handle);
    else
        set_part(graph, plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, graph->cudnn->gpu);
    sdt__cudnn_set(graph, plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                   (int64_t)size, text);
    if (finish_plan(graph, plan))
        return true;
    sdt__cudnn_clear(graph);
    cudaGetLastError();
    return false;
}

/* malloc'ed; NULL: it cannot be had. */
static char *text_of_plan(const struct sdt__cudnn_graph *graph, size_t *size) {
    const struct sdt__cudnn_calls *call = &graph->cudnn->call;
    const cudnnBackendAttributeName_t name = CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION;
    int64_t count = 0, got = 0;
    if (call->get(graph->plan, name, CUDNN_TYPE_CHAR, 0, &count, NULL) != CUDNN_STATUS_SUCCESS ||
        count < 1)
        return NULL;
    char *text = (char *)malloc((size_t)count);
    if (text &&
        (call->get(graph->plan, name, CUDNN_TYPE_CHAR, count, &got, text) != CUDNN_STATUS_SUCCESS ||
         got < 1 || got > count)) {
        free(text);
        text = NULL;
    }
    *size = (size_t)got;
    return text;
}

/* What other threads or the disk know: true where that settles it. */
static bool recall(struct sdt_cuda *cuda, struct sdt__cudnn_graph *graph) {
    const char *of = cuda->cudnn->of;
    size_t size = 0;
    char *text = NULL;
    bool settled = false;
    switch (sdt__plans_take(cuda->plans, of, graph->key, &text, &size)) {
    case SDT__PLAN_WANTED:
        break;
    case SDT__PLAN_NONE:
        snprintf(cuda->cudnn_why, sizeof cuda->cudnn_why, "%s", text);
        settled = true;
        break;
    case SDT__PLAN_TEXT:
        settled = cuda->ahead || plan_of_text(graph, text, size);
        if (!settled)
            sdt__plans_spoiled(cuda->plans, of, graph->key);
        break;
    }
    free(text);
    return settled;
}

static void keep(struct sdt_cuda *cuda, const struct sdt__cudnn_graph *graph, double seconds) {
    const char *of = cuda->cudnn->of;
    size_t size = 0;
    char *text = graph->plan ? text_of_plan(graph, &size) : NULL;
    if (graph->plan || cuda->lacking)
        sdt__plans_put(cuda->plans, of, graph->key, false, text, size, cuda->ahead, seconds);
    else
        sdt__plans_put(cuda->plans, of, graph->key, true, cuda->cudnn_why, strlen(cuda->cudnn_why),
                       cuda->ahead, seconds);
    free(text);
}

struct sdt__cudnn_graph *sdt__cudnn_planned(
    struct sdt_cuda *cuda, const int64_t key[SDT__CUDNN_KEY],
    void (*make)(struct sdt_cuda *cuda, struct sdt__cudnn_graph *graph, const void *arg),
    const void *arg) {
    bool fresh, shared = cuda->plans && *cuda->cudnn->of;
    struct sdt__cudnn_graph *graph = sdt__cudnn_find(cuda->cudnn, key, &fresh);
    cuda->lacking = !graph;
    if (!graph)
        snprintf(cuda->cudnn_why, sizeof cuda->cudnn_why, "no memory for a plan");
    if (graph && fresh && !(shared && recall(cuda, graph))) {
        double start = sdt__host_now();
        make(cuda, graph, arg);
        if (shared)
            keep(cuda, graph, sdt__host_now() - start);
        if (cuda->lacking) { /* the newest */
            cuda->cudnn->graphs = graph->next;
            sdt__cudnn_clear(graph);
            free(graph);
            return NULL;
        }
    }
    return graph && graph->plan ? graph : NULL;
}

enum sdt_status sdt__cudnn_lacking(struct sdt_cuda *cuda) {
    return sdt_fail(&cuda->error, SDT_ERROR_DEVICE,
                    "cuda:%d: cuDNN %s: %s; what else runs on this GPU? A smaller size would "
                    "leave it more memory",
                    cuda->device, cuda->cudnn->text, cuda->cudnn_why);
}

/* Refusals, as against failures of the device: bad parameters (2000..) and unsupported things
 * (3000..). */
static bool refused(cudnnStatus_t status) { return status >= 2000 && status < 4000; }

enum sdt_status sdt__cudnn_run(struct sdt_cuda *cuda, struct sdt__cudnn_graph *graph, int count,
                               const int64_t *ids, void *const *memory, bool *done) {
    const struct sdt__cudnn_calls *call = &graph->cudnn->call;
    void *workspace = cuda->workspace;
    sdt__part pack = NULL;
    *done = false;
    cudnnStatus_t status = call->create_part(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    if (status == CUDNN_STATUS_SUCCESS)
        status = call->set(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, count,
                           memory);
    if (status == CUDNN_STATUS_SUCCESS)
        status = call->set(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, count, ids);
    if (status == CUDNN_STATUS_SUCCESS)
        status =
            call->set(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
    if (status == CUDNN_STATUS_SUCCESS)
        status = call->finalize(pack);
    if (status == CUDNN_STATUS_SUCCESS)
        status = call->execute(graph->cudnn->handle, graph->plan, pack);
    if (pack)
        call->destroy_part(pack);
    if (status == CUDNN_STATUS_SUCCESS) {
        *done = true;
        return SDT_OK;
    }
    if (refused(status)) {
        graph->plan = NULL;
        graph->step = "starting the plan";
        graph->status = status;
        sdt__cudnn_reason(graph, cuda->cudnn_why, sizeof cuda->cudnn_why);
        if (cuda->plans && *cuda->cudnn->of)
            sdt__plans_put(cuda->plans, cuda->cudnn->of, graph->key, true, cuda->cudnn_why,
                           strlen(cuda->cudnn_why), false, 0.0);
        return SDT_OK;
    }
    return sdt_fail(&cuda->error, SDT_ERROR_DEVICE, "cuda:%d: cuDNN %s: %s", cuda->device,
                    graph->cudnn->text, call->error_string(status));
}

#endif
