/* safetensors files: read through mmap, written whole.
 *
 * Files are untrusted. A malformed one gives SDT_ERROR_FORMAT (or _UNSUPPORTED for a dtype that
 * stardit does not know) with one line naming the file, the tensor and the reason. */
#ifndef STARDIT_SAFETENSORS_H
#define STARDIT_SAFETENSORS_H

#include "stardit/stardit.h"

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct sdt_safetensors;

/* Maps the file and checks the whole header: header <= 100 MB, no duplicate keys, known dtypes,
 * product of shape without overflow, offsets without holes or overlap, exact file size.
 * The file must stay unchanged while it is open. SDT_ERROR_MISSING, SDT_ERROR_IO,
 * SDT_ERROR_FORMAT, SDT_ERROR_UNSUPPORTED, SDT_ERROR_MEMORY. */
enum sdt_status sdt_safetensors_open(const char *path, struct sdt_safetensors **file,
                                     struct sdt_error *err);
void sdt_safetensors_close(struct sdt_safetensors *file); /* NULL is fine */

const char *sdt_safetensors_path(const struct sdt_safetensors *file);
size_t sdt_safetensors_count(const struct sdt_safetensors *file);
/* Tensors by index, in order of name. */
const struct sdt_stored *sdt_safetensors_at(const struct sdt_safetensors *file, size_t index);
/* NULL if there is no such tensor. */
const struct sdt_stored *sdt_safetensors_find(const struct sdt_safetensors *file, const char *name);
/* A text of the header's __metadata__, as long as the file is open; NULL: there is none. */
const char *sdt_safetensors_metadata(const struct sdt_safetensors *file, const char *key);
/* All of them by index; false: no more. */
bool sdt_safetensors_metadata_at(const struct sdt_safetensors *file, size_t index, const char **key,
                                 const char **value);

/* Tells the kernel that these pages are not needed for now; they come back from the file when read.
 * Keeps resident memory small while a large text encoder streams through. */
void sdt_stored_release(const struct sdt_stored *tensor);

/* A copy of the tensor as floats, malloc'ed, [count]; caller frees. SDT_ERROR_UNSUPPORTED for
 * integers, SDT_ERROR_MEMORY. */
enum sdt_status sdt_stored_floats(const struct sdt_stored *tensor, float **values,
                                  struct sdt_error *err);

/* SDT_ERROR_USAGE if it holds NaN or infinity in float32, with the tensor's name, the place and the
 * value; `what` stands before the name ("--latents x.safetensors"). Integers are fine. */
enum sdt_status sdt_stored_check_finite(const char *what, const struct sdt_stored *tensor,
                                        struct sdt_error *err);

/* Writes F32 tensors (data: float [count]) to path: to a temporary name beside it first, then
 * renamed, so that a failure leaves no partial file. Deterministic bytes. `dtype` must be SDT_F32.
 * SDT_ERROR_IO, SDT_ERROR_MEMORY. */
enum sdt_status sdt_safetensors_write(const char *path, size_t count,
                                      const struct sdt_stored *tensors, struct sdt_error *err);
/* One text of __metadata__, in UTF-8. */
struct sdt_metadata {
    const char *key, *value;
};
/* The same with `entries` texts beside the tensors, and on the disk when it returns: after a power
 * cut, path is the whole new file or what was there before. SDT_ERROR_USAGE for what is not
 * UTF-8. */
enum sdt_status sdt_safetensors_write_with(const char *path, size_t count,
                                           const struct sdt_stored *tensors, size_t entries,
                                           const struct sdt_metadata *metadata,
                                           struct sdt_error *err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
