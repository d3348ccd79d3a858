/* PEFT's settings of a LoRA. */
#define _GNU_SOURCE
#include "graph/checkpoint/adapter.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/checkpoint/untrusted.h"

enum { SETTINGS_LIMIT = 1 << 20 };
static const struct sdt__json_limits limits = {8, 100000};

#define METADATA "lora_adapter_metadata"

void sdt_adapter_clear(struct sdt_adapter *adapter) {
    json_decref(adapter->settings);
    *adapter = (struct sdt_adapter){0};
}

/* The setting of that name, of the transformer. */
static const json_t *setting(const struct sdt_adapter *adapter, const char *name) {
    char key[64];
    snprintf(key, sizeof key, "%s%s", adapter->prefix, name);
    return json_object_get(adapter->settings, key);
}

static bool is_alpha(const json_t *value) {
    double alpha = json_number_value(value);
    return json_is_number(value) && isfinite(alpha) && alpha > 0.0;
}

/* PEFT takes keys for regular expressions; the names that diffusers writes match as they are. */
static bool is_name(const char *key) {
    return key[0] && key[strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789_.-")] == '\0';
}

static enum sdt_status check_pattern(const char *path, const json_t *pattern,
                                     struct sdt_error *err) {
    const char *key;
    const json_t *value;
    if (pattern && !json_is_null(pattern) && !json_is_object(pattern))
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: alpha_pattern is no object", path);
    json_object_foreach((json_t *)pattern, key, value) {
        if (!is_name(key))
            return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                            "%s: alpha_pattern '%.*s' is no name of a module; names alone are read",
                            path, SDT__NAME_SHOWN, key);
        if (!is_alpha(value))
            return sdt_fail(err, SDT_ERROR_FORMAT, "%s: alpha of '%.*s' is no number above 0", path,
                            SDT__NAME_SHOWN, key);
    }
    return SDT_OK;
}

static enum sdt_status check(const char *path, struct sdt_adapter *adapter, struct sdt_error *err) {
    adapter->prefix = "transformer.";
    if (!setting(adapter, "lora_alpha") && !setting(adapter, "r"))
        adapter->prefix = "";
    const json_t *alpha = setting(adapter, "lora_alpha");
    adapter->by_root = json_is_true(setting(adapter, "use_rslora"));
    if (json_is_true(setting(adapter, "use_dora")))
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: its settings ask for DoRA; a LoRA without would work", path);
    if (alpha && !is_alpha(alpha))
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: lora_alpha is no number above 0", path);
    adapter->alpha = json_number_value(alpha);
    return check_pattern(path, setting(adapter, "alpha_pattern"), err);
}

/* adapter_config.json beside adapter_model.safetensors; malloc'ed, NULL: it is another file. */
static char *config_beside(const char *path) {
    static const char model[] = "adapter_model.safetensors", config[] = "adapter_config.json";
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char *beside;
    if (strcmp(name, model) != 0 ||
        asprintf(&beside, "%.*s%s", (int)(name - path), path, config) < 0)
        return NULL;
    if (access(beside, F_OK) == 0)
        return beside;
    free(beside);
    return NULL;
}

enum sdt_status sdt_adapter_read(const struct sdt_weights *file, struct sdt_adapter *adapter,
                                 struct sdt_error *err) {
    const char *path = sdt_weights_folder(file), *text = sdt_weights_metadata(file, METADATA);
    char *beside = text ? NULL : config_beside(path);
    json_t *root = NULL;
    enum sdt_status status = SDT_OK;
    *adapter = (struct sdt_adapter){.prefix = ""};
    if (text)
        status = sdt__json_parse(path, METADATA, text, strlen(text), &limits, &root, err);
    else if (beside)
        status = sdt__json_load(beside, SETTINGS_LIMIT, &limits, &root, err);
    adapter->settings = root;
    if (status == SDT_OK && root)
        status = check(sdt__path_tail(beside ? beside : path), adapter, err);
    free(beside);
    return status;
}

/* Is the module one of that name, with or without what stands in front? */
static bool ends_with(const char *stem, size_t length, const char *name) {
    size_t end = strlen(name);
    return length >= end && !strncmp(stem + length - end, name, end) &&
           (length == end || stem[length - end - 1] == '.');
}

double sdt_adapter_scale(const struct sdt_adapter *adapter, const char *stem, size_t length,
                         size_t rank) {
    double alpha = adapter->alpha > 0.0 ? adapter->alpha : (double)rank;
    const char *key;
    const json_t *value;
    if (!adapter->settings)
        return 1.0;
    json_object_foreach((json_t *)setting(adapter, "alpha_pattern"), key, value) {
        if (ends_with(stem, length, key)) {
            alpha = json_number_value(value);
            break;
        }
    }
    return alpha / (adapter->by_root ? sqrt((double)rank) : (double)rank);
}
