/* Malformed checkpoints, by table: each row says what is wrong with a file and which words its
 * one-line message must hold. None may crash, leak a descriptor or a mapping, or be accepted. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/checkpoint/config.h"
#include "graph/checkpoint/format.h"
#include "graph/checkpoint/weights.h"
#include "tests/checkpoint/files.h"

#define FORMAT SDT_ERROR_FORMAT
#define UNSUPPORTED SDT_ERROR_UNSUPPORTED
#define MISSING SDT_ERROR_MISSING

static int cases;

/* ---- one safetensors file ------------------------------------------------------------------ */

#define F32_2(name, from, to)                                                                      \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[" from "," to "]}"

/* A header and so many bytes of data behind it. */
static const struct header_case {
    const char *name, *header;
    size_t data;
    enum sdt_status status;
    const char *words;
} header_cases[] = {
    {"header not JSON", "{\"w\":", 8, FORMAT, "header is not valid JSON"},
    {"header empty", "", 8, FORMAT, "does not begin with '{'"},
    {"header an array", "[1]", 8, FORMAT, "does not begin with '{'"},
    {"header led by a space", " {}", 0, FORMAT, "does not begin with '{'"},
    {"text behind the header's object", "{}x", 0, FORMAT, "header is not valid JSON|end of file"},
    {"duplicate tensor", "{" F32_2("w", "0", "8") "," F32_2("w", "8", "16") "}", 16, FORMAT,
     "duplicate object key|\"w\""},
    {"duplicate key in a tensor",
     "{\"w\":{\"dtype\":\"F32\",\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
     FORMAT, "duplicate object key|dtype"},
    {"duplicate by an escape", "{" F32_2("w", "0", "8") "," F32_2("\\u0077", "8", "16") "}", 16,
     FORMAT, "duplicate object key"},
    {"NUL in a name", "{" F32_2("a\\u0000b", "0", "8") "}", 8, FORMAT, "NUL byte in object key"},
    {"name not UTF-8", "{" F32_2("a\xff", "0", "8") "}", 8, FORMAT, "unable to decode byte 0xff"},
    {"name of overlong UTF-8", "{" F32_2("a\xc0\xaf", "0", "8") "}", 8, FORMAT,
     "unable to decode byte 0xc0"},
    {"name a lone surrogate", "{" F32_2("\\ud800", "0", "8") "}", 8, FORMAT,
     "invalid Unicode '\\uD800'"},
    {"newline in a name", "{" F32_2("a\nb", "0", "8") "}", 8, FORMAT, "unexpected newline"},
    {"escaped newline in a name", "{" F32_2("a\\nb", "0", "9") "}", 9, FORMAT, "tensor 'a?b'"},
    {"entry not an object", "{\"w\":[0,8]}", 8, FORMAT, "tensor 'w'|entry is not an object"},
    {"entry a string", "{\"w\":\"F32\"}", 8, FORMAT, "tensor 'w'|entry is not an object"},
    {"no dtype", "{\"w\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, FORMAT,
     "tensor 'w'|dtype is missing"},
    {"no shape", "{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", 8, FORMAT,
     "tensor 'w'|shape is missing"},
    {"no offsets", "{\"w\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, FORMAT,
     "tensor 'w'|data_offsets is missing"},
    {"unknown key",
     "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"strides\":[1]}}", 8, FORMAT,
     "tensor 'w'|unknown key 'strides'"},
    {"dtype not a string", "{\"w\":{\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]}}", 8, FORMAT,
     "tensor 'w'|dtype is not a string"},
    {"dtype of 4 bits", "{\"w\":{\"dtype\":\"F4\",\"shape\":[16],\"data_offsets\":[0,8]}}", 8,
     UNSUPPORTED, "tensor 'w'|dtype 'F4' is not supported|BF16"},
    {"dtype in lower case", "{\"w\":{\"dtype\":\"f32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
     UNSUPPORTED, "tensor 'w'|dtype 'f32'"},
    {"dtype empty", "{\"w\":{\"dtype\":\"\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, UNSUPPORTED,
     "tensor 'w'|dtype ''"},
    {"shape not an array", "{\"w\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8,
     FORMAT, "tensor 'w'|shape is not an array"},
    {"shape negative", "{\"w\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8,
     FORMAT, "tensor 'w'|dimension 0 of shape"},
    {"shape with a fraction",
     "{\"w\":{\"dtype\":\"F32\",\"shape\":[1,2.0],\"data_offsets\":[0,8]}}", 8, FORMAT,
     "tensor 'w'|dimension 1 of shape"},
    {"shape of strings", "{\"w\":{\"dtype\":\"F32\",\"shape\":[\"2\"],\"data_offsets\":[0,8]}}", 8,
     FORMAT, "tensor 'w'|dimension 0 of shape"},
    {"shape of 9 dimensions",
     "{\"w\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8,
     UNSUPPORTED, "tensor 'w'|9 dimensions, at most 8"},
    {"product overflows",
     "{\"w\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
     FORMAT, "tensor 'w'|product of shape overflows"},
    {"product overflows to a small number",
     "{\"w\":{\"dtype\":\"U8\",\"shape\":[4294967297,4294967297],\"data_offsets\":[0,8]}}", 8,
     FORMAT, "tensor 'w'|product of shape overflows"},
    {"bytes overflow",
     "{\"w\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", 0,
     FORMAT, "tensor 'w'|size in bytes overflows"},
    {"dimension beyond 64 bits",
     "{\"w\":{\"dtype\":\"F32\",\"shape\":[18446744073709551616],\"data_offsets\":[0,8]}}", 8,
     FORMAT, "header is not valid JSON|too big integer"},
    {"offsets not an array", "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":8}}", 8,
     FORMAT, "tensor 'w'|data_offsets is not an array of two"},
    {"one offset", "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8]}}", 8, FORMAT,
     "tensor 'w'|data_offsets is not an array of two"},
    {"three offsets", "{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8,
     FORMAT, "tensor 'w'|data_offsets is not an array of two"},
    {"offset negative", "{" F32_2("w", "-8", "0") "}", 8, FORMAT,
     "tensor 'w'|data_offsets is not an array of two non-negative"},
    {"offset with a fraction", "{" F32_2("w", "0", "8.0") "}", 8, FORMAT,
     "tensor 'w'|data_offsets is not an array of two non-negative"},
    {"offsets backwards", "{" F32_2("w", "8", "0") "}", 8, FORMAT,
     "tensor 'w'|data_offsets [8, 0] run backwards"},
    {"offsets of another size", "{" F32_2("w", "0", "12") "}", 12, FORMAT,
     "tensor 'w'|span 12 bytes|F32 of shape [2] takes 8"},
    {"offsets of another size, scalar",
     "{\"w\":{\"dtype\":\"BF16\",\"shape\":[],\"data_offsets\":[0,4]}}", 4, FORMAT,
     "tensor 'w'|span 4 bytes|BF16 of shape [] takes 2"},
    {"offset far beyond the file", "{" F32_2("w", "9223372036854775799", "9223372036854775807") "}",
     8, FORMAT, "tensor 'w'|truncated|9223372036854775807"},
    {"data truncated", "{" F32_2("w", "0", "8") "}", 7, FORMAT,
     "tensor 'w'|truncated: it ends at byte 8 of the data, which has 7"},
    {"data absent", "{" F32_2("w", "0", "8") "}", 0, FORMAT, "tensor 'w'|truncated|which has 0"},
    {"trailing byte", "{" F32_2("w", "0", "8") "}", 9, FORMAT, "end at byte 8|1 more (trailing"},
    {"data without tensors", "{}", 4, FORMAT, "end at byte 0|4 more (trailing"},
    {"hole at the start", "{" F32_2("w", "4", "12") "}", 12, FORMAT,
     "tensor 'w'|a hole: bytes 0 to 4"},
    {"hole between", "{" F32_2("a", "0", "8") "," F32_2("w", "9", "17") "}", 17, FORMAT,
     "tensor 'w'|a hole: bytes 8 to 9"},
    {"overlap", "{" F32_2("a", "0", "8") "," F32_2("w", "4", "12") "}", 12, FORMAT,
     "tensor 'w'|an overlap: it begins at byte 4|'a' ends at byte 8"},
    {"two tensors on the same bytes", "{" F32_2("b", "0", "8") "," F32_2("w", "0", "8") "}", 8,
     FORMAT, "tensor 'w'|an overlap|'b' ends at byte 8"},
    {"empty tensor inside another",
     "{" F32_2("a", "0", "8") ",\"w\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[4,4]}}", 8,
     FORMAT, "tensor 'w'|an overlap"},
    {"empty tensor beyond the data",
     "{" F32_2("a", "0", "8") ",\"w\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[9,9]}}", 8,
     FORMAT, "tensor 'w'|truncated"},
    {"metadata not an object", "{\"__metadata__\":[]}", 0, FORMAT, "__metadata__ is not an object"},
    {"metadata of numbers", "{\"__metadata__\":{\"step\":1}}", 0, FORMAT,
     "__metadata__ 'step' is not a string"},
    {"metadata nested", "{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0, FORMAT,
     "__metadata__ 'a' is not a string"},
    {"nested too deeply", "{\"w\":{\"dtype\":\"F32\",\"shape\":[[2]],\"data_offsets\":[0,8]}}", 8,
     FORMAT, "nested too deeply|3 levels"},
};

