/* Configuration files of a checkpoint: one JSON object, read key by key. */
#define _GNU_SOURCE
#include "graph/checkpoint/config.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/untrusted.h"

#define CONFIG_LIMIT ((size_t)16 << 20)
static const struct sdt__json_limits config_limits = {.depth = 32, .values = 1000000};

struct sdt_config {
    char *path;
    json_t *root;
};

static struct sdt_config *config_new(const char *path, struct sdt_error *err) {
    struct sdt_config *config = calloc(1, sizeof *config);
    if (config)
        config->path = strdup(path);
    if (!config || !config->path) {
        sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to open it", sdt__path_tail(path));
        free(config);
        return NULL;
    }
    return config;
}

enum sdt_status sdt_config_open(const char *path, struct sdt_config **result,
                                struct sdt_error *err) {
    struct sdt_config *config = config_new(path, err);

    *result = NULL;
    if (!config)
        return SDT_ERROR_MEMORY;
    enum sdt_status status = sdt__json_load(path, CONFIG_LIMIT, &config_limits, &config->root, err);
    if (status == SDT_OK)
        *result = config;
    else
        sdt_config_close(config);
    return status;
}

enum sdt_status sdt_config_parse(const char *name, const char *text, struct sdt_config **result,
                                 struct sdt_error *err) {
    json_error_t why;
    struct sdt_config *config = config_new(name, err);

    *result = NULL;
    if (!config)
        return SDT_ERROR_MEMORY;
    config->root = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    if (config->root && json_is_object(config->root)) {
        *result = config;
        return SDT_OK;
    }
    sdt_config_close(config);
    return sdt_fail(err, SDT_ERROR_FORMAT, "%s: %s", name, why.text);
}

void sdt_config_close(struct sdt_config *config) {
    if (!config)
        return;
    json_decref(config->root);
    free(config->path);
    free(config);
}

const char *sdt_config_path(const struct sdt_config *config) { return config->path; }

/* NULL where the key is absent or null. With a dot in it, a key of the object in front of it. */
static const json_t *find(const struct sdt_config *config, const char *key) {
    const char *dot = strchr(key, '.');
    const json_t *value = dot ? NULL : json_object_get(config->root, key);
    char outer[100];
    if (dot && (size_t)(dot - key) < sizeof outer) {
        memcpy(outer, key, (size_t)(dot - key));
        outer[dot - key] = '\0';
        value = json_object_get(json_object_get(config->root, outer), dot + 1);
    }
    return value && !json_is_null(value) ? value : NULL;
}

bool sdt_config_has(const struct sdt_config *config, const char *key) {
    return find(config, key) != NULL;
}

static const char *type_name(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        break;
    }
    return "null";
}

/* The value of `key`; *value NULL (and SDT_OK) where it is absent or null and not required. */
static enum sdt_status look_up(const struct sdt_config *config, const char *key, bool required,
                               const json_t **value, struct sdt_error *err) {
    *value = find(config, key);
    if (!*value && required)
        return sdt_fail(err, SDT_ERROR_MISSING, "%s: key '%.*s' is missing",
                        sdt__path_tail(config->path), SDT__NAME_SHOWN, key);
    return SDT_OK;
}

static enum sdt_status fail_type(const struct sdt_config *config, const char *key,
                                 const json_t *value, const char *wanted, struct sdt_error *err) {
    return sdt_fail(err, SDT_ERROR_FORMAT, "%s: key '%.*s' must be %s, not %s",
                    sdt__path_tail(config->path), SDT__NAME_SHOWN, key, wanted, type_name(value));
}

enum sdt_status sdt_config_int(const struct sdt_config *config, const char *key, bool required,
                               int64_t min, int64_t max, int64_t *value, struct sdt_error *err) {
    const json_t *json;
    const enum sdt_status status = look_up(config, key, required, &json, err);

    if (status != SDT_OK || !json)
        return status;
    if (!json_is_integer(json))
        return fail_type(config, key, json, "an integer", err);
    if (json_integer_value(json) < min || json_integer_value(json) > max)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: key '%.*s' is %" PRId64 ", not within %" PRId64 " to %" PRId64,
                        sdt__path_tail(config->path), SDT__NAME_SHOWN, key,
                        (int64_t)json_integer_value(json), min, max);
    *value = json_integer_value(json);
    return SDT_OK;
}

enum sdt_status sdt_config_number(const struct sdt_config *config, const char *key, bool required,
                                  double *value, struct sdt_error *err) {
    const json_t *json;
    const enum sdt_status status = look_up(config, key, required, &json, err);

    if (status != SDT_OK || !json)
        return status;
    if (!json_is_number(json))
        return fail_type(config, key, json, "a number", err);
    *value = json_number_value(json);
    return SDT_OK;
}

