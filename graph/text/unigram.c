/* Unigram models as protobuf bytes; see unigram.h.
 *
 * ModelProto: 1 pieces { 1 piece, 2 score, 3 type }, 2 trainer { 3 model type, 35 byte fallback },
 * 3 normaliser { 2 character map, 3 dummy prefix, 4 extra whitespace }. Unknown fields are skipped.
 */
#define _GNU_SOURCE
#include "graph/text/unigram.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/untrusted.h"

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* ---- writing ------------------------------------------------------------------------------- */

void sdt__bytes_append(struct sdt__bytes *buffer, const void *bytes, size_t size) {
    if (buffer->no_memory || size == 0)
        return;
    if (size > buffer->room - buffer->size) {
        size_t room = buffer->room ? buffer->room : 4096;
        while (room - buffer->size < size && room <= SIZE_MAX / 2)
            room *= 2;
        unsigned char *grown = room - buffer->size < size ? NULL : realloc(buffer->bytes, room);
        if (!grown) {
            buffer->no_memory = true;
            return;
        }
        buffer->bytes = grown;
        buffer->room = room;
    }
    memcpy(buffer->bytes + buffer->size, bytes, size);
    buffer->size += size;
}

static size_t varint(uint64_t value, unsigned char out[10]) {
    size_t n = 0;
    for (; value >= 0x80; value >>= 7)
        out[n++] = (unsigned char)(value | 0x80);
    out[n++] = (unsigned char)value;
    return n;
}

static void append_varint(struct sdt__bytes *buffer, uint64_t value) {
    unsigned char bytes[10];
    sdt__bytes_append(buffer, bytes, varint(value, bytes));
}

static void append_number(struct sdt__bytes *buffer, unsigned field, uint64_t value) {
    append_varint(buffer, field << 3 | WIRE_VARINT);
    append_varint(buffer, value);
}

static void append_block(struct sdt__bytes *buffer, unsigned field, const void *bytes,
                         size_t size) {
    append_varint(buffer, field << 3 | WIRE_BYTES);
    append_varint(buffer, size);
    sdt__bytes_append(buffer, bytes, size);
}

void sdt__unigram_add_piece(struct sdt__bytes *model, const char *piece, size_t length, float score,
                            enum sdt__piece_type type) {
    unsigned char count[10], bits[4];
    uint32_t score_bits;

    memcpy(&score_bits, &score, sizeof score_bits);
    for (int i = 0; i < 4; i++)
        bits[i] = (unsigned char)(score_bits >> (8 * i));
    /* tag and length of the piece, the piece, tag and 4 bytes of score, tag and value of the type
     */
    const size_t inner = 1 + varint(length, count) + length + 5 + 2;
    append_varint(model, 1 << 3 | WIRE_BYTES);
    append_varint(model, inner);
    append_block(model, 1, piece, length);
    append_varint(model, 2 << 3 | WIRE_FIXED32);
    sdt__bytes_append(model, bits, sizeof bits);
    append_number(model, 3, type);
}

void sdt__unigram_add_trainer(struct sdt__bytes *model, bool byte_fallback) {
    struct sdt__bytes trainer = {0};

    append_number(&trainer, 3, 1); /* unigram */
    append_number(&trainer, 35, byte_fallback);
    append_block(model, 2, trainer.bytes, trainer.size);
    model->no_memory |= trainer.no_memory;
    free(trainer.bytes);
}

void sdt__unigram_add_normalizer(struct sdt__bytes *model,
                                 const struct sdt__normalizer *normalizer) {
    struct sdt__bytes inner = {0};

    append_block(&inner, 2, normalizer->charsmap, normalizer->charsmap_size);
    append_number(&inner, 3, normalizer->add_dummy_prefix);
    append_number(&inner, 4, normalizer->remove_extra_whitespaces);
    append_number(&inner, 5, 1); /* spaces are written as U+2581 */
    append_block(model, 3, inner.bytes, inner.size);
    model->no_memory |= inner.no_memory;
    free(inner.bytes);
}

void sdt__unigram_drop_prefix(struct sdt__bytes *model) {
    /* A message that occurs twice in protobuf is merged: this one overrides the same field above.
     */
    static const unsigned char off[] = {3 << 3 | WIRE_VARINT, 0};
    append_block(model, 3, off, sizeof off);
}

/* ---- the normaliser's character map --------------------------------------------------------- */

/* A double-array trie from source to target text, as darts-clone lays it out: element
 * at `p ^ offset(unit p) ^ byte` is the child for that byte if its label is that byte. */
struct trie {
    const unsigned char *units; /* [count] little-endian 32-bit words */
    uint32_t count;
    size_t targets;         /* bytes of target text, NUL-terminated strings */
    unsigned char *visited; /* [count] 0 not yet, 1 on the way here, 2 done */
    unsigned char *leaves;  /* [count] most sources that end on one way down from here */
};

