/* What a run writes, beside what it reads: no file is written twice, and none that is read is
 * replaced. Names are compared by the places that they lead to, not by how they are spelled. */
#ifndef STARDIT_APPS_OUTPUTS_H
#define STARDIT_APPS_OUTPUTS_H

#include <stdbool.h>
#include <stddef.h>

#include "stardit/status.h"

enum app_file_use {
    APP_FILE_READ,    /* a file, or a folder with all that is in it */
    APP_FILE_WRITTEN, /* anew */
    APP_FILE_KEPT     /* written, and it may be what the run goes on from (--resume) */
};

struct app_file {
    enum app_file_use use;
    const char *option; /* without "--" */
    const char *path;   /* NULL: not given; "-": not a file */
};

/* Refuses two outputs in one place, and an output in the place of a file that is read, or of one
 * that is there in a folder that is read and looks like a checkpoint's. SDT_ERROR_USAGE names both
 * options; SDT_ERROR_MEMORY. */
enum sdt_status app_check_files(const struct app_file *file /* [count] */, size_t count,
                                struct sdt_error *err);

/* Refuses a file that cannot be written once the work is done: SDT_ERROR_USAGE when something is
 * there already (without `force`, or when it is not a regular file), when its folder is not there
 * or not writable, or for "-". `option` is named in the message. path NULL: fine. */
enum sdt_status app_check_target(const char *option, const char *path, bool force,
                                 struct sdt_error *err);
#endif
