/* What a file is, by its first bytes and its name. Untrusted: nothing is believed of it.
 *
 * Only safetensors are read. GGUF and PyTorch's pickles are told apart from other files, so that a
 * message can say what would work. */
#ifndef STARDIT_FORMAT_H
#define STARDIT_FORMAT_H

#include <stdint.h>

#include "stardit/status.h"

enum sdt_file_format {
    SDT_FILE_SAFETENSORS,
    SDT_FILE_GGUF,
    SDT_FILE_PICKLE, /* .pth, .pt, .bin, .ckpt: what torch.save writes, which can run code */
    SDT_FILE_OTHER
};

/* By the first bytes; where these tell nothing, by the name, so that a damaged file is told what is
 * wrong with it. The Hugging Face cache keeps files under names without an ending.
 * SDT_ERROR_MISSING: there is no such file. SDT_ERROR_IO: it is no regular file, or cannot be
 * read. */
enum sdt_status sdt_file_format(const char *path, enum sdt_file_format *format,
                                struct sdt_error *err);

/* By the name alone. */
enum sdt_file_format sdt_file_format_of_name(const char *name);

/* SDT_ERROR_UNSUPPORTED: why such a file is not read, and what would work. `shown` is the file as
 * messages call it. */
enum sdt_status sdt_file_refuse(const char *shown, enum sdt_file_format format,
                                struct sdt_error *err);

/* The head of a GGUF file. */
struct sdt_gguf {
    uint32_t version;
    uint64_t tensors;
    char architecture[64]; /* "wan"; "": it does not say */
};
/* SDT_ERROR_FORMAT for a head that is cut or makes no sense. */
enum sdt_status sdt_gguf_read(const char *path, struct sdt_gguf *gguf, struct sdt_error *err);
#endif