/* libsentencepiece collects the sources that are prefixes of a text in a fixed array. */
#define MAX_SOURCES_ON_A_WAY 32
#define MAX_SOURCE_BYTES 256
#define MAX_CHARSMAP_BYTES ((size_t)8 << 20)

static uint32_t little_endian(const unsigned char *bytes) {
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static uint32_t trie_unit(const struct trie *trie, uint32_t at) {
    return little_endian(trie->units + 4 * (size_t)at);
}

/* Why text that reaches the node would lead outside, or NULL. */
static const char *walk_trie(struct trie *trie, uint32_t node, int depth) {
    const uint32_t unit = trie_unit(trie, node);
    const uint32_t base = node ^ (unit >> 10) << ((unit & 1u << 9) >> 6);
    const int own_leaf = depth > 0 && (unit >> 8 & 1);
    int most = 0;

    if (depth > MAX_SOURCE_BYTES)
        return "a source text is too long";
    if (base >= trie->count || (base | 255) >= trie->count)
        return "the trie points outside itself";
    trie->visited[node] = 1;
    if (own_leaf && (trie_unit(trie, base) & 0x7fffffff) >= trie->targets)
        return "a target text lies outside the map";
    for (uint32_t byte = 0; byte < 256; byte++) {
        const uint32_t child = base ^ byte;
        const char *reason;

        if ((trie_unit(trie, child) & (1u << 31 | 0xff)) != byte)
            continue;
        if (byte == 0)
            continue; /* text has no NUL; what a label of 0 leads to is never read */
        if (trie->visited[child] == 1)
            return "the trie has a cycle";
        if (trie->visited[child] == 0 && (reason = walk_trie(trie, child, depth + 1)))
            return reason;
        if (trie->leaves[child] > most)
            most = trie->leaves[child];
    }
    if (most + own_leaf > MAX_SOURCES_ON_A_WAY)
        return "too many source texts are prefixes of one another";
    trie->leaves[node] = (unsigned char)(most + own_leaf);
    trie->visited[node] = 2;
    return NULL;
}

static enum sdt_status check_charsmap(const char *shown, const unsigned char *map, size_t size,
                                      struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    struct trie trie = {0};
    const char *reason = NULL;
    size_t trie_bytes;

    if (size == 0)
        return SDT_OK;
    trie_bytes = size < 4 ? 0 : little_endian(map);
    if (size > MAX_CHARSMAP_BYTES)
        reason = "it is too large";
    else if (size < 4 || trie_bytes >= size - 4)
        reason = "it is cut off";
    else if (trie_bytes < 1024 || trie_bytes % 1024 != 0)
        reason = "the trie is not made of blocks of 256 units";
    else if (map[size - 1] != '\0')
        reason = "the last target text has no end";
    if (reason)
        goto out;

    trie.units = map + 4;
    trie.count = (uint32_t)(trie_bytes / 4);
    trie.targets = size - 4 - trie_bytes;
    trie.visited = calloc(trie.count, 1);
    trie.leaves = calloc(trie.count, 1);
    if (!trie.visited || !trie.leaves) {
        status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to check the tokenizer", shown);
        goto out;
    }
    reason = walk_trie(&trie, 0, 0);

out:
    free(trie.visited);
    free(trie.leaves);
    if (reason)
        status = sdt_fail(err, SDT_ERROR_FORMAT,
                          "%s: the normaliser's character map (%zu bytes) is damaged: %s", shown,
                          size, reason);
    return status;
}

/* ---- reading ------------------------------------------------------------------------------- */

/* The rest of one message; `bytes` NULL after damage. */
struct reader {
    const unsigned char *bytes, *end;
};

struct field {
    unsigned number;
    int wire;
    uint64_t value;             /* of a varint or a fixed number */
    const unsigned char *bytes; /* [size] of WIRE_BYTES */
    size_t size;
};

static bool read_varint(struct reader *reader, uint64_t *value) {
    *value = 0;
    for (int shift = 0; shift < 70 && reader->bytes < reader->end; shift += 7) {
        const unsigned char byte = *reader->bytes++;
        if (shift < 64)
            *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    reader->bytes = NULL;
    return false;
}

/* False at the end of the message and after damage (reader->bytes is then NULL). */
static bool read_field(struct reader *reader, struct field *field) {
    uint64_t tag, size;

    if (!reader->bytes || reader->bytes == reader->end || !read_varint(reader, &tag))
        return false;
    *field = (struct field){.number = (unsigned)(tag >> 3), .wire = (int)(tag & 7)};
    switch (field->wire) {
    case WIRE_VARINT:
        return read_varint(reader, &field->value);
    case WIRE_BYTES:
        if (!read_varint(reader, &size))
            return false;
        break;
    case WIRE_FIXED32:
        size = 4;
        break;
    case WIRE_FIXED64:
        size = 8;
        break;
    default:
        reader->bytes = NULL;
        return false;
    }
    if (tag >> 3 == 0 || tag >> 3 > 536870911 || size > (size_t)(reader->end - reader->bytes)) {
        reader->bytes = NULL;
        return false;
    }
    field->bytes = reader->bytes;
    field->size = (size_t)size;
    if (field->wire == WIRE_FIXED32)
        field->value = little_endian(field->bytes);
    reader->bytes += size;
    return true;
}

struct facts {
    size_t pieces, matched; /* all of them; those that text can match */
    size_t unknown;
};

static enum sdt_status check_piece(const char *shown, const struct field *message,
                                   struct facts *facts, struct sdt_error *err) {
    struct reader reader = {message->bytes, message->bytes + message->size};
    const unsigned char *text = NULL;
    size_t length = 0;
    float score = 0.0f;
    uint64_t type = SDT__PIECE_NORMAL;
    uint32_t bits;

    for (struct field field; read_field(&reader, &field);) {
        if (field.number == 1 && field.wire == WIRE_BYTES) {
            text = field.bytes;
            length = field.size;
        } else if (field.number == 2 && field.wire == WIRE_FIXED32) {
            bits = (uint32_t)field.value;
            memcpy(&score, &bits, sizeof score);
        } else if (field.number == 3 && field.wire == WIRE_VARINT) {
            type = field.value;
        }
    }
    if (!reader.bytes)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: piece %zu is damaged", shown, facts->pieces);
    if (length == 0 || memchr(text, '\0', length))
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: piece %zu is %s", shown, facts->pieces,
                        length ? "text with a NUL in it" : "empty");
    if (!isfinite(score))
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: piece %zu ('%.*s') has no finite score", shown,
                        facts->pieces, (int)(length < 60 ? length : 60), (const char *)text);
    if (type < SDT__PIECE_NORMAL || type > SDT__PIECE_BYTE)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: piece %zu has the unknown type %llu", shown,
                        facts->pieces, (unsigned long long)type);
    facts->pieces++;
    facts->matched += type == SDT__PIECE_NORMAL || type == SDT__PIECE_USER;
    facts->unknown += type == SDT__PIECE_UNKNOWN;
    return SDT_OK;
}

