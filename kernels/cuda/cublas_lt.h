/* Loading cuBLASLt. */
#ifndef STARDIT_CUDA_CUBLAS_LT_H
#define STARDIT_CUDA_CUBLAS_LT_H

#ifdef __cplusplus
extern "C" {
#endif
/* Before any of its functions is called. NULL: it is there; else why not, half a sentence. */
const char *sdt__cublas_lt_load(void);
#ifdef __cplusplus
}
#endif
#endif
