/* Opening a checkpoint: its components, checked against one another, and its defaults. */
#include "graph/pipeline.h"
#include "graph/caches.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/checkpoint/config.h"
#include "graph/checkpoint/folder.h"
#include "graph/checkpoint/format.h"
#include "graph/checkpoint/weights.h"
#include "graph/plan/rates.h"
#include "graph/sampler/sampler.h"
#include "graph/strategies/strategy.h"
#include "graph/text/tokenizer.h"

/* ---- opening --------------------------------------------------------------------------------- */

/* The family that model_index.json names. */
static enum sdt_status read_index(struct sdt_pipeline *pipeline, const char *path,
                                  struct sdt_error *err) {
    struct sdt_config *index = NULL;
    const char *class_name = "";
    enum sdt_status status = sdt_config_open(path, &index, err);
    if (status == SDT_OK)
        status = sdt_config_string(index, "_class_name", true, &class_name, err);
    if (status == SDT_OK)
        status = sdt_family_find(class_name, path, &pipeline->family, err);
    if (status == SDT_OK && pipeline->family->check)
        status = pipeline->family->check(index, err);
    sdt_config_close(index);
    return status;
}

/* The components of a checkpoint, by the folders of diffusers' layout. */
enum place {
    DIT = SDT_PART_DIT,
    VAE = SDT_PART_VAE,
    TEXT = SDT_PART_TEXT,
    TEXT_2, /* of the same part */
    PLACES
};

static bool is_text(int place) { return place >= TEXT; }

static const char *place_name(int place) {
    return place == TEXT_2 ? "text_encoder_2" : sdt_part_name((enum sdt_part)place);
}

/* Do the components fit together? */
static enum sdt_status check_components(const struct sdt_pipeline *pipeline,
                                        struct sdt_error *err) {
    const struct sdt_dit *dit = pipeline->dit;
    const struct sdt_vae *vae = pipeline->vae;
    if (vae->kind != pipeline->family->vae)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s: the transformer is of %s, the VAE of another family (%s)",
                        pipeline->folder, pipeline->family->name, vae->kind->class_name);
    if (dit->channels != vae->channels)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: the transformer works on %d latent channels, the VAE on %d",
                        pipeline->folder, dit->channels, vae->channels);
    const int width[2] = {dit->text_dim, dit->pooled_dim};
    for (int i = 0; i < 2; i++) {
        const struct sdt_text *text = pipeline->text[i];
        const struct sdt_text_kind *wanted = pipeline->family->text[i];
        if (!wanted && (text || (i > 0 && pipeline->tokenizer_path[i])))
            return sdt_fail(err, SDT_ERROR_UNSUPPORTED, "%s: %s has one text encoder, not two",
                            pipeline->folder, pipeline->family->name);
        if (text && text->kind != wanted)
            return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                            "%s: the %s is of the kind %s; %s has %s in that place",
                            pipeline->folder, place_name(i ? TEXT_2 : TEXT), text->kind->model_type,
                            pipeline->family->name, wanted->model_type);
        if (text && width[i] != text->width)
            return sdt_fail(err, SDT_ERROR_FORMAT,
                            "%s: the transformer reads text states of width %d, the %s writes %d",
                            pipeline->folder, width[i], i ? "second text encoder" : "text encoder",
                            text->width);
    }
    return SDT_OK;
}

/* Where the components of a checkpoint are: malloc'ed paths. */
struct places {
    char *part[PLACES];  /* NULL: there is none */
    char *other[PLACES]; /* folders with a config.json for a file without one; NULL: none */
    char *scheduler, *defaults, *tokenizer[2]; /* NULL: none */
    bool failed;                               /* out of memory */
};

static void places_clear(struct places *places) {
    for (int p = 0; p < PLACES; p++) {
        free(places->part[p]);
        free(places->other[p]);
    }
    free(places->scheduler);
    free(places->defaults);
    free(places->tokenizer[0]);
    free(places->tokenizer[1]);
}

/* <folder>/<name>, malloc'ed; NULL where it is not there. */
static char *find(struct places *places, const char *folder, const char *name) {
    char *path = sdt_checkpoint_path(folder, name);
    places->failed |= !path;
    if (path && access(path, F_OK) != 0) {
        free(path);
        path = NULL;
    }
    return path;
}

