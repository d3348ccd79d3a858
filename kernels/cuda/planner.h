/* Making cuDNN's plans before a task needs them: a thread of its own, with handles of its own. */
#ifndef STARDIT_CUDA_PLANNER_H
#define STARDIT_CUDA_PLANNER_H

#include "kernels/cuda/cudnn.h"

extern "C" { /* C names, as all that the library exports */
/* Where a planner's thread gets its cuDNN for a device, without a stream: NULL, with the reason,
 * where there is none. tests/kernels/cudnn_plans has one for a GPU that is not here. */
typedef struct sdt__cudnn *(*sdt__cudnn_open)(int device, char *why, size_t size);
struct sdt_planner *sdt__planner_new(const char *folder /* or NULL: nothing on disk */,
                                     sdt__cudnn_open open);
/* Waits until all that was asked for is done. */
void sdt__planner_wait(struct sdt_planner *planner);
struct sdt__plans *sdt__planner_plans(struct sdt_planner *planner);
}
#endif
