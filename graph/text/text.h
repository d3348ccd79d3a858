/* White space in UTF-8 text, as Python's str.isspace and re's \s see it. */
#ifndef STARDIT_TEXT_H
#define STARDIT_TEXT_H

#include <stddef.h>

/* Bytes of the white-space character that starts at text [length], else 0. */
size_t sdt__space_at(const char *text, size_t length);
/* Bytes of the white-space character that ends text [length], else 0. */
size_t sdt__space_before(const char *text, size_t length);

#endif
