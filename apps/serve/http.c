/* The listening side. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/serve/http.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"

enum { THREADS = 4, MOST_NAME = 256 };

/* ---- listening ------------------------------------------------------------------------------- */

static bool is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_INET)
        return ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 == 127;
    return address->sa_family == AF_INET6 &&
           IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

/* "[::1]:80" is "::1" and "80". */
static bool split(const char *address, char host[MOST_NAME], char port[8]) {
    const char *colon = strrchr(address, ':');
    size_t length = colon ? (size_t)(colon - address) : 0;
    const bool brackets = length > 2 && address[0] == '[' && colon[-1] == ']';
    if (length == 0 || length >= MOST_NAME || !colon[1] || strlen(colon + 1) > 5 ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1) || atoi(colon + 1) > 65535 ||
        (!brackets && memchr(address, ':', length)))
        return false;
    snprintf(host, MOST_NAME, "%.*s", (int)length - 2 * brackets, address + brackets);
    snprintf(port, 8, "%s", colon + 1);
    return true;
}

static void name_of(int fd, char *actual, size_t size) {
    struct sockaddr_storage there;
    socklen_t length = sizeof there;
    char host[INET6_ADDRSTRLEN] = "", port[8] = "";
    if (getsockname(fd, (struct sockaddr *)&there, &length) == 0)
        getnameinfo((struct sockaddr *)&there, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(actual, size, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

int serve_http_listen(const char *address, bool *loopback, char *actual, size_t size,
                      struct sdt_error *err) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char host[MOST_NAME], port[8];
    const int yes = 1;
    if (!split(address, host, port)) {
        sdt_fail(err, SDT_ERROR_USAGE,
                 "--listen %s: must be an address and a port, as 127.0.0.1:8040 or [::1]:8040",
                 address);
        return -1;
    }
    int code = getaddrinfo(host, port, &hints, &found);
    if (code != 0) {
        sdt_fail(err, SDT_ERROR_USAGE, "--listen %s: %s", address, gai_strerror(code));
        return -1;
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) != 0 || listen(fd, 64) != 0) {
        sdt_fail(err, SDT_ERROR_IO, "--listen %s: %s", address, strerror(errno));
        if (fd >= 0)
            close(fd);
        fd = -1;
    }
    *loopback = is_loopback(found->ai_addr);
    freeaddrinfo(found);
    if (fd >= 0)
        name_of(fd, actual, size);
    return fd;
}

/* ---- connections ----------------------------------------------------------------------------- */

/* A connection, and since when a request is awaited on it. */
struct serve_link {
    struct serve_link *next;
    int fd;
    double since;
    bool answered; /* the request is there: what follows is the answer */
};

static void on_connection(void *arg, struct MHD_Connection *connection, void **context,
                          enum MHD_ConnectionNotificationCode code) {
    struct serve_server *server = arg;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct serve_link *link = calloc(1, sizeof *link);
        *context = link;
        if (!link || !info) {
            free(link);
            *context = NULL;
            return;
        }
        *link = (struct serve_link){.fd = info->connect_fd, .since = sdt__host_now()};
        pthread_mutex_lock(&server->mutex);
        link->next = server->links;
        server->links = link;
        pthread_mutex_unlock(&server->mutex);
        return;
    }
    struct serve_link *link = *context;
    pthread_mutex_lock(&server->mutex);
    for (struct serve_link **at = &server->links; *at && link; at = &(*at)->next)
        if (*at == link) {
            *at = link->next;
            break;
        }
    pthread_mutex_unlock(&server->mutex);
    free(link);
}

static void mark(struct serve_server *server, struct MHD_Connection *connection, bool answered) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct serve_link *link = info ? info->socket_context : NULL;
    if (!link)
        return;
    pthread_mutex_lock(&server->mutex);
    link->answered = answered;
    link->since = sdt__host_now();
    pthread_mutex_unlock(&server->mutex);
}