/* Files that a header alone does not describe. */
static void make_empty(void) { write_bytes("f.safetensors", "", 0); }

static void make_short(void) { write_bytes("f.safetensors", "\2\0\0\0\0\0\0", 7); }

static void make_header_only_length(void) { write_bytes("f.safetensors", "\2\0\0\0\0\0\0\0", 8); }

static void make_header_truncated(void) {
    write_bytes("f.safetensors", "\11\0\0\0\0\0\0\0{\"w\":{}", 15);
}

/* A header length that no file has room for, in a sparse file that has. */
static void make_header_over_limit(void) {
    write_bytes("f.safetensors", "\1\341\365\5\0\0\0\0{}", 10); /* 100,000,001 */
    CHECK(truncate(path_of("f.safetensors"), 100000009) == 0, "cannot make a sparse file");
}

static void make_header_of_all_bits(void) {
    write_bytes("f.safetensors", "\377\377\377\377\377\377\377\377{}", 10);
}

/* A length just over what is left, so that 8 + N alone would not show it. */
static void make_header_past_end(void) { write_bytes("f.safetensors", "\3\0\0\0\0\0\0\0{}", 10); }

static void make_header_of_nuls(void) {
    write_bytes("f.safetensors", "\10\0\0\0\0\0\0\0{}\0\0\0\0\0\0", 16);
}

