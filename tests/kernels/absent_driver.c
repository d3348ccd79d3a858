/* A CUDA driver for plans without a GPU: libcudnn loads the kernels that it has compiled, and this lets it. All
 * else fails with CUDA_ERROR_STUB_LIBRARY, as in the toolkit's stub. tests/kernels/cudnn_plans loads it as
 * libcuda.so.1 before cuDNN looks for one. */
enum { ACCEPTED = 0, STUB = 34 };

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

ANSWER(cuCtxGetCurrent, STUB)
ANSWER(cuCtxGetDevice, STUB)
ANSWER(cuCtxGetLimit, STUB)
ANSWER(cuCtxPopCurrent, STUB)
ANSWER(cuCtxPushCurrent, STUB)
ANSWER(cuDeviceGet, STUB)
ANSWER(cuDeviceGetAttribute, STUB)
ANSWER(cuDeviceGetCount, STUB)
ANSWER(cuDevicePrimaryCtxRelease, STUB)
ANSWER(cuDevicePrimaryCtxReset, STUB)
ANSWER(cuDevicePrimaryCtxRetain, STUB)
ANSWER(cuDriverGetVersion, STUB)
ANSWER(cuFuncGetAttribute, STUB)
ANSWER(cuGetErrorName, STUB)
ANSWER(cuGetErrorString, STUB)
ANSWER(cuInit, STUB)
ANSWER(cuKernelGetAttribute, STUB)
ANSWER(cuLaunchCooperativeKernel, STUB)
ANSWER(cuLaunchKernel, STUB)
ANSWER(cuLaunchKernelEx, STUB)
ANSWER(cuLibraryLoadFromFile, STUB)
ANSWER(cuLinkAddData, STUB)
ANSWER(cuLinkAddData_v2, STUB)
ANSWER(cuLinkAddFile_v2, STUB)
ANSWER(cuLinkComplete, STUB)
ANSWER(cuLinkCreate, STUB)
ANSWER(cuLinkCreate_v2, STUB)
ANSWER(cuLinkDestroy, STUB)
ANSWER(cuMemcpyDtoH_v2, STUB)
ANSWER(cuModuleGetGlobal_v2, STUB)
ANSWER(cuOccupancyMaxActiveBlocksPerMultiprocessor, STUB)
ANSWER(cuOccupancyMaxPotentialClusterSize, STUB)
ANSWER(cuStreamGetCtx, STUB)
ANSWER(cuStreamSynchronize, STUB)
ANSWER(cuTensorMapEncodeTiled, STUB)
