/* One file: weights of a component, what stardit itself has written, or what is not read. */
#include "apps/info_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "apps/state.h"
#include "graph/checkpoint/format.h"
#include "graph/checkpoint/lora.h"
#include "graph/checkpoint/untrusted.h"
#include "graph/checkpoint/weights.h"
#include "graph/models/family.h"
#include "stardit/safetensors.h"

void app_info_component(const struct sdt_component *c) {
    char dtypes[120] = "";
    size_t at = 0;

    if (!c->tensors) {
        printf("%-14s not in this checkpoint\n", c->name);
        return;
    }
    for (int d = 0; d < SDT_DTYPES && at < sizeof dtypes; d++)
        if (c->of_dtype[d])
            at += (size_t)snprintf(dtypes + at, sizeof dtypes - at, "%s%s", at ? ", " : "",
                                   sdt_dtype_name((enum sdt_dtype)d));
    printf("%-14s %15zu parameters %15zu bytes %6zu tensors  %s\n", c->name, c->parameters,
           c->bytes, c->tensors, dtypes);
}

static void print_weights(const char *name, const struct sdt_weights *weights) {
    struct sdt_component component = sdt__weights_component(weights);
    component.name = name;
    app_info_component(&component);
}

/* ---- weights --------------------------------------------------------------------------------- */

static const char *const part_option[SDT_PARTS] = {"transformer", "vae", "text-encoder"};

static void print_dit(const struct sdt_dit *dit) {
    print_weights("transformer", dit->weights);
    printf("Size:         %d layers, %d heads x %d, width %d, %d latent channels, patch %dx%dx%d, "
           "text states of width %d\n",
           dit->layers, dit->heads, dit->head_dim, dit->width, dit->channels, dit->patch[0],
           dit->patch[1], dit->patch[2], dit->text_dim);
}

static void print_vae(const struct sdt_vae *vae) {
    print_weights("vae", vae->weights);
    printf("Size:         %d latent channels, %d pixels a latent each way, %d frames a latent\n",
           vae->channels, vae->space_ratio, vae->time_ratio);
}

static void print_text(const struct sdt_text *text) {
    print_weights("text_encoder", text->weights);
    printf("Size:         %d layers, %d heads, width %d, vocabulary %d\n", text->layers,
           text->heads, text->width, text->vocabulary);
}

/* Opens the part, which checks every tensor's name, shape and type, and prints it. */
static enum sdt_status print_part(const char *path, enum sdt_part part, struct sdt_error *err) {
    struct sdt_dit *dit = NULL;
    struct sdt_vae *vae = NULL;
    struct sdt_text *text = NULL;
    enum sdt_status status = part == SDT_PART_DIT   ? sdt_dit_open(path, NULL, 0, &dit, err)
                             : part == SDT_PART_VAE ? sdt_vae_open(path, NULL, &vae, err)
                                                    : sdt_text_open(path, NULL, &text, err);
    if (dit)
        print_dit(dit);
    if (vae)
        print_vae(vae);
    if (text)
        print_text(text);
    sdt_dit_close(dit);
    sdt_vae_close(vae);
    sdt_text_close(text);
    return status;
}

/* What components the file holds; false: none. */
static bool print_parts(const char *path, const struct sdt_weights *weights) {
    bool any = false;
    for (int p = 0; p < SDT_PARTS; p++) {
        struct sdt_identity identity;
        struct sdt_error why;
        if (!sdt_files_identify(weights, (enum sdt_part)p, &identity))
            continue;
        const char *prefix = identity.found.prefix;
        any = true;
        printf("Holds:        the %s of %s, with names of %s%s%s\n",
               sdt_part_name((enum sdt_part)p), identity.family->name, identity.found.naming->name,
               *prefix ? " behind ComfyUI's prefix " : "", prefix);
        if (print_part(path, (enum sdt_part)p, &why) == SDT_OK) {
            printf("Use:          stardit-generate --%s %s\n", part_option[p], path);
        } else {
            print_weights("all tensors", weights);
            printf("Not run:      %s\n", why.message);
        }
    }
    return any;
}

bool app_info_lora(const char *folder, char file[PATH_MAX]) {
    char *found;
    struct sdt_error err;
    bool inside = sdt_lora_file(folder, &found, &err) == SDT_OK && strcmp(found, folder) != 0;
    if (inside)
        snprintf(file, PATH_MAX, "%s", found);
    free(found);
    return inside;
}

/* A LoRA; false: it is none. */
static bool print_lora(const char *path, const struct sdt_weights *weights) {
    struct sdt_lora_contents lora;
    char rank[60] = "";
    if (!sdt_lora_describe(weights, &lora))
        return false;
    if (lora.pairs)
        snprintf(rank, sizeof rank,
                 lora.least_rank < lora.most_rank ? " of rank %lld to %lld" : " of rank %lld",
                 (long long)lora.least_rank, (long long)lora.most_rank);
    printf("Holds:        a LoRA: %zu pairs%s, %zu whole differences, %zu values of alpha\n",
           lora.pairs, rank, lora.differences, lora.alphas);
    if (lora.scale > 0.0)
        printf("Settings:     of PEFT: times %g for rank %lld\n", lora.scale,
               (long long)lora.most_rank);
    print_weights("all tensors", weights);
    printf("Use:          stardit-generate --model .. --lora %s[:strength]\n", path);
    return true;
}

/* ---- what stardit writes, and others --------------------------------------------------------- */

