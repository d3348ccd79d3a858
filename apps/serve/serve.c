/* stardit-serve: takes requests for videos over HTTP, keeps them, and makes the videos. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/serve/http.h"
#include "apps/signals.h"
#include "apps/strategy.h"

static const char name_of_program[] = "stardit-serve";

/* ---- options --------------------------------------------------------------------------------- */

struct settings {
    struct app_strings models, hosts;
    const char *state, *listen, *token_file, *queue, *scheduler, *resident;
    struct serve_model_options run;
    bool traces;
    int checkpoint_every, most_waiting, most_connections, most_attempts, body_kb, field_kb;
    double keep_hours, quota_gb, request_seconds, repeat_seconds, most_seconds, stop_seconds;
};

#define AT(field) APP_AT(struct settings, field)

/* Filled before the table is read. */
static char strategy_help[300];

static struct app_option options[] = {
    APP_HEADING("What to serve"),
    APP_STRINGS_OPTION(
        "model", "PATH", AT(models),
        "checkpoint, as of stardit-generate; several are served, by the last part of "
        "their paths"),
    APP_STRINGS_OPTION("lora", "FILE[:strength]", AT(run.loras.given),
                       "differences to the model's weights, as of stardit-generate, for all jobs; "
                       "may be given several times"),
    APP_CHOICE_OPTION("resident-models", "auto|1", AT(resident),
                      "of several models, how many stay on the devices: as many as fit there "
                      "together (auto, the default), or that of the job whose turn it is"),
    APP_STRING_OPTION("state", "DIR", AT(state),
                      "folder of this server alone, for jobs, their states and their videos; made "
                      "where it is not there"),
    APP_HEADING("Whom to serve"),
    APP_STRING_OPTION("listen", "ADDRESS:PORT", AT(listen),
                      "where to listen (default 127.0.0.1:8040); port 0: one that is free"),
    APP_STRING_OPTION("token-file", "FILE", AT(token_file),
                      "a file with the token that callers must have; needed where others than this "
                      "machine reach the server"),
    APP_STRINGS_OPTION("allow-host", "NAME", AT(hosts),
                       "a name of this server in the header Host, besides localhost and "
                       "addresses"),
    APP_HEADING("Jobs"),
    APP_STRING_OPTION(
        "queue", "NAME", AT(queue),
        "which job goes on after each step: edf (the earliest deadline), srtf (the "
        "least work left), sjf (the least work), priority, fcfs (that came first), or "
        "mine.so, a module (default edf)"),
    APP_INT_OPTION("data-parallel-size", "N", AT(run.shares), 1, SERVE_MOST_SHARES,
                   "cut --devices into N shares, each with jobs of its own; one whose deadline a "
                   "share would miss has all of them (default 1: each job has all)"),
    APP_INT_OPTION("checkpoint-every", "N", AT(checkpoint_every), 1, 1000,
                   "every N steps, keep a job's state, from which it goes on after a crash "
                   "(default 5)"),
    APP_INT_OPTION("max-waiting", "N", AT(most_waiting), 1, 10000,
                   "most jobs that wait or run (default 100); more are answered with 429"),
    APP_INT_OPTION("max-attempts", "N", AT(most_attempts), 1, 1000,
                   "a job that was at work at so many ends of the server in a row, without a "
                   "state kept between, has failed (default 10)"),
    APP_DOUBLE_OPTION("max-seconds", "S", AT(most_seconds), 0.0, 1e9,
                      "refuse what is predicted to take longer alone (default 0: nothing)"),
    APP_DOUBLE_OPTION("keep-hours", "H", AT(keep_hours), 0.0, 1e6,
                      "how long what has ended is kept (default 24); 0: for ever"),
    APP_DOUBLE_OPTION("quota-gb", "X", AT(quota_gb), 0.0, 1e9,
                      "take no more requests while videos and states have so many GB (default 0: "
                      "as many as they want)"),
    APP_FLAG_OPTION("traces", AT(traces),
                    "keep a trace of each video's tasks, for Perfetto: some 300 bytes a task"),
    APP_DOUBLE_OPTION("repeat-seconds", "S", AT(repeat_seconds), 0.0, 86400.0,
                      "the same request within so long is a repeat of a call, and gives the same "
                      "job (default 10)"),
    APP_HEADING("Limits of clients"),
    APP_INT_OPTION("max-connections", "N", AT(most_connections), 4, 1000,
                   "connections at a time (default 64)"),
    APP_DOUBLE_OPTION("request-seconds", "S", AT(request_seconds), 1.0, 3600.0,
                      "for a client to send a request, and to take some of an answer (default 30)"),
    APP_INT_OPTION("max-body", "KB", AT(body_kb), 1, 65536, "of a request (default 256)"),
    APP_INT_OPTION("max-field", "KB", AT(field_kb), 1, 65536, "of a field (default 64)"),
    APP_DOUBLE_OPTION("stop-seconds", "S", AT(stop_seconds), 1.0, 86400.0,
                      "on SIGTERM, how long to wait for the step on its way (default 60)"),
    APP_HEADING("Where and how to run"),
    APP_STRING_OPTION("devices", "N|LIST", AT(run.place.devices), APP_DEVICES_HELP),
    APP_STRING_OPTION("workers-per-device", "W|LIST", AT(run.place.workers), APP_WORKERS_HELP),
    APP_STRING_OPTION("device-speed", "LIST", AT(run.place.speed), APP_SPEED_HELP),
    APP_CHOICE_OPTION("dtype", APP_DTYPES, AT(run.place.dtype), APP_DTYPE_HELP),
    APP_STRING_OPTION("strategy", "NAME", AT(run.place.strategy), strategy_help),
    APP_INT_OPTION("patches", "M", AT(run.place.patches), 1, 1 << 16,
                   "strategies with old keys: parts of the tokens that follow one another "
                   "(default 4)"),
    APP_INT_OPTION("warmup-steps", "W", AT(run.warmup), 1, APP_MOST_STEPS,
                   "of such: first steps that read no keys of the step before (default 1)"),
    APP_INT_OPTION("refresh-steps", "N", AT(run.refresh), 1, APP_MOST_STEPS,
                   "of such: every N-th step reads none either, and a job's state can be kept "
                   "there (default: none for that reason)"),
    APP_STRING_OPTION("dit-devices", "LIST", AT(run.place.dit_devices),
                      "devices that denoise, as of stardit-generate; with --vae-devices one job is "
                      "denoised while another is decoded"),
    APP_STRING_OPTION("vae-devices", "LIST|auto", AT(run.place.vae_devices), "devices that decode"),
    APP_CHOICE_OPTION("plan", "given|auto", AT(run.place.plan),
                      "auto: the strategy and groups with the shortest predicted time for a "
                      "request of the model's defaults (default given)"),
    APP_INT_OPTION("max-latents", "N", AT(run.place.max_latents), 1, 32,
                   "jobs that have a latent on the devices at a time; others wait on the disk "
                   "(default 3)"),
    APP_STRING_OPTION("scheduler", "NAME", AT(scheduler),
                      "StarPU policy (default STARPU_SCHED, else pipedit)"),
};

