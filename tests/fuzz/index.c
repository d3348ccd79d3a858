/* Bytes as the index of a folder with two shards, by one of the names that an index may have, and
 * what opens against a model's table.
 * Covers: graph/checkpoint/weights.c */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "graph/checkpoint/naming.h"
#include "graph/checkpoint/weights.h"
#include "tests/checkpoint/readers.h"
#include "tests/fuzz/fuzz.h"

static const char *const names[] = {
    "shards/model.safetensors.index.json", "shards/diffusion_pytorch_model.safetensors.index.json",
    "shards/model.fp16.safetensors.index.json", "shards/model.safetensors.index.fp16.json"};
enum { NAMES = sizeof names / sizeof names[0] };

/* As another program spells a and b. */
static void spell(const void *model, const char *name, char *text, size_t size) {
    static const struct sdt_replacement list[] = {{"a", "first"}, {"b", "second"}, {NULL, NULL}};
    (void)model;
    sdt_replace(list, name, text, size);
}

static const struct sdt_namings namings = {
    .naming = (const struct sdt_naming[]){{"ours", NULL}, {"theirs", spell}, {NULL, NULL}},
    .prefix = (const char *const[]){"", "p.", NULL}};

static void check_table(struct sdt_weights *weights) {
    struct sdt_tensor_table *table = sdt_tensor_table_new();
    struct sdt_error err = {0};

    if (!table)
        exit(99);
    sdt_tensor_table_add(table, 1, (int64_t[]){2}, "%s", "a");
    sdt_tensor_table_add(table, 0, NULL, "b");
    sdt_tensor_table_ignore(table, "unread.");
    table->namings = &namings;
    enum sdt_status status = sdt_tensor_table_settle(table, weights, &err);
    if (status == SDT_OK)
        status = sdt_tensor_table_check(table, weights, &err);
    if (status != SDT_OK)
        check_message(&err);
    else
        CHECK(sdt_weights_find(weights, "a") && sdt_weights_find(weights, "b") &&
                  sdt_weights_stored_path(weights, "a"),
              "a table that fits, and no tensors");
    sdt_tensor_table_free(table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sdt_weights *weights = NULL;
    struct sdt_error err = {0};
    const char *name = names[size % NAMES];

    if (fuzz_begin("fuzz-index"))
        make_shards();
    write_bytes(name, data, size);
    if (size % 31 == 0) /* a second candidate */
        write_bytes("shards/diffusion_pytorch_model.safetensors", data, size);
    read_index("shards");
    if (sdt_weights_open_variant(path_of("shards"), size % 3 ? "fp16" : NULL, &weights, &err) !=
        SDT_OK)
        check_message(&err);
    else
        check_table(weights);
    sdt_weights_close(weights);
    unlink(path_of(name));
    unlink(path_of("shards/diffusion_pytorch_model.safetensors"));
    return fuzz_end();
}
