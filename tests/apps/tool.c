/* What the shell tests of the programs need and a shell lacks: reading one value of a JSON file,
 * the memory that a command takes, and making, changing and renaming safetensors files. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph/sampler/sampler.h"
#include "kernels/kernels.h"
#include "stardit/safetensors.h"

static void leave(const char *message) {
    fprintf(stderr, "tool: %s\n", message);
    exit(99);
}

/* tool json FILE KEY...: the value there; keys of objects, indices of arrays. For an array or
 * object itself: how many values it has. */
static int print_value(int argc, char **argv) {
    json_error_t error;
    json_t *root = json_load_file(argv[0], 0, &error), *at = root;

    if (!root)
        leave(error.text);
    for (int i = 1; i < argc && at; i++)
        at = json_is_array(at) ? json_array_get(at, (size_t)atoi(argv[i]))
                               : json_object_get(at, argv[i]);
    if (!at)
        leave("no such value");
    if (json_is_string(at))
        printf("%s\n", json_string_value(at));
    else if (json_is_integer(at))
        printf("%lld\n", (long long)json_integer_value(at));
    else if (json_is_real(at))
        printf("%.17g\n", json_real_value(at));
    else
        printf("%zu\n", json_is_array(at) ? json_array_size(at) : json_object_size(at));
    json_decref(root);
    return 0;
}

/* tool change IN OUT NAME: IN with the first number of the F32 tensor NAME changed by 0.01. */
static int change(char **argv) {
    struct sdt_safetensors *file = NULL;
    struct sdt_error err;

    if (sdt_safetensors_open(argv[0], &file, &err) != SDT_OK)
        leave(err.message);
    const struct sdt_stored *tensor = sdt_safetensors_find(file, argv[2]);
    size_t count = sdt_safetensors_count(file);
    struct sdt_stored *all = calloc(count, sizeof *all);
    if (!tensor || tensor->dtype != SDT_F32 || !all)
        leave("no F32 tensor of that name");
    float *values = malloc(tensor->bytes);
    if (!values)
        leave("out of memory");
    memcpy(values, tensor->data, tensor->bytes);
    values[0] += 0.01f;
    for (size_t i = 0; i < count; i++) {
        all[i] = *sdt_safetensors_at(file, i);
        if (!strcmp(all[i].name, argv[2]))
            all[i].data = values;
    }
    if (sdt_safetensors_write(argv[1], count, all, &err) != SDT_OK)
        leave(err.message);
    free(values);
    free(all);
    sdt_safetensors_close(file);
    return 0;
}

/* tool tensor OUT NAME D0 D1...: one tensor of normal noise. fill OUT NAME VALUE D0...: of one
 * value. */
static int make_tensor(int argc, char **argv, const char *fill) {
    struct sdt_stored tensor = {.name = argv[1], .dtype = SDT_F32, .count = 1};
    struct sdt_error err;

    for (int i = 2; i < argc && tensor.rank < SDT_MAX_RANK; i++) {
        tensor.shape[tensor.rank++] = atoi(argv[i]);
        tensor.count *= (size_t)atoi(argv[i]);
    }
    tensor.bytes = tensor.count * sizeof(float);
    float *values = malloc(tensor.bytes);
    if (!values)
        leave("out of memory");
    sdt_randn(7, tensor.count, values);
    for (size_t i = 0; fill && i < tensor.count; i++)
        values[i] = strtof(fill, NULL);
    tensor.data = values;
    if (sdt_safetensors_write(argv[0], 1, &tensor, &err) != SDT_OK)
        leave(err.message);
    free(values);
    return 0;
}

/* tool poison IN OUT NAME nan|inf|NUMBER [AT]: IN with that as number AT of the float tensor NAME,
 * or in its middle. */