static struct app_program program = {
    .name = name_of_program,
    .usage = "--model PATH --state DIR [options]",
    .summary = "Takes requests for videos over HTTP, as clients of /v1/videos send them, keeps "
               "them on the disk, and makes the videos one step at a time.",
    .options = options,
    .count = sizeof options / sizeof options[0],
    .notes = "SIGTERM and Ctrl-C end the server after the step that is on its way, and all jobs go "
             "on from there at the next start. Exit status: 0 ended on request, 1 failed, 2 wrong "
             "command line.",
};

static int parse(struct settings *s, int argc, char **argv) {
    *s = (struct settings){.listen = "127.0.0.1:8040",
                           .queue = "edf",
                           .checkpoint_every = 5,
                           .most_waiting = 100,
                           .most_attempts = 10,
                           .keep_hours = 24.0,
                           .repeat_seconds = 10.0,
                           .most_connections = 64,
                           .request_seconds = 30.0,
                           .body_kb = 256,
                           .field_kb = 64,
                           .stop_seconds = 60.0,
                           .run.shares = 1,
                           .run.place.max_latents = 3};
    program.settings = s;
    app_strategy_help(strategy_help, sizeof strategy_help);
    int code = app_parse(&program, argc, argv);
    if (code < 0 && s->models.count == 0)
        code = app_usage(name_of_program, "--model is needed (usage: %s %s)", name_of_program,
                         program.usage);
    if (code < 0 && (!s->state || !*s->state))
        code = app_usage(name_of_program, "--state is needed: a folder for jobs and videos");
    if (code < 0 && s->models.count == 1 && s->resident && strcmp(s->resident, "auto") != 0)
        code = app_usage(name_of_program, "--resident-models: goes with several --model");
    if (code < 0 && s->field_kb > s->body_kb)
        code = app_usage(name_of_program, "--max-field %d: larger than --max-body %d", s->field_kb,
                         s->body_kb);
    if (code < 0 && app_strategy_blocks(s->run.place.strategy))
        code = app_usage(name_of_program,
                         "--strategy %s: its blocks are at different steps and have no state, by "
                         "which jobs take turns; stardit-generate runs it",
                         s->run.place.strategy);
    if (s->run.place.plan && !strcmp(s->run.place.plan, "given"))
        s->run.place.plan = NULL;
    struct sdt_error err;
    if (code < 0 && app_loras_read(&s->run.loras, &err) != SDT_OK)
        code = app_usage(name_of_program, "%s", err.message);
    return code;
}

