/* Step caches: which steps skip the layers. */
#ifndef STARDIT_CACHES_H
#define STARDIT_CACHES_H

#include "graph/pipeline.h"
#include "graph/run/steps.h"

/* What was found of a checkpoint's steps last, for plans that ask again. NULL: out of memory. */
struct sdt_changes *sdt__changes_new(void);
void sdt__changes_free(struct sdt_changes *changes); /* NULL is fine */

/* Sets skip of the table's steps, and its text. SDT_ERROR_USAGE for a cache that the request or the
 * checkpoint cannot have, SDT_ERROR_FORMAT for a malformed calibration of the checkpoint's,
 * SDT_ERROR_MEMORY. */
enum sdt_status sdt__cache_steps(const struct sdt_pipeline *pipeline,
                                 const struct sdt_request *request, struct sdt_step_table *table,
                                 struct sdt_error *err);
#endif
