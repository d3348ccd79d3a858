/* Bytes as a file of unknown kind: the first byte says by which name. What is no safetensors file
 * is refused by name; the head of a GGUF file is read as stardit-info does.
 * Covers: graph/checkpoint/format.c */
#include "graph/checkpoint/format.h"

#include <string.h>

#include "graph/checkpoint/weights.h"
#include "tests/checkpoint/readers.h"
#include "tests/fuzz/fuzz.h"

static const char *const names[] = {"w.gguf", "w.safetensors", "w.pth", "w.ckpt",
                                    "w",      "w.GGUF.txt"};
enum { NAMES = sizeof names / sizeof names[0] };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct sdt_weights *weights = NULL;
    struct sdt_error err = {0};
    enum sdt_file_format format;
    struct sdt_gguf gguf;

    fuzz_begin("fuzz-format");
    if (size < 2)
        return 0;
    const char *name = names[data[0] % NAMES];
    write_bytes(name, data + 1, size - 1);
    if (sdt_file_format(path_of(name), &format, &err) != SDT_OK) {
        check_message(&err);
        return fuzz_end();
    }
    if (sdt_weights_open(path_of(name), &weights, &err) != SDT_OK)
        check_message(&err);
    else
        CHECK(format == SDT_FILE_SAFETENSORS, "%s of format %d is read", name, (int)format);
    sdt_weights_close(weights);
    if (format != SDT_FILE_SAFETENSORS) {
        CHECK(sdt_file_refuse(name, format, &err) != SDT_OK, "format %d is not refused",
              (int)format);
        check_message(&err);
    }
    if (sdt_gguf_read(path_of(name), &gguf, &err) != SDT_OK)
        check_message(&err);
    else
        CHECK(memchr(gguf.architecture, 0, sizeof gguf.architecture), "an architecture of %zu",
              sizeof gguf.architecture);
    return fuzz_end();
}
