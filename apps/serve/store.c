/* The table of jobs. */
#include "apps/serve/store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { VERSION = 2 };

struct serve_store {
    sqlite3 *db;
    pthread_mutex_t mutex;
};

static const char *const status_name[SERVE_STATUSES] = {"queued", "in_progress", "completed",
                                                        "failed", "deleted",     "expired"};
const char *serve_status_name(enum serve_status status) { return status_name[status]; }

double serve_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* ---- statements ------------------------------------------------------------------------------ */

/* Prepares a statement with its values: in `types`, s is a text, i an int64_t, d a double. */
static sqlite3_stmt *prepare(struct serve_store *store, const char *sql, const char *types,
                             va_list args) {
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL) != SQLITE_OK)
        return NULL;
    for (int i = 0; types[i]; i++) {
        int code = types[i] == 's' ? sqlite3_bind_text(statement, i + 1, va_arg(args, const char *),
                                                       -1, SQLITE_TRANSIENT)
                   : types[i] == 'i' ? sqlite3_bind_int64(statement, i + 1, va_arg(args, int64_t))
                                     : sqlite3_bind_double(statement, i + 1, va_arg(args, double));
        if (code != SQLITE_OK) {
            sqlite3_finalize(statement);
            return NULL;
        }
    }
    return statement;
}

static sqlite3_stmt *select_rows(struct serve_store *store, const char *sql, const char *types,
                                 ...) {
    va_list args;
    va_start(args, types);
    sqlite3_stmt *statement = prepare(store, sql, types, args);
    va_end(args);
    return statement;
}

/* Rows that a statement changed; -1: it failed. Under the mutex. */
static int change(struct serve_store *store, const char *sql, const char *types, ...) {
    va_list args;
    va_start(args, types);
    sqlite3_stmt *statement = prepare(store, sql, types, args);
    va_end(args);
    bool done = statement && sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_finalize(statement);
    return done ? sqlite3_changes(store->db) : -1;
}

/* The same for one that changes one row. */
#define CHANGE_ONE(store, ...)                                                                     \
    (pthread_mutex_lock(&(store)->mutex), unlocked((store), change((store), __VA_ARGS__) == 1))
static bool unlocked(struct serve_store *store, bool value) {
    pthread_mutex_unlock(&store->mutex);
    return value;
}

/* ---- opening --------------------------------------------------------------------------------- */

static const char schema[] =
    "create table jobs(number integer primary key autoincrement, id text unique not null,"
    " key text unique, status text not null, request text not null, model text not null,"
    " code text not null default '', message text not null default '', priority integer not null,"
    " deadline real not null, created real not null, started real not null default 0,"
    " completed real not null default 0, expires real not null default 0,"
    " step integer not null default 0, steps integer not null, attempts integer not null default 0,"
    " bytes integer not null default 0, text_seconds real not null, step_seconds real not null,"
    " decode_seconds real not null, text_flops real not null, step_flops real not null,"
    " decode_flops real not null, sha256 text not null default '');"
    "create index jobs_status on jobs(status);";

/* From each version to the next. */
static const char *const upgrade[VERSION] = {
    [1] = "begin; alter table jobs add column sha256 text not null default '';"
          " pragma user_version=2; commit",
};

static int version_of(struct serve_store *store) {
    sqlite3_stmt *statement = select_rows(store, "pragma user_version", "");
    int version =
        statement && sqlite3_step(statement) == SQLITE_ROW ? sqlite3_column_int(statement, 0) : -1;
    sqlite3_finalize(statement);
    return version;
}

