/* The families, one line each, and how a component finds its kind. */
#include "graph/checkpoint/config.h"
#include "graph/models/family.h"

#include <stdio.h>
#include <string.h>

extern const struct sdt_family sdt__family_hunyuan;
extern const struct sdt_family sdt__family_opensora;
extern const struct sdt_family sdt__family_wan;

const struct sdt_family *const sdt_families[] = {
    &sdt__family_wan,
    &sdt__family_hunyuan,
    &sdt__family_opensora,
    &sdt__guest_family, /* or NULL */
    NULL,
};

enum sdt_status sdt_family_find(const char *pipeline_class, const char *path,
                                const struct sdt_family **family, struct sdt_error *err) {
    char names[200];
    size_t length = 0;
    names[0] = '\0';
    for (int f = 0; sdt_families[f]; f++) {
        const char *name = sdt_families[f]->pipeline_class;
        if (!strcmp(name, pipeline_class)) {
            *family = sdt_families[f];
            return SDT_OK;
        }
        if (length < sizeof names)
            length += (size_t)snprintf(names + length, sizeof names - length, "%s%s",
                                       length ? ", " : "", name);
    }
    return sdt_fail(err, SDT_ERROR_UNSUPPORTED, "%s: the pipeline is %s; this version runs %s",
                    path, pipeline_class, names);
}

const char *sdt_size_name(int index) {
    for (int f = 0; sdt_families[f]; f++)
        for (const struct sdt_size *z = sdt_families[f]->sizes; z && z->name; z++)
            if (index-- == 0)
                return z->name;
    return NULL;
}

bool sdt_size_find(const char *name, const struct sdt_family **family,
                   const struct sdt_size **size) {
    for (int f = 0; sdt_families[f]; f++)
        for (const struct sdt_size *z = sdt_families[f]->sizes; z && z->name; z++)
            if (!strcmp(z->name, name)) {
                *family = sdt_families[f];
                *size = z;
                return true;
            }
    return false;
}

/* ---- components ------------------------------------------------------------------------------ */

/* The configuration of a component at `path` (graph/models/files.h), or the text of one. */
static enum sdt_status open_config(const char *path, const struct sdt_opening *how,
                                   const char *text, enum sdt_part part, struct sdt_config **config,
                                   bool *from_file, struct sdt_error *err) {
    *config = NULL;
    *from_file = false;
    if (text)
        return sdt_config_parse(path, text, config, err);
    return sdt_files_config(path, how ? how->like : NULL, part, config, from_file, err);
}

/* Does the kind answer to what a config.json calls it? */
static bool answers(const char *name, const char *class_name, const struct sdt_files *files) {
    return !strcmp(name, class_name) ||
           (files && files->original_class && !strcmp(name, files->original_class));
}

/* Keeps which file described the weights. */
static enum sdt_status keep_config(const struct sdt_config *config, bool from_file,
                                   struct sdt_weights *weights, struct sdt_error *err) {
    return from_file ? sdt_weights_describe(weights, sdt_config_path(config), err) : SDT_OK;
}

/* What the config says under `key`; one that says nothing is taken for Wan's, whose reader says
 * what else is wrong. */
static enum sdt_status read_name(const struct sdt_config *config, const char *key,
                                 const char *fallback, const char **name, struct sdt_error *err) {
    *name = fallback;
    return sdt_config_string(config, key, false, name, err);
}

/* What a config.json calls the index-th kind of that part in the families' order; NULL: no more. */
static const char *kind_name(enum sdt_part part, int index) {
    for (int f = 0; sdt_families[f]; f++) {
        const struct sdt_family *family = sdt_families[f];
        const char *name[2] = {NULL, NULL};
        if (part == SDT_PART_DIT)
            name[0] = family->dit->class_name;
        else if (part == SDT_PART_VAE)
            name[0] = family->vae ? family->vae->class_name : NULL;
        else
            for (int i = 0; i < 2; i++)
                name[i] = family->text[i] ? family->text[i]->model_type : NULL;
        for (int i = 0; i < 2; i++)
            if (name[i] && index-- == 0)
                return name[i];
    }
    return NULL;
}

static enum sdt_status unknown(const struct sdt_config *config, const char *key, const char *name,
                               enum sdt_part part, struct sdt_error *err) {
    char names[300];
    size_t length = 0;
    names[0] = '\0';
    for (int i = 0; kind_name(part, i) && length < sizeof names; i++)
        length += (size_t)snprintf(names + length, sizeof names - length, "%s%s", i ? ", " : "",
                                   kind_name(part, i));
    return sdt_fail(err, SDT_ERROR_UNSUPPORTED, "%s: %s is %s; this version runs %s",
                    sdt_config_path(config), key, name, names);
}

static enum sdt_status open_dit(const char *path, const char *text, const struct sdt_opening *how,
                                int layers, struct sdt_dit **dit, struct sdt_error *err) {
    const char *first = sdt__family_wan.dit->class_name, *name;
    const struct sdt_dit_kind *kind = NULL;
    struct sdt_config *config;
    bool from_file;
    *dit = NULL;
    enum sdt_status status = open_config(path, how, text, SDT_PART_DIT, &config, &from_file, err);
    if (status == SDT_OK)
        status = read_name(config, "_class_name", first, &name, err);
    for (int f = 0; status == SDT_OK && sdt_families[f] && !kind; f++)
        if (answers(name, sdt_families[f]->dit->class_name, sdt_families[f]->dit->files))
            kind = sdt_families[f]->dit;
    if (status == SDT_OK)
        status = kind ? kind->open(config, path, how, layers, dit, err)
                      : unknown(config, "_class_name", name, SDT_PART_DIT, err);
    if (status == SDT_OK && (status = keep_config(config, from_file, (*dit)->weights, err))) {
        kind->close(*dit);
        *dit = NULL;
    }
    if (status == SDT_OK) {
        struct sdt_tensor_visit visit = {.layer = -1,
                                         .weights = (*dit)->weights,
                                         .held = (*dit)->held,
                                         .host_bytes = &(*dit)->host_bytes};
        kind->tensors(*dit, &visit, NULL);
    }
    sdt_config_close(config);
    return status;
}

