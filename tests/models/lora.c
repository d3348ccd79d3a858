/* LoRAs of rank 4 in every spelling, on the golden transformer of each family: each tensor, once it
 * is fetched, has the bits of the sum that plain loops give, and what fits nothing is refused by
 * name. All sums are exact, so that their order and fused multiply-adds do not matter. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "graph/checkpoint/lora.h"
#include "graph/models/family.h"
#include "stardit/safetensors.h"

enum { RANK = 4, MOST = 4000, NAME = 800 };
static int failures;

/* What is written; values freed by clear. */
struct lora {
    struct sdt_stored tensor[MOST];
    char name[MOST][NAME];
    size_t count;
    const char *settings; /* in the metadata; NULL: none */
};

static void clear(struct lora *lora) {
    for (size_t i = 0; i < lora->count; i++)
        free((void *)lora->tensor[i].data);
    lora->count = 0;
}

/* Multiples of 1/16 within -2..2 that depend on the seed and the place. */
static float value(uint64_t seed, size_t at) {
    uint64_t x = (seed * 1000003u + at + 1) * UINT64_C(0x9e3779b97f4a7c15);
    return (float)((int)(x >> 58) - 32) / 16.f;
}

static uint64_t seed_of(const char *name) {
    uint64_t seed = 5;
    for (; *name; name++)
        seed = seed * 31 + (unsigned char)*name;
    return seed % 100003;
}

/* Numbers of `seed` from place `from` on. */
static void put(struct lora *lora, const char *name, int64_t rows, int64_t columns, uint64_t seed,
                size_t from) {
    if (lora->count == MOST)
        abort();
    float *x = malloc((size_t)(rows * columns) * sizeof *x);
    struct sdt_stored *t = &lora->tensor[lora->count];
    for (size_t i = 0; i < (size_t)(rows * columns); i++)
        x[i] = value(seed, from + i);
    if (strlen(name) >= NAME)
        abort();
    memcpy(lora->name[lora->count], name, strlen(name) + 1);
    *t = (struct sdt_stored){.name = lora->name[lora->count],
                             .rank = columns == 1 ? 1 : 2,
                             .shape = {rows, columns},
                             .count = (size_t)(rows * columns),
                             .bytes = (size_t)(rows * columns) * sizeof *x,
                             .data = x};
    lora->count++;
}

/* A way to write names. */
struct style {
    const char *prefix, *down, *up;
    bool flat, original;
};

/* How the style has the model's name; false: it has it not. */
static void spell(const struct style *style, const struct sdt_dit *dit, const char *name,
                  char text[NAME]) {
    char own[SDT_NAME_ROOM];
    const struct sdt_files *files = dit->kind->files;
    sdt_naming_spell(style->original && files ? &files->namings.naming[1] : NULL, dit, name, own,
                     sizeof own);
    if (style->flat)
        for (char *c = own; *c; c++)
            *c = *c == '.' ? '_' : *c;
    snprintf(text, NAME, "%s%s", style->prefix, own);
}

static bool is_pair(const struct sdt_stored *t) {
    size_t length = strlen(t->name);
    return t->rank >= 2 && length > 7 && !strcmp(t->name + length - 7, ".weight");
}

/* What has an alpha, of 2: its scale is a half, else 1. */
static bool has_alpha(const char *stem) { return seed_of(stem) % 2; }

/* Pairs for all matrices, and whole differences for the rest where the style has such. */
static void make(struct lora *lora, const struct style *style, const struct sdt_dit *dit) {
    for (size_t i = 0; i < sdt_weights_count(dit->weights); i++) {
        const struct sdt_stored *t = sdt_weights_at(dit->weights, i);
        int64_t rows = t->shape[0], columns = (int64_t)t->count / rows;
        char stem[NAME], text[NAME + 40];
        bool bias = strstr(t->name, ".bias"), weight = strstr(t->name, ".weight");
        if (!sdt_weights_is_read(dit->weights, i))
            continue;
        spell(style, dit, t->name, stem);
        stem[strlen(stem) - (bias ? 5 : weight ? 7 : 0)] = '\0';
        if (is_pair(t)) {
            snprintf(text, sizeof text, "%s%s", stem, style->down);
            put(lora, text, RANK, columns, seed_of(t->name) + 1, 0);
            snprintf(text, sizeof text, "%s%s", stem, style->up);
            put(lora, text, rows, RANK, seed_of(t->name), 0);
            snprintf(text, sizeof text, "%s.alpha", stem);
            if (has_alpha(t->name))
                put(lora, text, 1, 1, 0, 0);
            if (has_alpha(t->name))
                *(float *)lora->tensor[lora->count - 1].data = 2.f;
        } else if (!style->flat) {
            snprintf(text, sizeof text, "%s.diff%s", stem, bias ? "_b" : "");
            put(lora, text, rows, columns, seed_of(t->name), 0);
        }
    }
}

