/* What stardit-info says of a single file. */
#ifndef STARDIT_APPS_INFO_FILE_H
#define STARDIT_APPS_INFO_FILE_H

#include <limits.h>
#include <stdbool.h>

#include "stardit/stardit.h"

/* Prints format, names, component, sizes, types and metadata of a file, or why it is not read. */
enum sdt_status app_info_file(const char *path, struct sdt_error *err);

/* A folder that diffusers or PEFT wrote a LoRA into: which file that is. False: there is none. */
bool app_info_lora(const char *folder, char file[PATH_MAX]);

/* One line: how many parameters, bytes and tensors, and of which types; or that there are none. */
void app_info_component(const struct sdt_component *component);
#endif