/* A client that sends a byte now and then keeps its connection from being idle, so the whole of a
 * request has a limit too. */
static void cut_slow(struct serve_server *server) {
    double now = sdt__host_now();
    pthread_mutex_lock(&server->mutex);
    for (struct serve_link *link = server->links; link; link = link->next)
        if (!link->answered && now - link->since > server->limits.request_seconds)
            shutdown(link->fd, SHUT_RDWR);
    pthread_mutex_unlock(&server->mutex);
}

/* ---- calls that wait ------------------------------------------------------------------------- */

bool serve_hold(struct serve_call *call) {
    struct serve_server *server = call->server;
    pthread_mutex_lock(&server->mutex);
    bool taken = !server->closing && 2 * server->holds < server->limits.connections;
    if (taken) {
        call->waits = true;
        call->next = server->held;
        server->held = call;
        server->holds++;
        MHD_suspend_connection(call->connection);
    }
    pthread_mutex_unlock(&server->mutex);
    return taken;
}

void serve_http_changed(void *arg, const char *id) {
    struct serve_server *server = arg;
    pthread_mutex_lock(&server->mutex);
    for (struct serve_call **at = &server->held; *at;) {
        struct serve_call *call = *at;
        if (id && strcmp(call->id, id) != 0) {
            at = &call->next;
            continue;
        }
        *at = call->next;
        call->waits = false;
        server->holds--;
        MHD_resume_connection(call->connection);
    }
    pthread_mutex_unlock(&server->mutex);
    cut_slow(server);
}

/* ---- who may call ---------------------------------------------------------------------------- */

