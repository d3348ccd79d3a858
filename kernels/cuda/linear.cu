/* Linear on a GPU: cuBLAS for the product, one element-wise kernel for bias and epilogue. */
#include "kernels/cuda/kernels.h"

__device__ static float epilogue_of(float x, enum sdt_epilogue epilogue) {
    switch (epilogue) {
    case SDT_EPILOGUE_GELU_TANH: {
        const float c = 0.7978845608028654f; /* sqrt(2 / pi) */
        return 0.5f * x * (1.0f + tanhf(c * (x + 0.044715f * x * x * x)));
    }
    case SDT_EPILOGUE_SILU:
        return x / (1.0f + expf(-x));
    default:
        return x;
    }
}

__global__ static void finish(size_t count, int n, const float *bias, enum sdt_epilogue epilogue,
                              float *y /* [count / n, n] in place */) {
    size_t stride = (size_t)gridDim.x * blockDim.x;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += stride)
        y[i] = epilogue_of(bias ? y[i] + bias[i % (size_t)n] : y[i], epilogue);
}

extern "C" void sdt_cuda_linear(cublasHandle_t cublas, cudaStream_t stream, int rows, int n, int k,
                                const float *x, const float *w, const float *bias,
                                enum sdt_epilogue epilogue, float *y) {
    const float one = 1.0f, zero = 0.0f;
    cublasSetStream(cublas, stream);
    /* cuBLAS is column-major: y^T [n, rows] = w [n, k] x^T [k, rows]. */
    cublasSgemm(cublas, CUBLAS_OP_T, CUBLAS_OP_N, n, rows, k, &one, w, k, x, k, &zero, y, n);
    if (bias || epilogue != SDT_EPILOGUE_NONE) {
        size_t count = (size_t)rows * (size_t)n;
        unsigned blocks = (unsigned)((count + 255) / 256 < 4096 ? (count + 255) / 256 : 4096);
        finish<<<blocks, 256, 0, stream>>>(count, n, bias, epilogue, y);
    }
}
