/* That cuDNN has plans for the graphs of attention and convolution, at the sizes of Wan 2.1, on
 * GPUs of compute capability 8.0, 8.6, 8.9 and 9.0 that need not be here: since 9.8 it plans, and
 * compiles, for a GPU by its description. What the plans compute is for tests/kernels/cuda, on a
 * GPU. And that a planner's plans, made in its thread or in an earlier process, spare others making
 * them; and that want of memory is an error, never another kernel with other bits. */
#include "config.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SKIPPED = 77 };

#if defined(HAVE_CUDA) && defined(HAVE_CUDNN)

#include "kernels/cuda/attend.h"
#include "kernels/cuda/convolve.h"
#include "kernels/cuda/planner.h"

extern "C" {
#include "base/folder.h"
}

/* As the driver gives them, from NVIDIA's tables of compute capabilities and data sheets. */
struct gpu {
    const char *name;
    int version, multiprocessors, shared, threads, blocks;
    size_t memory, cache;
};
static const struct gpu gpus[] = {
    {"NVIDIA A100-SXM4-80GB", 800, 108, 166912, 2048, 32, (size_t)80 << 30, 40 << 20},
    {"NVIDIA A40", 860, 84, 101376, 1536, 16, (size_t)48 << 30, 6 << 20},
    {"NVIDIA L40S", 890, 142, 101376, 1536, 24, (size_t)48 << 30, 96 << 20},
    {"NVIDIA H100 80GB HBM3", 900, 132, 232448, 2048, 32, (size_t)80 << 30, 50 << 20},
};

static void describe(const struct gpu *gpu, char *text, size_t size) {
    snprintf(text, size,
             "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],"
             "\"regsPerBlock\":65536,\"multiProcessorCount\":%d,\"warpSize\":32,"
             "\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlockOptin\":%d,"
             "\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,"
             "\"maxCtasPerSM\":%d,\"maxThreadsPerBlock\":1024,\"maxThreadsPerSM\":%d,"
             "\"pciDeviceId\":0,\"isTccDriver\":0,\"supportCoopLaunch\":1,"
             "\"totalGlobalMem\":%zu,\"smClockRateKHz\":1700000,\"memClockRateKHz\":2000000,"
             "\"l2CacheSize\":%zu,\"cudaDeviceId\":0,\"deviceVer\":%d,\"driverVer\":13000,"
             "\"deviceName\":\"%s\"}",
             gpu->multiprocessors, gpu->shared, gpu->blocks, gpu->threads, gpu->memory, gpu->cache,
             gpu->version, gpu->name);
}

static int failures, checks;

static void check(struct sdt_cuda *cuda, const struct gpu *gpu, struct sdt__cudnn_graph *graph,
                  bool wanted, const char *what) {
    bool fine = (graph != NULL) == wanted && (!graph || graph->workspace <= SDT_CUDA_WORKSPACE);
    checks++;
    failures += !fine;
    printf("%s %d: %s: %s%s\n", fine ? "ok  " : "FAIL", gpu->version, what,
           graph ? "a plan" : "no plan", graph || wanted ? "" : ", as expected");
    if (!fine)
        printf("     %s\n", cuda->cudnn_why);
}

static void check_attention(struct sdt_cuda *cuda, const struct gpu *gpu, int heads, int rows,
                            int keys, int e, bool log_sums, bool wanted) {
    static char memory[16] __attribute__((aligned(16))); /* plans do not look at it */
    struct attention_call call = {};
    char what[128];
    call.heads = heads;
    call.rows = rows;
    call.keys = keys;
    call.e = e;
    call.q = call.k = call.v = call.o = memory;
    call.lse = log_sums ? (float *)memory : NULL;
    call.q_head = call.o_head = (int64_t)rows * e;
    call.k_head = (int64_t)(keys + 5) * e; /* the last tile is not full */
    call.q_row = call.k_row = call.o_row = e;
    snprintf(what, sizeof what, "attention %d x %d x %d, %d keys%s", heads, rows, e, keys,
             log_sums ? ", log-sum-exp" : "");
    check(cuda, gpu, sdt__cudnn_attention(cuda, &call), wanted, what);
}