/* `count` times `unit` as the header's only value. */
static void make_repeated(const char *begin, const char *unit, size_t count, const char *end) {
    const size_t length = strlen(unit);
    char *header = malloc(strlen(begin) + count * length + strlen(end) + 1), *next = header;

    if (!header)
        exit(99);
    next = stpcpy(next, begin);
    for (size_t i = 0; i < count; i++)
        next = stpcpy(next, unit);
    stpcpy(next, end);
    write_safetensors("f.safetensors", header, 0);
    free(header);
}

static void make_deep(void) { make_repeated("{\"w\":", "[", 1000000, "]}"); }

static void make_deep_objects(void) { make_repeated("{\"w\":", "{\"a\":", 100000, "1}"); }

static void make_many_values(void) { make_repeated("{\"w\":[", "1,", 4100000, "1]}"); }

static void make_long_name(void) { make_repeated("{\"", "long_name.", 100000, "\":1}"); }

static void make_directory(void) { make_subfolder("f.safetensors"); }

static void make_fifo(void) { mkfifo(path_of("f.safetensors"), 0666); }

static void make_loop(void) {
    CHECK(symlink("f.safetensors", path_of("f.safetensors")) == 0, "no symbolic link");
}

static void make_nothing(void) {}

static const struct file_case {
    const char *name;
    void (*make)(void); /* f.safetensors */
    enum sdt_status status;
    const char *words;
} file_cases[] = {
    {"no such file", make_nothing, MISSING, "No such file"},
    {"a directory", make_directory, SDT_ERROR_IO, "a directory, not a regular file"},
    {"a FIFO", make_fifo, SDT_ERROR_IO, "not a regular file"},
    {"a symbolic link to itself", make_loop, SDT_ERROR_IO, "symbolic links"},
    {"empty file", make_empty, FORMAT, "the file is empty"},
    {"7 bytes", make_short, FORMAT, "truncated: 7 bytes"},
    {"only a length", make_header_only_length, FORMAT, "truncated: a header of 2 bytes|file of 8"},
    {"header cut", make_header_truncated, FORMAT, "truncated: a header of 9 bytes|file of 15"},
    {"header a byte past the end", make_header_past_end, FORMAT, "truncated: a header of 3"},
    {"header of 100,000,001 bytes", make_header_over_limit, FORMAT, "header of 100000001|limit"},
    {"header of 2^64-1 bytes", make_header_of_all_bits, FORMAT,
     "header of 18446744073709551615|limit"},
    {"header padded with NUL", make_header_of_nuls, FORMAT, "header is not valid JSON"},
    {"a million brackets", make_deep, FORMAT, "nested too deeply"},
    {"100,000 braces", make_deep_objects, FORMAT, "nested too deeply"},
    {"four million values", make_many_values, FORMAT, "too many JSON values"},
    {"a name of a megabyte", make_long_name, FORMAT, "tensor 'long_name.|entry is not an object"},
};

