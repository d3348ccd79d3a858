/* The server's side towards clients: what calls share, one call, and how it is answered. */
#ifndef STARDIT_APPS_SERVE_SERVER_H
#define STARDIT_APPS_SERVE_SERVER_H

#include <jansson.h>
#include <microhttpd.h>

#include "apps/options.h"
#include "apps/serve/engine.h"
#include "apps/serve/form.h"

struct serve_limits {
    size_t body, field; /* bytes */
    int connections, waiting;
    double request_seconds; /* for a client to send a request, or to take some of an answer */
    double repeat_seconds;  /* within which the same request is a repeat */
    double most_seconds;    /* that a request may be predicted to take; 0: any */
    double quota;           /* bytes of files, from which on no request is taken; 0: any */
};

struct serve_server {
    struct serve_engine *engine;
    struct serve_shared *shared;
    struct sdt_machine *machine;
    struct serve_limits limits;
    const char *token;               /* NULL: none is asked for */
    const struct app_strings *hosts; /* names besides localhost and addresses */
    struct MHD_Daemon *daemon;
    pthread_mutex_t mutex; /* of what follows */
    struct serve_link *links;
    struct serve_call *held; /* calls that wait for a job */
    int holds;
    bool closing; /* none may wait any more */
};

enum serve_method { SERVE_GET, SERVE_POST, SERVE_DELETE, SERVE_METHODS };

struct serve_call {
    struct serve_server *server;
    struct MHD_Connection *connection;
    const struct serve_route *route;
    enum serve_method method;
    char id[SERVE_ID + 1]; /* of the path; of the job that is waited for */
    struct MHD_PostProcessor *post;
    char *body; /* of JSON */
    size_t size;
    struct serve_form form;
    bool begun, made; /* made: the job of POST /v1/videos/sync is there */
    bool waits;
    struct serve_call *next; /* of those that wait */
};

/* A route: the calls of a path. */
typedef enum MHD_Result (*serve_handler)(struct serve_call *call);
struct serve_route {
    const char *path; /* "/v1/videos/{id}" */
    serve_handler handler[SERVE_METHODS];
    bool open; /* without a token */
};
/* The route of a path, and the id in it; NULL: there is none. */
const struct serve_route *serve_route_find(const char *path, char id[SERVE_ID + 1]);

/* ---- answers ------------------------------------------------------------------------------- */

/* Takes the object over. */
enum MHD_Result serve_answer(struct serve_call *call, int http, json_t *object);
enum MHD_Result serve_answer_refusal(struct serve_call *call, const struct serve_refusal *refusal);
enum MHD_Result serve_answer_error(struct serve_call *call, int http, const char *code,
                                   const char *message);
/* Takes the text over, which is malloc'ed; NULL: out of memory. */
enum MHD_Result serve_answer_text(struct serve_call *call, const char *type, char *text);
/* A file, which is sent as the client takes it. */
enum MHD_Result serve_answer_file(struct serve_call *call, const char *path, const char *type,
                                  const char *name);
/* A file of the page, of bytes that stay. */
enum MHD_Result serve_answer_page(struct serve_call *call, const char *type,
                                  const unsigned char *bytes /* [size] */, size_t size);
/* Not before a job has changed: the handler is called again then. False: too many wait already. */
bool serve_hold(struct serve_call *call);

/* ---- handlers, of videos.c ------------------------------------------------------------------- */

enum MHD_Result serve_videos_create(struct serve_call *call);
enum MHD_Result serve_videos_sync(struct serve_call *call);
enum MHD_Result serve_videos_list(struct serve_call *call);
enum MHD_Result serve_videos_retrieve(struct serve_call *call);
enum MHD_Result serve_videos_content(struct serve_call *call);
enum MHD_Result serve_videos_trace(struct serve_call *call);
enum MHD_Result serve_videos_plan(struct serve_call *call);
enum MHD_Result serve_videos_cancel(struct serve_call *call);
enum MHD_Result serve_videos_delete(struct serve_call *call);

/* ---- the page, of page.c --------------------------------------------------------------------- */

enum MHD_Result serve_page_html(struct serve_call *call);
enum MHD_Result serve_page_css(struct serve_call *call);
enum MHD_Result serve_page_js(struct serve_call *call);
#endif
