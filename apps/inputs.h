/* From settings to a request: defaults of the checkpoint, overridden, with what options point
 * to. */
#ifndef STARDIT_APPS_INPUTS_H
#define STARDIT_APPS_INPUTS_H

#include "apps/settings.h"
#include "stardit/stardit.h"

/* What was read from files for the request, which borrows it. */
struct app_inputs {
    const char *prompts[APP_MOST_PROMPTS];                   /* borrowed from argv or file_text */
    int count;                                               /* of requests, at least 1 */
    char *file_text[APP_MOST_STRINGS + 1], *negative_prompt; /* malloc'ed, from files */
    int32_t *ids, *ids_2;
    struct sdt_safetensors *embeds_file[2], *latents_file;
    struct sdt_stored embeds[2], pooled[2];
    float *latents;
};

/* The checkpoint's defaults with everything that was given on the command line, from which the
 * request borrows. *inputs, zeroed before, is to be cleared after a failure too. Every outcome of
 * the readers (apps/read.h). */
enum sdt_status app_make_request(struct app_settings *settings, struct sdt_pipeline *pipeline,
                                 struct sdt_request *request, struct app_inputs *inputs,
                                 struct sdt_error *err);
void app_inputs_clear(struct app_inputs *inputs);
#endif