static void open_file(const char *name, enum sdt_status wanted, const char *words) {
    struct sdt_error err = {0};
    struct sdt_safetensors *file = (void *)&err;
    const int descriptor = next_descriptor();
    const enum sdt_status status = sdt_safetensors_open(path_of("f.safetensors"), &file, &err);

    cases++;
    message_fits(name, status, &err, wanted, words);
    CHECK(strstr(err.message, "f.safetensors"), "%s: '%s' does not name the file", name,
          err.message);
    CHECK(!file, "%s: a file is returned", name);
    CHECK(next_descriptor() == descriptor, "%s: a descriptor leaks", name);
    CHECK(!folder_is_mapped(), "%s: a mapping leaks", name);
    CHECK(sdt_safetensors_open(path_of("f.safetensors"), &file, NULL) == wanted,
          "%s: another status without a message", name);
    empty_folder();
}

/* root reads everything, so the case is made with another user's eyes. */
static void open_unreadable(void) {
    const bool root = geteuid() == 0;

    write_safetensors("f.safetensors", "{}", 0);
    chmod(path_of("f.safetensors"), 0);
    if (root && seteuid(65534) != 0) {
        printf("skip unreadable file: cannot stop being root\n");
        return;
    }
    struct sdt_error err = {0};
    struct sdt_safetensors *file;
    const enum sdt_status status = sdt_safetensors_open(path_of("f.safetensors"), &file, &err);
    cases++;
    message_fits("unreadable file", status, &err, SDT_ERROR_IO, "f.safetensors|Permission denied");
    if (root)
        CHECK(seteuid(0) == 0, "cannot be root again");
    empty_folder();
}

/* ---- a component folder -------------------------------------------------------------------- */

#define TEXT (-1)   /* item.text is the whole file */
#define FOLDER (-2) /* a folder */

struct item {
    const char *file, *text;
    int data; /* bytes behind the header `text`, or one of the above */
};

#define A_SHARD                                                                                    \
    { "a.safetensors", "{" F32_2("a", "0", "8") "}", 8 }
#define B_SHARD                                                                                    \
    { "b.safetensors", "{" F32_2("b", "0", "8") "}", 8 }
#define INDEX(text)                                                                                \
    { "model.safetensors.index.json", text, TEXT }
#define AB_INDEX INDEX("{\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"b.safetensors\"}}")
#define SHARD_NAME(name) INDEX("{\"weight_map\":{\"a\":\"" name "\"}}")