static void check_conv(struct sdt_cuda *cuda, const struct gpu *gpu, struct sdt_conv conv,
                       bool residual, bool wanted) {
    char what[128];
    snprintf(what, sizeof what, "convolution %d -> %d, (%d,%d,%d), %d x %d%s%s", conv.in, conv.out,
             conv.kt, conv.ks, conv.ks, conv.height, conv.width, conv.upsample ? " enlarged" : "",
             residual ? ", residual" : "");
    check(cuda, gpu, sdt__cudnn_convolution_of(cuda, &conv, residual), wanted, what);
}

static struct sdt__cudnn *open_absent(int, char *why, size_t size) {
    char text[1024];
    describe(&gpus[3], text, sizeof text);
    return sdt__cudnn_absent(text, why, size);
}

static void expect(bool fine, const char *what) {
    checks++;
    failures += !fine;
    printf("%s %s\n", fine ? "ok  " : "FAIL", what);
}

/* ---- want of memory -------------------------------------------------------------------------- */

/* What cuDNN answers where a plan is finished, and started, in place of what it would. */
static struct {
    decltype(&::cudnnBackendCreateDescriptor) create;
    decltype(&::cudnnBackendFinalize) finalize;
    cudnnBackendDescriptor_t plan;
    cudnnStatus_t finished, started;
} answers;

static cudnnStatus_t CUDNNWINAPI create_part(cudnnBackendDescriptorType_t kind,
                                             cudnnBackendDescriptor_t *part) {
    cudnnStatus_t status = answers.create(kind, part);
    if (kind == CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)
        answers.plan = *part;
    return status;
}

static cudnnStatus_t CUDNNWINAPI finish_part(cudnnBackendDescriptor_t part) {
    bool refused = part == answers.plan && answers.finished != CUDNN_STATUS_SUCCESS;
    return refused ? answers.finished : answers.finalize(part);
}

static cudnnStatus_t CUDNNWINAPI start_plan(cudnnHandle_t, cudnnBackendDescriptor_t,
                                            cudnnBackendDescriptor_t) {
    return answers.started;
}

static struct sdt__cudnn *open_answering(char *why, size_t size) {
    struct sdt__cudnn *cudnn = open_absent(0, why, size);
    if (!cudnn)
        return NULL;
    answers.create = cudnn->call.create_part;
    answers.finalize = cudnn->call.finalize;
    answers.plan = NULL;
    cudnn->call.create_part = create_part;
    cudnn->call.finalize = finish_part;
    cudnn->call.execute = start_plan;
    return cudnn;
}

/* As a task calls it; *done: cuDNN has computed, else an own kernel takes its place. */
static enum sdt_status attend(struct sdt_cuda *cuda, bool *done) {
    static char memory[16] __attribute__((aligned(16)));
    struct attention_call call = by_heads(2, 256, 64, memory, 256, 700, memory, memory, memory);
    call.scale = 0.125f;
    return sdt__cudnn_attend(cuda, &call, done);
}
static enum sdt_status convolve(struct sdt_cuda *cuda, bool *done) {
    static char memory[16] __attribute__((aligned(16)));
    const struct sdt_conv conv = {64, 32, 1, 1, 30, 20, 0, 0}; /* its frame is read where it lies */
    const void *x[3] = {memory};
    const struct conv_call call = {&conv, 1, x, memory, (float *)memory, NULL, {memory}, NULL};
    return sdt__cudnn_convolve(cuda, &call, done);
}

