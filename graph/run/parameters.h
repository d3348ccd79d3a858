/* A component's weights as StarPU handles, made when first asked for.
 *
 * Tensors that are stored in the type that is wanted are registered where the checkpoint is mapped:
 * nothing is copied until a device with a memory of its own needs them. Others, those that kernels
 * read in another order (convolutions; on CPUs, matrices that are used often), and all on machines
 * with GPUs (whose transfers want pinned memory) are brought into StarPU's memory by a task on the
 * host, once. */
#ifndef STARDIT_PARAMETERS_H
#define STARDIT_PARAMETERS_H

#include "codelets/codelets.h"
#include "graph/checkpoint/weights.h"
#include "runtime/machine.h"

struct sdt_parameters;

/* Borrows both, which must outlive it. NULL: out of memory. */
struct sdt_parameters *sdt_parameters_new(const struct sdt_weights *weights,
                                          struct sdt_machine *machine);
/* Unregisters everything; tasks that use it have ended or are waited for. */
void sdt_parameters_free(struct sdt_parameters *parameters);

/* The tensor of that name, as SDT_F32 or SDT_BF16. The table check (weights.h) has been passed, so
 * it exists. Failures stay in the flow and give NULL. */
sdt_handle sdt_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters,
                         enum sdt_dtype dtype, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Rows first..first+rows-1 of it. */
sdt_handle sdt_rows_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters,
                              enum sdt_dtype dtype, int first, int rows, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
/* Some columns of a matrix; count 0: all. */
struct sdt_columns {
    int first, count;
};
/* A linear layer's weight [n, k] for devices of a kind. GPUs get it as above. CPUs read BF16 where
 * it is mapped as well as F32, whatever dtype says, since they widen it themselves; and when it
 * will be used often, packed (sdt_pack_weight), its mapped pages given back. */
sdt_handle sdt_weight_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters,
                                enum sdt_device_kind kind, enum sdt_dtype dtype, bool often,
                                struct sdt_columns columns, const char *format, ...)
    __attribute__((format(printf, 7, 8)));
/* Bytes of such a handle. */
size_t sdt_weight_size(const struct sdt_stored *stored, enum sdt_device_kind kind,
                       enum sdt_dtype dtype, bool often, struct sdt_columns columns);
/* Bytes of a handle as sdt_host_parameter makes it, where it is not read in place; else 0. */
size_t sdt_host_size(const struct sdt_stored *stored, bool matrix);
/* What tasks at the host alone read, once: a matrix as sdt_weight_parameter gives it to CPUs, or
 * floats; where it is mapped if it can be read there, with GPUs as well. */
sdt_handle sdt_host_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters, bool matrix,
                              const char *format, ...) __attribute__((format(printf, 4, 5)));
/* A convolution's weight [out, in, taps], as [out, taps, in]; for CPUs packed, in runs of `across`
 * taps. */
sdt_handle sdt_conv_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters,
                              enum sdt_device_kind kind, enum sdt_dtype dtype, int out, int in,
                              int taps, int across, const char *format, ...)
    __attribute__((format(printf, 9, 10)));
/* Output channels first..first+out-1 of it. */
sdt_handle sdt_conv_part_parameter(struct sdt_flow *flow, struct sdt_parameters *parameters,
                                   enum sdt_device_kind kind, enum sdt_dtype dtype, int first,
                                   int out, int in, int taps, int across, const char *format, ...)
    __attribute__((format(printf, 10, 11)));

/* Drops every handle whose tensor's name starts with prefix, and gives the mapped pages back. The
 * tasks that use them have ended (sdt__flow_reach): StarPU would wait for them here, where no
 * watchdog looks. */
void sdt_parameters_drop(struct sdt_parameters *parameters, const char *prefix);

/* The same of all that sdt_host_parameter has made; is there any? */
bool sdt_parameters_has_host(const struct sdt_parameters *parameters);
void sdt_parameters_drop_host(struct sdt_parameters *parameters);

/* How many tensors of these weights have room on a StarPU memory node, valid or on their way, as
 * StarPU says now; *bytes (or NULL): theirs. From any thread, also while tasks run. */
int sdt_parameters_resident(struct sdt_machine *machine, const struct sdt_weights *weights,
                            unsigned node, size_t *bytes);
#endif