static int poison(int argc, char **argv) {
    struct sdt_safetensors *file = NULL;
    struct sdt_error err;
    const float value = strtof(argv[3], NULL);
    uint64_t header = 0;
    long size;

    if (sdt_safetensors_open(argv[0], &file, &err) != SDT_OK)
        leave(err.message);
    const struct sdt_stored *tensor = sdt_safetensors_find(file, argv[2]);
    if (!tensor)
        leave("no tensor of that name");
    const size_t at = argc > 4 ? (size_t)atol(argv[4]) : tensor->count / 2;
    if (at >= tensor->count)
        leave("no number there");
    const char *first = tensor->data; /* of all data: the tensors follow the header */
    for (size_t i = 0; i < sdt_safetensors_count(file); i++)
        if ((const char *)sdt_safetensors_at(file, i)->data < first)
            first = sdt_safetensors_at(file, i)->data;
    FILE *in = fopen(argv[0], "rb"), *out = fopen(argv[1], "wb");
    if (!in || !out || fseek(in, 0, SEEK_END) || (size = ftell(in)) < 8)
        leave("cannot open");
    char *bytes = malloc((size_t)size);
    rewind(in);
    if (!bytes || fread(bytes, 1, (size_t)size, in) != (size_t)size)
        leave("cannot read");
    memcpy(&header, bytes, sizeof header);
    size_t place = 8 + header + (size_t)((const char *)tensor->data - first) +
                   at * sdt_dtype_size(tensor->dtype);
    if (tensor->dtype == SDT_F16 && !isfinite(value))
        memcpy(bytes + place, isnan(value) ? "\x00\x7e" : value > 0 ? "\x00\x7c" : "\x00\xfc", 2);
    else if (tensor->dtype == SDT_F64)
        memcpy(bytes + place, &(double){value}, sizeof(double));
    else {
        double aligned; /* which the place need not be */
        sdt_convert_to(SDT_F32, 1, &value, tensor->dtype, &aligned);
        memcpy(bytes + place, &aligned, sdt_dtype_size(tensor->dtype));
    }
    if (fwrite(bytes, 1, (size_t)size, out) != (size_t)size || fclose(out))
        leave("cannot write");
    fclose(in);
    free(bytes);
    sdt_safetensors_close(file);
    return 0;
}

/* tool store IN OUT F16|BF16|F32|F64: IN with all of its tensors in that type. */
static int store(char **argv) {
    struct sdt_safetensors *file = NULL;
    struct sdt_error err;
    const enum sdt_dtype type = !strcmp(argv[2], "F16")    ? SDT_F16
                                : !strcmp(argv[2], "BF16") ? SDT_BF16
                                : !strcmp(argv[2], "F32")  ? SDT_F32
                                                           : SDT_F64;
    json_t *header = json_object();
    json_int_t at = 0;

    if (sdt_safetensors_open(argv[0], &file, &err) != SDT_OK)
        leave(err.message);
    for (size_t i = 0; i < sdt_safetensors_count(file); i++) {
        const struct sdt_stored *t = sdt_safetensors_at(file, i);
        json_int_t bytes = (json_int_t)(t->count * sdt_dtype_size(type));
        json_t *shape = json_array();
        for (int d = 0; d < t->rank; d++)
            json_array_append_new(shape, json_integer(t->shape[d]));
        json_object_set_new(header, t->name,
                            json_pack("{s:s, s:o, s:[I, I]}", "dtype", argv[2], "shape", shape,
                                      "data_offsets", at, at + bytes));
        at += bytes;
    }
    char *text = json_dumps(header, JSON_COMPACT);
    FILE *out = fopen(argv[1], "wb");
    size_t length = text ? strlen(text) : 0;
    uint64_t padded = (length + 7) / 8 * 8; /* values at addresses of their own multiples */
    if (!text || !out || fwrite(&padded, sizeof padded, 1, out) != 1 ||
        fprintf(out, "%-*s", (int)padded, text) != (int)padded)
        leave("cannot write");
    for (size_t i = 0; i < sdt_safetensors_count(file); i++) {
        const struct sdt_stored *t = sdt_safetensors_at(file, i);
        float *values;
        if (sdt_stored_floats(t, &values, &err) != SDT_OK)
            leave(err.message);
        for (size_t k = 0; k < t->count; k++) {
            double wide = values[k];
            _Float16 half = (_Float16)values[k];
            uint16_t bits = 0;
            if (type == SDT_BF16)
                sdt_convert_to(SDT_F32, 1, &values[k], SDT_BF16, &bits);
            const void *value = type == SDT_F64   ? (const void *)&wide
                                : type == SDT_F32 ? (const void *)&values[k]
                                : type == SDT_F16 ? (const void *)&half
                                                  : (const void *)&bits;
            if (fwrite(value, sdt_dtype_size(type), 1, out) != 1)
                leave("cannot write");
        }
        free(values);
    }
    if (fclose(out))
        leave("cannot write");
    free(text);
    json_decref(header);
    sdt_safetensors_close(file);
    return 0;
}