static const struct folder_case {
    const char *name;
    struct item items[4];
    enum sdt_status status;
    const char *words;
} folder_cases[] = {
    {"folder empty", {{0}}, MISSING, "no weights|diffusion_pytorch_model.safetensors"},
    {"folder with another name",
     {{"weights.safetensors", "{}", 0}},
     MISSING,
     "no weights|only weights.safetensors"},
    {"folder of a pickle",
     {{"diffusion_pytorch_model.bin", "x", TEXT}},
     UNSUPPORTED,
     "diffusion_pytorch_model.bin is a PyTorch pickle|weights_only=True"},
    {"folder of a .pth", {{"t5.pth", "x", TEXT}}, UNSUPPORTED, "t5.pth is a PyTorch pickle"},
    {"folder of a .ckpt", {{"vae.ckpt", "x", TEXT}}, UNSUPPORTED, "vae.ckpt is a PyTorch pickle"},
    {"folder of a GGUF", {{"wan-Q4.gguf", "GGUF", TEXT}}, UNSUPPORTED, "wan-Q4.gguf is GGUF"},
    {"shards without an index",
     {{"model-00001-of-00002.safetensors", "{}", 0}, {"model-00002-of-00002.safetensors", "{}", 0}},
     MISSING,
     "shards such as model-00001-of-00002.safetensors|no index.json"},
    {"file and index",
     {{"model.safetensors", "{}", 0}, AB_INDEX, A_SHARD, B_SHARD},
     FORMAT,
     "2 candidates|model.safetensors, model.safetensors.index.json|keep one"},
    {"two models",
     {{"model.safetensors", "{}", 0}, {"diffusion_pytorch_model.safetensors", "{}", 0}},
     FORMAT,
     "2 candidates|diffusion_pytorch_model.safetensors, model.safetensors"},
    {"three variants",
     {{"model.fp16.safetensors", "{}", 0},
      {"model.bf16.safetensors", "{}", 0},
      {"model.ema.safetensors", "{}", 0}},
     FORMAT,
     "3 candidates|model.bf16.safetensors, model.ema.safetensors, .."},
    {"weights a folder",
     {{"model.safetensors", "", FOLDER}},
     SDT_ERROR_IO,
     "model.safetensors: a directory"},
    {"weights malformed",
     {{"model.safetensors", "{\"w\":1}", 0}},
     FORMAT,
     "model.safetensors|tensor 'w'|not an object"},
    {"index empty", {INDEX("")}, FORMAT, "index.json: the file is empty"},
    {"index not JSON", {INDEX("{'a'}")}, FORMAT, "index.json: the file is not valid JSON"},
    {"index an array", {INDEX("[]")}, FORMAT, "index.json: the file is not a JSON object"},
    {"index without a map",
     {INDEX("{\"metadata\":{}}")},
     FORMAT,
     "index.json|weight_map is missing"},
    {"index with an empty map",
     {INDEX("{\"weight_map\":{}}")},
     FORMAT,
     "weight_map is missing, empty"},
    {"index map an array", {INDEX("{\"weight_map\":[\"a\"]}")}, FORMAT, "weight_map|not an object"},
    {"index with a tensor twice",
     {INDEX("{\"weight_map\":{\"a\":\"a.safetensors\",\"a\":\"b.safetensors\"}}")},
     FORMAT,
     "index.json|duplicate object key"},
    {"index nested deeply",
     {INDEX("{\"metadata\":[[[[[[[[[[]]]]]]]]]],\"weight_map\":{\"a\":\"a.safetensors\"}}")},
     FORMAT,
     "index.json|nested too deeply"},
    {"shard not a string",
     {INDEX("{\"weight_map\":{\"a\":1}}")},
     FORMAT,
     "tensor 'a'|shard name|is not a string"},
    {"shard with a slash",
     {SHARD_NAME("x/a.safetensors"), A_SHARD},
     FORMAT,
     "tensor 'a'|'x/a.safetensors' holds a path separator"},
    {"shard absolute",
     {SHARD_NAME("/etc/a.safetensors")},
     FORMAT,
     "tensor 'a'|'/etc/a.safetensors' holds a path separator"},
    {"shard with a backslash",
     {SHARD_NAME("x\\\\a.safetensors")},
     FORMAT,
     "tensor 'a'|holds a path separator"},
    {"shard above", {SHARD_NAME("../a.safetensors")}, FORMAT, "tensor 'a'|holds a path separator"},
    {"shard of dots", {SHARD_NAME("..")}, FORMAT, "tensor 'a'|'..' holds '..'"},
    {"shard with dots inside", {SHARD_NAME("a..safetensors")}, FORMAT, "tensor 'a'|holds '..'"},
    {"shard with an escaped slash",
     {SHARD_NAME("x\\u002fa.safetensors")},
     FORMAT,
     "tensor 'a'|holds a path separator"},
    {"shard name empty", {SHARD_NAME("")}, FORMAT, "tensor 'a'|does not end in .safetensors"},
    {"shard a pickle",
     {SHARD_NAME("model-1.bin")},
     FORMAT,
     "tensor 'a'|'model-1.bin' does not end in .safetensors"},
    {"shard missing", {AB_INDEX, A_SHARD}, MISSING, "b.safetensors: no such shard|tensor 'b'"},
    {"shard a folder",
     {AB_INDEX, A_SHARD, {"b.safetensors", "", FOLDER}},
     SDT_ERROR_IO,
     "b.safetensors: a directory"},
    {"shard malformed",
     {AB_INDEX, A_SHARD, {"b.safetensors", "{" F32_2("b", "0", "8") "}", 4}},
     FORMAT,
     "b.safetensors|tensor 'b'|truncated"},
    {"tensor absent from its shard",
     {INDEX("{\"weight_map\":{\"a\":\"a.safetensors\",\"b\":\"b.safetensors\",\"c\":\"b."
            "safetensors\"}}"),
      A_SHARD, B_SHARD},
     MISSING,
     "index.json|tensor 'c' is not in b.safetensors"},
    {"tensor in another shard",
     {INDEX("{\"weight_map\":{\"a\":\"b.safetensors\",\"b\":\"a.safetensors\"}}"), A_SHARD,
      B_SHARD},
     FORMAT,
     "tensor 'a' is in a.safetensors, but the index names b.safetensors"},
    {"tensor in two shards",
     {AB_INDEX,
      A_SHARD,
      {"b.safetensors", "{" F32_2("a", "0", "8") "," F32_2("b", "8", "16") "}", 16}},
     FORMAT,
     "tensor 'a' is also in|b.safetensors"},
    {"tensor not in the index",
     {AB_INDEX,
      A_SHARD,
      {"b.safetensors", "{" F32_2("b", "0", "8") "," F32_2("d", "8", "16") "}", 16}},
     FORMAT,
     "b.safetensors: tensor 'd' is not in the index"},
};