/* The value that a tensor is to have at [row, column]. */
static float wanted(const struct style *style, const struct sdt_stored *base, double strength,
                    size_t row, size_t column) {
    size_t k = base->count / (size_t)base->shape[0];
    const char *name = base->name;
    double w, sum = 0.0;
    float stored;
    sdt_convert(base->dtype, 1,
                (const char *)base->data + (row * k + column) * sdt_dtype_size(base->dtype),
                &stored);
    w = stored;
    if (is_pair(base)) {
        for (size_t r = 0; r < RANK; r++)
            sum += (double)value(seed_of(name), row * RANK + r) *
                   (double)value(seed_of(name) + 1, r * k + column);
        w += strength * (has_alpha(name) ? 0.5 : 1.0) * sum;
    } else if (!style->flat) {
        w += strength * (double)value(seed_of(name), row * k + column);
    }
    return (float)w;
}

static struct sdt_dit *open_with(const char *folder, const struct sdt_lora *lora, int loras,
                                 struct sdt_error *err) {
    struct sdt_dit *dit = NULL;
    const struct sdt_opening how = {.lora = lora, .loras = loras};
    if (sdt_dit_open(folder, &how, 0, &dit, err) != SDT_OK)
        return NULL;
    return dit;
}

static void write_lora(const char *path, struct lora *lora) {
    struct sdt_error err;
    struct sdt_metadata metadata = {"lora_adapter_metadata", lora->settings};
    if (sdt_safetensors_write_with(path, lora->count, lora->tensor, lora->settings != NULL,
                                   &metadata, &err) != SDT_OK) {
        fprintf(stderr, "%s\n", err.message);
        exit(99);
    }
}

static void check_style(const char *folder, const char *path, const struct style *style,
                        struct lora *lora) {
    struct sdt_error err = {0};
    struct sdt_dit *base = open_with(folder, NULL, 0, &err);
    if (!base)
        exit(99);
    make(lora, style, base);
    write_lora(path, lora);
    clear(lora);
    struct sdt_dit *dit = open_with(folder, &(struct sdt_lora){path, 0.5}, 1, &err);
    if (!dit) {
        fprintf(stderr, "%s as %s: %s\n", folder, style->prefix, err.message);
        failures++;
        sdt_dit_close(base);
        return;
    }
    size_t other = 0, wrong = 0, changed = 0;
    for (size_t i = 0; i < sdt_weights_count(base->weights); i++) {
        const struct sdt_stored *b = sdt_weights_at(base->weights, i);
        const struct sdt_stored *t = sdt_weights_find(dit->weights, b->name);
        size_t k = b->count / (size_t)b->shape[0];
        if (!sdt_weights_is_read(base->weights, i))
            continue;
        for (int twice = 0; twice < 2; twice++) { /* values come back after they are given back */
            sdt_stored_fetch(t);
            const float *x = t->data;
            for (size_t at = 0; at < t->count; at++)
                wrong += x[at] != wanted(style, b, 0.5, at / k, at % k);
            sdt_stored_release(t);
        }
        other += t->dtype != b->dtype || t->bytes != b->bytes;
        changed += t->merge != NULL;
    }
    if (wrong || other || changed == 0) {
        fprintf(stderr, "%s as %s: %zu numbers differ, %zu types, %zu tensors changed\n", folder,
                style->prefix, wrong, other, changed);
        failures++;
    }
    printf("%s %s%s: %zu tensors merged, %zu numbers differ\n", folder + strlen(folder) - 9,
           style->prefix, style->down, changed, wrong);
    sdt_dit_close(dit);
    sdt_dit_close(base);
}

