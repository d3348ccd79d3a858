#include "kernels/cuda/context.h"
