/* What must hold of a checkpoint file that the readers take, and of their messages. */
#include "tests/checkpoint/readers.h"

#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/config.h"
#include "graph/checkpoint/weights.h"
#include "tests/checkpoint/files.h"

#define MOST_TEXT (1 << 24) /* as long as a configuration may be */

void check_message(const struct sdt_error *err) {
    CHECK(err->status != SDT_OK && err->message[0], "a failure without a message");
    for (const char *c = err->message; *c; c++)
        CHECK((unsigned char)*c >= 0x20 && *c != 0x7f, "control character in '%s'", err->message);
}

/* Reads every byte, so that a pointer out of the mapping shows. */
static void check_tensor(const struct sdt_stored *tensor) {
    const unsigned char *bytes = tensor->data;
    volatile unsigned char sum = 0;
    size_t count = 1;
    float *values;

    for (int i = 0; i < tensor->rank; i++)
        count *= (size_t)tensor->shape[i];
    CHECK(count == tensor->count && tensor->bytes == count * sdt_dtype_size(tensor->dtype),
          "sizes of '%s'", tensor->name);
    for (size_t i = 0; i < tensor->bytes; i++)
        sum = (unsigned char)(sum + bytes[i]);
    if (sdt_stored_floats(tensor, &values, NULL) == SDT_OK)
        free(values);
    sdt_stored_release(tensor);
}

bool read_tensors(const char *name, size_t file_size) {
    struct sdt_error err = {0};
    struct sdt_safetensors *file;
    size_t bytes = 0;

    if (sdt_safetensors_open(path_of(name), &file, &err) != SDT_OK) {
        check_message(&err);
        return false;
    }
    for (size_t i = 0; i < sdt_safetensors_count(file); i++) {
        const struct sdt_stored *tensor = sdt_safetensors_at(file, i);
        check_tensor(tensor);
        bytes += tensor->bytes;
        CHECK(sdt_safetensors_find(file, tensor->name) == tensor, "'%s' twice", tensor->name);
    }
    CHECK(bytes + 8 <= file_size, "%zu bytes of tensors in %zu", bytes, file_size);
    sdt_safetensors_close(file);
    return true;
}

bool read_index(const char *folder) {
    struct sdt_error err = {0};
    struct sdt_weights *weights;

    if (sdt_weights_open(path_of(folder), &weights, &err) != SDT_OK) {
        check_message(&err);
        return false;
    }
    for (size_t i = 0; i < sdt_weights_count(weights); i++) {
        const struct sdt_stored *tensor = sdt_weights_at(weights, i);
        check_tensor(tensor);
        CHECK(sdt_weights_find(weights, tensor->name) == tensor, "'%s' twice", tensor->name);
    }
    sdt_weights_close(weights);
    return true;
}

bool read_config(const char *name) {
    static const char *const keys[] = {"a", "b", "patch", "act", "vae", "_class_name"};
    struct sdt_error err = {0};
    struct sdt_config *config;
    const char *string = "";
    double numbers[4] = {0}, number = 0;
    int64_t integer = 5;
    bool boolean = false;
    int count = 0;

    if (sdt_config_open(path_of(name), &config, &err) != SDT_OK) {
        check_message(&err);
        return false;
    }
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *key = keys[i];
        sdt_config_int(config, key, false, 1, 9, &integer, &err);
        sdt_config_number(config, key, false, &number, &err);
        sdt_config_bool(config, key, false, &boolean, &err);
        sdt_config_string(config, key, false, &string, &err);
        sdt_config_numbers(config, key, false, 4, numbers, &count, &err);
        sdt_config_only(config, key, "[1, {\"x\": null}]", &err);
        CHECK(integer >= 1 && integer <= 9 && count >= 0 && count <= 4, "'%s' out of range", key);
        if (sdt_config_string_at(config, key, 1, &string, &err) == SDT_OK && !string)
            string = "";
        CHECK(strlen(string) < MOST_TEXT, "'%s' too long", key);
    }
    sdt_config_close(config);
    return true;
}

void make_shards(void) {
    make_subfolder("shards");
    write_safetensors("shards/a.safetensors",
                      "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8);
    write_safetensors("shards/b.safetensors",
                      "{\"b\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[0,2]}}", 2);
}