/* A file of float tensors, stored in that type. */
static void write_file(const char *path, size_t count, const struct sdt_stored *tensors,
                       const char *type) {
    char plain[4096], *args[3] = {plain, (char *)path, (char *)type};
    struct sdt_error err;
    snprintf(plain, sizeof plain, "%s.f32", path);
    if (sdt_safetensors_write(plain, count, tensors, &err) != SDT_OK)
        leave(err.message);
    store(args);
    unlink(plain);
}

/* tool lora IN LORA OUT TYPE: a LoRA of rank 4 for the matrices of IN, with whole differences for
 * its other tensors, and IN with it merged by half, stored in the type: sums that are exact. */
static int make_lora(char **argv) {
    enum { RANK = 4, MOST = 4000 };
    static struct sdt_stored lora[MOST], merged[MOST];
    static char name[MOST][300];
    struct sdt_safetensors *file = NULL;
    struct sdt_error err;
    size_t loras = 0, count;
    uint32_t state = 1;

    if (sdt_safetensors_open(argv[0], &file, &err) != SDT_OK)
        leave(err.message);
    count = sdt_safetensors_count(file);
    for (size_t i = 0; i < count && loras + 3 < MOST; i++) {
        const struct sdt_stored *t = sdt_safetensors_at(file, i);
        size_t length = strlen(t->name), rows = (size_t)t->shape[0], k = t->count / rows;
        bool bias = length > 5 && !strcmp(t->name + length - 5, ".bias");
        bool weight = length > 7 && !strcmp(t->name + length - 7, ".weight");
        bool pair = weight && t->rank > 1;
        size_t up_size = pair ? rows * RANK : t->count, down_size = pair ? RANK * k : 0;
        float *up = malloc((up_size + down_size + 1) * sizeof *up), *down = up + up_size, *w;
        if (!up || sdt_stored_floats(t, &w, &err) != SDT_OK)
            leave("no memory");
        for (size_t x = 0; x < up_size + down_size; x++) {
            state = state * 1664525u + 1013904223u;
            up[x] = (float)((int)(state >> 28) - 8) / 512.f;
        }
        if (pair)
            for (size_t x = 0; x < down_size; x++)
                down[x] *= 8.f;
        for (size_t x = 0; x < t->count; x++) {
            double sum = pair ? 0. : up[x];
            for (size_t r = 0; pair && r < RANK; r++)
                sum += (double)up[x / k * RANK + r] * (double)down[r * k + x % k];
            w[x] = (float)(w[x] + .5 * sum);
        }
        merged[i] = *t;
        merged[i].dtype = SDT_F32;
        merged[i].bytes = t->count * sizeof *w;
        merged[i].data = w;
        for (int part = 0; part < 1 + pair; part++, loras++) {
            snprintf(name[loras], sizeof name[loras], "transformer.%.*s%s",
                     (int)(length - (bias     ? 5
                                     : weight ? 7
                                              : 0)),
                     t->name,
                     !pair  ? bias ? ".diff_b" : ".diff"
                     : part ? ".lora_A.weight"
                            : ".lora_B.weight");
            lora[loras] = merged[i];
            lora[loras].name = name[loras];
            lora[loras].data = part ? down : up;
            if (pair) {
                lora[loras].rank = 2;
                lora[loras].shape[0] = part ? RANK : (int64_t)rows;
                lora[loras].shape[1] = part ? (int64_t)k : RANK;
                lora[loras].count = part ? down_size : up_size;
                lora[loras].bytes = lora[loras].count * sizeof *up;
            }
        }
    }
    write_file(argv[1], loras, lora, "F32");
    write_file(argv[2], count, merged, argv[3]);
    sdt_safetensors_close(file);
    return 0;
}

