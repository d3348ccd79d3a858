/* The tensors of one component: a single safetensors file or shards with an index.
 *
 * A component folder holds `diffusion_pytorch_model.safetensors` (diffusers) or `model.safetensors`
 * (transformers), or the same name with `.index.json` and shards; a variant (`.fp16` and the like)
 * is taken when it is the only one. A component may also be a file of any name. .pth, .bin, .ckpt
 * and .gguf are refused by name with what to do. */
#ifndef STARDIT_WEIGHTS_H
#define STARDIT_WEIGHTS_H

#include "stardit/safetensors.h"

struct sdt_weights;
struct sdt_merges;
struct sdt_naming;
struct sdt_namings;

/* path: the component's folder, or a .safetensors file. */
enum sdt_status sdt_weights_open(const char *path, struct sdt_weights **weights,
                                 struct sdt_error *err);
/* The same, but files of this variant ("fp16"; NULL: none) are taken where the component has some,
 * else what is there, as diffusers does. SDT_ERROR_USAGE for what is no word. */
enum sdt_status sdt_weights_open_variant(const char *folder, const char *variant,
                                         struct sdt_weights **weights, struct sdt_error *err);
/* Were they? */
bool sdt_weights_is_variant(const struct sdt_weights *weights);
void sdt_weights_close(struct sdt_weights *weights); /* NULL is fine */
/* The path that they were opened from. */
const char *sdt_weights_folder(const struct sdt_weights *weights);
/* A text of the metadata of their first file; NULL: it has none. */
const char *sdt_weights_metadata(const struct sdt_weights *weights, const char *key);
/* The config.json that describes them, as sdt_weights_describe() said; "": none does. */
const char *sdt_weights_config(const struct sdt_weights *weights);
enum sdt_status sdt_weights_describe(struct sdt_weights *weights, const char *config,
                                     struct sdt_error *err);
size_t sdt_weights_count(const struct sdt_weights *weights);
const struct sdt_stored *sdt_weights_at(const struct sdt_weights *weights, size_t index);
/* false: a model's table has been checked, and ignores the tensor. */
bool sdt_weights_is_read(const struct sdt_weights *weights, size_t index);
/* Sum of stored bytes and of elements. */
size_t sdt_weights_bytes(const struct sdt_weights *weights);
size_t sdt_weights_parameters(const struct sdt_weights *weights);
/* All of them in numbers, without a name; NULL: zeros. */
struct sdt_component sdt__weights_component(const struct sdt_weights *weights);
/* NULL if there is no such tensor. */
const struct sdt_stored *sdt_weights_find(const struct sdt_weights *weights, const char *name);
/* Is it of a type that is computed with? */
bool sdt__stored_is_float(const struct sdt_stored *stored);

/* Gives tensors other names than their file does. name: what the model calls the tensor that the
 * file calls `stored`, behind the prefix; NULL: as it stands there. Tensors without the prefix are
 * dropped: they are another component's. SDT_ERROR_MEMORY. */
enum sdt_status sdt_weights_rename(struct sdt_weights *weights, const char *prefix,
                                   const char *(*name)(void *arg, const char *stored), void *arg,
                                   struct sdt_error *err);
/* The name in the file and the file's path, of a tensor of these weights. */
const char *sdt_weights_stored_name(const struct sdt_weights *weights, const char *name);
const char *sdt_weights_stored_path(const struct sdt_weights *weights, const char *name);

/* For LoRAs (graph/checkpoint/lora.h). A tensor in the place of the one of its name, which is
 * there; the caller keeps it. What is merged, freed with the weights, and that of these (NULL:
 * nothing). */
void sdt__weights_put(struct sdt_weights *weights, const struct sdt_stored *tensor);
void sdt__weights_own(struct sdt_weights *weights, struct sdt_merges *merges);
const struct sdt_merges *sdt__weights_merges(const struct sdt_weights *weights);
bool sdt__weights_imagined(const struct sdt_weights *weights);

/* A model's table: what must be in the component. Built by the model from its config, then checked
 * once, before anything runs. */
struct sdt_requirement {
    char *name;
    int rank;
    int64_t shape[SDT_MAX_RANK];
};
struct sdt_tensor_table {
    size_t count, capacity;
    struct sdt_requirement *required; /* [count], in the model's order */
    size_t ignored_count, ignored_capacity;
    char **ignored; /* [ignored_count] prefixes */
    bool no_memory;
    /* How files may spell these names (graph/checkpoint/naming.h), of which model; NULL: as they
     * are. And how the file of these weights does, once that is settled. */
    const struct sdt_namings *namings;
    const void *model;
    const struct sdt_naming *naming; /* NULL: the names as they are */
    /* What LoRAs have besides, up to one without a name; names that are spelt alike are of a matrix
     * that is one there, in the order of the table. NULL: nothing. */
    const struct sdt_naming *lora_naming;
    const char *prefix; /* NULL: none */
};
struct sdt_tensor_table *sdt_tensor_table_new(void); /* NULL: out of memory */
void sdt_tensor_table_free(struct sdt_tensor_table *table);
/* Requires `name` (printf format after the shape) with this shape: rank, then that many int64_t in
 * `shape`. Out of memory is remembered and reported by the check. */
void sdt_tensor_table_add(struct sdt_tensor_table *table, int rank, const int64_t *shape,
                          const char *format, ...) __attribute__((format(printf, 4, 5)));
/* Names with this prefix may be there and are not read (the encoder half of a VAE). */
void sdt_tensor_table_ignore(struct sdt_tensor_table *table, const char *prefix);
/* Is `name`, as the model or the file has it, one of those? */
bool sdt_tensor_table_ignores(const struct sdt_tensor_table *table, const char *name);
/* Every required tensor is there with its shape and a float dtype, and nothing else:
 * SDT_ERROR_MISSING names the first missing tensor and how many are missing in all,
 * SDT_ERROR_FORMAT a wrong shape (both shapes) or an unknown tensor, SDT_ERROR_UNSUPPORTED a type
 * that is not computed with. Names are shown as the file has them. */
enum sdt_status sdt_tensor_table_check(const struct sdt_tensor_table *table,
                                       struct sdt_weights *weights, struct sdt_error *err);
/* The tensors of the table without values, for simulated time: `data` is address space that must
 * not be read. Each is stored as in `files` (NULL: none), and in the type `stored` where those have
 * none of its name that can be computed with. `name` stands for the folder in messages. */
enum sdt_status sdt_weights_imagine(const struct sdt_tensor_table *table, const char *name,
                                    const struct sdt_weights *files, enum sdt_dtype stored,
                                    struct sdt_weights **weights, struct sdt_error *err);
/* Gives those of F32 values, for measurements: numbers within -0.05..0.05 that repeat every 64 MB,
 * so that they take no more memory than that. SDT_ERROR_MEMORY. */
enum sdt_status sdt_weights_randomize(const struct sdt_weights *imagined, struct sdt_error *err);
#endif
