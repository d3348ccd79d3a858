/* Every allocation of the checkpoint reader fails once: alone, and with all that follow. Each time
 * the call must give SDT_ERROR_MEMORY and take nothing with it: no block, mapping or descriptor.
 *
 * The reader's files are compiled into this program, so that the linker's --wrap reaches their
 * calls (tests/faults.h); jansson gets the same functions. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/config.h"
#include "graph/checkpoint/naming.h"
#include "graph/checkpoint/weights.h"
#include "tests/checkpoint/files.h"
#include "tests/faults.h"

/* ---- what is tried ------------------------------------------------------------------------- */

#define LONG_NAME "blocks.0.attn1.a_name_longer_than_the_first_buffer_of_the_lexer.weight"

static enum sdt_status try_file(struct sdt_error *err) {
    struct sdt_safetensors *file;
    const struct sdt_stored *tensor;
    float *values = NULL;
    enum sdt_status status = sdt_safetensors_open(path_of("f.safetensors"), &file, err);

    if (status != SDT_OK)
        return status;
    CHECK(sdt_safetensors_count(file) == 2, "%zu tensors", sdt_safetensors_count(file));
    tensor = sdt_safetensors_find(file, LONG_NAME);
    CHECK(tensor, "another name was read");
    if (tensor)
        status = sdt_stored_floats(tensor, &values, err);
    free(values);
    sdt_safetensors_close(file);
    return status;
}

static enum sdt_status try_folder(const char *folder, struct sdt_error *err) {
    struct sdt_weights *weights = NULL;
    struct sdt_tensor_table *table = sdt_tensor_table_new();
    enum sdt_status status;

    if (!table)
        return sdt_fail(err, SDT_ERROR_MEMORY, "no table");
    sdt_tensor_table_add(table, 1, (int64_t[]){2}, "blocks.%d.attn1.%s", 0,
                         "a_name_longer_than_the_first_buffer_of_the_lexer.weight");
    sdt_tensor_table_add(table, 1, (int64_t[]){1}, "%c", 'b');
    sdt_tensor_table_ignore(table, "encoder.");
    status = sdt_weights_open(path_of(folder), &weights, err);
    if (status == SDT_OK)
        status = sdt_tensor_table_check(table, weights, err);
    sdt_weights_close(weights);
    sdt_tensor_table_free(table);
    return status;
}

static enum sdt_status try_single(struct sdt_error *err) { return try_folder("single", err); }

static enum sdt_status try_shards(struct sdt_error *err) { return try_folder("shards", err); }

/* More requirements than the table's first room. */
static enum sdt_status try_growing_table(struct sdt_error *err) {
    struct sdt_weights *weights = NULL;
    struct sdt_tensor_table *table = sdt_tensor_table_new();
    enum sdt_status status;

    if (!table)
        return sdt_fail(err, SDT_ERROR_MEMORY, "no table");
    for (int i = 0; i < 130; i++) {
        sdt_tensor_table_add(table, 1, (int64_t[]){1}, "tensor.%d", i);
        sdt_tensor_table_ignore(table, "encoder.");
    }
    status = sdt_weights_open(path_of("many"), &weights, err);
    if (status == SDT_OK)
        status = sdt_tensor_table_check(table, weights, err);
    sdt_weights_close(weights);
    sdt_tensor_table_free(table);
    return status;
}

static const int some_model;

static void spell(const void *model, const char *name, char *text, size_t size) {
    static const struct sdt_replacement list[] = {
        {"q_that_the_model_names", "w_that_the_file_names"}, {NULL, NULL}};
    CHECK(model == &some_model, "the model");
    sdt_replace(list, name, text, size);
}

/* A file whose names are another program's. */
static enum sdt_status try_naming(struct sdt_error *err) {
    static const struct sdt_naming naming[] = {{"ours", NULL}, {"theirs", spell}, {NULL, NULL}};
    static const char *const prefix[] = {"", "model.", NULL};
    static const struct sdt_namings namings = {naming, prefix};
    struct sdt_weights *weights = NULL;
    struct sdt_tensor_table *table = sdt_tensor_table_new();
    enum sdt_status status;

    if (!table)
        return sdt_fail(err, SDT_ERROR_MEMORY, "no table");
    table->namings = &namings;
    table->model = &some_model;
    sdt_tensor_table_add(table, 1, (int64_t[]){2}, "a.q_that_the_model_names");
    status = sdt_weights_open(path_of("theirs.safetensors"), &weights, err);
    if (status == SDT_OK)
        status = sdt_tensor_table_settle(table, weights, err);
    if (status == SDT_OK)
        status = sdt_tensor_table_check(table, weights, err);
    CHECK(status != SDT_OK || (sdt_weights_count(weights) == 1 &&
                               sdt_weights_find(weights, "a.q_that_the_model_names")),
          "%zu tensors", weights ? sdt_weights_count(weights) : 0);
    sdt_weights_close(weights);
    sdt_tensor_table_free(table);
    return status;
}