/* tool names IN: the names of its tensors, one a line. tool shapes IN: lines as `sparse` reads
 * them. */
static int print_names(char **argv, bool shapes) {
    struct sdt_safetensors *file = NULL;
    struct sdt_error err;
    if (sdt_safetensors_open(argv[0], &file, &err) != SDT_OK)
        leave(err.message);
    for (size_t i = 0; i < sdt_safetensors_count(file); i++) {
        const struct sdt_stored *t = sdt_safetensors_at(file, i);
        printf("%s", t->name);
        if (shapes)
            printf(" %s %zu", sdt_dtype_name(t->dtype), sdt_dtype_size(t->dtype));
        for (int d = 0; shapes && d < t->rank; d++)
            printf(" %lld", (long long)t->shape[d]);
        printf("\n");
    }
    sdt_safetensors_close(file);
    return 0;
}

/* tool rename OUT IN...: on stdin lines "OLD NEW" or "OLD NEW DTYPE": writes the tensors OLD of the
 * files as NEW; DTYPE: as so many elements of a type of one byte. A line "+NAME FILE" adds the
 * bytes of a file as a tensor U8. */
static int rename_tensors(int argc, char **argv) {
    enum { MOST = 4096, ROOM = 1 << 22 };
    static char header[ROOM];
    static const void *data[MOST];
    static size_t bytes[MOST];
    struct sdt_safetensors *file[8] = {NULL};
    struct sdt_error err;
    char line[1000], old[400], new[400], dtype[40];
    size_t tensors = 0, at = 0, end = 0;

    for (int i = 1; i < argc && i < 9; i++)
        if (sdt_safetensors_open(argv[i], &file[i - 1], &err) != SDT_OK)
            leave(err.message);
    header[at++] = '{';
    while (fgets(line, sizeof line, stdin) && tensors < MOST) {
        const struct sdt_stored *t = NULL;
        int fields = sscanf(line, "%399s %399s %39s", old, new, dtype);
        if (fields < 2)
            continue;
        at += (size_t)snprintf(header + at, ROOM - at, "%s", tensors ? "," : "");
        if (old[0] == '+') {
            FILE *in = fopen(new, "rb");
            char *copy = malloc(1 << 22);
            bytes[tensors] = in && copy ? fread(copy, 1, 1 << 22, in) : 0;
            data[tensors] = copy;
            if (in)
                fclose(in);
            at +=
                (size_t)snprintf(header + at, ROOM - at, "\"%s\":{\"dtype\":\"U8\",\"shape\":[%zu]",
                                 old + 1, bytes[tensors]);
        } else {
            for (int i = 0; i < argc - 1 && !t; i++)
                t = sdt_safetensors_find(file[i], old);
            if (!t)
                leave("no tensor of that name");
            data[tensors] = t->data;
            bytes[tensors] = fields > 2 ? t->count : t->bytes;
            at += (size_t)snprintf(header + at, ROOM - at, "\"%s\":{\"dtype\":\"%s\",\"shape\":[",
                                   new, fields > 2 ? dtype : sdt_dtype_name(t->dtype));
            for (int d = 0; d < t->rank; d++)
                at += (size_t)snprintf(header + at, ROOM - at, "%s%lld", d ? "," : "",
                                       (long long)t->shape[d]);
            at += (size_t)snprintf(header + at, ROOM - at, "]");
        }
        at += (size_t)snprintf(header + at, ROOM - at, ",\"data_offsets\":[%zu,%zu]}", end,
                               end + bytes[tensors]);
        end += bytes[tensors++];
    }
    at += (size_t)snprintf(header + at, ROOM - at, "}");
    uint64_t length = at;
    FILE *out = fopen(argv[0], "wb");
    bool good =
        out && fwrite(&length, sizeof length, 1, out) == 1 && fwrite(header, 1, at, out) == at;
    for (size_t i = 0; good && i < tensors; i++)
        good = fwrite(data[i], 1, bytes[i], out) == bytes[i];
    if (!good || fclose(out))
        leave("cannot write");
    for (int i = 0; i < 8; i++)
        sdt_safetensors_close(file[i]);
    return 0;
}

