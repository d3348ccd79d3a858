/* Bytes as what a caller of stardit-serve sends: JSON, or a form that comes in pieces. What is
 * taken for a request is kept as JSON that gives the same request again, since that is what a job
 * is begun from after a crash.
 * Covers: apps/serve/form.c apps/serve/request.c */
#include <string.h>

#include "apps/serve/request.h"
#include "tests/fuzz/fuzz.h"

enum { MOST_FIELD = 300 };

/* Of a family whose guidance is an input, and of one whose guidance takes two forwards. */
static struct serve_models models = {
    .count = 2, .shares = 1, .model = {{.name = "a"}, {.name = "b"}}};

static void open_models(void) {
    static const char *const name[] = {"wan-1.3b", "hunyuan-13b"};
    struct sdt_error err;
    for (int m = 0; m < 2; m++) {
        struct serve_model *model = &models.model[m];
        if (sdt_pipeline_imagine(name[m], &model->pipeline[0], &err) != SDT_OK ||
            sdt_pipeline_defaults(model->pipeline[0], &model->defaults, &err) != SDT_OK)
            exit(99);
    }
}

static void check_refusal(const struct serve_refusal *refusal) {
    CHECK(refusal->http >= 400 && refusal->http < 600 && refusal->code && refusal->message[0],
          "a refusal without words: %d", refusal->http);
    for (const char *c = refusal->message; *c; c++)
        CHECK((unsigned char)*c >= ' ' && *c != 127, "control characters in '%s'",
              refusal->message);
}

/* Lines "name=text", each of which comes in pieces of 1 to 16 bytes. */
static void take_pieces(struct serve_form *form, const char *text, size_t size, size_t piece) {
    const char *end = text + size;
    while (text < end) {
        const char *line = memchr(text, '\n', (size_t)(end - text));
        line = line ? line : end;
        const char *equal = memchr(text, '=', (size_t)(line - text));
        char name[64] = "";
        size_t length = equal ? (size_t)(equal - text) : 0;
        length = length < sizeof name ? length : sizeof name - 1;
        memcpy(name, text, length);
        const char *value = equal ? equal + 1 : text;
        size_t left = (size_t)(line - value), offset = 0;
        do {
            size_t part = left < piece ? left : piece;
            if (!serve_form_piece(form, equal ? name : NULL, left == 7 ? "f" : NULL, value + offset,
                                  offset, part))
                return;
            offset += part;
            left -= part;
        } while (left > 0);
        text = line + (line < end);
    }
}

/* From the form to JSON; NULL: refused. */
static char *text_of(struct serve_form *form) {
    struct serve_request request = {0};
    struct serve_refusal refusal = {0};
    char *text = NULL;
    if (form->refusal.http || !serve_form_check(form))
        check_refusal(&form->refusal);
    else if (!serve_request_read(&models, form, &request, &refusal))
        check_refusal(&refusal);
    else
        text = serve_request_text(&models, &request);
    serve_request_clear(&request);
    return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct serve_form form = {.most = MOST_FIELD}, kept = {.most = SIZE_MAX};
    if (fuzz_begin("fuzz-form"))
        open_models();
    if (size == 0)
        return 0;
    if (data[0] == '{' || data[0] == '[')
        serve_form_json(&form, (const char *)data, size);
    else
        take_pieces(&form, (const char *)data + 1, size - 1, 1 + data[0] % 16);
    CHECK(form.count >= 0 && form.count <= SERVE_MOST_FIELDS, "%d fields", form.count);
    for (int i = 0; i < form.count; i++)
        CHECK(form.field[i].length <= MOST_FIELD, "%zu bytes", form.field[i].length);
    char *text = text_of(&form);
    serve_form_clear(&form);
    if (text) {
        CHECK(serve_form_json(&kept, text, strlen(text)), "not read again: %s",
              kept.refusal.message);
        char *again = text_of(&kept);
        CHECK(again && !strcmp(again, text), "%s is kept as %s", text, again ? again : "nothing");
        free(again);
    }
    serve_form_clear(&kept);
    free(text);
    return fuzz_end();
}