static void check_short(const char *what,
                        enum sdt_status (*call)(struct sdt_cuda *cuda, bool *done)) {
    static const struct {
        const char *name;
        cudnnStatus_t finished, started;
        enum sdt_status status;
        bool done;
        int none; /* shapes that are given up for good */
    } cases[] = {
        {"the host has no memory for a plan", CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED,
         CUDNN_STATUS_SUCCESS, SDT_ERROR_DEVICE, false, 0},
        {"the GPU has no memory for a plan", CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED,
         CUDNN_STATUS_SUCCESS, SDT_ERROR_DEVICE, false, 0},
        {"the GPU fails", CUDNN_STATUS_EXECUTION_FAILED, CUDNN_STATUS_SUCCESS, SDT_ERROR_DEVICE,
         false, 0},
        {"there is memory again", CUDNN_STATUS_SUCCESS, CUDNN_STATUS_SUCCESS, SDT_OK, true, 0},
        {"the GPU has no memory at the start", CUDNN_STATUS_SUCCESS,
         CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED, SDT_ERROR_DEVICE, false, 0},
        {"a plan is refused at the start", CUDNN_STATUS_SUCCESS, CUDNN_STATUS_NOT_SUPPORTED, SDT_OK,
         false, 1},
    };
    struct sdt_planner *planner = sdt__planner_new(NULL, open_absent);
    struct sdt_cuda cuda = {};
    char why[256], text[800];
    cuda.cudnn = open_answering(why, sizeof why);
    sdt_cuda_share(&cuda, planner);
    for (const auto &c : cases) {
        bool done = false;
        answers.finished = c.finished;
        answers.started = c.started;
        cuda.error = {};
        enum sdt_status status = call(&cuda, &done);
        int none = sdt_planner_count(planner).none;
        snprintf(text, sizeof text, "%s, %s: %s%s", what, c.name,
                 status == SDT_OK ? (done ? "computed" : "an own kernel") : "an error: ",
                 status == SDT_OK ? "" : cuda.error.message);
        expect(status == c.status && done == c.done && none == c.none, text);
        answers.started = CUDNN_STATUS_SUCCESS;
    }
    sdt__cudnn_free(cuda.cudnn);
    sdt_planner_free(planner);
}

/* ---- plans made ahead ------------------------------------------------------------------------ */

static const struct sdt_conv demo_conv = {64, 32, 3, 3, 30, 20, 0, 0};

/* As a task does, with a cuDNN of its own; the plan's workspace, or -1. */
static long as_a_task(struct sdt_planner *planner) {
    struct sdt_cuda cuda = {};
    char why[256];
    cuda.cudnn = open_absent(0, why, sizeof why);
    if (!cuda.cudnn)
        return -1;
    sdt_cuda_share(&cuda, planner);
    struct sdt__cudnn_graph *graph = sdt__cudnn_convolution_of(&cuda, &demo_conv, true);
    long workspace = graph ? (long)graph->workspace : -1;
    sdt__cudnn_free(cuda.cudnn);
    return workspace;
}

static void check_ahead(const char *folder) {
    struct sdt_cuda_shape conv = {}, attention = {};
    conv.is_conv = conv.residual = true;
    conv.conv = demo_conv;
    attention.heads = 2;
    attention.rows = attention.tile = 256;
    attention.e = 64;
    attention.keys = 700;

    struct sdt_planner *planner = sdt__planner_new(folder, open_absent);
    sdt_planner_ahead(planner, 0, &conv);
    sdt_planner_ahead(planner, 0, &attention);
    sdt_planner_ahead(planner, 0, &conv); /* once is enough */
    sdt__planner_wait(planner);
    struct sdt_cuda_plans first = sdt_planner_count(planner);
    printf("made %d plans, %d of them ahead, in %.2f s\n", first.made, first.ahead, first.seconds);
    expect(first.made == 2 && first.ahead == 2 && first.read == 0, "two plans are made ahead");
    long workspace = as_a_task(planner);
    expect(workspace >= 0 && sdt_planner_count(planner).made == 2, "a task takes one of them");
    sdt_planner_free(planner);

    planner = sdt__planner_new(folder, open_absent); /* as in a later process */
    expect(as_a_task(planner) == workspace, "the plan on disk is the same");
    struct sdt_cuda_plans later = sdt_planner_count(planner);
    printf("made %d plans, read %d\n", later.made, later.read);
    expect(later.made == 0 && later.read == 1, "a later process makes none");

    /* A text that is whole, but none of this cuDNN. */
    const int64_t key[SDT__CUDNN_KEY] = {
        SDT__CUDNN_CONVOLUTION, demo_conv.in, demo_conv.out, 3, 3, 30, 20, true};
    struct sdt__cudnn *cudnn = open_absent(0, NULL, 0);
    sdt__plans_put(sdt__planner_plans(planner), cudnn->of, key, false, "{\"no\": 1}", 9, false, 0.);
    sdt__cudnn_free(cudnn);
    sdt_planner_free(planner);
    planner = sdt__planner_new(folder, open_absent);
    expect(as_a_task(planner) == workspace, "a text that is no plan is planned anew");
    expect(sdt_planner_count(planner).made == 1, "and that plan is kept");
    sdt_planner_free(planner);
    planner = sdt__planner_new(folder, open_absent);
    expect(as_a_task(planner) == workspace && sdt_planner_count(planner).made == 0,
           "for the process after it");
    /* Asked for, and ended at once. */
    sdt_planner_ahead(planner, 0, &attention);
    sdt_planner_free(planner);
}