enum sdt_status sdt_dit_open(const char *path, const struct sdt_opening *how, int layers,
                             struct sdt_dit **dit, struct sdt_error *err) {
    return open_dit(path, NULL, how, layers, dit, err);
}

enum sdt_status sdt_dit_imagine(const char *config, int layers, enum sdt_dtype stored,
                                struct sdt_dit **dit, struct sdt_error *err) {
    const struct sdt_opening imagined = {.imagined = true, .stored = stored};
    return open_dit("a transformer without weights", config, &imagined, layers, dit, err);
}

void sdt_dit_close(struct sdt_dit *dit) {
    if (dit)
        dit->kind->close(dit);
}

struct sdt_patch sdt_patch_of(const struct sdt_dit *dit, struct sdt_geometry g) {
    return (struct sdt_patch){.channels = dit->channels,
                              .frames = g.frames,
                              .height = g.height,
                              .width = g.width,
                              .size = {dit->patch[0], dit->patch[1], dit->patch[2]}};
}

static enum sdt_status open_vae(const char *path, const char *text, const struct sdt_opening *how,
                                struct sdt_vae **vae, struct sdt_error *err) {
    const char *first = sdt__family_wan.vae->class_name, *name;
    const struct sdt_vae_kind *kind = NULL;
    struct sdt_config *config;
    bool from_file;
    *vae = NULL;
    enum sdt_status status = open_config(path, how, text, SDT_PART_VAE, &config, &from_file, err);
    if (status == SDT_OK)
        status = read_name(config, "_class_name", first, &name, err);
    for (int f = 0; status == SDT_OK && sdt_families[f] && !kind; f++)
        if (sdt_families[f]->vae &&
            answers(name, sdt_families[f]->vae->class_name, sdt_families[f]->vae->files))
            kind = sdt_families[f]->vae;
    if (status == SDT_OK)
        status = kind ? kind->open(config, path, how, vae, err)
                      : unknown(config, "_class_name", name, SDT_PART_VAE, err);
    if (status == SDT_OK && (status = keep_config(config, from_file, (*vae)->weights, err))) {
        kind->close(*vae);
        *vae = NULL;
    }
    sdt_config_close(config);
    return status;
}

enum sdt_status sdt_vae_open(const char *path, const struct sdt_opening *how, struct sdt_vae **vae,
                             struct sdt_error *err) {
    return open_vae(path, NULL, how, vae, err);
}

enum sdt_status sdt_vae_imagine(const char *config, enum sdt_dtype stored, struct sdt_vae **vae,
                                struct sdt_error *err) {
    const struct sdt_opening imagined = {.imagined = true, .stored = stored};
    return open_vae("a decoder without weights", config, &imagined, vae, err);
}

void sdt_vae_close(struct sdt_vae *vae) {
    if (vae)
        vae->kind->close(vae);
}

/* Encoders by themselves, whether or not a family names them. */
extern const struct sdt_text_kind sdt__clip, sdt__llama, sdt__t5;
static const struct sdt_text_kind *const text_kinds[] = {&sdt__clip, &sdt__llama, &sdt__t5};

static enum sdt_status open_text(const char *path, const char *json, const struct sdt_opening *how,
                                 struct sdt_text **text, struct sdt_error *err) {
    const char *first = sdt__family_wan.text[0]->model_type, *name;
    const struct sdt_text_kind *kind = NULL;
    struct sdt_config *config;
    bool from_file;
    *text = NULL;
    enum sdt_status status = open_config(path, how, json, SDT_PART_TEXT, &config, &from_file, err);
    if (status == SDT_OK)
        status = read_name(config, "model_type", first, &name, err);
    for (int f = 0; status == SDT_OK && sdt_families[f]; f++)
        for (int i = 0; i < 2 && !kind; i++)
            if (sdt_families[f]->text[i] && !strcmp(name, sdt_families[f]->text[i]->model_type))
                kind = sdt_families[f]->text[i];
    for (size_t i = 0; status == SDT_OK && !kind && i < sizeof text_kinds / sizeof *text_kinds; i++)
        if (!strcmp(name, text_kinds[i]->model_type))
            kind = text_kinds[i];
    if (status == SDT_OK)
        status = kind ? kind->open(config, path, how, text, err)
                      : unknown(config, "model_type", name, SDT_PART_TEXT, err);
    if (status == SDT_OK && (status = keep_config(config, from_file, (*text)->weights, err))) {
        kind->close(*text);
        *text = NULL;
    }
    sdt_config_close(config);
    return status;
}

enum sdt_status sdt_text_open(const char *path, const struct sdt_opening *how,
                              struct sdt_text **text, struct sdt_error *err) {
    return open_text(path, NULL, how, text, err);
}

enum sdt_status sdt_text_imagine(const char *config, enum sdt_dtype stored, struct sdt_text **text,
                                 struct sdt_error *err) {
    const struct sdt_opening imagined = {.imagined = true, .stored = stored};
    return open_text("a text encoder without weights", config, &imagined, text, err);
}

void sdt_text_close(struct sdt_text *text) {
    if (text)
        text->kind->close(text);
}
