/* What a client sends: fields with a name and a text, from a form in pieces or from JSON. Both are
 * untrusted. */
#ifndef STARDIT_APPS_SERVE_FORM_H
#define STARDIT_APPS_SERVE_FORM_H

#include <stddef.h>

#include "apps/serve/refusal.h"

enum { SERVE_MOST_FIELDS = 48, SERVE_FIELD_NAME = 40 };

struct serve_field {
    char name[SERVE_FIELD_NAME];
    char *text; /* UTF-8 without control characters but line breaks and tabs, malloc'ed */
    size_t length;
};

struct serve_form {
    size_t most; /* bytes of a field's text */
    int count;
    struct serve_field field[SERVE_MOST_FIELDS];
    struct serve_refusal refusal; /* the first thing that was wrong */
};

/* A piece of a form's field (name NULL: it has none), `offset` bytes behind its beginning. A file
 * is refused by its field's name. False: refused. */
bool serve_form_piece(struct serve_form *form, const char *name, const char *file,
                      const char *piece /* [size] */, size_t offset, size_t size);
/* A whole object of JSON: texts, numbers, null (as if it were not there), and an object for
 * "metadata". */
bool serve_form_json(struct serve_form *form, const char *text /* [size] */, size_t size);
/* Once all pieces are there: texts that are no UTF-8. */
bool serve_form_check(struct serve_form *form);
/* NULL: the form has no such field. */
const char *serve_form_text(const struct serve_form *form, const char *name);
void serve_form_clear(struct serve_form *form);
#endif
