/* Prompt cleaning of Wan's pipeline: Python's html.unescape twice, then runs of white space become
 * one space and the ends are stripped. (The pipeline also repairs broken encodings; a prompt from a
 * command line is what its writer typed.) */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "graph/text/html_entities.h"
#include "graph/text/text.h"
#include "graph/text/tokenizer.h"

/* ---- numeric references ---------------------------------------------------------------------- */

/* What a reference to 0x80..0x9f means: the characters of Windows-1252, 0 where it has none. */
static const uint16_t windows_1252[32] = {
    0x20ac, 0x0081, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
    0x2039, 0x0152, 0x008d, 0x017d, 0x008f, 0x0090, 0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
    0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0x009d, 0x017e, 0x0178,
};

static size_t encode_utf8(uint32_t c, char *out) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* Characters that HTML calls errors and Python drops. */
static bool dropped(uint32_t c) {
    return (c >= 0x01 && c <= 0x08) || c == 0x0b || (c >= 0x0e && c <= 0x1f) ||
           (c >= 0x7f && c <= 0x9f) || (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe;
}

/* Bytes of text for number `c`; at most 4. */
static size_t put_number(uint32_t c, char *out) {
    if (c == 0 || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff)
        return encode_utf8(0xfffd, out);
    if (c == 0x0d)
        return encode_utf8(c, out);
    if (c >= 0x80 && c <= 0x9f)
        return encode_utf8(windows_1252[c - 0x80], out);
    return dropped(c) ? 0 : encode_utf8(c, out);
}

static int digit_value(char c, uint32_t base) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (base == 16 && c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (base == 16 && c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* "&#65;", "&#x41" ...; bytes read, 0 if it is none. */
static size_t numeric_reference(const char *text, char *out, size_t *written) {
    const char *at = text + 2;
    uint32_t base = 10, number = 0;

    if (*at == 'x' || *at == 'X') {
        base = 16;
        at++;
    }
    if (digit_value(*at, base) < 0)
        return 0;
    for (; digit_value(*at, base) >= 0; at++)
        if (number <= 0x10ffff) /* beyond, only that it is beyond matters */
            number = number * base + (uint32_t)digit_value(*at, base);
    *written = put_number(number, out);
    return (size_t)(at - text) + (*at == ';');
}

/* ---- named references ------------------------------------------------------------------------ */

/* Exact name [length] in the table, or NULL. */
static const struct sdt__html_entity *find_entity(const char *name, size_t length) {
    size_t low = 0, high = sdt__html_entity_count;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const struct sdt__html_entity *entity = &sdt__html_entities[middle];
        int order = strncmp(entity->name, name, length);

        if (order == 0 && entity->name[length] != '\0')
            order = 1;
        if (order == 0)
            return entity;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* "&amp;", "&ampx" ...; bytes read, 0 if it is none. HTML: the longest name that the text starts
 * with; of at least two characters, and the whole text up to a delimiter is tried first. */
static size_t named_reference(const char *text, char *out, size_t *written) {
    const char *const name = text + 1;
    size_t length = 0;

    /* No name is longer than 32 bytes or has bytes beyond ASCII. */
    while (length < 32 && (unsigned char)name[length] < 0x80 &&
           !strchr("\t\n\f <&#;", name[length]))
        length++;
    if (length > 0 && name[length] == ';')
        length++;
    for (; length > 1; length--) {
        const struct sdt__html_entity *entity = find_entity(name, length);

        if (entity) {
            *written = strlen(entity->text);
            memcpy(out, entity->text, *written);
            return 1 + length;
        }
    }
    return 0;
}

/* Unescapes `text` into out, which holds twice as many bytes: two names (nGt, nLt) are one byte
 * shorter than their text, all others at least as long. */
static void unescape(const char *text, char *out) {
    while (*text) {
        size_t written = 0, used = 0;

        if (*text == '&')
            used = text[1] == '#' ? numeric_reference(text, out, &written)
                                  : named_reference(text, out, &written);
        if (used == 0) {
            *out++ = *text++;
            continue;
        }
        text += used;
        out += written;
    }
    *out = '\0';
}

/* One space for each run of white space, none at the ends; in place. */
static void collapse(char *text) {
    const char *const end = text + strlen(text);
    char *const begin = text, *out = text;
    bool pending = false;

    while (text < end) {
        const size_t space = sdt__space_at(text, (size_t)(end - text));

        if (space > 0) {
            pending = out > begin;
            text += space;
            continue;
        }
        if (pending)
            *out++ = ' ';
        pending = false;
        *out++ = *text++;
    }
    *out = '\0';
}

enum sdt_status sdt_prompt_clean(const char *prompt, char **cleaned, struct sdt_error *err) {
    const size_t size = strlen(prompt) + 1;
    char *once = malloc(2 * size), *twice = malloc(4 * size);

    *cleaned = NULL;
    if (!once || !twice) {
        free(once);
        free(twice);
        return sdt_fail(err, SDT_ERROR_MEMORY, "no memory for a prompt of %zu bytes", size);
    }
    unescape(prompt, once);
    unescape(once, twice);
    collapse(twice);
    free(once);
    *cleaned = twice;
    return SDT_OK;
}