/* q, k and v of a block as one matrix, and in single blocks the feed-forward's first as well. */
static void check_fused(const char *folder, const char *path, struct lora *lora) {
    static const struct {
        const char *text, *part[4];
    } fused[] = {{"double_blocks.0.img_attn_qkv",
                  {"transformer_blocks.0.attn.to_q.weight", "transformer_blocks.0.attn.to_k.weight",
                   "transformer_blocks.0.attn.to_v.weight"}},
                 {"single_blocks.0.linear1",
                  {"single_transformer_blocks.0.attn.to_q.weight",
                   "single_transformer_blocks.0.attn.to_k.weight",
                   "single_transformer_blocks.0.attn.to_v.weight",
                   "single_transformer_blocks.0.proj_mlp.weight"}},
                 {"single_blocks.0.linear2", {"single_transformer_blocks.0.proj_out.weight"}}};
    struct sdt_error err = {0};
    struct sdt_dit *base = open_with(folder, NULL, 0, &err);
    size_t wrong = 0, count = sizeof fused / sizeof fused[0];
    char text[NAME];
    for (size_t f = 0; f < count; f++) {
        int64_t rows = 0, columns = 0;
        for (int p = 0; p < 4 && fused[f].part[p]; p++) {
            const struct sdt_stored *b = sdt_weights_find(base->weights, fused[f].part[p]);
            rows += b->shape[0];
            columns = b->shape[1];
        }
        snprintf(text, sizeof text, "diffusion_model.%s.lora_A.weight", fused[f].text);
        put(lora, text, RANK, columns, f + 50, 0);
        snprintf(text, sizeof text, "diffusion_model.%s.lora_B.weight", fused[f].text);
        put(lora, text, rows, RANK, f + 60, 0);
    }
    write_lora(path, lora);
    clear(lora);
    struct sdt_dit *dit = open_with(folder, &(struct sdt_lora){path, 1.0}, 1, &err);
    if (!dit)
        fprintf(stderr, "%s\n", err.message);
    for (size_t f = 0; dit && f < count; f++) {
        size_t first = 0;
        for (int p = 0; p < 4 && fused[f].part[p]; p++) {
            const struct sdt_stored *b = sdt_weights_find(base->weights, fused[f].part[p]);
            const struct sdt_stored *t = sdt_weights_find(dit->weights, fused[f].part[p]);
            size_t n = (size_t)b->shape[0], k = (size_t)b->shape[1];
            sdt_stored_fetch(t);
            for (size_t i = 0; i < n * k; i++) {
                double sum = ((const float *)b->data)[i];
                for (size_t r = 0; r < RANK; r++)
                    sum += (double)value(f + 60, (first + i / k) * RANK + r) *
                           (double)value(f + 50, r * k + i % k);
                wrong += ((const float *)t->data)[i] != (float)sum;
            }
            sdt_stored_release(t);
            first += n;
        }
    }
    failures += !dit || wrong > 0;
    printf("fused matrices: %zu numbers differ\n", wrong);
    sdt_dit_close(dit);
    sdt_dit_close(base);
}

#define Q "blocks.0.attn1.to_q"

/* One tensor that does not belong there. */
static void check_refusal(const char *folder, const char *path, struct lora *lora,
                          const char *other /* a second tensor, or NULL */, const char *name,
                          int64_t rows, int64_t columns, const char *says) {
    struct sdt_error err = {0};
    clear(lora);
    put(lora, name, rows, columns, 1, 0);
    if (other)
        put(lora, other, 48, RANK, 2, 0);
    write_lora(path, lora);
    struct sdt_dit *dit = open_with(folder, &(struct sdt_lora){path, 1.0}, 1, &err);
    if (dit || !strstr(err.message, says) || !strstr(err.message, name)) {
        fprintf(stderr, "%s: not '%s' but: %s\n", name, says, dit ? "taken" : err.message);
        failures++;
    }
    sdt_dit_close(dit);
    clear(lora);
}

