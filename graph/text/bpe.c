/* Byte pair encoding; see bpe.h. */
#include "graph/text/bpe.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_SYMBOL = 4096 }; /* bytes of one, in a file */

void sdt__ids_append(struct sdt__ids *list, int32_t id) {
    if (list->count == list->room && !list->no_memory) {
        size_t room = list->room ? 2 * list->room : 64;
        int32_t *bigger = realloc(list->ids, room * sizeof *bigger);
        if (bigger) {
            list->ids = bigger;
            list->room = room;
        } else {
            list->no_memory = true;
        }
    }
    if (!list->no_memory)
        list->ids[list->count++] = id;
}

/* ---- vocabulary and merges ------------------------------------------------------------------- */

int32_t sdt__bpe_find(const struct sdt__bpe *bpe, const char *symbol) {
    const json_t *id = json_object_get(bpe->vocabulary, symbol);
    return json_is_integer(id) ? (int32_t)json_integer_value(id) : -1;
}

bool sdt__bpe_reserve(struct sdt__bpe *bpe, size_t merges) {
    bpe->room = 16;
    while (bpe->room < 2 * merges)
        bpe->room *= 2;
    bpe->merge = malloc(bpe->room * sizeof *bpe->merge);
    for (size_t i = 0; bpe->merge && i < bpe->room; i++)
        bpe->merge[i].left = -1;
    return bpe->merge != NULL;
}

/* Where a pair is, or would be. */
static struct sdt__bpe_merge *place(const struct sdt__bpe *bpe, int32_t left, int32_t right) {
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    size_t i = (size_t)((key * 0x9e3779b97f4a7c15u) >> 20) & (bpe->room - 1);
    while (bpe->merge[i].left >= 0 && (bpe->merge[i].left != left || bpe->merge[i].right != right))
        i = (i + 1) & (bpe->room - 1);
    return &bpe->merge[i];
}

enum sdt__bpe_added sdt__bpe_add(struct sdt__bpe *bpe, const char *left, size_t left_size,
                                 const char *right, size_t right_size) {
    char both[2 * MOST_SYMBOL + 1], one[MOST_SYMBOL + 1];
    if (left_size > MOST_SYMBOL || right_size > MOST_SYMBOL)
        return SDT__BPE_LONG;
    memcpy(both, left, left_size);
    both[left_size] = '\0';
    memcpy(one, right, right_size);
    one[right_size] = '\0';
    int32_t a = sdt__bpe_find(bpe, both), b = sdt__bpe_find(bpe, one);
    memcpy(both + left_size, one, right_size + 1);
    int32_t id = sdt__bpe_find(bpe, both), rank = (int32_t)bpe->merges++;
    if (a < 0 || b < 0 || id < 0)
        return SDT__BPE_NO_SYMBOL;
    struct sdt__bpe_merge *merge = place(bpe, a, b);
    if (merge->left < 0)
        *merge = (struct sdt__bpe_merge){a, b, rank, id};
    return SDT__BPE_ADDED;
}

void sdt__bpe_clear(struct sdt__bpe *bpe) {
    json_decref(bpe->vocabulary);
    free(bpe->merge);
}

/* ---- a piece --------------------------------------------------------------------------------- */

/* Bytes that are visible in Latin-1 stand for themselves, the others for U+0100 and on. */
static int letter_of(unsigned char byte, char text[3]) {
    int code = byte;
    if (byte < 0x21)
        code = 0x100 + byte;
    else if (byte >= 0x7f && byte <= 0xa0)
        code = 0x100 + 0x21 + byte - 0x7f;
    else if (byte == 0xad)
        code = 0x100 + 0x21 + 0x22;
    int size = code < 0x80 ? 1 : 2;
    text[0] = (char)(code < 0x80 ? code : 0xc0 | code >> 6);
    text[1] = (char)(code < 0x80 ? 0 : 0x80 | (code & 0x3f));
    text[2] = '\0';
    return size;
}

/* A symbol in a list; id -1: it was joined to the one in front of it. */
struct symbol {
    int32_t id;
    int before, after; /* -1: none */
};

/* A pair that might be joined, in a heap by rank, then place. */
struct candidate {
    int32_t rank, id;
    int at;
};

struct heap {
    struct candidate *item; /* [count], room for all that a piece may have */
    size_t count;
};

