/* The folder of --state: the table of jobs, videos that are whole, states of jobs on their way. One
 * server at a time holds its lock. */
#ifndef STARDIT_APPS_SERVE_FILES_H
#define STARDIT_APPS_SERVE_FILES_H

#include <stdbool.h>
#include <stdint.h>

#include "apps/serve/store.h"
#include "stardit/stardit.h"

struct serve_files {
    char *folder;
    int lock; /* -1: not held */
};

/* Of a video's file. */
struct serve_file_facts {
    int64_t bytes;
    char sha256[65]; /* hexadecimal */
};

enum serve_file {
    SERVE_VIDEO,
    SERVE_THUMBNAIL,
    SERVE_SHEET,
    SERVE_TRACE, /* where traces are kept */
    SERVE_STATE,
    SERVE_FILES
};
/* A folder with a folder for each kind, mode 0700 where they are made. SDT_ERROR_USAGE where
 * another server holds it, SDT_ERROR_IO, SDT_ERROR_UNSUPPORTED where videos cannot be written. */
enum sdt_status serve_files_open(struct serve_files *files, const char *folder,
                                 struct sdt_error *err);
void serve_files_close(struct serve_files *files);
/* malloc'ed; NULL: out of memory. */
char *serve_files_table(const struct serve_files *files);
char *serve_files_name(const struct serve_files *files, enum serve_file kind, const char *id);

/* Writes the video with its pictures, on the disk under their names when it returns. */
enum sdt_status serve_files_publish(const struct serve_files *files, const char *id,
                                    const struct sdt_video *video, struct serve_file_facts *facts,
                                    struct sdt_error *err);
/* All of a job's files, or its state alone. */
void serve_files_forget(const struct serve_files *files, const char *id);
void serve_files_forget_state(const struct serve_files *files, const char *id);
/* Is it there? */
bool serve_files_have(const struct serve_files *files, enum serve_file kind, const char *id);
/* Bytes of all videos, pictures, traces and states. */
int64_t serve_files_bytes(const struct serve_files *files);
/* After a start: removes what no job of the table has, as the leftovers of writers that were
 * killed; a completed job without its video has failed. */
void serve_files_sweep(const struct serve_files *files, struct serve_store *store);
#endif