#define PAIR Q ".lora_A.weight", Q ".lora_B.weight"
static const struct {
    const char *name[5]; /* A: RANK x 48, B: 48 x RANK, alpha, diff: 48 x 48 */
    const char *says;    /* NULL: taken, and the first half's rank of alpha is `scale` */
    float alpha, scale;
    const char *settings; /* of PEFT */
} mixtures[] = {
    {{Q ".lora_A.weight", Q ".lora_up.weight"}, NULL, 0.f, 1.f, NULL},
    {{PAIR, Q ".alpha"}, NULL, 8.f, 2.f, NULL},
    {{PAIR, Q ".alpha"}, NULL, 0.f, 0.f, NULL},
    {{PAIR, Q ".alpha"}, NULL, -4.f, -1.f, NULL},
    {{PAIR, Q ".alpha"}, "is NaN or infinite", NAN, 0.f, NULL},
    {{PAIR, Q ".alpha"}, "is NaN or infinite", INFINITY, 0.f, NULL},
    {{PAIR, "transformer." Q ".alpha"}, "is no number beside", 4.f, 0.f, NULL},
    {{Q ".lora_A.weight", "transformer." Q ".lora_B.weight"}, "has no other half", 0.f, 0.f, NULL},
    {{PAIR, Q ".lora_down.weight"}, "is there twice", 0.f, 0.f, NULL},
    {{PAIR, Q ".lora_up.weight"}, "is there twice", 0.f, 0.f, NULL},
    {{PAIR, Q ".lora_down.weight", Q ".lora_up.weight"}, "is there twice", 0.f, 0.f, NULL},
    {{PAIR, "transformer." Q ".lora_A.weight", "transformer." Q ".lora_B.weight"},
     "is the second one for the model's",
     0.f,
     0.f,
     NULL},
    {{Q ".lora_A.weight", Q ".lora_B.weight",
      "diffusion_model.blocks.0.self_attn.q.lora_down.weight",
      "diffusion_model.blocks.0.self_attn.q.lora_up.weight"},
     "is the second one for the model's",
     0.f,
     0.f,
     NULL},
    {{Q ".diff", "lora_unet_blocks_0_attn1_to_q.diff"},
     "is the second one for the model's",
     0.f,
     0.f,
     NULL},
    /* Ranks are 4. */
    {{PAIR}, NULL, 0.f, 2.f, "{\"transformer.r\": 4, \"transformer.lora_alpha\": 8}"},
    {{PAIR}, NULL, 0.f, 0.5f, "{\"r\": 4, \"lora_alpha\": 2.0, \"alpha_pattern\": {}}"},
    {{PAIR}, NULL, 0.f, 4.f, "{\"lora_alpha\": 8, \"use_rslora\": true}"},
    {{PAIR}, NULL, 0.f, 3.f, "{\"lora_alpha\": 8, \"alpha_pattern\": {\"attn1.to_q\": 12}}"},
    {{PAIR}, NULL, 0.f, 2.f, "{\"lora_alpha\": 8, \"alpha_pattern\": {\"1.to_q\": 12}}"},
    {{PAIR}, NULL, 0.f, 1.f, "{\"text_encoder.lora_alpha\": 8}"},
    {{PAIR, Q ".alpha"}, NULL, 16.f, 4.f, "{\"lora_alpha\": 8}"},
    {{PAIR}, "lora_adapter_metadata", 0.f, 0.f, "{\"lora_alpha\": "},
    {{PAIR}, "lora_alpha is no number above 0", 0.f, 0.f, "{\"lora_alpha\": \"8\"}"},
    {{PAIR}, "lora_alpha is no number above 0", 0.f, 0.f, "{\"lora_alpha\": 0}"},
    {{PAIR}, "ask for DoRA", 0.f, 0.f, "{\"lora_alpha\": 8, \"use_dora\": true}"},
    {{PAIR}, "is no name of a module", 0.f, 0.f, "{\"alpha_pattern\": {\".*to_q\": 8}}"},
    {{PAIR}, "alpha of 'to_q' is no number", 0.f, 0.f, "{\"alpha_pattern\": {\"to_q\": -8}}"},
    {{PAIR}, "alpha_pattern is no object", 0.f, 0.f, "{\"alpha_pattern\": 8}"},
};

/* Halves and prefixes of several spellings in one file: what can be told is right, the rest is
 * refused by the name that stands last. */
