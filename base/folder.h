/* Folders of this process alone, for files that other programs' libraries want to read.
 *
 * A process that is killed leaves its folder behind; whoever makes the next one removes it. Names
 * carry the process's number for people who look; what decides is a lock on the folder, which ends
 * with the process, in whichever container it ran. */
#ifndef STARDIT_BASE_FOLDER_H
#define STARDIT_BASE_FOLDER_H

#include "stardit/status.h"

/* Makes <$TMPDIR, else /tmp>/stardit-<pid>-XXXXXX, mode 0700, and removes those of this user whose
 * process is gone. *path is for sdt__folder_remove() alone to free; NULL after a failure:
 * SDT_ERROR_IO (set TMPDIR), SDT_ERROR_MEMORY. */
enum sdt_status sdt__folder_make(char **path, struct sdt_error *err);
/* Removes it with all that is in it. NULL is fine. */
void sdt__folder_remove(char *path);
#endif
