/* Namings: how different programs spell the names of one model's tensors.
 *
 * A model names its tensors once, as diffusers or transformers do. What else is in use differs in
 * names alone: the spelling of a naming is a function of the model's own name, most of it a list of
 * replacements. Weights that were opened from a file of another naming get the model's names
 * (sdt_weights_rename), so that nothing behind the opening knows of it; messages show the file's.
 */
#ifndef STARDIT_NAMING_H
#define STARDIT_NAMING_H

#include "graph/checkpoint/weights.h"

/* Room for a name with all replacements. */
#define SDT_NAME_ROOM 320

struct sdt_naming {
    const char *name; /* for people: "original names" */
    /* text [size] = how a file spells `name`, or a beginning of names; `model` as in the table.
     * NULL: as the model does. */
    void (*spell)(const void *model, const char *name, char *text, size_t size);
};

struct sdt_namings {
    const struct sdt_naming *naming; /* the model's own first; up to one without a name */
    const char *const *prefix; /* what may stand before every name of a file, then NULL; "" first */
};

/* A part of a name and what stands in its place. */
struct sdt_replacement {
    const char *ours, *theirs;
};
/* text = name, with each replacement, in their order, made where it first fits. */
void sdt_replace(const struct sdt_replacement *list /* up to one without ours */, const char *name,
                 char *text, size_t size);

/* naming NULL: text = name. */
void sdt_naming_spell(const struct sdt_naming *naming, const void *model, const char *name,
                      char *text, size_t size);

/* Finds out how the weights' file spells the table's names, by what is there, and gives its tensors
 * the model's names. SDT_ERROR_FORMAT for a file with names of two namings, SDT_ERROR_MEMORY. What
 * is missing or unknown is sdt_tensor_table_check's to say. */
enum sdt_status sdt_tensor_table_settle(struct sdt_tensor_table *table, struct sdt_weights *weights,
                                        struct sdt_error *err);

/* A file in which a model was recognised, before its sizes are known. */
struct sdt_recognised {
    const struct sdt_weights *weights;
    const struct sdt_naming *naming;
    const char *prefix;
};
/* Does the file hold all `marks`, names of the model, in one of the namings? */
bool sdt_naming_recognise(const struct sdt_namings *namings,
                          const char *const *marks /* then NULL */,
                          const struct sdt_weights *weights, struct sdt_recognised *found);
/* The tensor of that name of the model; NULL: none. Names whose spelling needs a model cannot be
 * asked for. */
const struct sdt_stored *sdt_recognised_tensor(const struct sdt_recognised *found,
                                               const char *format, ...)
    __attribute__((format(printf, 2, 3)));
#endif
