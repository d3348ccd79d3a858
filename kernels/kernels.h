/* Every kernel. The header is installed, so it lives with the public ones. */
#include "stardit/kernels.h"
