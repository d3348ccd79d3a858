/* cuBLASLt's functions under their own names, of a library that is loaded when the first GPU worker
 * starts: loading it takes most of a program's start, and most programs' runs use no GPU. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#ifdef HAVE_CUDA
#include "kernels/cuda/cublas_lt.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

/* F(type, name, parameters, arguments), as in its header. */
#define FUNCTIONS(F)                                                                               \
    F(cublasStatus_t, cublasLtCreate, (cublasLtHandle_t * a), (a))                                 \
    F(cublasStatus_t, cublasLtDestroy, (cublasLtHandle_t a), (a))                                  \
    F(const char *, cublasLtGetStatusString, (cublasStatus_t a), (a))                              \
    F(cublasStatus_t, cublasLtMatmul,                                                              \
      (cublasLtHandle_t a, cublasLtMatmulDesc_t b, const void *c, const void *d,                   \
       cublasLtMatrixLayout_t e, const void *f, cublasLtMatrixLayout_t g, const void *h,           \
       const void *i, cublasLtMatrixLayout_t j, void *k, cublasLtMatrixLayout_t l,                 \
       const cublasLtMatmulAlgo_t *m, void *n, size_t o, cudaStream_t p),                          \
      (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p))                                            \
    F(cublasStatus_t, cublasLtMatmulDescCreate,                                                    \
      (cublasLtMatmulDesc_t * a, cublasComputeType_t b, cudaDataType_t c), (a, b, c))              \
    F(cublasStatus_t, cublasLtMatmulDescDestroy, (cublasLtMatmulDesc_t a), (a))                    \
    F(cublasStatus_t, cublasLtMatmulDescSetAttribute,                                              \
      (cublasLtMatmulDesc_t a, cublasLtMatmulDescAttributes_t b, const void *c, size_t d),         \
      (a, b, c, d))                                                                                \
    F(cublasStatus_t, cublasLtMatrixLayoutCreate,                                                  \
      (cublasLtMatrixLayout_t * a, cudaDataType b, uint64_t c, uint64_t d, int64_t e),             \
      (a, b, c, d, e))                                                                             \
    F(cublasStatus_t, cublasLtMatrixLayoutDestroy, (cublasLtMatrixLayout_t a), (a))                \
    F(cublasStatus_t, cublasLtMatmulPreferenceCreate, (cublasLtMatmulPreference_t * a), (a))       \
    F(cublasStatus_t, cublasLtMatmulPreferenceDestroy, (cublasLtMatmulPreference_t a), (a))        \
    F(cublasStatus_t, cublasLtMatmulPreferenceSetAttribute,                                        \
      (cublasLtMatmulPreference_t a, cublasLtMatmulPreferenceAttributes_t b, const void *c,        \
       size_t d),                                                                                  \
      (a, b, c, d))                                                                                \
    F(cublasStatus_t, cublasLtMatmulAlgoGetHeuristic,                                              \
      (cublasLtHandle_t a, cublasLtMatmulDesc_t b, cublasLtMatrixLayout_t c,                       \
       cublasLtMatrixLayout_t d, cublasLtMatrixLayout_t e, cublasLtMatrixLayout_t f,               \
       cublasLtMatmulPreference_t g, int h, cublasLtMatmulHeuristicResult_t i[], int *j),          \
      (a, b, c, d, e, f, g, h, i, j))

/* Filled once for the process. */
static struct {
    pthread_once_t once;
    char why[300];
#define FIELD(type, name, parameters, arguments) __typeof__(name) *name;
    FUNCTIONS(FIELD)
} cublas_lt = {.once = PTHREAD_ONCE_INIT};

#define TEXT_OF(x) #x
#define NAME_OF(major) "libcublasLt.so." TEXT_OF(major)

static void load(void) {
    void *library = dlopen(NAME_OF(CUBLAS_VER_MAJOR), RTLD_LAZY | RTLD_LOCAL), *symbol;
    if (!library) {
        snprintf(cublas_lt.why, sizeof cublas_lt.why, "cuBLASLt cannot be loaded: %.200s",
                 dlerror());
        return;
    }
#define FIND(type, name, parameters, arguments)                                                    \
    symbol = dlsym(library, #name);                                                                \
    memcpy(&cublas_lt.name, &symbol, sizeof symbol);                                               \
    if (!symbol)                                                                                   \
        snprintf(cublas_lt.why, sizeof cublas_lt.why, "cuBLASLt lacks " #name);
    FUNCTIONS(FIND)
}

const char *sdt__cublas_lt_load(void) {
    pthread_once(&cublas_lt.once, load);
    return cublas_lt.why[0] ? cublas_lt.why : NULL;
}

#define DEFINE(type, name, parameters, arguments)                                                  \
    type name parameters { return cublas_lt.name arguments; }
FUNCTIONS(DEFINE)
#endif
