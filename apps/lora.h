/* --lora FILE[:strength]: what it says. */
#ifndef STARDIT_APPS_LORA_H
#define STARDIT_APPS_LORA_H

#include <limits.h>

#include "apps/options.h"
#include "stardit/stardit.h"

#define APP_MOST_LORAS 16
struct app_loras {
    struct app_strings given;
    struct sdt_lora item[APP_MOST_LORAS];
    char path[APP_MOST_LORAS][PATH_MAX]; /* what items point to */
};

/* Fills the items. SDT_ERROR_USAGE for too many, or a strength that is none. */
enum sdt_status app_loras_read(struct app_loras *loras, struct sdt_error *err);
#endif