static void make_items(const struct item *items) {
    make_subfolder("c");
    for (int i = 0; i < 4 && items[i].file; i++) {
        char name[100];
        snprintf(name, sizeof name, "c/%s", items[i].file);
        if (items[i].data == FOLDER)
            make_subfolder(name);
        else if (items[i].data == TEXT)
            write_text(name, items[i].text);
        else
            write_safetensors(name, items[i].text, (size_t)items[i].data);
    }
}

static void open_folder(const char *name, const char *folder, enum sdt_status wanted,
                        const char *words) {
    struct sdt_error err = {0};
    struct sdt_weights *weights = (void *)&err;
    const int descriptor = next_descriptor();
    const enum sdt_status status = sdt_weights_open(folder, &weights, &err);

    cases++;
    message_fits(name, status, &err, wanted, words);
    CHECK(!weights, "%s: weights are returned", name);
    CHECK(next_descriptor() == descriptor, "%s: a descriptor leaks", name);
    CHECK(!folder_is_mapped(), "%s: a mapping leaks", name);
    empty_folder();
    rmdir(path_of("c"));
}

/* A path that is no folder: users try the file itself. */
static void open_files_as_folders(void) {
    static const char *const names[][2] = {
        {"x.gguf", "x.gguf is GGUF"},
        {"x.pth", "x.pth is a PyTorch pickle"},
        {"x.bin", "x.bin is a PyTorch pickle"},
        {"x.txt", "x.txt is not safetensors"},
        {"x-00001-of-00002.safetensors", "x-00001-of-00002.safetensors is one of several shards"},
    };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        write_text(names[i][0], "x");
        open_folder(names[i][0], path_of(names[i][0]), UNSUPPORTED, names[i][1]);
    }
    write_text("x.safetensors", "x");
    open_folder("a short file", path_of("x.safetensors"), FORMAT, "x.safetensors: truncated: 1 ");
    write_text("y.safetensors", "GGUF");
    open_folder("GGUF by another name", path_of("y.safetensors"), UNSUPPORTED,
                "y.safetensors is GGUF");
    write_text("z.safetensors", "\x80\x02}q.");
    open_folder("a pickle by another name", path_of("z.safetensors"), UNSUPPORTED,
                "z.safetensors is a PyTorch pickle|weights_only=True|'z.safetensors'");
    write_text("l.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:1\n");
    open_folder("a pointer", path_of("l.safetensors"), FORMAT,
                "l.safetensors is a pointer of git-lfs|git lfs pull");
    write_text("p.safetensors", "<!DOCTYPE html>\n<html>");
    open_folder("a web page", path_of("p.safetensors"), FORMAT,
                "p.safetensors is a web page|download");
    open_folder("no such folder", path_of("nothing"), MISSING, "nothing: No such file");
}

/* ---- GGUF ---------------------------------------------------------------------------------- */

/* A head with a number, an array of strings, one of numbers, and the architecture. */
static const char gguf_head[] = "GGUF\3\0\0\0\2\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0"
                                "\1\0\0\0\0\0\0\0a\4\0\0\0\7\0\0\0"
                                "\1\0\0\0\0\0\0\0b\11\0\0\0\10\0\0\0\2\0\0\0\0\0\0\0"
                                "\1\0\0\0\0\0\0\0x\2\0\0\0\0\0\0\0yz"
                                "\1\0\0\0\0\0\0\0c\11\0\0\0\2\0\0\0\3\0\0\0\0\0\0\0\1\0\2\0\3\0"
                                "\24\0\0\0\0\0\0\0general.architecture\10\0\0\0\3\0\0\0\0\0\0\0wan";

