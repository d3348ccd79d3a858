/* NCCL: loaded when it is first asked for, as cuDNN is, so that programs start without it; and its
 * communicators' end, which is a call of all ranks. */
#ifndef STARDIT_NCCL_H
#define STARDIT_NCCL_H

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#if defined HAVE_CUDA && defined HAVE_NCCL
#include <nccl.h>
#include <stdbool.h>

#include "stardit/status.h"

/* F(field, function): all that is used, as the header declares them. */
#define SDT__NCCL_FUNCTIONS(F)                                                                     \
    F(get_version, ncclGetVersion)                                                                 \
    F(error_string, ncclGetErrorString)                                                            \
    F(init_all, ncclCommInitAll)                                                                   \
    F(finalize, ncclCommFinalize)                                                                  \
    F(destroy, ncclCommDestroy)                                                                    \
    F(abort, ncclCommAbort)                                                                        \
    F(async_error, ncclCommGetAsyncError)                                                          \
    F(group_start, ncclGroupStart)                                                                 \
    F(group_end, ncclGroupEnd)                                                                     \
    F(send, ncclSend)                                                                              \
    F(receive, ncclRecv)

/* The library stays loaded: its threads may outlive the communicators. */
struct sdt__nccl {
    int version; /* 22809 for 2.28.9 */
    bool found;  /* the library, even where it lacks a function */
#define SDT__NCCL_FIELD(field, function) __typeof__(function) *field;
    SDT__NCCL_FUNCTIONS(SDT__NCCL_FIELD)
#undef SDT__NCCL_FIELD
};

/* SDT_ERROR_DEVICE with why it is not there. */
enum sdt_status sdt__nccl_load(struct sdt__nccl *nccl, struct sdt_error *err);

/* Ends the communicators of all ranks of a clique, in the groups that NCCL's guide asks for where
 * one thread has several ranks: finalised and destroyed, or `aborting` what is on its way. In a
 * thread of its own that is waited for at most `seconds` (0: always). False: it has not ended by
 * then or could not start, and the communicators are left alone; nothing else must touch them
 * either way. */
bool sdt__nccl_end(const struct sdt__nccl *nccl, int ranks, const ncclComm_t *comm /* [ranks] */,
                   bool aborting, double seconds);
#endif
#endif
