/* Fields of forms and of JSON. */
#include "apps/serve/form.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apps/read.h"

static const char *const no_file = "input_reference";

static struct serve_field *find(struct serve_form *form, const char *name) {
    for (int i = 0; i < form->count; i++)
        if (!strcmp(form->field[i].name, name))
            return &form->field[i];
    return NULL;
}

const char *serve_form_text(const struct serve_form *form, const char *name) {
    const struct serve_field *field = find((struct serve_form *)form, name);
    return field ? field->text : NULL;
}

static struct serve_field *add(struct serve_form *form, const char *name) {
    if (strlen(name) >= SERVE_FIELD_NAME) {
        serve_refuse(&form->refusal, 400, "unknown_field", NULL,
                     "a field with a name of %zu bytes is not known", strlen(name));
        return NULL;
    }
    if (form->count == SERVE_MOST_FIELDS) {
        serve_refuse(&form->refusal, 413, "too_many_fields", name, "more than %d fields",
                     SERVE_MOST_FIELDS);
        return NULL;
    }
    struct serve_field *field = &form->field[form->count++];
    snprintf(field->name, sizeof field->name, "%s", name);
    return field;
}

static bool append(struct serve_form *form, struct serve_field *field, const char *piece,
                   size_t size) {
    if (size > form->most || field->length > form->most - size)
        return serve_refuse(&form->refusal, 413, "field_too_large", field->name,
                            "%s: more than %zu bytes", field->name, form->most);
    char *text = realloc(field->text, field->length + size + 1);
    if (!text)
        return serve_refuse(&form->refusal, 503, "out_of_memory", NULL, "out of memory");
    field->text = text;
    if (size)
        memcpy(text + field->length, piece, size);
    field->length += size;
    text[field->length] = '\0';
    return true;
}

bool serve_form_piece(struct serve_form *form, const char *name, const char *file,
                      const char *piece, size_t offset, size_t size) {
    if (form->refusal.http)
        return false;
    if (!name)
        return serve_refuse(&form->refusal, 400, "invalid_form", NULL, "a field without a name");
    if (file || !strcmp(name, no_file))
        return serve_refuse(&form->refusal, 400, "unsupported_field", name,
                            "%.40s: a file is not taken; the models here make videos of text",
                            name);
    struct serve_field *field = find(form, name);
    if (field && offset == 0 && field->length > 0) /* the first piece may be empty */
        return serve_refuse(&form->refusal, 400, "field_twice", name, "%.40s: given twice", name);
    if (!field)
        field = add(form, name);
    return field && append(form, field, piece, size);
}

/* One value of JSON as a form has it. */
static bool add_value(struct serve_form *form, const char *name, const json_t *value) {
    const bool object = json_is_object(value) && !strcmp(name, "metadata");
    char number[32];
    if (json_is_null(value))
        return true;
    if (json_is_string(value))
        return serve_form_piece(form, name, NULL, json_string_value(value), 0,
                                json_string_length(value));
    if (json_is_integer(value))
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(number, sizeof number, "%.17g", json_real_value(value));
    else if (!object)
        return serve_refuse(&form->refusal, 400, "invalid_type", name,
                            "%.40s: must be a text or a number", name);
    if (!object)
        return serve_form_piece(form, name, NULL, number, 0, strlen(number));
    char *text = json_dumps(value, JSON_COMPACT);
    bool added = text ? serve_form_piece(form, name, NULL, text, 0, strlen(text))
                      : serve_refuse(&form->refusal, 503, "out_of_memory", NULL, "out of memory");
    free(text);
    return added;
}

bool serve_form_json(struct serve_form *form, const char *text, size_t size) {
    json_error_t error;
    const char *name;
    json_t *value;
    json_t *object = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        return serve_refuse(&form->refusal, 400, "invalid_json", NULL, "line %d, column %d: %s",
                            error.line, error.column, error.text);
    if (!json_is_object(object))
        serve_refuse(&form->refusal, 400, "invalid_json", NULL, "the body must be an object");
    json_object_foreach(object, name, value) if (!add_value(form, name, value)) break;
    json_decref(object);
    return form->refusal.http == 0;
}

bool serve_form_check(struct serve_form *form) {
    for (int i = 0; i < form->count && !form->refusal.http; i++) {
        const struct serve_field *field = &form->field[i];
        bool whole = field->text && strlen(field->text) == field->length;
        for (const char *c = field->text; whole && *c; c++)
            whole = (unsigned char)*c >= ' ' || strchr("\t\n\r", *c);
        if (!whole || !app_is_utf8(field->text))
            serve_refuse(&form->refusal, 400, "invalid_text", field->name,
                         "%s: must be UTF-8 without control characters", field->name);
    }
    return form->refusal.http == 0;
}

void serve_form_clear(struct serve_form *form) {
    for (int i = 0; i < form->count; i++)
        free(form->field[i].text);
    form->count = 0;
}
