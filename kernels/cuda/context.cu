/* What a GPU worker keeps: its stream, library handles, workspace, and how failures are reported. */
#include "kernels/cuda/context.h"

#include <stdio.h>
#include <stdlib.h>