/* ---- the token ------------------------------------------------------------------------------- */

enum { LEAST_TOKEN = 16, MOST_TOKEN = 512 };

/* May others read it? Credentials of systemd belong to root, and their group's bits are the mask of
 * an access list for this user alone. */
static bool is_open_to_others(const struct stat *st) {
    return S_ISREG(st->st_mode) &&
           (st->st_mode & (st->st_uid == geteuid() ? S_IRWXG | S_IRWXO : S_IRWXO));
}

/* The first line of a file that nobody else may read. */
static enum sdt_status read_token(const char *path, char token[MOST_TOKEN + 2],
                                  struct sdt_error *err) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = -1;
    if (fd < 0 || fstat(fd, &st) != 0 || (length = read(fd, token, MOST_TOKEN + 1)) < 0) {
        enum sdt_status status =
            sdt_fail(err, SDT_ERROR_USAGE, "--token-file %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return status;
    }
    close(fd);
    token[length] = '\0';
    token[strcspn(token, "\r\n")] = '\0';
    if (is_open_to_others(&st))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--token-file %s: others may read it; chmod 600 would work", path);
    for (const char *c = token; *c; c++)
        if (*c <= ' ' || *c > '~')
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--token-file %s: its first line must be visible ASCII", path);
    if (strlen(token) < LEAST_TOKEN || strlen(token) > MOST_TOKEN)
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "--token-file %s: a token of %zu bytes; %d to %d work, as openssl rand -hex "
            "32 gives",
            path, strlen(token), LEAST_TOKEN, MOST_TOKEN);
    return SDT_OK;
}

/* ---- signals --------------------------------------------------------------------------------- */

static struct serve_engine *_Atomic engine_to_stop;

/* The server ends after the step on its way; in a signal's handler. */
static void stop_engine(void) {
    struct serve_engine *engine = atomic_load(&engine_to_stop);
    if (engine)
        serve_engine_stop(engine);
}

static void catch_signals(void) {
    app_signals_catch(stop_engine);
    signal(SIGHUP, SIG_IGN); /* there is no terminal */
}

/* ---- the server ------------------------------------------------------------------------------ */

/* All that is opened, in the order of its opening. */
struct parts {
    const struct settings *s;
    char token[MOST_TOKEN + 2], address[128];
    int socket; /* -1: none */
    struct serve_files files;
    struct serve_store *store;
    struct serve_metrics *metrics;
    struct serve_models models;
    struct sdt_machine *machine;
    const struct sdt_queue *queue;
    struct serve_engine *engine;
    struct serve_server server;
};

static enum sdt_status open_queue(struct parts *p, struct sdt_error *err) {
    enum sdt_status status = sdt_queue_open(p->s->queue, &p->queue, err);
    if (status == SDT_OK && !p->queue->choose)
        status =
            sdt_fail(err, SDT_ERROR_USAGE,
                     "--queue %s: it shares devices out among jobs, and a step has all of them "
                     "here; edf, srtf, sjf, priority or fcfs would work",
                     p->s->queue);
    return status;
}

static enum sdt_status open_socket(struct parts *p, struct sdt_error *err) {
    bool loopback = false;
    enum sdt_status status = SDT_OK;
    if (p->s->token_file)
        status = read_token(p->s->token_file, p->token, err);
    if (status != SDT_OK)
        return status;
    p->socket = serve_http_listen(p->s->listen, &loopback, p->address, sizeof p->address, err);
    if (p->socket < 0)
        return err->status;
    if (!loopback && !p->s->token_file)
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--listen %s: others than this machine reach it, so --token-file is needed",
                        p->s->listen);
    return SDT_OK;
}

static enum sdt_status open_state(struct parts *p, struct sdt_error *err) {
    enum sdt_status status = serve_files_open(&p->files, p->s->state, err);
    char *table = status == SDT_OK ? serve_files_table(&p->files) : NULL;
    if (status == SDT_OK && !table)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a name");
    if (status == SDT_OK)
        status = serve_store_open(table, &p->store, err);
    free(table);
    if (status != SDT_OK)
        return status;
    serve_store_recover(p->store, p->s->most_attempts);
    serve_files_sweep(&p->files, p->store);
    return SDT_OK;
}