/* Cut at every byte, and with every byte set to two values: read or refused, and nothing else. */
static void damage_gguf(void) {
    const size_t size = sizeof gguf_head - 1;
    char bytes[sizeof gguf_head];
    struct sdt_error err = {0};
    struct sdt_gguf gguf;

    write_bytes("whole.gguf", gguf_head, size);
    CHECK(sdt_gguf_read(path_of("whole.gguf"), &gguf, &err) == SDT_OK, "%s", err.message);
    CHECK(gguf.version == 3 && gguf.tensors == 2 && !strcmp(gguf.architecture, "wan"),
          "version %u, architecture '%s'", (unsigned)gguf.version, gguf.architecture);
    for (size_t cut = 1; cut < size; cut++, cases++) {
        write_bytes("x.gguf", gguf_head, cut);
        message_fits("a cut GGUF", sdt_gguf_read(path_of("x.gguf"), &gguf, &err), &err, FORMAT,
                     "x.gguf: GGUF, and its head is cut or damaged");
    }
    for (size_t at = 0; at < 2 * size; at++, cases++) {
        memcpy(bytes, gguf_head, size);
        bytes[at / 2] = at % 2 ? '\xff' : '\0';
        write_bytes("x.gguf", bytes, size);
        enum sdt_status status = sdt_gguf_read(path_of("x.gguf"), &gguf, &err);
        CHECK(status == SDT_OK || status == SDT_ERROR_FORMAT, "byte %zu: %s", at / 2, err.message);
    }
    empty_folder();
}

/* ---- a configuration ----------------------------------------------------------------------- */

enum reader { OPEN, INT, NUMBER, BOOL, STRING, NUMBERS, STRING_0, ONLY_NULL, ONLY_GELU };

static const struct config_case {
    const char *name, *text;
    enum reader reader; /* of key "k", required; INT: 1 to 8; NUMBERS: at most 3 */
    enum sdt_status status;
    const char *words;
} config_cases[] = {
    {"config empty", "", OPEN, FORMAT, "the file is empty"},
    {"config a blank", " ", OPEN, FORMAT, "not valid JSON"},
    {"config cut", "{\"k\": 1", OPEN, FORMAT, "not valid JSON"},
    {"config an array", "[1]", OPEN, FORMAT, "not a JSON object"},
    {"config a number", "1", OPEN, FORMAT, "not valid JSON"},
    {"config with a comment", "{} // x", OPEN, FORMAT, "not valid JSON|end of file"},
    {"config with NaN", "{\"k\": NaN}", OPEN, FORMAT, "not valid JSON|NaN"},
    {"config with a key twice", "{\"k\": 1, \"k\": 2}", OPEN, FORMAT, "duplicate object key|\"k\""},
    {"config with a byte order mark", "\xef\xbb\xbf{}", OPEN, FORMAT, "not valid JSON"},
    {"config not UTF-8", "{\"k\": \"\xe9\"}", OPEN, FORMAT, "unable to decode byte 0xe9"},
    {"config with a huge number", "{\"k\": 1e999}", OPEN, FORMAT, "real number overflow"},
    {"config nested deeply",
     "{\"k\": [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}", OPEN, FORMAT,
     "nested too deeply|32 levels"},
    {"int absent", "{}", INT, MISSING, "key 'k' is missing"},
    {"int null", "{\"k\": null}", INT, MISSING, "key 'k' is missing"},
    {"int a string", "{\"k\": \"4\"}", INT, FORMAT, "key 'k' must be an integer, not a string"},
    {"int a fraction", "{\"k\": 4.0}", INT, FORMAT,
     "key 'k' must be an integer, not a number with"},
    {"int a boolean", "{\"k\": true}", INT, FORMAT, "must be an integer, not a boolean"},
    {"int too small", "{\"k\": 0}", INT, FORMAT, "key 'k' is 0, not within 1 to 8"},
    {"int too large", "{\"k\": 9}", INT, FORMAT, "key 'k' is 9, not within 1 to 8"},
    {"int beyond 64 bits", "{\"k\": 9223372036854775808}", OPEN, FORMAT, "too big integer"},
    {"number a string", "{\"k\": \"1e-6\"}", NUMBER, FORMAT,
     "key 'k' must be a number, not a string"},
    {"number a boolean", "{\"k\": false}", NUMBER, FORMAT, "must be a number, not a boolean"},
    {"bool a number", "{\"k\": 1}", BOOL, FORMAT, "key 'k' must be true or false, not an integer"},
    {"string an array", "{\"k\": [\"x\"]}", STRING, FORMAT, "must be a string, not an array"},
    {"string with NUL", "{\"k\": \"a\\u0000b\"}", OPEN, FORMAT, "\\u0000 is not allowed"},
    {"numbers an int", "{\"k\": 2}", NUMBERS, FORMAT, "an array of numbers, not an integer"},
    {"numbers too many", "{\"k\": [1, 2, 3, 4]}", NUMBERS, FORMAT, "4 elements, at most 3 fit"},
    {"numbers of strings", "{\"k\": [1, \"2\"]}", NUMBERS, FORMAT,
     "element 1 of key 'k' must be a number, not a string"},
    {"numbers nested", "{\"k\": [[1]]}", NUMBERS, FORMAT, "element 0 of key 'k'|not an array"},
    {"class a string", "{\"k\": \"diffusers\"}", STRING_0, FORMAT,
     "an array of strings, not a string"},
    {"class of an empty array", "{\"k\": []}", STRING_0, FORMAT, "0 elements, no element 0"},
    {"class a number", "{\"k\": [1]}", STRING_0, FORMAT,
     "element 0 of key 'k' must be a string or null"},
    {"option to refuse", "{\"k\": {\"image_dim\": 1280}}", ONLY_NULL, UNSUPPORTED,
     "k = {\"image_dim\":1280} is not supported (only null is)"},
    {"another activation", "{\"k\": \"silu\"}", ONLY_GELU, UNSUPPORTED,
     "k = \"silu\" is not supported (only \"gelu\" is)"},
};

