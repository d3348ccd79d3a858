/* A CUDA driver for plans without a GPU: libcudnn loads the kernels that it has compiled, and this
 * lets it. All else it refuses, because there is no GPU. tests/kernels/cudnn_plans loads it as
 * libcuda.so.1 before cuDNN looks for one. */
enum { ACCEPTED = 0, REFUSED = 100 }; /* CUDA_SUCCESS, CUDA_ERROR_NO_DEVICE */

#define ANSWER(name, answer)                                                                       \
    int name(void);                                                                                \
    int name(void) { return answer; }

/* The functions that make something store its handle first. */
#define MAKE(name)                                                                                 \
    int name(void **made);                                                                         \
    int name(void **made) {                                                                        \
        static int something;                                                                      \
        *made = &something;                                                                        \
        return ACCEPTED;                                                                           \
    }

/* Loading, and what is asked of a loaded kernel. */
MAKE(cuLibraryLoadData)
MAKE(cuLibraryGetKernel)
MAKE(cuModuleLoadData)
MAKE(cuModuleLoadDataEx)
MAKE(cuModuleLoadFatBinary)
MAKE(cuModuleGetFunction)
ANSWER(cuLibraryUnload, ACCEPTED)
ANSWER(cuModuleUnload, ACCEPTED)
ANSWER(cuKernelSetAttribute, ACCEPTED)
ANSWER(cuFuncSetAttribute, ACCEPTED)

ANSWER(cuCtxGetCurrent, REFUSED)
ANSWER(cuCtxGetDevice, REFUSED)
ANSWER(cuCtxGetLimit, REFUSED)
ANSWER(cuCtxPopCurrent, REFUSED)
ANSWER(cuCtxPushCurrent, REFUSED)
ANSWER(cuDeviceGet, REFUSED)
ANSWER(cuDeviceGetAttribute, REFUSED)
ANSWER(cuDeviceGetCount, REFUSED)
ANSWER(cuDevicePrimaryCtxRelease, REFUSED)
ANSWER(cuDevicePrimaryCtxReset, REFUSED)
ANSWER(cuDevicePrimaryCtxRetain, REFUSED)
ANSWER(cuDriverGetVersion, REFUSED)
ANSWER(cuFuncGetAttribute, REFUSED)
ANSWER(cuGetErrorName, REFUSED)
ANSWER(cuGetErrorString, REFUSED)
ANSWER(cuInit, REFUSED)
ANSWER(cuKernelGetAttribute, REFUSED)
ANSWER(cuLaunchCooperativeKernel, REFUSED)
ANSWER(cuLaunchKernel, REFUSED)
ANSWER(cuLaunchKernelEx, REFUSED)
ANSWER(cuLibraryLoadFromFile, REFUSED)
ANSWER(cuLinkAddData, REFUSED)
ANSWER(cuLinkAddData_v2, REFUSED)
ANSWER(cuLinkAddFile_v2, REFUSED)
ANSWER(cuLinkComplete, REFUSED)
ANSWER(cuLinkCreate, REFUSED)
ANSWER(cuLinkCreate_v2, REFUSED)
ANSWER(cuLinkDestroy, REFUSED)
ANSWER(cuMemcpyDtoH_v2, REFUSED)
ANSWER(cuModuleGetGlobal_v2, REFUSED)
ANSWER(cuOccupancyMaxActiveBlocksPerMultiprocessor, REFUSED)
ANSWER(cuOccupancyMaxPotentialClusterSize, REFUSED)
ANSWER(cuStreamGetCtx, REFUSED)
ANSWER(cuStreamSynchronize, REFUSED)
ANSWER(cuTensorMapEncodeTiled, REFUSED)
