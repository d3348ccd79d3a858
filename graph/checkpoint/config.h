/* JSON configuration of a component (config.json, model_index.json, stardit.json), by jansson, with
 * errors that name file and key. Untrusted: size <= 16 MB, no duplicate keys, bounded depth. */
#ifndef STARDIT_CONFIG_H
#define STARDIT_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "stardit/status.h"

struct sdt_config;

enum sdt_status sdt_config_open(const char *path, struct sdt_config **config,
                                struct sdt_error *err);
/* The same of a JSON text that the program holds; `name` stands for the path in messages. */
enum sdt_status sdt_config_parse(const char *name, const char *text, struct sdt_config **config,
                                 struct sdt_error *err);
void sdt_config_close(struct sdt_config *config); /* NULL is fine */
const char *sdt_config_path(const struct sdt_config *config);
/* Keys may be "outer.inner", a key of an object's object. */

/* True if the key is there and not null. */
bool sdt_config_has(const struct sdt_config *config, const char *key);

/* Readers of one key. Absent or null: *value is left alone (set the default first) unless
 * `required`. A wrong type or a value outside [min, max] is SDT_ERROR_FORMAT. */
enum sdt_status sdt_config_int(const struct sdt_config *config, const char *key, bool required,
                               int64_t min, int64_t max, int64_t *value, struct sdt_error *err);
enum sdt_status sdt_config_number(const struct sdt_config *config, const char *key, bool required,
                                  double *value, struct sdt_error *err);
enum sdt_status sdt_config_bool(const struct sdt_config *config, const char *key, bool required,
                                bool *value, struct sdt_error *err);
/* *value: owned by the config. */
enum sdt_status sdt_config_string(const struct sdt_config *config, const char *key, bool required,
                                  const char **value, struct sdt_error *err);
/* An array of at most `capacity` numbers; *count: how many there were. Integers and booleans are
 * numbers here (true = 1). */
enum sdt_status sdt_config_numbers(const struct sdt_config *config, const char *key, bool required,
                                   int capacity, double *values, int *count, struct sdt_error *err);
/* Element `index` of an array of strings or nulls (model_index.json: "vae": ["diffusers",
 * "Class"]). *value NULL where the element is null. */
enum sdt_status sdt_config_string_at(const struct sdt_config *config, const char *key, int index,
                                     const char **value, struct sdt_error *err);
/* SDT_ERROR_UNSUPPORTED naming file, key and value unless the key is absent, null or equal to
 * `expected` (a JSON text such as "null", "false", "\"gelu\"", "[1, 2, 2]"). For options that
 * stardit does not implement. */
enum sdt_status sdt_config_only(const struct sdt_config *config, const char *key,
                                const char *expected, struct sdt_error *err);
#endif