/* tool sparse OUT: on stdin lines "NAME DTYPE BYTES D0 D1...", BYTES of an element: a file with
 * these tensors and a hole in place of their numbers. */
static int make_sparse(char **argv) {
    enum { ROOM = 1 << 22 };
    static char header[ROOM];
    char line[1000], name[400], dtype[40];
    unsigned long long end = 0;
    uint64_t length;
    size_t at = 0;

    header[at++] = '{';
    while (fgets(line, sizeof line, stdin)) {
        unsigned long long bytes, size;
        int used = 0, more;
        if (sscanf(line, "%399s %39s %llu%n", name, dtype, &bytes, &used) != 3)
            continue;
        at += (size_t)snprintf(header + at, ROOM - at, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[",
                               at > 1 ? "," : "", name, dtype);
        for (int d = 0; sscanf(line + used, "%llu%n", &size, &more) == 1; d++, used += more) {
            at += (size_t)snprintf(header + at, ROOM - at, "%s%llu", d ? "," : "", size);
            bytes *= size;
        }
        at += (size_t)snprintf(header + at, ROOM - at, "],\"data_offsets\":[%llu,%llu]}", end,
                               end + bytes);
        end += bytes;
    }
    at += (size_t)snprintf(header + at, ROOM - at, "}");
    while (at % sizeof length) /* as writers of real files do, so that tensors are aligned */
        header[at++] = ' ';
    length = at;
    FILE *out = fopen(argv[0], "wb");
    if (!out || fwrite(&length, sizeof length, 1, out) != 1 || fwrite(header, 1, at, out) != at ||
        fclose(out) || truncate(argv[0], (off_t)(sizeof length + at + end)))
        leave("cannot write");
    return 0;
}

/* tool peak COMMAND...: the most bytes of memory that the command had at a time. What it prints
 * goes to standard error. */
static int print_peak(char **argv) {
    struct rusage usage;
    int code;
    pid_t child = fork();
    if (child == 0) {
        if (dup2(2, 1) == 1)
            execv(argv[0], argv);
        _exit(99);
    }
    if (child < 0 || wait4(child, &code, 0, &usage) != child || !WIFEXITED(code))
        leave("the command did not end by itself");
    printf("%ld\n", usage.ru_maxrss * 1024);
    return WEXITSTATUS(code);
}

int main(int argc, char **argv) {
    if (argc > 2 && !strcmp(argv[1], "peak"))
        return print_peak(argv + 2);
    if (argc > 2 && !strcmp(argv[1], "json"))
        return print_value(argc - 2, argv + 2);
    if (argc == 5 && !strcmp(argv[1], "change"))
        return change(argv + 2);
    if (argc > 4 && !strcmp(argv[1], "tensor"))
        return make_tensor(argc - 2, argv + 2, NULL);
    if (argc > 5 && !strcmp(argv[1], "fill")) {
        const char *value = argv[4];
        argv[4] = argv[3];
        argv[3] = argv[2];
        return make_tensor(argc - 3, argv + 3, value);
    }
    if (argc == 5 && !strcmp(argv[1], "store"))
        return store(argv + 2);
    if (argc == 6 && !strcmp(argv[1], "lora"))
        return make_lora(argv + 2);
    if (argc == 3 && (!strcmp(argv[1], "names") || !strcmp(argv[1], "shapes")))
        return print_names(argv + 2, argv[1][0] == 's');
    if (argc == 3 && !strcmp(argv[1], "sparse"))
        return make_sparse(argv + 2);
    if (argc > 3 && !strcmp(argv[1], "rename"))
        return rename_tensors(argc - 2, argv + 2);
    if ((argc == 6 || argc == 7) && !strcmp(argv[1], "poison"))
        return poison(argc - 2, argv + 2);
    leave("poison IN OUT NAME nan|inf | json FILE KEY... | peak COMMAND... | change IN OUT NAME | "
          "tensor OUT NAME D0 "
          "D1...");
    return 99;
}