static enum sdt_status check_trainer(const char *shown, const struct field *message,
                                     struct sdt_error *err) {
    static const char *const names[] = {"none", "unigram", "BPE", "word", "char"};
    struct reader reader = {message->bytes, message->bytes + message->size};

    for (struct field field; read_field(&reader, &field);)
        if (field.number == 3 && field.wire == WIRE_VARINT && field.value != 1)
            return sdt_fail(err, SDT_ERROR_UNSUPPORTED,
                            "%s: a sentencepiece model of type %s; only unigram is supported",
                            shown, field.value < 5 ? names[field.value] : "unknown");
    return reader.bytes
               ? SDT_OK
               : sdt_fail(err, SDT_ERROR_FORMAT, "%s: the trainer's part is damaged", shown);
}

static enum sdt_status check_normalizer(const char *shown, const struct field *message,
                                        struct sdt_error *err) {
    struct reader reader = {message->bytes, message->bytes + message->size};
    enum sdt_status status;

    for (struct field field; read_field(&reader, &field);)
        if (field.number == 2 && field.wire == WIRE_BYTES &&
            (status = check_charsmap(shown, field.bytes, field.size, err)) != SDT_OK)
            return status;
    return reader.bytes
               ? SDT_OK
               : sdt_fail(err, SDT_ERROR_FORMAT, "%s: the normaliser's part is damaged", shown);
}

enum sdt_status sdt__unigram_check(const char *shown, const void *model, size_t size,
                                   struct sdt_error *err) {
    struct reader reader = {model, (const unsigned char *)model + size};
    struct facts facts = {0};
    enum sdt_status status = SDT_OK;

    for (struct field field; status == SDT_OK && read_field(&reader, &field);) {
        if (field.wire != WIRE_BYTES)
            continue;
        if (field.number == 1)
            status = check_piece(shown, &field, &facts, err);
        else if (field.number == 2)
            status = check_trainer(shown, &field, err);
        else if (field.number == 3 || field.number == 5) /* 5: of decoding, loaded as well */
            status = check_normalizer(shown, &field, err);
    }
    if (status != SDT_OK)
        return status;
    if (!reader.bytes)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: not a sentencepiece model, or cut off (%zu pieces "
                        "could be read)",
                        shown, facts.pieces);
    if (facts.matched == 0)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: no pieces in the tokenizer's model", shown);
    if (facts.unknown != 1)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: %zu pieces stand for unknown text, not 1",
                        shown, facts.unknown);
    return SDT_OK;
}