static void check_planner(void) {
    struct sdt_error err;
    char *root, folder[600];
    if (sdt__folder_make(&root, &err) != SDT_OK) {
        expect(false, err.message);
        return;
    }
    snprintf(folder, sizeof folder, "%s/stardit/cudnn", root);
    check_ahead(folder);
    sdt__folder_remove(root);
}

int main(void) {
    if (!dlopen(ABSENT_DRIVER, RTLD_NOW | RTLD_GLOBAL)) {
        printf("%s\n", dlerror());
        return 1;
    }
    for (const auto &gpu : gpus) {
        struct sdt_cuda cuda = {};
        char text[1024], why[256];
        describe(&gpu, text, sizeof text);
        cuda.cudnn = sdt__cudnn_absent(text, why, sizeof why);
        if (!cuda.cudnn) {
            printf("skipped: %s\n", why);
            return SKIPPED;
        }
        check_attention(&cuda, &gpu, 12, 8190, 32760, 128, false, true);
        check_attention(&cuda, &gpu, 5, 1001, 3003, 128, true, true);
        check_attention(&cuda, &gpu, 1, 77, 77, 64, true, true);
        check_attention(&cuda, &gpu, 1, 77, 77, 60, true, false);
        check_conv(&cuda, &gpu, {16, 384, 3, 3, 60, 104, 0, 0}, false, true);
        check_conv(&cuda, &gpu, {384, 384, 3, 3, 60, 104, 0, 0}, true, true);
        check_conv(&cuda, &gpu, {384, 192, 1, 3, 60, 104, 1, 0}, false, true);
        check_conv(&cuda, &gpu, {192, 384, 1, 1, 120, 208, 0, 0}, false, true);
        check_conv(&cuda, &gpu, {384, 384, 3, 1, 60, 104, 0, 0}, false, true);
        check_conv(&cuda, &gpu, {96, 96, 3, 3, 480, 832, 0, 0}, true, true);
        check_conv(&cuda, &gpu, {96, 96, 3, 3, 31, 7, 0, 0}, true, true);
        check_conv(&cuda, &gpu, {96, 3, 3, 3, 480, 832, 0, 0}, false, false);
        check_conv(&cuda, &gpu, {512, 512, 3, 3, 64, 64, 1, 1}, false, true);
        check_conv(&cuda, &gpu, {128, 128, 3, 3, 256, 256, 0, 1}, true, true);
        sdt__cudnn_free(cuda.cudnn);
    }
    check_short("attention", attend);
    check_short("convolution", convolve);
    check_planner();
    printf("cuDNN's plans: %d checks, %d failed\n", checks, failures);
    return failures > 0;
}

#else

int main(void) {
    printf("skipped: built without CUDA or cuDNN\n");
    return SKIPPED;
}

#endif
