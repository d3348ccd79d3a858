/* What the reader must accept and give back unchanged: every dtype, scalars, empty and unaligned
 * tensors, shards, files beyond 4 GiB, tensor tables, configurations; and the writer: the same
 * bytes for the same tensors, and no partial file when it fails. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "graph/checkpoint/config.h"
#include "graph/checkpoint/weights.h"
#include "tests/checkpoint/files.h"

/* In place of libc's: which of them the library has called, and in which order. Letters: a File or
 * a folder (Directory) brought to the disk, a Rename. */
static char disk_calls[16];

static void note_call(char letter) {
    const size_t length = strlen(disk_calls);
    if (length + 1 < sizeof disk_calls)
        memcpy(disk_calls + length, (char[]){letter, '\0'}, 2);
}

int fsync(int fd) {
    struct stat info;
    note_call(fstat(fd, &info) == 0 && S_ISDIR(info.st_mode) ? 'D' : 'F');
    return (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to) {
    note_call('R');
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static struct sdt_safetensors *open_tensors(const char *name) {
    struct sdt_error err = {0};
    struct sdt_safetensors *file = NULL;

    CHECK(sdt_safetensors_open(path_of(name), &file, &err) == SDT_OK, "%s: %s", name, err.message);
    if (!file) {
        remove_folder();
        exit(1);
    }
    return file;
}

static bool has_shape(const struct sdt_stored *tensor, int rank, const int64_t *shape) {
    return tensor && tensor->rank == rank &&
           (rank == 0 || memcmp(tensor->shape, shape, (size_t)rank * sizeof *shape) == 0);
}

/* ---- reading ------------------------------------------------------------------------------- */

/* A file with values of each dtype; the U8 in front leaves all others at odd addresses. */
static const uint16_t dtype_halves[] = {0x3c00, 0xc000, 0x0001, 0x7c00, 0x3555};
static const float half_values[] = {1, -2, 0x1p-24f, INFINITY, 0x1.554p-2f};
static const uint16_t dtype_brains[] = {0x3f80, 0xc0a0};
static const float brain_values[] = {1, -5};
static const float singles[] = {1.5f, -0x1p-140f};
static const double dtype_double = 0.1;
static const float double_value = 0.1f;
static const int64_t dtype_long = -((int64_t)1 << 40);
static const int32_t dtype_int = -7;
static const float dtype_scalar = 3.25f;

static void write_dtypes(const char *name) {
    static const char header[] =
        "{\"__metadata__\":{\"format\":\"pt\",\"\":\"\"},"
        "\"u8\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
        "\"f32\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[3,11]},"
        "\"f16\":{\"dtype\":\"F16\",\"shape\":[1,5],\"data_offsets\":[11,21]},"
        "\"bf16\":{\"dtype\":\"BF16\",\"shape\":[2,1],\"data_offsets\":[21,25]},"
        "\"f64\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[25,33]},"
        "\"i64\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[33,41]},"
        "\"i32\":{\"data_offsets\":[41,45],\"shape\":[1],\"dtype\":\"I32\"},"
        "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[45,49]},"
        "\"empty\":{\"dtype\":\"F32\",\"shape\":[4,0,9223372036854775807],"
        "\"data_offsets\":[49,49]}}   ";
    const uint64_t length = sizeof header - 1;
    unsigned char bytes[sizeof length + sizeof header - 1 + 49], *next = bytes;

    next = mempcpy(next, &length, sizeof length);
    next = mempcpy(next, header, length);
    next = mempcpy(next, "\1\2\377", 3);
    next = mempcpy(next, singles, sizeof singles);
    next = mempcpy(next, dtype_halves, sizeof dtype_halves);
    next = mempcpy(next, dtype_brains, sizeof dtype_brains);
    next = mempcpy(next, &dtype_double, sizeof dtype_double);
    next = mempcpy(next, &dtype_long, sizeof dtype_long);
    next = mempcpy(next, &dtype_int, sizeof dtype_int);
    next = mempcpy(next, &dtype_scalar, sizeof dtype_scalar);
    CHECK(next == bytes + sizeof bytes, "the test's own file is wrong");
    write_bytes(name, bytes, sizeof bytes);
}

/* In the order of their names. */
static const struct {
    const char *name, *dtype;
    int rank;
    int64_t shape[3];
    const float *floats; /* what it gives as floats; NULL: it is of integers, which it does not */
    const void *bytes;   /* else its bytes */
    size_t size;
} dtypes[] = {
    {"bf16", "BF16", 2, {2, 1}, brain_values, NULL, 4},
    {"empty", "F32", 3, {4, 0, INT64_MAX}, singles, NULL, 0},
    {"f16", "F16", 2, {1, 5}, half_values, NULL, 10},
    {"f32", "F32", 1, {2}, singles, NULL, 8},
    {"f64", "F64", 1, {1}, &double_value, NULL, 8},
    {"i32", "I32", 1, {1}, NULL, &dtype_int, 4},
    {"i64", "I64", 1, {1}, NULL, &dtype_long, 8},
    {"scalar", "F32", 0, {0}, &dtype_scalar, NULL, 4},
    {"u8", "U8", 1, {3}, NULL, "\1\2\377", 3},
};

static void test_dtypes(void) {
    const size_t count = sizeof dtypes / sizeof *dtypes;
    struct sdt_error err = {0};
    write_dtypes("d.safetensors");
    struct sdt_safetensors *file = open_tensors("d.safetensors");

    CHECK(strcmp(sdt_safetensors_path(file), path_of("d.safetensors")) == 0, "path");
    CHECK(sdt_safetensors_count(file) == count, "%zu tensors", sdt_safetensors_count(file));
    CHECK(!sdt_safetensors_at(file, count), "a tenth tensor");
    CHECK(!sdt_safetensors_find(file, "__metadata__"), "metadata is no tensor");
    CHECK(!sdt_safetensors_find(file, ""), "no such tensor");
    for (size_t i = 0; i < count; i++) {
        const char *name = dtypes[i].name;
        const struct sdt_stored *tensor = sdt_safetensors_at(file, i);
        float *values;
        CHECK(tensor && strcmp(tensor->name, name) == 0, "tensor %zu", i);
        CHECK(sdt_safetensors_find(file, name) == tensor, "%s", name);
        CHECK(has_shape(tensor, dtypes[i].rank, dtypes[i].shape), "%s: shape", name);
        CHECK(tensor->bytes == dtypes[i].size, "%s: %zu bytes", name, tensor->bytes);
        const enum sdt_status status = sdt_stored_floats(tensor, &values, &err);
        if (dtypes[i].floats) {
            CHECK(status == SDT_OK && values, "%s: %s", name, err.message);
            CHECK(memcmp(values, dtypes[i].floats, tensor->count * sizeof *values) == 0,
                  "%s: from %g on", name, values[0]);
            free(values);
        } else {
            char words[60];
            snprintf(words, sizeof words, "tensor '%s'|dtype %s", name, dtypes[i].dtype);
            message_fits("integers as floats", status, &err, SDT_ERROR_UNSUPPORTED, words);
            CHECK(!values, "%s: a pointer is returned", name);
            CHECK(memcmp(tensor->data, dtypes[i].bytes, tensor->bytes) == 0, "%s", name);
        }
    }
    sdt_stored_release(sdt_safetensors_find(file, "empty"));
    sdt_safetensors_close(file);
    CHECK(!folder_is_mapped(), "closing leaves a mapping");
}

static void test_small_files(void) {
    static const char eight[] = "{\"w\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,2],"
                                "\"data_offsets\":[0,2]},\"\":{\"dtype\":\"U8\",\"shape\":[],"
                                "\"data_offsets\":[2,3]}}";
    static const char names[] = "{\"\xc3\xa9\\u00e9\\ud83d\\ude00\":"
                                "{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
    struct sdt_safetensors *file;

    write_safetensors("none.safetensors", "{}", 0);
    file = open_tensors("none.safetensors");
    CHECK(sdt_safetensors_count(file) == 0 && !sdt_safetensors_at(file, 0), "no tensors");
    CHECK(!sdt_safetensors_find(file, "w"), "no tensors");
    sdt_safetensors_close(file);

    write_safetensors("eight.safetensors", eight, 3);
    file = open_tensors("eight.safetensors");
    CHECK(has_shape(sdt_safetensors_find(file, "w"), 8, (int64_t[]){1, 1, 1, 1, 1, 1, 1, 2}),
          "eight dimensions");
    CHECK(sdt_safetensors_find(file, ""), "an empty name");
    sdt_safetensors_close(file);

    write_safetensors("names.safetensors", names, 1);
    file = open_tensors("names.safetensors");
    CHECK(sdt_safetensors_find(file, "\xc3\xa9\xc3\xa9\xf0\x9f\x98\x80"), "UTF-8 and escapes");
    sdt_safetensors_close(file);

    sdt_safetensors_close(NULL);
    sdt_weights_close(NULL);
    sdt_config_close(NULL);
    sdt_tensor_table_free(NULL);
}

/* 5 GiB, almost all of it a hole: offsets beyond 32 bits, and a tensor behind them. */
static void test_beyond_4_gib(void) {
    static const char header[] =
        "{\"a\":{\"dtype\":\"BF16\",\"shape\":[5,536870912],\"data_offsets\":[0,5368709120]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[5368709120,5368709124]}}";
    const off_t end = 8 + (off_t)(sizeof header - 1) + 5368709120;
    const float one = 1;
    struct sdt_safetensors *file;
    const struct sdt_stored *tensor;
    struct sdt_error err = {0};
    float *values;
    int fd;

    write_safetensors("big.safetensors", header, 0);
    fd = open(path_of("big.safetensors"), O_WRONLY);
    if (fd < 0 || ftruncate(fd, end + 4) != 0 || pwrite(fd, &one, 4, end) != 4) {
        printf("skip 5 GiB: %s\n", strerror(errno));
        close(fd);
        return;
    }
    close(fd);
    file = open_tensors("big.safetensors");
    tensor = sdt_safetensors_find(file, "a");
    CHECK(tensor && tensor->bytes == 5368709120u && tensor->count == 2684354560u, "sizes");
    CHECK(((const unsigned char *)tensor->data)[5368709119u] == 0, "last byte of a");
    sdt_stored_release(tensor);
    tensor = sdt_safetensors_find(file, "b");
    CHECK(sdt_stored_floats(tensor, &values, &err) == SDT_OK, "%s", err.message);
    CHECK(values && values[0] == 1, "b is not 1");
    free(values);
    sdt_safetensors_close(file);
    empty_folder();
}

static long resident_pages(void) {
    FILE *statm = fopen("/proc/self/statm", "r");
    long size, resident = -1;

    if (statm && fscanf(statm, "%ld %ld", &size, &resident) != 2)
        resident = -1;
    if (statm)
        fclose(statm);
    return resident;
}

/* Reading 64 MiB makes them resident; releasing gives them back and leaves the values readable. */
static void test_release(void) {
    static const char header[] =
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[67108864],\"data_offsets\":[0,67108864]},"
        "\"b\":{\"dtype\":\"U8\",\"shape\":[5],\"data_offsets\":[67108864,67108869]}}";
    const long half = 32 * 1024 * 1024 / sysconf(_SC_PAGESIZE);
    struct sdt_safetensors *file;
    const struct sdt_stored *tensor;
    long before, read_in, after;
    unsigned sum = 0;
    int fd;

    write_safetensors("r.safetensors", header, 0);
    fd = open(path_of("r.safetensors"), O_WRONLY | O_APPEND);
    CHECK(fd >= 0 && ftruncate(fd, 8 + (off_t)(sizeof header - 1) + 67108864) == 0 &&
              write(fd, "hello", 5) == 5,
          "cannot make the file");
    close(fd);
    file = open_tensors("r.safetensors");
    tensor = sdt_safetensors_find(file, "a");
    before = resident_pages();
    for (size_t i = 0; i < tensor->bytes; i += 512)
        sum += ((const unsigned char *)tensor->data)[i];
    read_in = resident_pages();
    sdt_stored_release(tensor);
    after = resident_pages();
    CHECK(sum == 0, "sum %u", sum);
    if (before >= 0) {
        CHECK(read_in - before > half, "%ld pages before, %ld when read", before, read_in);
        CHECK(read_in - after > half, "%ld pages when read, %ld released", read_in, after);
    }
    tensor = sdt_safetensors_find(file, "b");
    sdt_stored_release(tensor);
    CHECK(memcmp(tensor->data, "hello", 5) == 0, "values after the release");
    sdt_safetensors_close(file);
    empty_folder();
}

/* ---- folders ------------------------------------------------------------------------------- */

#define QUOTED(text) "\"" text "\""
#define TENSOR(name, dtype, shape, from, to)                                                       \
    QUOTED(name)                                                                                   \
    ":{\"dtype\":" QUOTED(dtype) ",\"shape\":" shape ",\"data_offsets\":[" from "," to "]}"

static struct sdt_weights *open_weights(void) {
    struct sdt_error err = {0};
    struct sdt_weights *weights = NULL;

    CHECK(sdt_weights_open(path_of("."), &weights, &err) == SDT_OK, "%s", err.message);
    if (!weights) {
        remove_folder();
        exit(1);
    }
    return weights;
}

static void test_folder_names(void) {
    static const char *const names[] = {
        "diffusion_pytorch_model.safetensors",
        "model.safetensors",
        "model.fp16.safetensors",
        "diffusion_pytorch_model.bf16.safetensors",
    };
    static const char *const indexes[] = {
        "diffusion_pytorch_model.safetensors.index.json",
        "model.safetensors.index.json",
        "model.safetensors.index.fp16.json",
        "model.fp16.safetensors.index.json",
    };
    struct sdt_weights *weights;

    for (size_t i = 0; i < 4; i++) {
        write_safetensors(names[i], "{" TENSOR("w", "F16", "[2]", "0", "4") "}", 4);
        write_text("pytorch_model.bin", "not looked at where safetensors are");
        weights = open_weights();
        CHECK(sdt_weights_count(weights) == 1 && sdt_weights_find(weights, "w"), "%s", names[i]);
        sdt_weights_close(weights);
        empty_folder();

        write_text(indexes[i],
                   "{\"metadata\":{\"total_size\":4},\"weight_map\":{\"w\":\"model.fp16-00001-of-"
                   "00001.safetensors\"}}");
        write_safetensors("model.fp16-00001-of-00001.safetensors",
                          "{" TENSOR("w", "F16", "[2]", "0", "4") "}", 4);
        weights = open_weights();
        CHECK(sdt_weights_count(weights) == 1 && sdt_weights_find(weights, "w"), "%s", indexes[i]);
        sdt_weights_close(weights);
        empty_folder();
    }

    /* The plain file is taken before variants. */
    write_safetensors("model.safetensors", "{" TENSOR("plain", "F16", "[2]", "0", "4") "}", 4);
    write_safetensors("model.fp16.safetensors", "{" TENSOR("half", "F16", "[2]", "0", "4") "}", 4);
    write_safetensors("model.bf16.safetensors", "{" TENSOR("bf", "BF16", "[2]", "0", "4") "}", 4);
    weights = open_weights();
    CHECK(sdt_weights_find(weights, "plain") && !sdt_weights_find(weights, "half"), "plain first");
    sdt_weights_close(weights);
    empty_folder();
}

static void write_shards(void) {
    write_text("model.safetensors.index.json",
               "{\"metadata\":{\"total_size\":34.5,\"note\":[null]},\"weight_map\":{"
               "\"c\":\"model-00002-of-00002.safetensors\","
               "\"a\":\"model-00002-of-00002.safetensors\","
               "\"b.weight\":\"model-00001-of-00002.safetensors\","
               "\"encoder.x\":\"model-00001-of-00002.safetensors\"}}");
    write_safetensors("model-00001-of-00002.safetensors",
                      "{" TENSOR("b.weight", "BF16", "[2,3]", "0",
                                 "12") "," TENSOR("encoder.x", "F32", "[1]", "12", "16") "}",
                      16);
    write_safetensors(
        "model-00002-of-00002.safetensors",
        "{" TENSOR("a", "F32", "[2]", "0", "8") "," TENSOR("c", "I32", "[]", "8", "12") "}", 12);
}

static void test_shards(void) {
    static const char *const order[] = {"a", "b.weight", "c", "encoder.x"};
    struct sdt_weights *weights;

    write_shards();
    weights = open_weights();
    CHECK(strcmp(sdt_weights_folder(weights), path_of(".")) == 0, "folder");
    CHECK(sdt_weights_count(weights) == 4, "%zu tensors", sdt_weights_count(weights));
    CHECK(sdt_weights_bytes(weights) == 28, "%zu bytes", sdt_weights_bytes(weights));
    CHECK(sdt_weights_parameters(weights) == 10, "%zu", sdt_weights_parameters(weights));
    for (size_t i = 0; i < 4; i++) {
        const struct sdt_stored *tensor = sdt_weights_at(weights, i);
        CHECK(tensor && strcmp(tensor->name, order[i]) == 0, "tensor %zu", i);
        CHECK(sdt_weights_find(weights, order[i]) == tensor, "%s", order[i]);
    }
    CHECK(!sdt_weights_at(weights, 4) && !sdt_weights_find(weights, "b"), "no such tensor");
    CHECK(((const unsigned char *)sdt_weights_find(weights, "encoder.x")->data)[3] == 15, "data");
    sdt_weights_close(weights);
    CHECK(!folder_is_mapped(), "closing leaves a mapping");
}

/* One table against the shards above; shape_b, name_a: what it requires. */
static void check_table(const char *test, int rank_b, const int64_t *shape_b, const char *name_a,
                        bool with_c, const char *ignored, enum sdt_status wanted,
                        const char *words) {
    struct sdt_tensor_table *table = sdt_tensor_table_new();
    struct sdt_weights *weights = open_weights();
    struct sdt_error err = {0};
    enum sdt_status status;

    CHECK(table, "no memory");
    sdt_tensor_table_add(table, rank_b, shape_b, "%s.weight", "b");
    sdt_tensor_table_add(table, 1, (int64_t[]){2}, "%s", name_a);
    if (with_c)
        sdt_tensor_table_add(table, 0, NULL, "c");
    sdt_tensor_table_ignore(table, ignored);
    if (!with_c)
        sdt_tensor_table_ignore(table, "c");
    status = sdt_tensor_table_check(table, weights, &err);
    if (wanted == SDT_OK)
        CHECK(status == SDT_OK, "%s: %s", test, err.message);
    else
        message_fits(test, status, &err, wanted, words);
    sdt_weights_close(weights);
    sdt_tensor_table_free(table);
}

static void test_tables(void) {
    static const int64_t right[] = {2, 3}, turned[] = {3, 2};

    check_table("table", 2, right, "a", false, "encoder.", SDT_OK, "");
    check_table("missing", 2, right, "aa", false, "encoder.", SDT_ERROR_MISSING,
                "tensor 'aa' is missing (1 of 2 are)|it holds 'a', which the model does not know");
    check_table("missing, nothing unknown", 2, right, "aa", false, "", SDT_ERROR_MISSING,
                "tensor 'aa' is missing (1 of 2 are)");
    check_table("unknown", 2, right, "a", false, "decoder.", SDT_ERROR_FORMAT,
                "model-00001-of-00002.safetensors|tensor 'encoder.x' is unknown");
    check_table("shape turned", 2, turned, "a", false, "encoder.", SDT_ERROR_FORMAT,
                "model-00001-of-00002.safetensors|tensor 'b.weight' has shape [2, 3]|needs [3, 2]");
    check_table("rank", 1, (int64_t[]){6}, "a", false, "encoder.", SDT_ERROR_FORMAT,
                "tensor 'b.weight' has shape [2, 3]|needs [6]");
    check_table("integers", 2, right, "a", true, "encoder.", SDT_ERROR_UNSUPPORTED,
                "model-00002-of-00002.safetensors|tensor 'c' has dtype I32");
    empty_folder();
}

/* As many tensors as a real model has. */
static void test_large_table(void) {
    struct sdt_tensor_table *table = sdt_tensor_table_new();
    const size_t count = 1500, room = count * 80;
    char *header = malloc(room), *next = header;
    struct sdt_weights *weights;
    struct sdt_error err = {0};

    CHECK(table && header, "no memory");
    for (size_t i = 0; i < count; i++) {
        next += snprintf(next, room - (size_t)(next - header),
                         "%c" TENSOR("%zu.w", "BF16", "[2,1]", "%zu", "%zu"), i ? ',' : '{', i,
                         i * 4, i * 4 + 4);
        sdt_tensor_table_add(table, 2, (int64_t[]){2, 1}, "%zu.w", i);
    }
    strcpy(next, "}");
    write_safetensors("model.safetensors", header, count * 4);
    weights = open_weights();
    CHECK(sdt_weights_count(weights) == count, "%zu tensors", sdt_weights_count(weights));
    CHECK(sdt_tensor_table_check(table, weights, &err) == SDT_OK, "%s", err.message);
    sdt_tensor_table_add(table, 1, (int64_t[]){1}, "more.%d", 1);
    sdt_tensor_table_add(table, 1, (int64_t[]){1}, "more.%d", 2);
    message_fits("two missing", sdt_tensor_table_check(table, weights, &err), &err,
                 SDT_ERROR_MISSING, "tensor 'more.1' is missing (2 of 1502 are)");
    sdt_weights_close(weights);
    sdt_tensor_table_free(table);
    free(header);
    empty_folder();
}

/* ---- configurations ------------------------------------------------------------------------ */

static void test_config(void) {
    struct sdt_error err = {0};
    struct sdt_config *config = NULL;
    const char *string = "default";
    double number = 0.25, numbers[4] = {9, 9, 9, 9};
    int64_t integer = 3;
    bool boolean = true;
    int count = -1;

    write_text("config.json",
               "{\"_class_name\": \"WanTransformer3DModel\", \"layers\": 30, \"eps\": 1e-06,\n"
               "\"one\": 1, \"one_real\": 1.0, \"patch\": [1, 2, 2.5, true], \"none\": null, "
               "\"flag\": false, \"act\": \"gelu-approximate\", \"big\": 9223372036854775807,\n"
               "\"vae\": [\"diffusers\", null], \"empty\": [], \"\": {}}\n");
    CHECK(sdt_config_open(path_of("config.json"), &config, &err) == SDT_OK, "%s", err.message);
    if (!config)
        return;
#define OK(call) CHECK((call) == SDT_OK, "%s", err.message)
    CHECK(strcmp(sdt_config_path(config), path_of("config.json")) == 0, "path");
    CHECK(sdt_config_has(config, "layers") && !sdt_config_has(config, "none") &&
              !sdt_config_has(config, "absent") && sdt_config_has(config, ""),
          "has");
    OK(sdt_config_int(config, "layers", true, 1, 30, &integer, &err));
    CHECK(integer == 30, "layers");
    OK(sdt_config_int(config, "big", true, 0, INT64_MAX, &integer, &err));
    CHECK(integer == INT64_MAX, "big");
    OK(sdt_config_number(config, "eps", true, &number, &err));
    CHECK(number == 1e-6, "eps");
    OK(sdt_config_number(config, "layers", true, &number, &err));
    CHECK(number == 30, "an integer as a number");
    OK(sdt_config_bool(config, "flag", true, &boolean, &err));
    CHECK(!boolean, "flag");
    OK(sdt_config_string(config, "_class_name", true, &string, &err));
    CHECK(strcmp(string, "WanTransformer3DModel") == 0, "class");
    OK(sdt_config_numbers(config, "patch", true, 4, numbers, &count, &err));
    CHECK(count == 4 && numbers[0] == 1 && numbers[2] == 2.5 && numbers[3] == 1, "patch");
    OK(sdt_config_numbers(config, "empty", true, 0, numbers, &count, &err));
    CHECK(count == 0, "an empty array");
    OK(sdt_config_string_at(config, "vae", 0, &string, &err));
    CHECK(string && strcmp(string, "diffusers") == 0, "library");
    OK(sdt_config_string_at(config, "vae", 1, &string, &err));
    CHECK(!string, "null");

    /* Absent or null: defaults stay. */
    string = "default", number = 0.25, integer = 3, boolean = true, count = 7;
    for (int i = 0; i < 2; i++) {
        const char *key = i ? "none" : "absent";
        OK(sdt_config_int(config, key, false, 1, 1, &integer, &err));
        OK(sdt_config_number(config, key, false, &number, &err));
        OK(sdt_config_bool(config, key, false, &boolean, &err));
        OK(sdt_config_string(config, key, false, &string, &err));
        OK(sdt_config_numbers(config, key, false, 4, numbers, &count, &err));
        OK(sdt_config_only(config, key, "\"x\"", &err));
        CHECK(integer == 3 && number == 0.25 && boolean && count == 7, "defaults");
        CHECK(strcmp(string, "default") == 0, "defaults");
        CHECK(sdt_config_string_at(config, key, 0, &string, &err) == SDT_ERROR_MISSING, "%s", key);
    }

    OK(sdt_config_only(config, "flag", "false", &err));
    OK(sdt_config_only(config, "act", "\"gelu-approximate\"", &err));
    OK(sdt_config_only(config, "one_real", "1", &err));
    OK(sdt_config_only(config, "one", "1.0", &err));
    OK(sdt_config_only(config, "patch", "[1.0, 2, 2.5, true]", &err));
    CHECK(sdt_config_only(config, "patch", "[1, 2, 2.5]", &err) == SDT_ERROR_UNSUPPORTED,
          "shorter");
    CHECK(sdt_config_only(config, "flag", "gelu", &err) == SDT_ERROR_USAGE, "%s", err.message);
#undef OK
    sdt_config_close(config);
    empty_folder();
}

/* ---- writing ------------------------------------------------------------------------------- */

static enum sdt_status write_tensors(const char *name, size_t count,
                                     const struct sdt_stored *tensors, struct sdt_error *err) {
    return sdt_safetensors_write(path_of(name), count, tensors, err);
}

static struct sdt_stored make_tensor(const char *name, const float *data, int64_t a, int64_t b) {
    return (struct sdt_stored){.name = name,
                               .dtype = SDT_F32,
                               .rank = 2,
                               .shape = {a, b},
                               .count = (size_t)(a * b),
                               .data = data};
}

static void test_writer(void) {
    static const float data[] = {1, 2, 3, 4, -0.0f, INFINITY};
    struct sdt_stored tensors[] = {
        make_tensor("z\"\\\n\xc3\xa9", data, 2, 3),
        {.name = "scalar", .dtype = SDT_F32, .count = 1, .data = data + 3},
        make_tensor("empty", NULL, 0, 4),
        make_tensor("a", data, 1, 4),
    };
    const struct sdt_stored turned[] = {tensors[3], tensors[1], tensors[0], tensors[2]};
    struct sdt_error err = {0};
    struct sdt_safetensors *file;
    size_t size = 0, other_size = 0;
    unsigned char *bytes, *other;
    uint64_t length;

    CHECK(write_tensors("w.safetensors", 4, tensors, &err) == SDT_OK, "%s", err.message);
    CHECK(write_tensors("v.safetensors", 4, turned, &err) == SDT_OK, "%s", err.message);
    CHECK(count_entries() == 2, "%d files", count_entries());
    bytes = read_bytes("w.safetensors", &size);
    other = read_bytes("v.safetensors", &other_size);
    CHECK(bytes && other && size == other_size && memcmp(bytes, other, size) == 0,
          "other bytes for the same tensors in another order");
    memcpy(&length, bytes, sizeof length);
    CHECK(length % 8 == 0, "a header of %ju bytes", (uintmax_t)length);
    free(bytes);
    free(other);

    file = open_tensors("w.safetensors");
    CHECK(sdt_safetensors_count(file) == 4, "%zu tensors", sdt_safetensors_count(file));
    for (size_t i = 0; i < 4; i++) {
        const struct sdt_stored *tensor = sdt_safetensors_find(file, tensors[i].name);
        CHECK(has_shape(tensor, tensors[i].rank, tensors[i].shape), "%s", tensors[i].name);
        CHECK(tensor->count == tensors[i].count && tensor->dtype == SDT_F32, "%s", tensors[i].name);
        CHECK(tensor->count == 0 || memcmp(tensor->data, tensors[i].data, tensor->bytes) == 0, "%s",
              tensors[i].name);
    }
    sdt_safetensors_close(file);

    CHECK(write_tensors("none.safetensors", 0, NULL, &err) == SDT_OK, "%s", err.message);
    sdt_safetensors_close(open_tensors("none.safetensors"));

    const struct sdt_metadata texts[] = {{"step", "4"}, {"prompt", "\"\n\xc3\xa9"}};
    const struct sdt_metadata no_text = {"prompt", "\xff"};
    disk_calls[0] = '\0';
    CHECK(sdt_safetensors_write_with(path_of("m.safetensors"), 4, tensors, 2, texts, &err) ==
              SDT_OK,
          "%s", err.message);
    /* Else a power cut could leave a name without what it names. */
    CHECK(!strcmp(disk_calls, "FRD"), "a state is written by %s, not file, rename, folder",
          disk_calls);
    file = open_tensors("m.safetensors");
    for (int i = 0; i < 2; i++) {
        const char *text = sdt_safetensors_metadata(file, texts[i].key);
        CHECK(text && !strcmp(text, texts[i].value), "metadata %s: %s", texts[i].key,
              text ? text : "none");
    }
    CHECK(!sdt_safetensors_metadata(file, "steps"), "metadata that is not there");
    CHECK(sdt_safetensors_count(file) == 4, "%zu tensors", sdt_safetensors_count(file));
    sdt_safetensors_close(file);
    CHECK(sdt_safetensors_write_with(path_of("m.safetensors"), 0, NULL, 1, &no_text, &err) ==
                  SDT_ERROR_USAGE &&
              strstr(err.message, "'prompt' is not UTF-8"),
          "%s", err.message);

    /* A name in the working folder, without a slash. */
    char here[1000];
    CHECK(getcwd(here, sizeof here) && chdir(path_of(".")) == 0, "chdir");
    CHECK(sdt_safetensors_write("here.safetensors", 4, tensors, &err) == SDT_OK, "%s", err.message);
    CHECK(access("here.safetensors", R_OK) == 0, "not in the working folder");
    CHECK(chdir(here) == 0, "chdir");
    empty_folder();
}

/* The file, where there is one, stays as it was, and nothing else is left in the folder. */
static void check_refused(const char *test, const char *name, size_t count,
                          const struct sdt_stored *tensors, enum sdt_status wanted,
                          const char *words) {
    struct sdt_error err = {0};
    const int descriptor = next_descriptor(), entries = count_entries();
    const enum sdt_status status = write_tensors(name, count, tensors, &err);

    message_fits(test, status, &err, wanted, words);
    CHECK(count_entries() == entries, "%s: %d entries, %d before", test, count_entries(), entries);
    CHECK(next_descriptor() == descriptor, "%s: a descriptor leaks", test);
}

static void test_failing_writer(void) {
    static const float data[4096];
    const struct sdt_stored good = make_tensor("w", data, 64, 64);
    struct sdt_stored bad[] = {make_tensor("v", data, 2, 2), good};
    struct rlimit limit, small;
    size_t size = 0;
    unsigned char *bytes;

    check_refused("no folder", "nowhere/w.safetensors", 1, &good, SDT_ERROR_IO,
                  "nowhere/w.safetensors: cannot write|No such file");
    make_subfolder("d");
    check_refused("a folder", "d", 1, &good, SDT_ERROR_IO, "cannot write: a directory");
    CHECK(symlink("/dev/null", path_of("null")) == 0, "no symbolic link");
    check_refused("a device", "null", 1, &good, SDT_ERROR_IO, "cannot write: a device");

    /* The disk is full in the middle of the data. */
    write_text("old", "old bytes");
    CHECK(getrlimit(RLIMIT_FSIZE, &limit) == 0, "getrlimit");
    small = limit;
    small.rlim_cur = 4096;
    signal(SIGXFSZ, SIG_IGN);
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0, "setrlimit");
    check_refused("full disk", "new", 1, &good, SDT_ERROR_IO, "new: cannot write|too large");
    check_refused("full disk, file there", "old", 1, &good, SDT_ERROR_IO, "old: cannot write");
    CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0, "setrlimit");
    bytes = read_bytes("old", &size);
    CHECK(bytes && size == 9 && memcmp(bytes, "old bytes", 9) == 0, "the old file changed");
    free(bytes);

    bad[0].name = "w";
    check_refused("a name twice", "new", 2, bad, SDT_ERROR_USAGE, "tensor 'w'|twice");
    bad[0].name = "__metadata__";
    check_refused("reserved", "new", 2, bad, SDT_ERROR_USAGE, "'__metadata__'|reserved");
    bad[0].name = "v\xff";
    check_refused("not UTF-8", "new", 2, bad, SDT_ERROR_USAGE, "new: tensor 'v|not UTF-8");
    bad[0].name = "v";
    bad[0].dtype = SDT_F16;
    check_refused("dtype", "new", 2, bad, SDT_ERROR_USAGE, "tensor 'v'|dtype F16, only F32");
    bad[0].dtype = SDT_F32;
    bad[0].count = 5;
    check_refused("count", "new", 2, bad, SDT_ERROR_USAGE, "tensor 'v'|5 elements");
    bad[0].count = 4;
    bad[0].shape[1] = -2;
    check_refused("negative", "new", 2, bad, SDT_ERROR_USAGE, "tensor 'v'|shape");
    bad[0].shape[1] = INT64_MAX;
    check_refused("overflow", "new", 2, bad, SDT_ERROR_USAGE, "tensor 'v'|shape");
    bad[0].rank = SDT_MAX_RANK + 1;
    check_refused("rank", "new", 2, bad, SDT_ERROR_USAGE, "tensor 'v'|shape");
    empty_folder();
}

/* A path longer than a message keeps its end and the reason. */
static void test_long_path(void) {
    char path[3000];
    struct sdt_error err = {0};
    struct sdt_safetensors *file;

    snprintf(path, sizeof path, "%s/%01000d/%0250d/the_end.safetensors", path_of("."), 0, 0);
    CHECK(sdt_safetensors_open(path, &file, &err) != SDT_OK, "opened");
    CHECK(strstr(err.message, "the_end.safetensors: File name too long"), "%s", err.message);
}

int main(void) {
    const int descriptor = next_descriptor();

    make_folder("valid");
    test_dtypes();
    test_small_files();
    empty_folder();
    test_beyond_4_gib();
    test_release();
    test_folder_names();
    test_shards();
    test_tables();
    test_large_table();
    test_config();
    test_writer();
    test_failing_writer();
    test_long_path();
    remove_folder();
    CHECK(next_descriptor() == descriptor, "a descriptor leaks");
    printf("%d failures\n", failures);
    return failures > 0;
}
