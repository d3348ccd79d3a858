/* HTML's named character references ("amp;", and "amp" where HTML accepts it without semicolon). */
#ifndef STARDIT_HTML_ENTITIES_H
#define STARDIT_HTML_ENTITIES_H

#include <stddef.h>

struct sdt__html_entity {
    const char *name; /* without '&' */
    const char *text; /* UTF-8, one or two characters, at most 6 bytes */
};

extern const struct sdt__html_entity sdt__html_entities[]; /* sorted by strcmp of name */
extern const size_t sdt__html_entity_count;

#endif
