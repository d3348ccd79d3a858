/* The table of jobs: what changes a status and what does not, repeats, recovery, and that another
 * opening of the same file finds all of it. */
#include "apps/serve/store.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/check.h"

static struct serve_store *store;

static enum serve_added put(const char *request, const char *key, double window, int most,
                            char id[SERVE_ID + 1]) {
    struct serve_record r = {.request = strdup(request),
                             .model = "m",
                             .created = serve_now(),
                             .steps = 10,
                             .work = {1, 2, 3, 4, 5, 6}};
    enum serve_added added = serve_store_add(store, &r, key, window, most);
    memcpy(id, r.id, sizeof r.id);
    serve_record_clear(&r);
    return added;
}

static struct serve_record get(const char *id) {
    struct serve_record r;
    CHECK(serve_store_get(store, id, &r), "%s is not there", id);
    serve_record_clear(&r); /* the numbers stay */
    return r;
}

static void is(const char *id, enum serve_status status, int step, int attempts) {
    struct serve_record r = get(id);
    CHECK(r.status == status && r.step == step && r.attempts == attempts,
          "%s: %s at step %d, attempt %d; not %s, %d, %d", id, serve_status_name(r.status), r.step,
          r.attempts, serve_status_name(status), step, attempts);
}

static void statuses(void) {
    char id[SERVE_ID + 1], other[SERVE_ID + 1];
    CHECK(put("{1}", "", 10, 100, id) == SERVE_ADDED, "not added");
    is(id, SERVE_QUEUED, 0, 0);
    CHECK(!serve_store_complete(store, id, 5, "", 0), "one that waits is completed");
    CHECK(!serve_store_requeue(store, id) && !serve_store_step(store, id, 3), "one that waits ran");
    CHECK(serve_store_begin(store, id) && !serve_store_begin(store, id), "begun twice");
    is(id, SERVE_IN_PROGRESS, 0, 1);
    CHECK(serve_store_step(store, id, 4) && serve_store_requeue(store, id), "not queued again");
    is(id, SERVE_QUEUED, 4, 0);
    CHECK(serve_store_begin(store, id) && serve_store_complete(store, id, 5, "a1", 7.0),
          "not completed");
    is(id, SERVE_COMPLETED, 10, 1);
    CHECK(!serve_store_fail(store, id, "cancelled", "", 0), "a completed one is cancelled");
    CHECK(get(id).bytes == 5 && !strcmp(get(id).sha256, "a1") && get(id).expires == 7.0 &&
              get(id).work.decode_flops == 6,
          "values");
    CHECK(serve_store_expire(store, 8.0, other) && !strcmp(id, other), "it does not expire");
    CHECK(!serve_store_expire(store, 8.0, other), "it expires twice");
    is(id, SERVE_EXPIRED, 10, 1);
    CHECK(!serve_store_delete(store, id), "an expired one is deleted");

    put("{2}", "", 10, 100, id);
    serve_store_begin(store, id);
    CHECK(serve_store_fail(store, id, "cancelled", "why", 0), "not cancelled");
    CHECK(!serve_store_complete(store, id, 5, "", 0) && !serve_store_requeue(store, id) &&
              !serve_store_step(store, id, 1),
          "a cancelled one goes on");
    CHECK(!strcmp(get(id).code, "cancelled") && !strcmp(get(id).message, "why"), "its reason");
    CHECK(serve_store_delete(store, id) && !serve_store_delete(store, id), "deleted twice");
    CHECK(!serve_store_complete(store, id, 5, "", 0), "a deleted one comes back");
    CHECK(!serve_store_get(store, "video_none", &(struct serve_record){0}), "one that never was");
}