static enum sdt_status open_machine(struct parts *p, struct sdt_error *err) {
    struct sdt_machine_options machine = {.scheduler = p->s->scheduler,
                                          .keep_records = p->s->traces};
    struct serve_work work;
    char text[200];
    enum sdt_status status = serve_models_open(&p->models, &p->s->models, &p->s->run, err);
    /* What cannot run at all is told now, and kernels are measured before anything runs. */
    for (int m = 0; m < p->models.count && status == SDT_OK; m++)
        status = serve_model_plan(&p->models, m, &p->models.model[m].defaults, &work, err);
    p->models.together = !p->s->resident || strcmp(p->s->resident, "1") != 0;
    const bool several = p->models.count > 1 || p->models.shares > 1;
    if (status == SDT_OK && several)
        status = serve_models_measure(&p->models, text, sizeof text, err);
    if (status != SDT_OK)
        return status;
    if (several)
        serve_log("%s", text);
    app_devices_options(&p->models.machine, &machine);
    app_devices_announce(name_of_program, &p->models.machine);
    status = sdt_machine_open(&machine, &p->machine, err);
    if (status == SDT_OK)
        app_devices_tell(name_of_program, p->machine);
    return status;
}

static enum sdt_status open_engine(struct parts *p, struct sdt_error *err) {
    const struct settings *s = p->s;
    const struct serve_engine_options engine = {.shared = {.models = &p->models,
                                                           .store = p->store,
                                                           .files = &p->files,
                                                           .metrics = p->metrics,
                                                           .machine = p->machine,
                                                           .traces = s->traces,
                                                           .checkpoint_every = s->checkpoint_every,
                                                           .keep_seconds = 3600.0 * s->keep_hours},
                                                .machine = p->machine,
                                                .queue = p->queue,
                                                .queue_name = s->queue,
                                                .window = s->run.place.max_latents,
                                                .stop_seconds = s->stop_seconds,
                                                .changed = serve_http_changed,
                                                .changed_arg = &p->server};
    enum sdt_status status = serve_engine_new(&engine, &p->engine, err);
    if (status != SDT_OK)
        return status;
    atomic_store(&engine_to_stop, p->engine);
    if (app_signals_came())
        serve_engine_stop(p->engine);
    p->server = (struct serve_server){.engine = p->engine,
                                      .shared = serve_engine_shared(p->engine),
                                      .machine = p->machine,
                                      .limits = {.body = 1024 * (size_t)s->body_kb,
                                                 .field = 1024 * (size_t)s->field_kb,
                                                 .connections = s->most_connections,
                                                 .waiting = s->most_waiting,
                                                 .request_seconds = s->request_seconds,
                                                 .repeat_seconds = s->repeat_seconds,
                                                 .most_seconds = s->most_seconds,
                                                 .quota = 1e9 * s->quota_gb},
                                      .token = s->token_file ? p->token : NULL,
                                      .hosts = &s->hosts};
    status = serve_http_start(&p->server, p->socket, err);
    p->socket = -1;
    return status;
}

static enum sdt_status open_parts(struct parts *p, struct sdt_error *err) {
    enum sdt_status status = open_queue(p, err);
    if (status == SDT_OK)
        status = open_socket(p, err);
    if (status == SDT_OK)
        status = open_state(p, err);
    p->metrics = serve_metrics_new();
    if (status == SDT_OK && !p->metrics)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a server");
    if (status == SDT_OK)
        status = open_machine(p, err);
    if (status == SDT_OK)
        status = open_engine(p, err);
    return status;
}

static void close_parts(struct parts *p) {
    serve_http_stop(&p->server);
    atomic_store(&engine_to_stop, NULL);
    serve_engine_free(p->engine);
    sdt_machine_close(p->machine);
    serve_models_close(&p->models);
    serve_metrics_free(p->metrics);
    serve_store_close(p->store);
    serve_files_close(&p->files);
    if (p->socket >= 0)
        close(p->socket);
}

int main(int argc, char **argv) {
    struct settings settings;
    struct sdt_error err = {0};
    int code = parse(&settings, argc, argv);
    if (code >= 0)
        return code;
    struct parts parts = {.s = &settings, .socket = -1, .files.lock = -1};
    umask(077);
    json_object_seed(0);
    catch_signals();
    enum sdt_status status = open_parts(&parts, &err);
    if (status != SDT_OK) {
        code = app_report(name_of_program, &err);
    } else {
        serve_log("listens at http://%s", parts.address);
        code = 0;
        if (!serve_engine_run(parts.engine))
            _exit(0); /* tasks go on, and what they use must stay */
        serve_log("ended; jobs that wait go on at the next start");
    }
    close_parts(&parts);
    return code;
}
