/* Which devices can make up a machine, and which of them a group: what plans, machines and programs
 * refuse in the same words. */
#ifndef STARDIT_DEVICES_H
#define STARDIT_DEVICES_H

#include "runtime/gpus.h"
#include "stardit/stardit.h"

/* "device 2", or "the host" for -1 */
const char *sdt__device_title(int device, char text[SDT_DEVICE_NAME]);
/* Device d of a machine; NULL stands for CPU devices in order. */
static inline struct sdt_device sdt__device_at(const struct sdt_device *device, int d) {
    return device ? device[d] : (struct sdt_device){SDT_DEVICE_CPU, d};
}
/* Is one of them a GPU? */
bool sdt__has_gpus(const struct sdt_device *device /* [count] or NULL */, int count);

/* Can these be a machine? SDT_ERROR_USAGE for a device that stands twice, a GPU that is not there,
 * more than one CPU device beside GPUs; SDT_ERROR_DEVICE where there is no GPU at all, with the
 * reason. `gpus` (or NULL): filled where GPUs are asked for. */
enum sdt_status sdt__devices_check(const struct sdt_device *device /* [count] or NULL */, int count,
                                   struct sdt_gpus *gpus, struct sdt_error *err);

/* Workers of each CPU device, 0 for a GPU: `list`, else `each` of every one (0: all of `cores` for
 * one device, 1 for several). SDT_ERROR_USAGE for more than this StarPU has room for, one of them
 * serving the host, and for a list beside GPUs, where the host's workers are one number. */
enum sdt_status sdt__device_workers(const struct sdt_device *device /* [count] or NULL */,
                                    int count, int each, const int *list /* [count] or NULL */,
                                    int cores, int *workers /* [count] written */,
                                    struct sdt_error *err);
/* FLOP/s of each device, of which only how they compare means something: CPU devices by their
 * workers, GPUs by a guess from kind and clock, or as `given`, beside device 0. SDT_ERROR_USAGE for
 * a given speed that is not above 0. */
enum sdt_status sdt__device_speeds(const struct sdt_device *device /* [count] or NULL */, int count,
                                   const int *workers /* [count] */,
                                   const struct sdt_gpus *gpus /* NULL: without GPUs */,
                                   const double *given /* [count] or NULL */,
                                   double *speed /* [count] written */, struct sdt_error *err);

/* What the two groups are made of, and in what they compute. */
struct sdt_kinds {
    enum sdt_device_kind dit, vae;
    enum sdt_dtype dit_dtype, vae_dtype;
};
/* Each group is of one kind, for aco both are, with GPUs of one model where it is dynamic; bfloat16
 * runs on GPUs only: SDT_ERROR_USAGE. Checks the groups' device numbers as well. */
enum sdt_status sdt__settle_kinds(const struct sdt_placement *placement,
                                  const struct sdt_device *device /* [devices] or NULL */,
                                  int devices, struct sdt_kinds *kinds, struct sdt_error *err);
/* GPUs of different models: libraries choose their kernels by the model, so that sums have another
 * order, and bits depend on which of them computes what. A plan fixes that; `text` [size] says it
 * in half a sentence, "" where all are alike. */
bool sdt__models_differ(const struct sdt_device *device /* [count] or NULL */, int count,
                        const struct sdt_gpus *gpus, char *text, size_t size);
/* Of such GPUs dynamic aco would let the clock choose the bits: SDT_ERROR_USAGE. */
enum sdt_status sdt__models_check(const struct sdt_placement *placement,
                                  const struct sdt_device *device /* [count] or NULL */, int count,
                                  const struct sdt_gpus *gpus, struct sdt_error *err);
/* Do the groups share a device? */
bool sdt__groups_overlap(const struct sdt_placement *placement);

/* Bytes that StarPU will use of a GPU's memory: nine tenths of it, or what STARPU_LIMIT_CUDA_MEM or
 * STARPU_LIMIT_CUDA_<index>_MEM (MB of 2^20 bytes) say, and no more than is free now. */
double sdt__gpu_room(const struct sdt_gpus *gpus, int index);
#endif
