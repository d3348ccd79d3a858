/* Why a call is refused, in the shape of OpenAI's errors: {"error": {"message", "type", "param",
 * "code"}} and a status of HTTP. */
#ifndef STARDIT_APPS_SERVE_REFUSAL_H
#define STARDIT_APPS_SERVE_REFUSAL_H

#include <stdbool.h>

#include "stardit/status.h"

struct serve_refusal {
    int http;         /* 400 to 599; 0: not refused */
    const char *code; /* for programs, as "unknown_field"; static */
    char param[48];   /* the field that is to blame; "": none */
    char message[700];
    int retry_after; /* seconds; 0: a repeat would not help */
};

/* Fills it and returns false. The first refusal stays. Control characters become '?'. */
bool serve_refuse(struct serve_refusal *refusal, int http, const char *code, const char *param,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));
/* What the library refused of a request: its numbers where the request is to blame, but no paths of
 * this machine. */
bool serve_refuse_status(struct serve_refusal *refusal, const struct sdt_error *err);
#endif
