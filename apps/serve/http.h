/* The listening side: connections, their limits, who may call. */
#ifndef STARDIT_APPS_SERVE_HTTP_H
#define STARDIT_APPS_SERVE_HTTP_H

#include "apps/serve/server.h"

/* A socket that listens at "127.0.0.1:8040", "[::1]:0" or "localhost:8040", and the address as it
 * is (0: a port that is free). loopback: nobody outside reaches it. -1 after a failure:
 * SDT_ERROR_USAGE, SDT_ERROR_IO. */
int serve_http_listen(const char *address, bool *loopback, char *actual /* [size] */, size_t size,
                      struct sdt_error *err);
/* Answers calls from now on, by threads of its own. Takes the socket over. SDT_ERROR_IO. */
enum sdt_status serve_http_start(struct serve_server *server, int socket, struct sdt_error *err);
/* A job has changed, or time has passed: calls that wait look again, and connections that take too
 * long are cut. */
void serve_http_changed(void *server, const char *id);
/* Answers what waits, and closes all connections. */
void serve_http_stop(struct serve_server *server);
#endif