static void put(struct places *places, char **place, const char *path) {
    free(*place);
    *place = strdup(path);
    places->failed |= !*place;
}

static bool is_file(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && !S_ISDIR(info.st_mode);
}

/* A folder in diffusers layout. */
static enum sdt_status find_diffusers(struct sdt_pipeline *pipeline, const char *index,
                                      struct places *places, struct sdt_error *err) {
    const char *folder = pipeline->folder;
    enum sdt_status status = read_index(pipeline, index, err);

    places->scheduler = find(places, folder, "scheduler");
    places->defaults = find(places, folder, "stardit.json");
    if (status != SDT_OK)
        return status;
    int texts = pipeline->family->text[1] ? 2 : 1;
    for (int i = 0; i < texts; i++) {
        places->tokenizer[i] = sdt_checkpoint_path(folder, i ? "tokenizer_2" : "tokenizer");
        places->failed |= !places->tokenizer[i];
    }
    for (int p = 0; p < TEXT + texts; p++) {
        const char *name = place_name(p);
        places->part[p] =
            is_text(p) ? find(places, folder, name) : sdt_checkpoint_path(folder, name);
        places->failed |= !is_text(p) && !places->part[p];
    }
    return SDT_OK;
}

/* The folder of a family's own repository: the transformer with its config.json, and other
 * components as <folder>/<name>.safetensors, once they have been converted. */
static enum sdt_status find_original(const struct sdt_family *family, const char *folder,
                                     const struct sdt_model_files *files, struct places *places,
                                     struct sdt_error *err) {
    const char *const name[SDT_PARTS] = {NULL, files->vae ? NULL : family->original_vae,
                                         files->text_encoder ? NULL : family->original_text};
    char path[PATH_MAX];

    put(places, &places->part[SDT_PART_DIT], folder);
    if (family->original_tokenizer)
        places->tokenizer[0] = find(places, folder, family->original_tokenizer);
    for (int p = 0; p < SDT_PARTS; p++) {
        if (!name[p])
            continue;
        snprintf(path, sizeof path, "%s/%s.safetensors", folder, name[p]);
        if (access(path, F_OK) == 0) {
            put(places, &places->part[p], path);
            continue;
        }
        snprintf(path, sizeof path, "%s/%s.pth", folder, name[p]);
        if (access(path, F_OK) == 0)
            return sdt_file_refuse(path, SDT_FILE_PICKLE, err);
    }
    return SDT_OK;
}

/* Whatever components a file holds. */
static enum sdt_status find_in_file(const char *path, struct places *places,
                                    struct sdt_error *err) {
    struct sdt_weights *weights = NULL;
    struct sdt_identity identity;
    bool any = false;
    enum sdt_status status = sdt_weights_open(path, &weights, err);

    if (status != SDT_OK)
        return status;
    for (int p = 0; p < SDT_PARTS; p++)
        if (sdt_files_identify(weights, (enum sdt_part)p, &identity)) {
            put(places, &places->part[p], path);
            any = true;
        }
    if (!any)
        status =
            sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                     "%s holds no component that this version knows (%zu tensors, the first is "
                     "'%.120s'); stardit-info prints what a file holds",
                     path, sdt_weights_count(weights),
                     sdt_weights_count(weights) ? sdt_weights_at(weights, 0)->name : "");
    sdt_weights_close(weights);
    return status;
}

/* What pipeline->folder is, and where its components are. */
static enum sdt_status find_model(struct sdt_pipeline *pipeline,
                                  const struct sdt_model_files *files, struct places *places,
                                  struct sdt_error *err) {
    const struct sdt_family *family = NULL;
    enum sdt_status status = SDT_OK;

    if (is_file(pipeline->folder))
        return find_in_file(pipeline->folder, places, err);
    char *index = find(places, pipeline->folder, "model_index.json");
    char *config = find(places, pipeline->folder, "config.json");
    if (places->failed)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", files->model);
    else if (index)
        status = find_diffusers(pipeline, index, places, err);
    else if (config && (status = sdt_files_original(config, &family, err)) == SDT_OK && family)
        status = find_original(family, pipeline->folder, files, places, err);
    else if (status == SDT_OK)
        status = sdt_fail(err, SDT_ERROR_MISSING,
                          "%s has no model_index.json; --model needs a folder in diffusers layout "
                          "(repositories whose name ends in -Diffusers have it), the model's own "
                          "repository, or a .safetensors file",
                          pipeline->folder);
    free(index);
    free(config);
    return status;
}