enum sdt_status sdt_config_bool(const struct sdt_config *config, const char *key, bool required,
                                bool *value, struct sdt_error *err) {
    const json_t *json;
    const enum sdt_status status = look_up(config, key, required, &json, err);

    if (status != SDT_OK || !json)
        return status;
    if (!json_is_boolean(json))
        return fail_type(config, key, json, "true or false", err);
    *value = json_is_true(json);
    return SDT_OK;
}

enum sdt_status sdt_config_string(const struct sdt_config *config, const char *key, bool required,
                                  const char **value, struct sdt_error *err) {
    const json_t *json;
    const enum sdt_status status = look_up(config, key, required, &json, err);

    if (status != SDT_OK || !json)
        return status;
    if (!json_is_string(json))
        return fail_type(config, key, json, "a string", err);
    *value = json_string_value(json);
    return SDT_OK;
}

enum sdt_status sdt_config_numbers(const struct sdt_config *config, const char *key, bool required,
                                   int capacity, double *values, int *count,
                                   struct sdt_error *err) {
    const json_t *json;
    const enum sdt_status status = look_up(config, key, required, &json, err);

    if (status != SDT_OK || !json)
        return status;
    if (!json_is_array(json))
        return fail_type(config, key, json, "an array of numbers", err);
    const size_t size = json_array_size(json);
    if (size > (size_t)capacity)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: key '%.*s' has %zu elements, at most %d fit",
                        sdt__path_tail(config->path), SDT__NAME_SHOWN, key, size, capacity);
    /* All elements are checked before one is stored: on failure the caller's defaults stay. */
    for (size_t i = 0; i < size; i++) {
        const json_t *element = json_array_get(json, i);
        if (!json_is_number(element) && !json_is_boolean(element))
            return sdt_fail(
                err, SDT_ERROR_FORMAT, "%s: element %zu of key '%.*s' must be a number, not %s",
                sdt__path_tail(config->path), i, SDT__NAME_SHOWN, key, type_name(element));
    }
    for (size_t i = 0; i < size; i++) {
        const json_t *element = json_array_get(json, i);
        values[i] = json_is_number(element) ? json_number_value(element) : json_is_true(element);
    }
    *count = (int)size;
    return SDT_OK;
}

enum sdt_status sdt_config_string_at(const struct sdt_config *config, const char *key, int index,
                                     const char **value, struct sdt_error *err) {
    const json_t *json;
    const enum sdt_status status = look_up(config, key, true, &json, err);

    if (status != SDT_OK)
        return status;
    if (!json_is_array(json))
        return fail_type(config, key, json, "an array of strings", err);
    const json_t *element = index >= 0 ? json_array_get(json, (size_t)index) : NULL;
    if (!element)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: key '%.*s' has %zu elements, no element %d",
                        sdt__path_tail(config->path), SDT__NAME_SHOWN, key, json_array_size(json),
                        index);
    if (!json_is_string(element) && !json_is_null(element))
        return sdt_fail(
            err, SDT_ERROR_FORMAT, "%s: element %d of key '%.*s' must be a string or null, not %s",
            sdt__path_tail(config->path), index, SDT__NAME_SHOWN, key, type_name(element));
    *value = json_string_value(element); /* NULL for null */
    return SDT_OK;
}

/* Like json_equal, but 1 and 1.0 are the same: both spellings occur in real files. */
static bool same_value(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    if (json_is_array(a) && json_is_array(b)) {
        if (json_array_size(a) != json_array_size(b))
            return false;
        for (size_t i = 0; i < json_array_size(a); i++)
            if (!same_value(json_array_get(a, i), json_array_get(b, i)))
                return false;
        return true;
    }
    return json_equal(a, b);
}

/* The value as JSON text, cut to `size`. */
static void value_text(const json_t *value, char *text, size_t size) {
    const size_t length = json_dumpb(value, text, size - 1, JSON_COMPACT | JSON_ENCODE_ANY);

    text[length < size - 1 ? length : size - 1] = '\0';
    if (length == 0)
        snprintf(text, size, "%s", type_name(value)); /* no memory to print it */
}

enum sdt_status sdt_config_only(const struct sdt_config *config, const char *key,
                                const char *expected, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    const json_t *value = find(config, key);
    char text[100] = "";
    json_error_t error;
    json_t *wanted;

    if (!value)
        return SDT_OK;
    errno = 0;
    wanted = json_loads(expected, JSON_DECODE_ANY, &error);
    if (errno == ENOMEM) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to check key '%.*s'",
                          sdt__path_tail(config->path), SDT__NAME_SHOWN, key);
    } else if (!wanted) {
        status = sdt_fail(err, SDT_ERROR_USAGE, "key '%.*s': expected value '%s' is not JSON",
                          SDT__NAME_SHOWN, key, expected);
    } else if (!same_value(value, wanted)) {
        value_text(value, text, sizeof text);
        status = sdt_fail(err, SDT_ERROR_UNSUPPORTED, "%s: %.*s = %s is not supported (only %s is)",
                          sdt__path_tail(config->path), SDT__NAME_SHOWN, key, text, expected);
    }
    json_decref(wanted);
    return status;
}
