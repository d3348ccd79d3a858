/* What a machine's devices are. */
#ifndef STARDIT_DEVICE_H
#define STARDIT_DEVICE_H

#include "stardit/kernels.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define SDT_MAX_DEVICES 64       /* of a machine, in simulated time */
#define SDT_MAX_LOCAL_DEVICES 15 /* here, plus the host: StarPU is built with 16 NUMA nodes */
#define SDT_MAX_GPUS 8           /* of them: StarPU is built for 8 CUDA devices */

enum sdt_device_kind {
    SDT_DEVICE_CPU, /* CPU workers on a memory of their own, standing in for a GPU; beside GPUs, the
                     * host */
    SDT_DEVICE_CUDA, /* an NVIDIA GPU */
    SDT_DEVICE_KINDS /* how many kinds there are */
};

struct sdt_device {
    enum sdt_device_kind kind;
    int index; /* of that kind: cuda:1 is the second GPU that CUDA shows */
};

/* "cpu", "cuda" */
const char *sdt_device_kind_name(enum sdt_device_kind kind);
/* "cuda:1"; returns text. */
#define SDT_DEVICE_NAME 16
const char *sdt_device_name(struct sdt_device device, char text[SDT_DEVICE_NAME]);

/* In what the transformer, the encoder and the decoder compute. */
enum sdt_precision {
    SDT_PRECISION_AUTO, /* bfloat16 on GPUs, float32 on CPUs */
    SDT_PRECISION_FLOAT32,
    SDT_PRECISION_BFLOAT16 /* GPUs only */
};

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