static void print_shape(const struct sdt_stored *tensor) {
    char shape[SDT__SHAPE_TEXT];
    sdt__shape_text(tensor->rank, tensor->shape, shape);
    printf("Tensor:       %.120s, %s %s\n", tensor->name, sdt_dtype_name(tensor->dtype), shape);
}

/* Files whose tensors have names of ours; false: it is none of them. */
static bool print_own(const char *path, const struct sdt_safetensors *file) {
    static const struct {
        const char *tensor, *what, *use;
    } table[] = {
        {"latent", "a latent, of --save-latent or a run that was stopped",
         "--latents FILE; with --num-inference-steps 0 it is decoded"},
        {"prompt_embeds", "a prompt as states of the text encoder", "--prompt-embeds FILE"},
        {"negative_prompt_embeds", "a negative prompt as states of the text encoder",
         "--negative-prompt-embeds FILE"},
        {"pooled_prompt_embeds", "a prompt as the row of a second text encoder",
         "--prompt-embeds FILE, beside prompt_embeds"},
        {"video", "a video as numbers from 0 to 1, [3, frames, height, width]", NULL},
    };
    const char *mark = sdt_safetensors_metadata(file, APP_STATE_MARK);
    if (mark) {
        const char *step = sdt_safetensors_metadata(file, "step");
        const char *steps = sdt_safetensors_metadata(file, "num-inference-steps");
        printf("Holds:        a state of stardit-generate (%.40s) after step %.12s of %.12s\n",
               mark, step ? step : "?", steps ? steps : "?");
        printf("Use:          stardit-generate --resume %s --output ..\n", path);
        return true;
    }
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (sdt_safetensors_find(file, table[i].tensor)) {
            printf("Holds:        %s\n", table[i].what);
            if (table[i].use)
                printf("Use:          stardit-generate %s\n", table[i].use);
            return true;
        }
    return false;
}

static void print_metadata(const struct sdt_safetensors *file) {
    const char *key, *value;
    for (size_t i = 0; sdt_safetensors_metadata_at(file, i, &key, &value); i++) {
        struct sdt_error line; /* which makes control characters harmless */
        sdt_fail(&line, SDT_ERROR_FORMAT, "%.60s = %.200s%s", key, value,
                 strlen(value) > 200 ? " .." : "");
        printf("%s%s\n", i ? "              " : "Metadata:     ", line.message);
    }
}

static void print_name(const char *path) {
    struct stat info;
    printf("File:         %s, %lld bytes\n", path,
           stat(path, &info) == 0 ? (long long)info.st_size : 0LL);
}

static enum sdt_status print_safetensors(const char *path, struct sdt_error *err) {
    enum { SHOWN = 8 };
    struct sdt_safetensors *file = NULL;
    struct sdt_weights *weights = NULL;
    enum sdt_status status = sdt_safetensors_open(path, &file, err);

    if (status != SDT_OK)
        return status;
    print_name(path);
    size_t tensors = sdt_safetensors_count(file);
    printf("Format:       safetensors, %zu tensor%s\n", tensors, tensors == 1 ? "" : "s");
    bool own = print_own(path, file);
    if (!own && (status = sdt_weights_open(path, &weights, err)) == SDT_OK &&
        !print_parts(path, weights) && !print_lora(path, weights)) {
        printf("Holds:        no component that this version knows\n");
        print_weights("all tensors", weights);
    } else if (!own && status != SDT_OK && status != SDT_ERROR_MEMORY) {
        printf("Not run:      %s\n", err->message); /* one of several shards */
        status = SDT_OK;
    }
    if (own || sdt_safetensors_count(file) <= SHOWN)
        for (size_t i = 0; i < sdt_safetensors_count(file) && i < SHOWN; i++)
            print_shape(sdt_safetensors_at(file, i));
    print_metadata(file);
    sdt_weights_close(weights);
    sdt_safetensors_close(file);
    return status;
}

static enum sdt_status print_gguf(const char *path, struct sdt_error *err) {
    struct sdt_gguf gguf;
    struct sdt_error why;
    enum sdt_status status = sdt_gguf_read(path, &gguf, err);
    if (status != SDT_OK)
        return status;
    sdt_fail(&why, SDT_ERROR_FORMAT, "%s", gguf.architecture[0] ? gguf.architecture : "unnamed");
    print_name(path);
    printf("Format:       GGUF version %" PRIu32 ", architecture %s, %" PRIu64 " tensors\n",
           gguf.version, why.message, gguf.tensors);
    sdt_file_refuse(path, SDT_FILE_GGUF, &why);
    printf("Not run:      %s\n", why.message);
    return SDT_OK;
}

enum sdt_status app_info_file(const char *path, struct sdt_error *err) {
    enum sdt_file_format format;
    struct sdt_error why;
    enum sdt_status status = sdt_file_format(path, &format, err);

    if (status != SDT_OK)
        return status;
    if (format == SDT_FILE_OTHER)
        return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                        "%s is neither safetensors nor GGUF nor a PyTorch pickle", path);
    if (format == SDT_FILE_SAFETENSORS)
        return print_safetensors(path, err);
    if (format == SDT_FILE_GGUF)
        return print_gguf(path, err);
    print_name(path);
    printf("Format:       a PyTorch pickle\n");
    sdt_file_refuse(path, SDT_FILE_PICKLE, &why);
    printf("Not run:      %s\n", why.message);
    return SDT_OK;
}