static enum sdt_status read_key(const struct sdt_config *config, enum reader reader,
                                struct sdt_error *err) {
    const char *string;
    double number, numbers[3];
    int64_t integer;
    bool boolean;
    int count;

    switch (reader) {
    case OPEN:
        break;
    case INT:
        return sdt_config_int(config, "k", true, 1, 8, &integer, err);
    case NUMBER:
        return sdt_config_number(config, "k", true, &number, err);
    case BOOL:
        return sdt_config_bool(config, "k", true, &boolean, err);
    case STRING:
        return sdt_config_string(config, "k", true, &string, err);
    case NUMBERS:
        return sdt_config_numbers(config, "k", true, 3, numbers, &count, err);
    case STRING_0:
        return sdt_config_string_at(config, "k", 0, &string, err);
    case ONLY_NULL:
        return sdt_config_only(config, "k", "null", err);
    case ONLY_GELU:
        return sdt_config_only(config, "k", "\"gelu\"", err);
    }
    return SDT_OK;
}

static void read_config(const struct config_case *row) {
    struct sdt_error err = {0};
    struct sdt_config *config;
    const int descriptor = next_descriptor();
    enum sdt_status status;

    cases++;
    write_text("config.json", row->text);
    status = sdt_config_open(path_of("config.json"), &config, &err);
    CHECK((status == SDT_OK) == (row->reader != OPEN), "%s: %s", row->name, err.message);
    if (status == SDT_OK)
        status = read_key(config, row->reader, &err);
    message_fits(row->name, status, &err, row->status, row->words);
    CHECK(strstr(err.message, "config.json"), "%s: '%s' does not name the file", row->name,
          err.message);
    sdt_config_close(config);
    CHECK(next_descriptor() == descriptor, "%s: a descriptor leaks", row->name);
    CHECK(!folder_is_mapped(), "%s: a mapping leaks", row->name);
    empty_folder();
}

/* Larger than a configuration may be, which no row of text shows. */
static void read_large_config(void) {
    struct sdt_error err = {0};
    struct sdt_config *config;

    cases++;
    write_text("config.json", "{}");
    CHECK(truncate(path_of("config.json"), (16 << 20) + 1) == 0, "cannot make a sparse file");
    const enum sdt_status status = sdt_config_open(path_of("config.json"), &config, &err);
    message_fits("config of 16 MB", status, &err, FORMAT, "config.json|16777217 bytes, the limit");
    empty_folder();
}

int main(void) {
    make_folder("malformed");
    for (size_t i = 0; i < sizeof header_cases / sizeof *header_cases; i++) {
        const struct header_case *row = &header_cases[i];
        write_safetensors("f.safetensors", row->header, row->data);
        open_file(row->name, row->status, row->words);
    }
    for (size_t i = 0; i < sizeof file_cases / sizeof *file_cases; i++) {
        file_cases[i].make();
        open_file(file_cases[i].name, file_cases[i].status, file_cases[i].words);
    }
    open_unreadable();
    for (size_t i = 0; i < sizeof folder_cases / sizeof *folder_cases; i++) {
        make_items(folder_cases[i].items);
        open_folder(folder_cases[i].name, path_of("c"), folder_cases[i].status,
                    folder_cases[i].words);
    }
    open_files_as_folders();
    damage_gguf();
    for (size_t i = 0; i < sizeof config_cases / sizeof *config_cases; i++)
        read_config(&config_cases[i]);
    read_large_config();
    remove_folder();
    printf("%d malformed cases, %d failures\n", cases, failures);
    return failures > 0;
}
