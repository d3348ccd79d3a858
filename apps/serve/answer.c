/* How calls are answered. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/serve/server.h"

/* What a browser may do with an answer: nothing; the page may use its own files and calls. */
static const char no_use[] = "default-src 'none'; frame-ancestors 'none'";
static const char page_use[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; media-src blob:; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/* Takes the response over. */
static enum MHD_Result send_for(struct serve_call *call, int http, struct MHD_Response *response,
                                const char *type, const char *use) {
    if (!response)
        return MHD_NO;
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Cache-Control", "no-store");
    MHD_add_response_header(response, "Content-Security-Policy", use);
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    if (http == 401)
        MHD_add_response_header(response, "WWW-Authenticate", "Bearer");
    serve_metrics_http(call->server->shared->metrics, call->route ? call->route->path : "other",
                       http);
    enum MHD_Result result = MHD_queue_response(call->connection, (unsigned)http, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result send_response(struct serve_call *call, int http,
                                     struct MHD_Response *response, const char *type) {
    return send_for(call, http, response, type, no_use);
}

enum MHD_Result serve_answer_page(struct serve_call *call, const char *type,
                                  const unsigned char *bytes, size_t size) {
    return send_for(call, 200,
                    MHD_create_response_from_buffer(size, (void *)bytes, MHD_RESPMEM_PERSISTENT),
                    type, page_use);
}

/* Takes the text over. */
static struct MHD_Response *of_text(char *text) {
    struct MHD_Response *response =
        text ? MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE) : NULL;
    if (!response)
        free(text);
    return response;
}

enum MHD_Result serve_answer(struct serve_call *call, int http, json_t *object) {
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    return send_response(call, http, of_text(text), "application/json");
}

enum MHD_Result serve_answer_text(struct serve_call *call, const char *type, char *text) {
    return send_response(call, 200, of_text(text), type);
}

enum MHD_Result serve_answer_refusal(struct serve_call *call, const struct serve_refusal *refusal) {
    const int http = refusal->http;
    const char *type = http == 401   ? "authentication_error"
                       : http == 403 ? "permission_error"
                       : http == 429 ? "rate_limit_error"
                       : http >= 500 ? "server_error"
                                     : "invalid_request_error";
    json_t *object =
        json_pack("{s:{s:s, s:s, s:s?, s:s}}", "error", "message", refusal->message, "type", type,
                  "param", *refusal->param ? refusal->param : NULL, "code", refusal->code);
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    char seconds[16];
    json_decref(object);
    struct MHD_Response *response = of_text(text);
    snprintf(seconds, sizeof seconds, "%d", refusal->retry_after);
    if (response && refusal->retry_after > 0)
        MHD_add_response_header(response, "Retry-After", seconds);
    else if (response)
        MHD_add_response_header(response, "x-should-retry", "false");
    return send_response(call, http, response, "application/json");
}

enum MHD_Result serve_answer_error(struct serve_call *call, int http, const char *code,
                                   const char *message) {
    struct serve_refusal refusal = {0};
    serve_refuse(&refusal, http, code, NULL, "%s", message);
    return serve_answer_refusal(call, &refusal);
}

enum MHD_Result serve_answer_file(struct serve_call *call, const char *path, const char *type,
                                  const char *name) {
    struct stat st;
    char disposition[SERVE_ID + 64];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) != 0) {
        if (fd >= 0)
            close(fd);
        return serve_answer_error(call, 404, "video_not_found", "the file is not there any more");
    }
    struct MHD_Response *response =
        MHD_create_response_from_fd64((uint64_t)st.st_size, fd); /* closes it */
    if (!response) {
        close(fd);
        return MHD_NO;
    }
    snprintf(disposition, sizeof disposition, "attachment; filename=\"%s\"", name);
    MHD_add_response_header(response, "Content-Disposition", disposition);
    return send_response(call, 200, response, type);
}
