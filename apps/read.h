/* Reading what options point to. Errors name the option and say what would work. */
#ifndef STARDIT_APPS_READ_H
#define STARDIT_APPS_READ_H

#include <stdbool.h>

#include "stardit/safetensors.h"

#define APP_MOST_TOKENS 4096

/* A text file of at most 64 KiB, malloc'ed into *text. SDT_ERROR_USAGE where there is none. */
enum sdt_status app_read_text(const char *option, const char *path, char **text,
                              struct sdt_error *err);
/* The FILE of "@FILE", within `text`; NULL: it is a text itself, or NULL. */
const char *app_prompt_file(const char *text);
bool app_is_utf8(const char *text);
/* "@FILE": the file's text, malloc'ed into *file_text. "@@text": "@text". Anything else is the text
 * itself. SDT_ERROR_USAGE for what is not UTF-8. */
enum sdt_status app_read_prompt(const char *option, const char *text, char **file_text,
                                const char **prompt, struct sdt_error *err);
/* The lines of a text file that are not blank, 1 to `most` of them, within the malloc'ed
 * *file_text. SDT_ERROR_USAGE for a line that is not UTF-8. */
enum sdt_status app_read_lines(const char *option, const char *path, int most, char **file_text,
                               const char **lines /* [most] */, int *count, struct sdt_error *err);
/* "1,2,3" */
enum sdt_status app_read_ids(const char *option, const char *text, int vocabulary, int32_t **ids,
                             int *count, struct sdt_error *err);
/* Is it a type of numbers? `what` stands in front of the message. */
enum sdt_status app_check_floats(const char *what, const struct sdt_stored *tensor,
                                 struct sdt_error *err);
/* The tensor of that name, else the only one of the file. */
enum sdt_status app_read_tensor(const char *option, const char *path, const char *name,
                                struct sdt_safetensors **file, const struct sdt_stored **tensor,
                                struct sdt_error *err);
/* "S" or "RxC", pixels. */
enum sdt_status app_read_tile(const char *option, const char *text, int *rows, int *columns,
                              struct sdt_error *err);
#endif