static void check_mixtures(const char *folder, const char *path, struct lora *lora) {
    struct sdt_error err;
    struct sdt_dit *base = open_with(folder, NULL, 0, &err);
    const struct sdt_stored *b = sdt_weights_find(base->weights, Q ".weight");
    size_t count = sizeof mixtures / sizeof mixtures[0], taken = 0;
    for (size_t i = 0; i < count; i++) {
        clear(lora);
        for (int n = 0; n < 5 && mixtures[i].name[n]; n++) {
            const char *name = mixtures[i].name[n], *end = strrchr(name, '.');
            bool alpha = !strcmp(end, ".alpha"), whole = !strcmp(end, ".diff");
            bool down = strstr(name, ".lora_A.") || strstr(name, ".lora_down.");
            put(lora, name,
                alpha  ? 1
                : down ? RANK
                       : 48,
                alpha           ? 1
                : down || whole ? 48
                                : RANK,
                down ? 1 : 2, 0);
            if (alpha)
                *(float *)lora->tensor[lora->count - 1].data = mixtures[i].alpha;
        }
        lora->settings = mixtures[i].settings;
        write_lora(path, lora);
        lora->settings = NULL;
        err = (struct sdt_error){0};
        struct sdt_dit *dit = open_with(folder, &(struct sdt_lora){path, 1.0}, 1, &err);
        size_t wrong = 0;
        const struct sdt_stored *t = dit ? sdt_weights_find(dit->weights, Q ".weight") : NULL;
        if (t)
            sdt_stored_fetch(t);
        for (size_t at = 0; t && !mixtures[i].says && at < t->count; at++) {
            double sum = 0.0;
            for (size_t r = 0; r < RANK; r++)
                sum += (double)value(2, at / 48 * RANK + r) * (double)value(1, r * 48 + at % 48);
            wrong += ((const float *)t->data)[at] !=
                     (float)(((const float *)b->data)[at] + (double)mixtures[i].scale * sum);
        }
        if (t)
            sdt_stored_release(t);
        if (wrong || (mixtures[i].says ? dit || !strstr(err.message, mixtures[i].says) : !dit)) {
            fprintf(stderr, "mixture %zu: %zu numbers wrong, not '%s' but: %s\n", i, wrong,
                    mixtures[i].says ? mixtures[i].says : "taken", dit ? "taken" : err.message);
            failures++;
        }
        taken += dit != NULL;
        sdt_dit_close(dit);
    }
    printf("%zu mixtures of spellings: %zu taken, %zu refused\n", count, taken, count - taken);
    clear(lora);
    sdt_dit_close(base);
}

int main(void) {
    static const struct style styles[] = {
        {"transformer.", ".lora_A.weight", ".lora_B.weight", false, false},
        {"", ".lora.down.weight", ".lora.up.weight", false, false},
        {"base_model.model.", ".lora_A.default.weight", ".lora_B.default.weight", false, false},
        {"diffusion_model.", ".lora_down.weight", ".lora_up.weight", false, true},
        {"lora_unet_", ".lora_down.weight", ".lora_up.weight", true, true},
    };
    static const char *const folders[] = {"wan_dit", "hunyuan_dit", "osp13_dit"};
    const char *source = getenv("STARDIT_SOURCE_DIR");
    struct lora *lora = calloc(1, sizeof *lora);
    char folder[4096], path[] = "/tmp/stardit-lora-XXXXXX.safetensors";
    int fd = mkstemps(path, 12);
    if (fd < 0 || !lora)
        return 99;
    close(fd);
    for (size_t f = 0; f < 3; f++) {
        snprintf(folder, sizeof folder, "%s/tests/golden/%s", source ? source : ".", folders[f]);
        for (size_t s = 0; s < sizeof styles / sizeof styles[0]; s++)
            check_style(folder, path, &styles[s], lora);
        if (f == 1)
            check_fused(folder, path, lora);
    }
    snprintf(folder, sizeof folder, "%s/tests/golden/wan_dit", source ? source : ".");
    check_refusal(folder, path, lora, NULL, "te.text_model.lora_A.weight", 4, 48, "no tensor");
    check_refusal(folder, path, lora, NULL, "blocks.77.ffn.0.diff_b", 48, 1, "no tensor");
    check_refusal(folder, path, lora, NULL, Q ".lora_A.weight", 4, 48, "no other half");
    check_refusal(folder, path, lora, NULL, Q ".lora_B.weight", 48, 4, "no other half");
    check_refusal(folder, path, lora, NULL, Q ".hada_w1_a", 48, 4, "none of a LoRA");
    check_refusal(folder, path, lora, NULL, Q ".diff", 3, 5, "does not fit the model's");
    check_refusal(folder, path, lora, Q ".lora_B.weight", Q ".lora_A.weight", 4, 3,
                  "does not fit the model's");
    check_refusal(folder, path, lora, Q ".lora_B.weight", Q ".lora_A.weight", 600, 48,
                  "rank 1 to 512");
    check_refusal(folder, path, lora, NULL, Q ".alpha", 1, 1, "is no number beside");
    check_refusal(folder, path, lora, Q ".lora_B.weight", Q ".lora_A.weight", 0, 48,
                  "rank 1 to 512");
    check_refusal(folder, path, lora, NULL, Q ".diff", 2304, 1, "does not fit the model's");
    check_refusal(folder, path, lora, NULL, Q ".diff_b", 24, 2, "does not fit the model's");
    check_refusal(folder, path, lora, NULL, Q ".diff_b", 49, 1, "does not fit the model's");
    check_mixtures(folder, path, lora);
    unlink(path);
    free(lora);
    return failures > 0;
}