/* What is given takes the place of the model's, which may still describe it. */
static enum sdt_status take_files(const struct sdt_pipeline *pipeline,
                                  const struct sdt_model_files *files, struct places *places,
                                  struct sdt_error *err) {
    const char *const given[PLACES] = {files->transformer, files->vae, files->text_encoder,
                                       files->text_encoder_2};
    static const char *const option[PLACES] = {"transformer", "vae", "text-encoder",
                                               "text-encoder-2"};
    const char *const tokenizer[2] = {files->tokenizer, files->tokenizer_2};

    if (places->failed)
        goto no_memory;
    for (int p = 0; p < PLACES; p++) {
        if (given[p] && access(given[p], F_OK) != 0)
            return sdt_fail(err, SDT_ERROR_MISSING,
                            "--%s %s: %s; a file or a folder works, and org/name with --model",
                            option[p], given[p], strerror(errno));
        if (given[p]) {
            if (places->part[p] && !is_file(places->part[p])) {
                places->other[p] = places->part[p];
                places->part[p] = NULL;
            }
            put(places, &places->part[p], given[p]);
        }
        if (places->failed)
            goto no_memory;
        if (!places->part[p] && !is_text(p))
            return sdt_fail(
                err, SDT_ERROR_USAGE, "%s has no %s; --%s with such a file or folder is needed",
                files->model ? pipeline->folder : "what is given", place_name(p), place_name(p));
    }
    for (int i = 0; i < 2; i++) {
        if (tokenizer[i] && access(tokenizer[i], F_OK) != 0)
            return sdt_fail(err, SDT_ERROR_MISSING, "--tokenizer%s %s: %s", i ? "-2" : "",
                            tokenizer[i], strerror(errno));
        if (tokenizer[i])
            put(places, &places->tokenizer[i], tokenizer[i]);
    }
    if (!places->failed)
        return SDT_OK;
no_memory:
    return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", pipeline->folder);
}

static const struct sdt_family *family_of(const struct sdt_dit *dit) {
    int f = 0;
    while (sdt_families[f] && sdt_families[f]->dit != dit->kind)
        f++;
    return sdt_families[f];
}

static bool has_variant(const struct sdt_pipeline *pipeline) {
    return sdt_weights_is_variant(pipeline->dit->weights) ||
           sdt_weights_is_variant(pipeline->vae->weights) ||
           (pipeline->text[0] && sdt_weights_is_variant(pipeline->text[0]->weights)) ||
           (pipeline->text[1] && sdt_weights_is_variant(pipeline->text[1]->weights));
}

/* A pipeline without components; NULL: out of memory. */
static struct sdt_pipeline *new_pipeline(bool imagined) {
    struct sdt_pipeline *pipeline = calloc(1, sizeof *pipeline);
    if (!pipeline)
        return NULL;
    pipeline->imagined = imagined;
    pipeline->times = sdt__kernel_times_new();
    pipeline->changes = sdt__changes_new();
    if (pipeline->times && pipeline->changes)
        return pipeline;
    sdt__kernel_times_free(pipeline->times);
    sdt__changes_free(pipeline->changes);
    free(pipeline);
    return NULL;
}

static void take_defaults(struct sdt_pipeline *pipeline) {
    pipeline->sampler = pipeline->family->defaults.sampler;
    pipeline->flow_shift = pipeline->family->defaults.flow_shift;
}

/* Hands out a whole pipeline, and closes one that failed. */
static enum sdt_status hand_out(struct sdt_pipeline *pipeline, enum sdt_status status,
                                struct sdt_pipeline **out) {
    *out = status == SDT_OK ? pipeline : NULL;
    if (status != SDT_OK)
        sdt_pipeline_close(pipeline);
    return status;
}

/* After a failure: was it at what is given beside a model? Components are opened in this order. */
static bool failed_in_given(const struct sdt_pipeline *pipeline,
                            const struct sdt_model_files *files) {
    if (!pipeline->dit)
        return files->transformer;
    if (!pipeline->vae)
        return files->vae;
    return files->text_encoder || files->text_encoder_2;
}

