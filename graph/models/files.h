/* Components in files of their own: a .safetensors file of any name, in the layout of diffusers, of
 * a model's own repository, or of ComfyUI, with or without a configuration.
 *
 * What a family says of it stands beside its names, as struct sdt_files. Sizes come from a
 * config.json that fits the file, else from the shapes of its tensors. */
#ifndef STARDIT_FILES_H
#define STARDIT_FILES_H

#include "graph/checkpoint/config.h"
#include "graph/checkpoint/naming.h"

struct sdt_family;

/* Which of a checkpoint's components. */
enum sdt_part { SDT_PART_DIT, SDT_PART_VAE, SDT_PART_TEXT, SDT_PARTS };
/* "transformer", "vae", "text_encoder": the component's folder. */
const char *sdt_part_name(enum sdt_part part);

/* A file that ComfyUI wrote may hold a tokenizer's spiece.model as bytes, in a tensor of this name,
 * or of one that ends so. */
#define SDT_TOKENIZER_TENSOR "spiece_model"

#define SDT_CONFIG_ROOM 4096
struct sdt_files {
    struct sdt_namings namings;
    const char *const
        *marks; /* names of the model by which a file is known to hold it, then NULL */
    const char *original_class; /* _class_name in the model's own repository; NULL: none */
    /* Writes the text of a config.json that describes the file. like: a configuration of the same
     * kind, which tells what shapes do not, or NULL; if it describes the file itself, the text is
     * left empty. SDT_ERROR_UNSUPPORTED for variants that are not run and for sizes that nothing
     * tells. */
    enum sdt_status (*describe)(const struct sdt_recognised *file, const struct sdt_config *like,
                                char text[SDT_CONFIG_ROOM], struct sdt_error *err);
};

/* Which component of which family the file holds: the first that is recognised. */
struct sdt_identity {
    const struct sdt_family *family; /* NULL: none is */
    enum sdt_part part;
    const struct sdt_files *files;
    struct sdt_recognised found;
};
/* Of one part, or of any (SDT_PARTS). False: nothing is recognised. */
bool sdt_files_identify(const struct sdt_weights *weights, enum sdt_part part,
                        struct sdt_identity *identity);

/* The family in whose own repository a transformer has such a config.json; NULL: none is known. */
enum sdt_status sdt_files_original(const char *config, const struct sdt_family **family,
                                   struct sdt_error *err);

/* The configuration of a component at `path`, a folder or a file; of a file: the config.json beside
 * it where that is one of this part, else `other`'s (a folder's; NULL: there is none) if it fits,
 * else one made of the shapes. *from_file: it is a file's, and sdt_config_path() is its name. */
enum sdt_status sdt_files_config(const char *path, const char *other, enum sdt_part part,
                                 struct sdt_config **config, bool *from_file,
                                 struct sdt_error *err);
#endif