static bool earlier(const struct candidate *a, const struct candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void push(struct heap *heap, struct candidate new) {
    size_t i = heap->count++;
    for (; i > 0 && earlier(&new, &heap->item[(i - 1) / 2]); i = (i - 1) / 2)
        heap->item[i] = heap->item[(i - 1) / 2];
    heap->item[i] = new;
}

static struct candidate pop(struct heap *heap) {
    struct candidate first = heap->item[0], last = heap->item[--heap->count];
    size_t i = 0;
    for (size_t child = 1; child < heap->count; child = 2 * i + 1) {
        if (child + 1 < heap->count && earlier(&heap->item[child + 1], &heap->item[child]))
            child++;
        if (!earlier(&heap->item[child], &last))
            break;
        heap->item[i] = heap->item[child];
        i = child;
    }
    heap->item[i] = last;
    return first;
}

/* The pair that begins at a symbol, if it has a rank. */
static void consider(const struct sdt__bpe *bpe, const struct symbol *symbol, int at,
                     struct heap *heap) {
    if (at < 0 || symbol[at].after < 0)
        return;
    const struct sdt__bpe_merge *merge = place(bpe, symbol[at].id, symbol[symbol[at].after].id);
    if (merge->left >= 0)
        push(heap, (struct candidate){merge->rank, merge->id, at});
}

static void join(const struct sdt__bpe *bpe, struct symbol *symbol, struct heap *heap) {
    while (heap->count > 0) {
        struct candidate best = pop(heap);
        struct symbol *left = &symbol[best.at];
        if (left->id < 0 || left->after < 0)
            continue;
        struct symbol *right = &symbol[left->after];
        const struct sdt__bpe_merge *merge = place(bpe, left->id, right->id);
        if (merge->left < 0 || merge->id != best.id) /* one of the two has been joined since */
            continue;
        left->id = best.id;
        left->after = right->after;
        right->id = -1;
        if (left->after >= 0)
            symbol[left->after].before = best.at;
        consider(bpe, symbol, left->before, heap);
        consider(bpe, symbol, best.at, heap);
    }
}

/* The symbols of a piece's bytes. Returns how many. */
static int spell(const struct sdt__bpe *bpe, const char *piece, size_t size,
                 struct symbol *symbol /* [size] */) {
    int count = 0;
    for (size_t i = 0; i < size; i++) {
        char text[3 + SDT__SUFFIX_ROOM];
        int length = letter_of((unsigned char)piece[i], text);
        if (i + 1 == size)
            memcpy(text + length, bpe->suffix, strlen(bpe->suffix) + 1);
        int32_t id = sdt__bpe_find(bpe, text);
        id = id < 0 ? bpe->unknown : id;
        if (id < 0)
            continue;
        symbol[count] = (struct symbol){id, count - 1, count + 1};
        count++;
    }
    if (count > 0)
        symbol[count - 1].after = -1;
    return count;
}

/* The piece's own symbol, where it may stay whole; -1: none. */
static int32_t find_whole(const struct sdt__bpe *bpe, const char *piece, size_t size) {
    char text[2 * MOST_SYMBOL + 3];
    size_t length = 0;
    if (!bpe->whole || size > MOST_SYMBOL)
        return -1;
    for (size_t i = 0; i < size; i++)
        length += (size_t)letter_of((unsigned char)piece[i], text + length);
    return sdt__bpe_find(bpe, text);
}

bool sdt__bpe_encode(const struct sdt__bpe *bpe, const char *piece, size_t size,
                     struct sdt__ids *out) {
    int32_t whole = size ? find_whole(bpe, piece, size) : -1;
    if (size == 0)
        return true;
    if (whole >= 0) {
        sdt__ids_append(out, whole);
        return !out->no_memory;
    }
    /* A join takes one symbol away and adds two candidates at most. */
    struct symbol *symbol = malloc(size * sizeof *symbol);
    struct heap heap = {.item = malloc(3 * size * sizeof *heap.item)};
    bool good = symbol && heap.item;
    if (good) {
        int count = spell(bpe, piece, size, symbol);
        for (int i = 0; i + 1 < count; i++)
            consider(bpe, symbol, i, &heap);
        if (count > 0)
            join(bpe, symbol, &heap);
        for (int i = 0; i >= 0 && i < count; i = symbol[i].after)
            sdt__ids_append(out, symbol[i].id);
    }
    free(symbol);
    free(heap.item);
    return good && !out->no_memory;
}