static enum sdt_status open_as(const struct sdt_model_files *files, bool imagined, int layers,
                               struct sdt_pipeline **out, struct sdt_error *err) {
    const char *model = files->model         ? files->model
                        : files->transformer ? files->transformer
                        : files->vae         ? files->vae
                                             : "a checkpoint";
    struct places places = {0};
    bool ours = false; /* what failed is none of the model's files */
    struct sdt_pipeline *pipeline = new_pipeline(imagined);
    enum sdt_status status = SDT_OK;

    *out = NULL;
    if (!pipeline)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", model);
    if (files->model)
        status = sdt_checkpoint_find(model, &pipeline->folder, err);
    else if (!(pipeline->folder = strdup(model)))
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while opening %s", model);
    if (status == SDT_OK && files->model)
        status = find_model(pipeline, files, &places, err);
    if (status == SDT_OK) {
        status = take_files(pipeline, files, &places, err);
        ours = status != SDT_OK;
    }
    if (status != SDT_OK)
        goto out;
#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
    char *const *part = places.part;
    struct sdt_opening how[PLACES];
    for (int p = 0; p < PLACES; p++)
        how[p] = (struct sdt_opening){
            .imagined = imagined, .variant = files->variant, .like = places.other[p]};
    how[DIT].lora = files->lora;
    how[DIT].loras = files->loras;
    if (pipeline->family)
        take_defaults(pipeline);
    if (places.scheduler)
        NEXT(sdt_sampler_read(places.scheduler, &pipeline->sampler, &pipeline->flow_shift, err));
    NEXT(sdt_dit_open(part[DIT], &how[DIT], layers, &pipeline->dit, err));
    NEXT(sdt_vae_open(part[VAE], &how[VAE], &pipeline->vae, err));
    for (int i = 0; i < 2; i++)
        if (part[TEXT + i])
            NEXT(sdt_text_open(part[TEXT + i], &how[TEXT + i], &pipeline->text[i], err));
    if (places.defaults)
        NEXT(sdt_config_open(places.defaults, &pipeline->defaults, err));
    if (pipeline->defaults)
        NEXT(sdt_config_bool(pipeline->defaults, "distilled", false, &pipeline->distilled, err));
    if (status == SDT_OK && !pipeline->family) {
        pipeline->family = family_of(pipeline->dit);
        take_defaults(pipeline);
    }
    for (int i = 0; i < 2; i++) {
        pipeline->tokenizer_path[i] = places.tokenizer[i];
        places.tokenizer[i] = NULL;
    }
    NEXT(check_components(pipeline, err));
#undef NEXT
    if (status == SDT_OK && files->variant && !has_variant(pipeline))
        status = sdt_fail(err, SDT_ERROR_MISSING, "%s: no component has files of the variant %s",
                          model, files->variant);
out:
    places_clear(&places);
    if (status == SDT_ERROR_MISSING && err && pipeline->folder && strcmp(model, pipeline->folder) &&
        !ours && !failed_in_given(pipeline, files)) {
        const struct sdt_error found = *err; /* in a cache, which may be half filled */
        sdt_fail(err, status, "%s; where the download was interrupted, hf download goes on with it",
                 found.message);
    }
    return hand_out(pipeline, status, out);
}

enum sdt_status sdt_pipeline_open_files(const struct sdt_model_files *files,
                                        struct sdt_pipeline **pipeline, struct sdt_error *err) {
    return open_as(files, false, 0, pipeline, err);
}

enum sdt_status sdt_pipeline_open(const char *model, struct sdt_pipeline **pipeline,
                                  struct sdt_error *err) {
    return sdt_pipeline_open_variant(model, NULL, pipeline, err);
}

enum sdt_status sdt_pipeline_open_variant(const char *model, const char *variant,
                                          struct sdt_pipeline **pipeline, struct sdt_error *err) {
    const struct sdt_model_files files = {.model = model, .variant = variant};
    return open_as(&files, false, 0, pipeline, err);
}