enum sdt_status serve_store_open(const char *path, struct serve_store **out,
                                 struct sdt_error *err) {
    struct serve_store *store = calloc(1, sizeof *store);
    enum sdt_status status = SDT_OK;
    char make[sizeof schema + 100];

    *out = NULL;
    if (!store)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for the table of jobs");
    pthread_mutex_init(&store->mutex, NULL);
    int code = sqlite3_open_v2(
        path, &store->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(store->db,
                            "pragma journal_mode=wal; pragma synchronous=full;"
                            "pragma foreign_keys=on; pragma trusted_schema=off;",
                            NULL, NULL, NULL);
    int version = code == SQLITE_OK ? version_of(store) : -1;
    snprintf(make, sizeof make, "begin; %s pragma user_version=%d; commit", schema, VERSION);
    if (version == 0)
        code = sqlite3_exec(store->db, make, NULL, NULL, NULL);
    for (int v = version; v > 0 && v < VERSION && code == SQLITE_OK; v++)
        code = sqlite3_exec(store->db, upgrade[v], NULL, NULL, NULL);
    if (code != SQLITE_OK || version < 0)
        status = sdt_fail(err, SDT_ERROR_IO, "%s: %s", path,
                          store->db ? sqlite3_errmsg(store->db) : "out of memory");
    else if (version > VERSION)
        status = sdt_fail(err, SDT_ERROR_FORMAT,
                          "%s: written by a later stardit-serve (version %d; this one has %d)",
                          path, version, VERSION);
    if (status == SDT_OK)
        *out = store;
    else
        serve_store_close(store);
    return status;
}

void serve_store_close(struct serve_store *store) {
    if (!store)
        return;
    sqlite3_close(store->db);
    pthread_mutex_destroy(&store->mutex);
    free(store);
}

/* ---- records --------------------------------------------------------------------------------- */

#define COLUMNS                                                                                    \
    "number, id, status, request, model, code, message, priority, deadline, created, started,"     \
    " completed, expires, step, steps, attempts, bytes, text_seconds, step_seconds,"               \
    " decode_seconds, text_flops, step_flops, decode_flops, sha256"

static void copy_text(sqlite3_stmt *row, int column, char *text, size_t size) {
    const char *there = (const char *)sqlite3_column_text(row, column);
    snprintf(text, size, "%s", there ? there : "");
}

static bool read_record(sqlite3_stmt *row, struct serve_record *r) {
    char status[16];
    *r = (struct serve_record){.number = sqlite3_column_int64(row, 0)};
    copy_text(row, 1, r->id, sizeof r->id);
    copy_text(row, 2, status, sizeof status);
    for (int s = 0; s < SERVE_STATUSES; s++)
        if (!strcmp(status, status_name[s]))
            r->status = (enum serve_status)s;
    const char *request = (const char *)sqlite3_column_text(row, 3);
    r->request = strdup(request ? request : "");
    copy_text(row, 4, r->model, sizeof r->model);
    copy_text(row, 5, r->code, sizeof r->code);
    copy_text(row, 6, r->message, sizeof r->message);
    r->priority = sqlite3_column_int(row, 7);
    double *const time[] = {&r->deadline, &r->created, &r->started, &r->completed, &r->expires};
    for (int i = 0; i < 5; i++)
        *time[i] = sqlite3_column_double(row, 8 + i);
    r->step = sqlite3_column_int(row, 13);
    r->steps = sqlite3_column_int(row, 14);
    r->attempts = sqlite3_column_int(row, 15);
    r->bytes = sqlite3_column_int64(row, 16);
    r->work = (struct serve_work){sqlite3_column_double(row, 17), sqlite3_column_double(row, 18),
                                  sqlite3_column_double(row, 19), sqlite3_column_double(row, 20),
                                  sqlite3_column_double(row, 21), sqlite3_column_double(row, 22)};
    copy_text(row, 23, r->sha256, sizeof r->sha256);
    return r->request;
}

void serve_record_clear(struct serve_record *record) {
    free(record->request);
    record->request = NULL;
}

void serve_records_free(struct serve_record *records, int count) {
    for (int i = 0; i < count; i++)
        serve_record_clear(&records[i]);
    free(records);
}

/* The rows of a statement, which is ended. */
static int read_records(sqlite3_stmt *statement, struct serve_record **records) {
    int count = 0, room = 0;
    bool failed = !statement;
    *records = NULL;
    while (!failed && sqlite3_step(statement) == SQLITE_ROW) {
        if (count == room) {
            room = 2 * room + 8;
            struct serve_record *more = realloc(*records, (size_t)room * sizeof *more);
            failed = !more;
            *records = more ? more : *records;
        }
        if (!failed)
            failed = !read_record(statement, &(*records)[count++]);
    }
    sqlite3_finalize(statement);
    if (!failed)
        return count;
    serve_records_free(*records, count);
    *records = NULL;
    return -1;
}

/* The first row of a statement, which is ended. */
static bool read_first(sqlite3_stmt *statement, struct serve_record *record) {
    bool found =
        statement && sqlite3_step(statement) == SQLITE_ROW && read_record(statement, record);
    sqlite3_finalize(statement);
    return found;
}

bool serve_store_get(struct serve_store *store, const char *id, struct serve_record *record) {
    *record = (struct serve_record){0};
    pthread_mutex_lock(&store->mutex);
    return unlocked(
        store,
        read_first(select_rows(store, "select " COLUMNS " from jobs where id=?", "s", id), record));
}

int serve_store_list(struct serve_store *store, const char *after, int limit, bool newest_first,
                     struct serve_record **records) {
    static const char *const sql[] = {
        "select " COLUMNS " from jobs where status not in ('deleted', 'expired') and number >"
        " coalesce((select number from jobs where id=?), 0) order by number limit ?",
        "select " COLUMNS " from jobs where status not in ('deleted', 'expired') and number <"
        " coalesce((select number from jobs where id=?), 9223372036854775807)"
        " order by number desc limit ?"};
    pthread_mutex_lock(&store->mutex);
    int count = read_records(
        select_rows(store, sql[newest_first], "si", after ? after : "", (int64_t)limit), records);
    pthread_mutex_unlock(&store->mutex);
    return count;
}

int serve_store_open_jobs(struct serve_store *store, struct serve_record **records) {
    pthread_mutex_lock(&store->mutex);
    int count = read_records(select_rows(store,
                                         "select " COLUMNS " from jobs where status in"
                                         " ('queued', 'in_progress') order by number",
                                         ""),
                             records);
    pthread_mutex_unlock(&store->mutex);
    return count;
}

void serve_store_count(struct serve_store *store, int64_t count[SERVE_STATUSES]) {
    char name[16];
    memset(count, 0, SERVE_STATUSES * sizeof *count);
    pthread_mutex_lock(&store->mutex);
    sqlite3_stmt *row = select_rows(store, "select status, count(*) from jobs group by status", "");
    while (row && sqlite3_step(row) == SQLITE_ROW) {
        copy_text(row, 0, name, sizeof name);
        for (int s = 0; s < SERVE_STATUSES; s++)
            if (!strcmp(name, status_name[s]))
                count[s] = sqlite3_column_int64(row, 1);
    }
    sqlite3_finalize(row);
    pthread_mutex_unlock(&store->mutex);
}

/* ---- adding ---------------------------------------------------------------------------------- */

static bool make_id(char id[SERVE_ID + 1]) {
    unsigned char random[12];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return false;
    int length = sprintf(id, "video_");
    for (size_t i = 0; i < sizeof random; i++)
        length += sprintf(id + length, "%02x", random[i]);
    return true;
}

static int64_t waiting(struct serve_store *store) {
    sqlite3_stmt *row = select_rows(
        store, "select count(*) from jobs where status in ('queued', 'in_progress')", "");
    int64_t count =
        row && sqlite3_step(row) == SQLITE_ROW ? sqlite3_column_int64(row, 0) : INT64_MAX;
    sqlite3_finalize(row);
    return count;
}

/* Under the mutex: is it there already? */
static enum serve_added find_repeat(struct serve_store *store, const struct serve_record *record,
                                    const char *key, double window, struct serve_record *first) {
    if (*key) {
        if (!read_first(select_rows(store, "select " COLUMNS " from jobs where key=?", "s", key),
                        first))
            return SERVE_ADDED;
        return !strcmp(first->request, record->request) ? SERVE_REPEATED : SERVE_KEY_TAKEN;
    }
    return read_first(select_rows(store,
                                  "select " COLUMNS " from jobs where request=? and created>? and"
                                  " status in ('queued', 'in_progress', 'completed') order by"
                                  " number desc limit 1",
                                  "sd", record->request, record->created - window),
                      first)
               ? SERVE_REPEATED
               : SERVE_ADDED;
}

static enum serve_added add(struct serve_store *store, struct serve_record *r, const char *key,
                            double window, int most) {
    struct serve_record first = {0};
    enum serve_added added = find_repeat(store, r, key, window, &first);
    if (added == SERVE_REPEATED) {
        serve_record_clear(r);
        *r = first;
        return added;
    }
    serve_record_clear(&first);
    if (added != SERVE_ADDED)
        return added;
    if (waiting(store) >= most)
        return SERVE_FULL;
    const struct serve_work *w = &r->work;
    int changed =
        !make_id(r->id)
            ? -1
            : change(store,
                     "insert into jobs(id, key, status, request, model,"
                     " priority, deadline, created, steps, text_seconds,"
                     " step_seconds, decode_seconds, text_flops, step_flops,"
                     " decode_flops) values(?, nullif(?, ''), 'queued', ?, ?,"
                     " ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                     "ssssiddidddddd", r->id, key, r->request, r->model, (int64_t)r->priority,
                     r->deadline, r->created, (int64_t)r->steps, w->text_seconds, w->step_seconds,
                     w->decode_seconds, w->text_flops, w->step_flops, w->decode_flops);
    r->number = sqlite3_last_insert_rowid(store->db);
    r->status = SERVE_QUEUED;
    return changed == 1 ? SERVE_ADDED : SERVE_NOT_STORED;
}

enum serve_added serve_store_add(struct serve_store *store, struct serve_record *record,
                                 const char *key, double window, int most) {
    pthread_mutex_lock(&store->mutex);
    enum serve_added added = add(store, record, key, window, most);
    pthread_mutex_unlock(&store->mutex);
    return added;
}

/* ---- statuses -------------------------------------------------------------------------------- */

bool serve_store_begin(struct serve_store *store, const char *id) {
    return CHANGE_ONE(store,
                      "update jobs set status='in_progress', attempts=attempts+1,"
                      " started=case when started=0 then ? else started end"
                      " where id=? and status='queued'",
                      "ds", serve_now(), id);
}

bool serve_store_requeue(struct serve_store *store, const char *id) {
    return CHANGE_ONE(store,
                      "update jobs set status='queued', attempts=attempts-1 where id=? and"
                      " status='in_progress'",
                      "s", id);
}

bool serve_store_complete(struct serve_store *store, const char *id, int64_t bytes,
                          const char *sha256, double expires) {
    return CHANGE_ONE(store,
                      "update jobs set status='completed', step=steps, bytes=?, sha256=?,"
                      " completed=?, expires=? where id=? and status='in_progress'",
                      "isdds", bytes, sha256, serve_now(), expires, id);
}

bool serve_store_fail(struct serve_store *store, const char *id, const char *code,
                      const char *message, double expires) {
    return CHANGE_ONE(store,
                      "update jobs set status='failed', code=?, message=?, completed=?, expires=?"
                      " where id=? and status in ('queued', 'in_progress')",
                      "ssdds", code, message, serve_now(), expires, id);
}

bool serve_store_step(struct serve_store *store, const char *id, int step) {
    return CHANGE_ONE(store,
                      "update jobs set step=?, attempts=1 where id=? and status='in_progress'",
                      "is", (int64_t)step, id);
}

bool serve_store_lose(struct serve_store *store, const char *id) {
    return CHANGE_ONE(store,
                      "update jobs set status='failed', code='video_missing', message='its video"
                      " is not there any more' where id=? and status='completed'",
                      "s", id);
}

bool serve_store_delete(struct serve_store *store, const char *id) {
    return CHANGE_ONE(store,
                      "update jobs set status='deleted', request='', completed=? where id=? and"
                      " status not in ('deleted', 'expired')",
                      "ds", serve_now(), id);
}

bool serve_store_expire(struct serve_store *store, double now, char id[SERVE_ID + 1]) {
    bool expired = false;
    pthread_mutex_lock(&store->mutex);
    sqlite3_stmt *row = select_rows(store,
                                    "select id from jobs where status in ('completed', 'failed')"
                                    " and expires>0 and expires<=? limit 1",
                                    "d", now);
    bool found = row && sqlite3_step(row) == SQLITE_ROW;
    if (found)
        copy_text(row, 0, id, SERVE_ID + 1);
    sqlite3_finalize(row);
    if (found)
        expired = change(store,
                         "update jobs set status='expired', request='' where id=? and status in"
                         " ('completed', 'failed')",
                         "s", id) == 1;
    return unlocked(store, expired);
}

void serve_store_recover(struct serve_store *store, int most_attempts) {
    pthread_mutex_lock(&store->mutex);
    change(store,
           "update jobs set status='failed', code='interrupted', completed=?, message='the server"
           " ended while it worked at this, too often' where status='in_progress' and attempts>=?",
           "di", serve_now(), (int64_t)most_attempts);
    change(store, "update jobs set status='queued' where status='in_progress'", "");
    pthread_mutex_unlock(&store->mutex);
}