static const char *header(struct MHD_Connection *connection, const char *name) {
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

/* In a time that does not depend on where they differ. */
static bool same_secret(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    volatile unsigned char differ = n != m;
    for (size_t i = 0; i < n; i++)
        differ |= (unsigned char)(a[i] ^ b[m ? i % m : 0]);
    return !differ;
}

/* A page that has led a browser here under a name of its own says that name: localhost, an address
 * and names that were given are ours. */
static bool is_our_host(const struct serve_server *server, const char *host) {
    char name[MOST_NAME];
    unsigned char address[16];
    const char *colon = strrchr(host, ':');
    const char *bracket = strrchr(host, ']');
    size_t length =
        colon && colon > (bracket ? bracket : host) ? (size_t)(colon - host) : strlen(host);
    if (length >= sizeof name)
        return false;
    if (length > 2 && host[0] == '[' && host[length - 1] == ']') {
        snprintf(name, sizeof name, "%.*s", (int)length - 2, host + 1);
        return inet_pton(AF_INET6, name, address) == 1;
    }
    snprintf(name, sizeof name, "%.*s", (int)length, host);
    bool ours = !strcasecmp(name, "localhost") || inet_pton(AF_INET, name, address) == 1;
    for (int i = 0; i < server->hosts->count && !ours; i++)
        ours = !strcasecmp(name, server->hosts->item[i]);
    return ours;
}

/* Calls of pages come from pages of this server alone. */
static bool is_our_origin(const char *origin, const char *host) {
    const char *rest = !strncasecmp(origin, "http://", 7)    ? origin + 7
                       : !strncasecmp(origin, "https://", 8) ? origin + 8
                                                             : NULL;
    return rest && !strcasecmp(rest, host);
}

static bool may_call(struct serve_call *call, struct serve_refusal *refusal) {
    const char *host = header(call->connection, "Host");
    const char *origin = header(call->connection, "Origin");
    const char *given = header(call->connection, "Authorization");
    const char *token = call->server->token;
    if (!host || !is_our_host(call->server, host))
        return serve_refuse(refusal, 403, "unknown_host", NULL,
                            "the header Host names another server; --allow-host admits names");
    if (origin && !is_our_origin(origin, host))
        return serve_refuse(refusal, 403, "unknown_origin", NULL,
                            "pages of another server may not call this one");
    if (!token || (call->route && call->route->open))
        return true;
    if (!given || strncasecmp(given, "Bearer ", 7) != 0 || !same_secret(given + 7, token))
        return serve_refuse(refusal, 401, "invalid_token", NULL,
                            "the header Authorization must be Bearer and the server's token");
    return true;
}

/* ---- one call -------------------------------------------------------------------------------- */

/* An MHD_PostDataIterator. */
static enum MHD_Result on_piece(void *arg, enum MHD_ValueKind kind, const char *key,
                                const char *file, const char *type, const char *encoding,
                                const char *data, uint64_t offset, size_t size) {
    struct serve_call *call = arg;
    (void)kind;
    (void)type;
    (void)encoding;
    return serve_form_piece(&call->form, key, file, data, (size_t)offset, size) ? MHD_YES : MHD_NO;
}

/* A body's kind and, where it is told, its length. */
static bool begin_body(struct serve_call *call, struct serve_refusal *refusal) {
    const struct serve_limits *limits = &call->server->limits;
    const char *length = header(call->connection, "Content-Length");
    const char *type = header(call->connection, "Content-Type");
    char *end = NULL;
    errno = 0;
    unsigned long long size = length ? strtoull(length, &end, 10) : 0;
    if (length && (end == length || *end || errno || size > limits->body))
        return serve_refuse(refusal, 413, "body_too_large", NULL,
                            "a body of %.20s bytes; at most %zu are taken", length, limits->body);
    call->form.most = limits->field;
    if (!type || !strncasecmp(type, "application/json", 16))
        return true;
    if (strncasecmp(type, "multipart/form-data", 19) != 0 &&
        strncasecmp(type, "application/x-www-form-urlencoded", 33) != 0)
        return serve_refuse(refusal, 415, "unsupported_type", NULL,
                            "Content-Type: must be application/json, multipart/form-data or "
                            "application/x-www-form-urlencoded");
    call->post = MHD_create_post_processor(call->connection, 16384, on_piece, call);
    return call->post || serve_refuse(refusal, 400, "invalid_form", NULL,
                                      "Content-Type: the form's boundary is missing");
}

/* False: the connection is to be closed. */
static bool take_body(struct serve_call *call, const char *data, size_t size) {
    const struct serve_limits *limits = &call->server->limits;
    call->size += size;
    if (call->size > limits->body) {
        serve_refuse(&call->form.refusal, 413, "body_too_large", NULL,
                     "a body of more than %zu bytes", limits->body);
        return call->size <= 4 * limits->body; /* read on for a while, so that it can be told */
    }
    if (call->form.refusal.http)
        return true;
    if (call->post) {
        if (MHD_post_process(call->post, data, size) == MHD_NO)
            serve_refuse(&call->form.refusal, 400, "invalid_form", NULL, "the form cannot be read");
        return true;
    }
    char *body = realloc(call->body, call->size + 1);
    if (!body)
        return false;
    memcpy(body + call->size - size, data, size);
    body[call->size] = '\0';
    call->body = body;
    return true;
}

static void end_body(struct serve_call *call) {
    if (call->post) {
        if (MHD_destroy_post_processor(call->post) == MHD_NO)
            serve_refuse(&call->form.refusal, 400, "invalid_form", NULL, "the form is cut off");
        call->post = NULL;
    } else if (!call->form.refusal.http) {
        serve_form_json(&call->form, call->body ? call->body : "", call->body ? call->size : 0);
    }
    free(call->body);
    call->body = NULL;
}

static enum MHD_Result begin_call(struct serve_call *call, const char *url, const char *method) {
    static const char *const name[SERVE_METHODS] = {"GET", "POST", "DELETE"};
    struct serve_refusal refusal = {0};
    int m = 0;
    call->route = serve_route_find(url, call->id);
    while (m < SERVE_METHODS && strcmp(method, name[m]) != 0)
        m++;
    if (!strcmp(method, "HEAD"))
        m = SERVE_GET;
    call->method = (enum serve_method)m;
    if (!may_call(call, &refusal))
        return serve_answer_refusal(call, &refusal);
    if (!call->route)
        return serve_answer_error(call, 404, "unknown_path", "there is no such path");
    if (m == SERVE_METHODS || !call->route->handler[m])
        return serve_answer_error(call, 405, "unknown_method", "this path has no such method");
    if (m == SERVE_POST && !begin_body(call, &refusal))
        return serve_answer_refusal(call, &refusal);
    return MHD_YES;
}

/* An MHD_AccessHandlerCallback: once for the headers, once for each piece of the body, then for the
 * answer, and again where the call has waited. */
static enum MHD_Result on_call(void *arg, struct MHD_Connection *connection, const char *url,
                               const char *method, const char *version, const char *data,
                               size_t *size, void **context) {
    struct serve_call *call = *context;
    (void)arg;
    (void)version;
    if (!call)
        return MHD_NO;
    if (!call->connection) {
        call->connection = connection;
        return begin_call(call, url, method);
    }
    if (*size > 0) {
        bool go_on = take_body(call, data, *size);
        *size = 0;
        return go_on ? MHD_YES : MHD_NO;
    }
    if (!call->begun) {
        call->begun = true;
        mark(call->server, connection, true);
        if (call->method == SERVE_POST)
            end_body(call);
    }
    return call->route->handler[call->method](call);
}

/* Called with the first line of a request: the call is there from then on. */
static void *on_uri(void *arg, const char *uri, struct MHD_Connection *connection) {
    struct serve_call *call = calloc(1, sizeof *call);
    (void)uri;
    (void)connection;
    if (call)
        call->server = arg;
    return call;
}

static void on_end(void *arg, struct MHD_Connection *connection, void **context,
                   enum MHD_RequestTerminationCode code) {
    struct serve_call *call = *context;
    (void)code;
    mark(arg, connection, false);
    if (!call)
        return;
    if (call->post)
        MHD_destroy_post_processor(call->post);
    serve_form_clear(&call->form);
    free(call->body);
    free(call);
    *context = NULL;
}

/* ---- start and stop -------------------------------------------------------------------------- */

/* What libmicrohttpd has to say is of clients that went away. */
static void on_log(void *arg, const char *format, va_list args) {
    (void)arg;
    (void)format;
    (void)args;
}

enum sdt_status serve_http_start(struct serve_server *server, int fd, struct sdt_error *err) {
    const struct serve_limits *limits = &server->limits;
    pthread_mutex_init(&server->mutex, NULL);
    server->daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_AUTO | MHD_ALLOW_SUSPEND_RESUME |
            MHD_USE_ERROR_LOG,
        0, NULL, NULL, on_call, server, MHD_OPTION_EXTERNAL_LOGGER, on_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS,
        MHD_OPTION_CONNECTION_LIMIT, (unsigned)limits->connections, MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)(limits->request_seconds + 0.5), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)65536, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,
        MHD_OPTION_NOTIFY_COMPLETED, on_end, server, MHD_OPTION_URI_LOG_CALLBACK, on_uri, server,
        MHD_OPTION_END);
    if (server->daemon)
        return SDT_OK;
    pthread_mutex_destroy(&server->mutex);
    close(fd);
    return sdt_fail(err, SDT_ERROR_IO, "libmicrohttpd does not start");
}

void serve_http_stop(struct serve_server *server) {
    if (!server->daemon)
        return;
    pthread_mutex_lock(&server->mutex);
    server->closing = true;
    pthread_mutex_unlock(&server->mutex);
    serve_http_changed(server, NULL);
    MHD_stop_daemon(server->daemon);
    server->daemon = NULL;
    pthread_mutex_destroy(&server->mutex);
}