/* A published size, from the texts that its family holds. */
static enum sdt_status imagine_size(const struct sdt_family *family, const struct sdt_size *size,
                                    int layers, struct sdt_pipeline **out, struct sdt_error *err) {
    struct sdt_pipeline *pipeline = new_pipeline(true);
    enum sdt_status status;

    if (pipeline)
        pipeline->folder = strdup(size->name);
    if (!pipeline || !pipeline->folder)
        return hand_out(pipeline,
                        sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %s", size->name), out);
    pipeline->family = family;
    take_defaults(pipeline);
    status = sdt_dit_imagine(size->dit, layers, size->stored.dit, &pipeline->dit, err);
    if (status == SDT_OK)
        status = sdt_vae_imagine(size->vae, size->stored.vae, &pipeline->vae, err);
    for (int i = 0; i < 2; i++)
        if (status == SDT_OK && size->text[i])
            status = sdt_text_imagine(size->text[i], size->stored.text[i], &pipeline->text[i], err);
    if (status == SDT_OK)
        status = check_components(pipeline, err);
    return hand_out(pipeline, status, out);
}

enum sdt_status sdt_pipeline_imagine(const char *model, struct sdt_pipeline **pipeline,
                                     struct sdt_error *err) {
    return sdt__pipeline_imagine(model, 0, pipeline, err);
}

enum sdt_status sdt__pipeline_imagine(const char *model, int layers, struct sdt_pipeline **pipeline,
                                      struct sdt_error *err) {
    const struct sdt_family *family;
    const struct sdt_size *size;
    if (sdt_size_find(model, &family, &size))
        return imagine_size(family, size, layers, pipeline, err);
    return open_as(&(struct sdt_model_files){.model = model}, true, layers, pipeline, err);
}

/* The tokenizer that a text encoder's file holds. */
static enum sdt_status open_tokenizer_of(struct sdt_pipeline *pipeline, int encoder, bool *found,
                                         struct sdt_error *err) {
    static const char wanted[] = SDT_TOKENIZER_TENSOR;
    const char *path = sdt_weights_folder(pipeline->text[encoder]->weights);
    struct sdt_weights *weights = NULL;
    enum sdt_status status = sdt_weights_open(path, &weights, err);

    *found = false;
    for (size_t i = 0; status == SDT_OK && !*found && i < sdt_weights_count(weights); i++) {
        const struct sdt_stored *tensor = sdt_weights_at(weights, i);
        size_t length = strlen(tensor->name), end = strlen(wanted);
        if (length < end || strcmp(tensor->name + length - end, wanted) != 0 ||
            (length > end && tensor->name[length - end - 1] != '.') || tensor->dtype != SDT_U8)
            continue;
        *found = true;
        status = sdt_tokenizer_open_bytes(path, tensor->data, tensor->bytes,
                                          &pipeline->tokenizer[encoder], err);
    }
    sdt_weights_close(weights);
    return status;
}

/* The tokenizer of one encoder, which has text to read. */
static enum sdt_status open_tokenizer(struct sdt_pipeline *pipeline, int encoder,
                                      struct sdt_error *err) {
    const char *path = pipeline->tokenizer_path[encoder];
    bool found = false;
    enum sdt_status status = SDT_OK;
    if (pipeline->tokenizer[encoder])
        return SDT_OK;
    if (!path || access(path, F_OK) != 0)
        status = open_tokenizer_of(pipeline, encoder, &found, err);
    if (status == SDT_OK && !found && path)
        status = sdt_tokenizer_open(path, &pipeline->tokenizer[encoder], err);
    else if (status == SDT_OK && !found)
        status = sdt_fail(err, SDT_ERROR_MISSING,
                          "%s has no %s; --%s with its folder, a spiece.model or a tokenizer.json "
                          "is needed (or --token-ids, --prompt-embeds)",
                          pipeline->folder, encoder ? "second tokenizer" : "tokenizer",
                          encoder ? "tokenizer-2" : "tokenizer");
    return status;
}

enum sdt_status sdt__prepare_text(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                                  struct sdt_error *err) {
    int branches = sdt_pipeline_forwards(pipeline, request);
    enum sdt_status status = SDT_OK;

    if (request->steps == 0 || pipeline->imagined)
        return SDT_OK;
    for (int i = 0; i < pipeline->dit->texts && status == SDT_OK; i++) {
        struct sdt_text_input first = sdt__text_input(request, 0, i);
        struct sdt_text_input second = sdt__text_input(request, 1, i);
        bool negative = branches == 2 && !second.embeds;
        if (first.embeds && !negative)
            continue;
        if (!pipeline->text[i])
            return sdt_fail(err, SDT_ERROR_MISSING,
                            "%s has no %s folder; --%s, or %s prompt embeddings would work",
                            pipeline->folder, place_name(TEXT + i),
                            i ? "text-encoder-2" : "text-encoder",
                            first.embeds ? "negative" : "given");
        if (negative || (!first.embeds && !first.ids))
            status = open_tokenizer(pipeline, i, err);
    }
    return status;
}

void sdt_pipeline_close(struct sdt_pipeline *pipeline) {
    if (!pipeline)
        return;
    sdt_config_close(pipeline->defaults);
    sdt_dit_close(pipeline->dit);
    sdt_vae_close(pipeline->vae);
    sdt__kernel_times_free(pipeline->times);
    sdt__changes_free(pipeline->changes);
    free(pipeline->folder);
    for (int i = 0; i < 2; i++) {
        sdt_text_close(pipeline->text[i]);
        sdt_tokenizer_close(pipeline->tokenizer[i]);
        free(pipeline->tokenizer_path[i]);
    }
    free(pipeline);
}

const char *sdt_pipeline_folder(const struct sdt_pipeline *pipeline) { return pipeline->folder; }

struct sdt_model sdt_pipeline_model(const struct sdt_pipeline *pipeline) {
    const struct sdt_dit *dit = pipeline->dit;
    return (struct sdt_model){.family = pipeline->family->name,
                              .channels = dit->channels,
                              .space_ratio = pipeline->vae->space_ratio,
                              .time_ratio = pipeline->vae->time_ratio,
                              .patch = {dit->patch[0], dit->patch[1], dit->patch[2]},
                              .layers = dit->layers,
                              .heads = dit->heads,
                              .head_dim = dit->head_dim,
                              .text_dim = dit->text_dim,
                              .vocabulary = pipeline->text[0] ? pipeline->text[0]->vocabulary : 0,
                              .pooled_dim = dit->pooled_dim,
                              .guidance_is_input = dit->passes == 1,
                              .vocabulary_2 =
                                  pipeline->text[1] ? pipeline->text[1]->vocabulary : 0};
}

bool sdt_pipeline_component(const struct sdt_pipeline *pipeline, int index,
                            struct sdt_component *component) {
    const struct sdt_text *const *text = (const struct sdt_text *const *)pipeline->text;
    const struct sdt_weights *weights[PLACES] = {pipeline->dit->weights, pipeline->vae->weights,
                                                 text[0] ? text[0]->weights : NULL,
                                                 text[1] ? text[1]->weights : NULL};
    *component = (struct sdt_component){0};
    if (index < 0 || index >= TEXT + (pipeline->family->text[1] ? 2 : 1))
        return false;
    *component = sdt__weights_component(weights[index]);
    component->name = place_name(index);
    return true;
}

enum sdt_status sdt_pipeline_defaults(struct sdt_pipeline *pipeline, struct sdt_request *request,
                                      struct sdt_error *err) {
    const struct sdt_config *json = pipeline->defaults;
    enum sdt_status status = SDT_OK;

    *request = pipeline->family->defaults;
    request->flow_shift = pipeline->flow_shift;
    request->sampler = pipeline->sampler;
    request->strategy = sdt_strategy_default();
    request->overlap_frames = -1;
    int64_t height = request->height, width = request->width, frames = request->num_frames;
    int64_t steps = request->steps, text = request->max_sequence_length;
    if (json) {
#define NEXT(call)                                                                                 \
    if (status == SDT_OK)                                                                          \
    status = (call)
        NEXT(sdt_config_int(json, "height", false, 1, 1 << 16, &height, err));
        NEXT(sdt_config_int(json, "width", false, 1, 1 << 16, &width, err));
        NEXT(sdt_config_int(json, "num_frames", false, 1, 1 << 20, &frames, err));
        NEXT(sdt_config_int(json, "num_inference_steps", false, 1, 1000, &steps, err));
        NEXT(sdt_config_int(json, "max_sequence_length", false, 1, 4096, &text, err));
        NEXT(sdt_config_number(json, "guidance_scale", false, &request->guidance_scale, err));
        NEXT(sdt_config_number(json, "flow_shift", false, &request->flow_shift, err));
        NEXT(sdt_config_number(json, "fps", false, &request->fps, err));
        NEXT(sdt_config_string(json, "negative_prompt", false, &request->negative_prompt, err));
#undef NEXT
    }
    request->height = (int)height;
    request->width = (int)width;
    request->num_frames = (int)frames;
    request->steps = (int)steps;
    request->max_sequence_length = (int)text;
    return status;
}
