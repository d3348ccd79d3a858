/* White space in UTF-8 text; see text.h. */
#include "graph/text/text.h"

#include <string.h>

/* The white space of Unicode beyond ASCII: U+0085, U+00A0, U+1680, U+2000 to U+200A, U+2028,
 * U+2029, U+202F, U+205F, U+3000. */
static const char *const wide_spaces[] = {
    "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81",
    "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
    "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8",
    "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80",
};

size_t sdt__space_at(const char *text, size_t length) {
    if (length == 0)
        return 0;
    const unsigned char c = (unsigned char)text[0];
    if (c < 0x80) /* tab to return, the four separators of ASCII, space */
        return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20);
    for (size_t i = 0; i < sizeof wide_spaces / sizeof *wide_spaces; i++) {
        const size_t size = strlen(wide_spaces[i]);
        if (size <= length && memcmp(text, wide_spaces[i], size) == 0)
            return size;
    }
    return 0;
}

size_t sdt__space_before(const char *text, size_t length) {
    for (size_t size = 1; size <= 3 && size <= length; size++)
        if (sdt__space_at(text + length - size, size) == size)
            return size;
    return 0;
}
