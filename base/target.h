/* A file or folder under a temporary name beside its place: it appears whole or not at all. */
#ifndef STARDIT_TARGET_H
#define STARDIT_TARGET_H

#include <stdbool.h>
#include <stdio.h>

#include "stardit/status.h"

enum sdt__target_kind { SDT__TARGET_FILE, SDT__TARGET_FOLDER };

/* Whether `path` can be created there, or replaced (force): SDT_ERROR_USAGE if not. A folder is
 * replaced only if it holds nothing but numbered frames. Really creates and removes something, as
 * permission bits do not tell of full or read-only file systems. */
enum sdt_status sdt__target_check(const char *path, enum sdt__target_kind kind, bool force,
                                  struct sdt_error *err);

/* Where `path` lies, links followed as writing follows them: equal texts for two names of one
 * place, whatever lies there. malloc'ed; NULL: its folder is not there, or out of memory. */
char *sdt__target_place(const char *path);

/* Creates it under a temporary name in the same folder. *partial: malloc'ed; goes into commit or
 * abandon, which free it. */
enum sdt_status sdt__target_begin(const char *path, enum sdt__target_kind kind, char **partial,
                                  struct sdt_error *err);
/* Gives it its name; removes it when that fails. */
enum sdt_status sdt__target_commit(char *partial, const char *path, enum sdt__target_kind kind,
                                   bool force, struct sdt_error *err);
/* A whole text file: `write` fills it, and what is at `path` is replaced. SDT_ERROR_IO. */
enum sdt_status sdt__target_write(const char *path, void (*write)(FILE *file, const void *arg),
                                  const void *arg, struct sdt_error *err);
/* Removes it. NULL is fine. */
void sdt__target_abandon(char *partial, enum sdt__target_kind kind);
#endif
