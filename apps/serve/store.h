/* The table of jobs, in SQLite: what is in it when a call returns is on the disk (WAL, synchronous
 * FULL). A job changes its status by compare-and-set alone, so that of a completion, a cancellation
 * and a deletion at once one wins. From any thread. */
#ifndef STARDIT_APPS_SERVE_STORE_H
#define STARDIT_APPS_SERVE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "apps/serve/models.h"
#include "stardit/status.h"

enum { SERVE_ID = 31, SERVE_CODE = 40 };

enum serve_status {
    SERVE_QUEUED,
    SERVE_IN_PROGRESS,
    SERVE_COMPLETED,
    SERVE_FAILED,
    SERVE_DELETED, /* what is left: its id */
    SERVE_EXPIRED, /* likewise */
    SERVE_STATUSES
};
const char *serve_status_name(enum serve_status status);

struct serve_record {
    int64_t number; /* in the order of their coming */
    char id[SERVE_ID + 1];
    enum serve_status status;
    char *request; /* JSON, malloc'ed */
    char model[128];
    char code[SERVE_CODE], message[700]; /* why it failed */
    int priority;
    double deadline, created, started, completed, expires; /* Unix time; 0: none */
    int step, steps;                                       /* of the state that is kept */
    int attempts;                                          /* since the last step that was kept */
    int64_t bytes;                                         /* of the video */
    char sha256[65]; /* of it, hexadecimal; "": none, or of an earlier version */
    struct serve_work work;
};
void serve_record_clear(struct serve_record *record);

struct serve_store;

/* Opens or makes it, or brings one of an earlier version up to this one; SDT_ERROR_IO,
 * SDT_ERROR_FORMAT for one of a later version. */
enum sdt_status serve_store_open(const char *path, struct serve_store **store,
                                 struct sdt_error *err);
void serve_store_close(struct serve_store *store);

enum serve_added {
    SERVE_ADDED,
    SERVE_REPEATED,  /* *record is the first one */
    SERVE_KEY_TAKEN, /* by another request */
    SERVE_FULL,
    SERVE_NOT_STORED
};
/* Adds a queued job, with a new id and number. key: "" for none; the same request within `window`
 * seconds that has neither failed nor gone is a repeat as well. most: jobs that may wait. */
enum serve_added serve_store_add(struct serve_store *store, struct serve_record *record,
                                 const char *key, double window, int most);
/* False: never heard of it. *record is to be cleared. */
bool serve_store_get(struct serve_store *store, const char *id, struct serve_record *record);
/* Up to `limit` of those that are there, from the one behind `after` (NULL: from the first) on;
 * *records is malloc'ed, for serve_records_free. -1: out of memory, or the disk failed. */
int serve_store_list(struct serve_store *store, const char *after, int limit, bool newest_first,
                     struct serve_record **records);
/* All that wait or run. */
int serve_store_open_jobs(struct serve_store *store, struct serve_record **records);
void serve_records_free(struct serve_record *records, int count);
/* How many have each status. */
void serve_store_count(struct serve_store *store, int64_t count[SERVE_STATUSES]);

/* Each from one status to the next; false where it was another, or the disk failed. */
bool serve_store_begin(struct serve_store *store, const char *id);
bool serve_store_requeue(struct serve_store *store, const char *id);
bool serve_store_complete(struct serve_store *store, const char *id, int64_t bytes,
                          const char *sha256, double expires);
/* Of one that waits or runs. */
bool serve_store_fail(struct serve_store *store, const char *id, const char *code,
                      const char *message, double expires);
/* A state after that step is on the disk. */
bool serve_store_step(struct serve_store *store, const char *id, int step);
/* A completed job whose video is not there any more. */
bool serve_store_lose(struct serve_store *store, const char *id);
/* Whatever it was, but gone. */
bool serve_store_delete(struct serve_store *store, const char *id);
/* The next one whose time is over: its id, and it is expired. False: there is none. */
bool serve_store_expire(struct serve_store *store, double now, char id[SERVE_ID + 1]);
/* After a start: what ran is queued again, or has failed after so many attempts without a step. */
void serve_store_recover(struct serve_store *store, int most_attempts);
double serve_now(void); /* Unix time */
#endif