static void repeats(void) {
    char first[SERVE_ID + 1], id[SERVE_ID + 1];
    CHECK(put("{3}", "key", 0, 100, first) == SERVE_ADDED, "not added");
    CHECK(put("{3}", "key", 0, 100, id) == SERVE_REPEATED && !strcmp(id, first), "a key twice");
    CHECK(put("{4}", "key", 0, 100, id) == SERVE_KEY_TAKEN, "a key of another request");
    CHECK(put("{5}", "", 10, 100, first) == SERVE_ADDED, "not added");
    CHECK(put("{5}", "", 10, 100, id) == SERVE_REPEATED && !strcmp(id, first), "the same again");
    CHECK(put("{5}", "", -1, 100, id) == SERVE_ADDED, "without a window");
    int64_t count[SERVE_STATUSES];
    serve_store_count(store, count);
    CHECK(count[SERVE_QUEUED] == 3, "%lld wait", (long long)count[SERVE_QUEUED]);
    CHECK(put("{6}", "", 10, 3, id) == SERVE_FULL, "a fourth of three");
    CHECK(put("{5}", "", 10, 3, id) == SERVE_REPEATED, "a repeat is none more");
    serve_store_fail(store, first, "cancelled", "", 0);
    CHECK(put("{6}", "", 10, 3, id) == SERVE_ADDED, "room again");
}

static void recovery(const char *path) {
    char tired[SERVE_ID + 1], fresh[SERVE_ID + 1];
    struct sdt_error err;
    put("{7}", "", 10, 100, tired);
    put("{8}", "", 10, 100, fresh);
    for (int a = 0; a < 3; a++) {
        CHECK(serve_store_begin(store, tired), "begun");
        serve_store_begin(store, fresh);
        serve_store_step(store, fresh, a + 1); /* it gets on */
        serve_store_close(store);
        CHECK(serve_store_open(path, &store, &err) == SDT_OK, "%s", err.message);
        serve_store_recover(store, 3);
    }
    is(tired, SERVE_FAILED, 0, 3);
    CHECK(!strcmp(get(tired).code, "interrupted"), "its reason: %s", get(tired).code);
    is(fresh, SERVE_QUEUED, 3, 1);
    struct serve_record *records;
    int count = serve_store_open_jobs(store, &records);
    CHECK(count == 4, "%d wait", count);
    for (int i = 1; i < count; i++)
        CHECK(records[i - 1].number < records[i].number, "not in the order of their coming");
    serve_records_free(records, count);
    count = serve_store_list(store, fresh, 2, true, &records);
    CHECK(count == 2 && !strcmp(records[0].id, tired), "the list behind one");
    serve_records_free(records, count);
}

/* A table of the version before, which had no checksums. */
static void earlier(const char *path) {
    char id[SERVE_ID + 1];
    sqlite3 *db = NULL;
    struct sdt_error err = {0};
    put("{old}", "", 10, 100, id);
    serve_store_close(store);
    store = NULL;
    CHECK(sqlite3_open(path, &db) == SQLITE_OK &&
              sqlite3_exec(db, "alter table jobs drop column sha256; pragma user_version=1", NULL,
                           NULL, NULL) == SQLITE_OK,
          "%s", sqlite3_errmsg(db));
    sqlite3_close(db);
    CHECK(serve_store_open(path, &store, &err) == SDT_OK, "%s", err.message);
    is(id, SERVE_QUEUED, 0, 0);
    CHECK(serve_store_begin(store, id) && serve_store_complete(store, id, 5, "b2", 0) &&
              !strcmp(get(id).sha256, "b2"),
          "no checksum is kept");
}

int main(void) {
    char folder[] = "/tmp/stardit-store-XXXXXX", path[64];
    struct sdt_error err;
    if (!mkdtemp(folder))
        return 99;
    snprintf(path, sizeof path, "%s/jobs.sqlite", folder);
    if (serve_store_open(path, &store, &err) != SDT_OK) {
        printf("%s: FAIL\n", err.message);
        return 1;
    }
    statuses();
    repeats();
    recovery(path);
    earlier(path);
    serve_store_close(store);
    FILE *file = fopen(path, "w");
    if (file) {
        fputs("no table, but long enough that SQLite reads a header of it: ...................",
              file);
        fputs("...........................................................", file);
        fclose(file);
    }
    CHECK(serve_store_open(path, &store, &err) == SDT_ERROR_IO && !store, "no table is opened");
    for (const char *const *end = (const char *const[]){"", "-wal", "-shm", NULL}; *end; end++) {
        char name[80];
        snprintf(name, sizeof name, "%s%s", path, *end);
        unlink(name);
    }
    rmdir(folder);
    printf("%s\n", failures ? "FAIL" : "ok");
    return failures ? 1 : 0;
}
