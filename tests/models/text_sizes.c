/* The text encoders of all published sizes, from their configurations alone: their tables ask for
 * as many tensors and parameters as the published files have, and the work that is predicted is
 * that of the layers whose weights are read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/models/family.h"
#include "tests/check.h"

/* LLaMA 3 without its head, of a vocabulary of 128320; CLIP-L without its projection; the encoders
 * of mT5-XXL and UMT5-XXL. */
static const struct published {
    const char *size;
    int which;                    /* of the size's text encoders */
    const char *layers, *unread;  /* names of layers begin so; of tensors that no layer has */
    size_t tensors, parameters;   /* that the file has */
    size_t read, parameters_read; /* of those */
    int layers_read, e;           /* e: size of a head */
} published[] = {
    {"hunyuan-13b", 0, "layers.", "norm.weight", 290, 7505186816, 271, 7068958720, 30, 128},
    {"hunyuan-13b", 1, "text_model.encoder.layers.", "", 196, 123060480, 196, 123060480, 12, 64},
    {"open-sora-plan-1.3", 0, "encoder.block.", "", 219, 5655173120, 219, 5655173120, 24, 64},
    {"wan-1.3b", 0, "encoder.block.", "", 242, 5680910336, 242, 5680910336, 24, 64},
    {"wan-14b", 0, "encoder.block.", "", 242, 5680910336, 242, 5680910336, 24, 64},
};
enum { PUBLISHED = sizeof published / sizeof published[0] };

/* The layer of a tensor; -1: none's. */
static int layer_of(const struct published *p, const char *name) {
    size_t length = strlen(p->layers);
    return strncmp(name, p->layers, length) ? -1 : atoi(name + length);
}

static void check_size(const struct published *p, const struct sdt_text *text) {
    const struct sdt_weights *weights = text->weights;
    size_t read = 0, parameters = 0, products = 0;

    for (size_t i = 0; i < sdt_weights_count(weights); i++) {
        const struct sdt_stored *tensor = sdt_weights_at(weights, i);
        int layer = layer_of(p, tensor->name);
        if (layer >= text->layers || !strcmp(tensor->name, p->unread))
            continue;
        read++;
        parameters += tensor->count;
        if (layer >= 0 && tensor->rank == 2 && !strstr(tensor->name, "relative_attention_bias"))
            products += tensor->count;
    }
    CHECK(sdt_weights_count(weights) == p->tensors &&
              sdt_weights_parameters(weights) == p->parameters,
          "%s: %zu parameters in %zu tensors, the file has %zu in %zu", p->size,
          sdt_weights_parameters(weights), sdt_weights_count(weights), p->parameters, p->tensors);
    CHECK(text->layers == p->layers_read && read == p->read && parameters == p->parameters_read,
          "%s: %d layers, %zu parameters in %zu tensors are read, not %d, %zu and %zu", p->size,
          text->layers, parameters, read, p->layers_read, p->parameters_read, p->read);
    /* One token: each weight of a product once, and itself alone to attend to. */
    double flops = text->kind->flops(text, 1);
    double known = 2.0 * (double)products + 4.0 * text->layers * text->heads * p->e;
    CHECK(flops == known, "%s: %.0f FLOPs for a token, not %.0f", p->size, flops, known);
    printf("%s, %s: %zu parameters in %zu tensors, of which %zu are read\n", p->size,
           text->kind->model_type, sdt_weights_parameters(weights), sdt_weights_count(weights),
           parameters);
}

static void open_size(const struct sdt_family *family, const struct sdt_size *size, int which) {
    const struct published *p = published;
    struct sdt_text *text = NULL;
    struct sdt_error err = {0};

    while (p < published + PUBLISHED && (strcmp(p->size, size->name) || p->which != which))
        p++;
    CHECK(p < published + PUBLISHED, "nothing is known of text encoder %d of %s", which,
          size->name);
    CHECK(sdt_text_imagine(size->text[which], SDT_F32, &text, &err) == SDT_OK, "%s: %s", size->name,
          err.message);
    CHECK(!text || text->kind == family->text[which], "%s: text encoder %d is of another kind",
          size->name, which);
    if (p < published + PUBLISHED && text)
        check_size(p, text);
    sdt_text_close(text);
}

int main(void) {
    int opened = 0;
    for (int f = 0; sdt_families[f]; f++)
        for (const struct sdt_size *size = sdt_families[f]->sizes; size && size->name; size++)
            for (int which = 0; which < 2 && size->text[which]; which++, opened++)
                open_size(sdt_families[f], size, which);
    CHECK(opened == PUBLISHED, "%d text encoders, %d are known", opened, PUBLISHED);
    return failures > 0;
}
