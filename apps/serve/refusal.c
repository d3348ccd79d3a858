/* Why a call is refused. */
#include "apps/serve/refusal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool serve_refuse(struct serve_refusal *refusal, int http, const char *code, const char *param,
                  const char *format, ...) {
    va_list args;
    if (refusal->http)
        return false;
    *refusal = (struct serve_refusal){.http = http, .code = code};
    snprintf(refusal->param, sizeof refusal->param, "%s", param ? param : "");
    va_start(args, format);
    vsnprintf(refusal->message, sizeof refusal->message, format, args);
    va_end(args);
    for (char *c = refusal->message; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            *c = '?';
    return false;
}

bool serve_refuse_status(struct serve_refusal *refusal, const struct sdt_error *err) {
    switch (err->status) {
    case SDT_ERROR_USAGE:
        return serve_refuse(refusal, 400, "invalid_value", NULL, "%s", err->message);
    case SDT_ERROR_LIMIT:
        return serve_refuse(refusal, 400, "does_not_fit", NULL, "%s", err->message);
    default:
        return serve_refuse(refusal, 500, "cannot_plan", NULL, "the request cannot be planned: %s",
                            sdt_status_meaning(err->status));
    }
}
