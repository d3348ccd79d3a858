/* A request from the fields that a client sent, and as it is kept: as the JSON that would give the
 * same request again, with every default in it, whatever the defaults are then. */
#ifndef STARDIT_APPS_SERVE_REQUEST_H
#define STARDIT_APPS_SERVE_REQUEST_H

#include <jansson.h>

#include "apps/serve/form.h"
#include "apps/serve/models.h"

enum { SERVE_KEY = 128 };

struct serve_request {
    int model; /* its index */
    struct sdt_request request;
    char *prompt, *negative_prompt; /* malloc'ed; NULL: of the defaults, or none */
    int priority;                   /* -1000 to 1000 */
    double deadline_seconds;        /* from when it came; 0: none */
    char key[SERVE_KEY + 1];        /* by which a repeat is known; "": none */
    json_t *metadata;               /* an object that is given back; NULL: none */
};

/* Reads it, refusing what is not known by its name. Whether it can run is not checked. *request is
 * to be cleared after a refusal, too. */
bool serve_request_read(const struct serve_models *models, const struct serve_form *form,
                        struct serve_request *request, struct serve_refusal *refusal);
void serve_request_clear(struct serve_request *request);
/* As JSON, malloc'ed; NULL: out of memory. */
char *serve_request_text(const struct serve_models *models, const struct serve_request *request);
/* "5", what clients call seconds: of the video, to a thousandth. */
void serve_request_seconds(int frames, double fps, char *text /* [size] */, size_t size);
#endif