static enum sdt_status try_config(struct sdt_error *err) {
    struct sdt_config *config;
    const char *string;
    int64_t integer;
    enum sdt_status status = sdt_config_open(path_of("config.json"), &config, err);

    if (status != SDT_OK)
        return status;
    status = sdt_config_int(config, "a_key_that_is_longer_than_sixteen", true, 5, 5, &integer, err);
    CHECK(status == SDT_OK, "%s", err->message);
    status = sdt_config_string(config, "class", true, &string, err);
    CHECK(status == SDT_OK && strcmp(string, "AutoencoderKLWan with a long name") == 0, "class");
    status = sdt_config_only(config, "class", "\"AutoencoderKLWan with a long name\"", err);
    sdt_config_close(config);
    return status;
}

static enum sdt_status try_writer(struct sdt_error *err) {
    static const float data[] = {1, 2, 3, 4};
    const struct sdt_stored tensors[] = {
        {.name = LONG_NAME, .rank = 2, .shape = {2, 2}, .count = 4, .data = data},
        {.name = "a", .count = 1, .data = data},
    };
    const int entries = count_entries();
    const enum sdt_status status = sdt_safetensors_write(path_of("written"), 2, tensors, err);

    CHECK(count_entries() == entries, "%d entries, %d before", count_entries(), entries);
    return status;
}

/* Fails the calls of `attempt` one by one until it gets through without one. Returns how many. */
static long fail_each(const char *name, enum sdt_status (*attempt)(struct sdt_error *err),
                      bool all) {
    for (long n = 0;; n++) {
        struct sdt_error err = {0};
        const long blocks = faults.blocks;
        const int descriptor = next_descriptor();

        faults_arm(&faults, n, all);
        const enum sdt_status status = attempt(&err);
        faults_disarm(&faults);
        CHECK(faults.blocks == blocks, "%s, call %ld: %ld blocks leak", name, n,
              faults.blocks - blocks);
        CHECK(next_descriptor() == descriptor, "%s, call %ld: a descriptor leaks", name, n);
        CHECK(!folder_is_mapped(), "%s, call %ld: a mapping leaks", name, n);
        if (!faults.failed) {
            CHECK(status == SDT_OK, "%s without a failure: %s", name, err.message);
            return n;
        }
        CHECK(status == SDT_ERROR_MEMORY && err.status == status && err.message[0],
              "%s, call %ld: %s, '%s'", name, n, sdt_status_name(status), err.message);
        if (failures > 20 || n > 100000)
            return n;
    }
}

/* ---- files --------------------------------------------------------------------------------- */

static void make_files(void) {
    static const char one[] = "{\"" LONG_NAME "\":{\"dtype\":\"BF16\",\"shape\":[2],"
                              "\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],"
                              "\"data_offsets\":[4,8]},\"__metadata__\":{\"a\":\"b\"}}";
    char many[130 * 90], *next = many;

    write_safetensors("f.safetensors", one, 8);
    write_safetensors("theirs.safetensors",
                      "{\"model.a.w_that_the_file_names\":{\"dtype\":\"F16\",\"shape\":[2],"
                      "\"data_offsets\":[0,4]},\"other\":{\"dtype\":\"F32\",\"shape\":[1],"
                      "\"data_offsets\":[4,8]}}",
                      8);
    write_safetensors("single/model.safetensors", one, 8);
    write_text("shards/model.safetensors.index.json",
               "{\"weight_map\":{\"" LONG_NAME "\":\"model-00001-of-00002.safetensors\","
               "\"b\":\"model-00002-of-00002.safetensors\"}}");
    write_safetensors(
        "shards/model-00001-of-00002.safetensors",
        "{\"" LONG_NAME "\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4);
    write_safetensors("shards/model-00002-of-00002.safetensors",
                      "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    for (int i = 0; i < 130; i++)
        next += sprintf(
            next, "%c\"tensor.%d\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
            i ? ',' : '{', i, 2 * i, 2 * i + 2);
    strcpy(next, "}");
    write_safetensors("many/model.safetensors", many, 260);
    write_text("config.json", "{\"a_key_that_is_longer_than_sixteen\": 5, \"numbers\": [1, 2.5],\n"
                              "\"class\": \"AutoencoderKLWan with a long name\", \"x\": {}}");
    write_text("written", "");
}

int main(void) {
    static const struct {
        const char *name;
        enum sdt_status (*attempt)(struct sdt_error *err);
    } attempts[] = {
        {"file", try_file},     {"single", try_single}, {"shards", try_shards},
        {"naming", try_naming}, {"config", try_config}, {"growing table", try_growing_table},
        {"writer", try_writer},
    };
    long total = 0;

    json_set_alloc_funcs(__wrap_malloc, __wrap_free);
    make_folder("memory");
    make_subfolder("single");
    make_subfolder("shards");
    make_subfolder("many");
    make_files();
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
        for (int all = 0; all < 2; all++)
            total += fail_each(attempts[i].name, attempts[i].attempt, all);
    remove_folder();
    printf("%ld failed allocations, %d failures\n", total, failures);
    return failures > 0;
}
