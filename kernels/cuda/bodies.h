/* Bodies of the kernels that go element by element or row by row; see kernels/cuda/kernels.h. */
