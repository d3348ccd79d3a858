/* The loops round the micro-kernel: groups of panels, blocks of k, panels. Packed weights are read
 * once, from front to back; weights that are not packed are packed here, one panel of one block at
 * a time.
 *
 * Packed: a header of 64 bytes, then [group][block of k][panel of the group][step][column]. */
#include "kernels/cpu/product.h"

#include <string.h>

/* Behind it, elements. In memory only: it depends on the processor. */
struct header {
    int32_t n, k, run, lanes;
    enum sdt_dtype dtype;
    char room[44];
};
_Static_assert(sizeof(struct header) == SDT_PACKED_ELEMENT, "elements start at a cache line");

static int at_most(int a, int b) { return a < b ? a : b; }

/* The end of the group of panels that starts at column `first`: panels of 3 vectors, and in the
 * last group what would be a single vector too, as two panels of 2 have it. */
static int group_end(int n, int first, int lanes) {
    int end = first + SDT__GROUP / (3 * lanes) * (3 * lanes);
    return n - end <= lanes ? n : end;
}

/* The end of the block of k that starts at step `first`; blocks do not reach over the end of a
 * run. */
static int block_end(int k, int run, int first) {
    int start = first / run * run, end = first + sdt__k_step(run);
    return at_most(at_most(end, start + run), k);
}

/* ---- packing --------------------------------------------------------------------------------- */

static enum sdt_dtype packed_dtype(enum sdt_dtype stored) {
    return stored == SDT_BF16 || stored == SDT_F16 ? stored : SDT_F32;
}

size_t sdt_packed_size(enum sdt_dtype stored, int n, int k) {
    size_t columns = (size_t)sdt__panel_columns(n, sdt__micro_kernel()->lanes);
    size_t bytes = columns * (size_t)k * sdt_dtype_size(packed_dtype(stored));
    return sizeof(struct header) +
           (bytes + SDT_PACKED_ELEMENT - 1) / SDT_PACKED_ELEMENT * SDT_PACKED_ELEMENT;
}

/* One panel of one block: rows col.. and steps first.. of w. */
static void pack_panel(const struct sdt__micro_kernel *kernel, enum sdt_dtype stored, int n, int ld,
                       int col, int width, int first, int kc, const void *w, void *to) {
    size_t element = sdt_dtype_size(stored);
    const char *from = (const char *)w + ((size_t)col * (size_t)ld + (size_t)first) * element;
    if (element == 8) { /* doubles: weights of no known model */
        float *panel = to;
        for (int l = 0; l < kc; l++)
            for (int c = 0; c < width; c++, panel++)
                if (col + c < n)
                    sdt_convert(stored, 1, from + ((size_t)c * (size_t)ld + (size_t)l) * element,
                                panel);
                else
                    *panel = 0.f;
        return;
    }
    kernel->pack(at_most(width, n - col), width, kc, element, from, (size_t)ld, to);
}

void sdt_pack_columns(enum sdt_dtype stored, int n, int k, int ld, int run, const void *w,
                      void *packed) {
    const struct sdt__micro_kernel *kernel = sdt__micro_kernel();
    struct header header = {n, k, run, kernel->lanes, packed_dtype(stored), {0}};
    size_t element = sdt_dtype_size(header.dtype);
    char *to = (char *)packed + sizeof header;
    memcpy(packed, &header, sizeof header);
    for (int group = 0; group < n; group = group_end(n, group, kernel->lanes))
        for (int first = 0, end; first < k; first = end) {
            end = block_end(k, run, first);
            for (int col = group; col < group_end(n, group, kernel->lanes);) {
                int width = sdt__panel_vectors(n, col, kernel->lanes) * kernel->lanes;
                pack_panel(kernel, stored, n, ld, col, width, first, end - first, w, to);
                to += (size_t)width * (size_t)(end - first) * element;
                col += width;
            }
        }
}

void sdt_pack_weight(enum sdt_dtype stored, int n, int k, int run, const void *w, void *packed) {
    sdt_pack_columns(stored, n, k, k, run, w, packed);
}

/* ---- products -------------------------------------------------------------------------------- */

/* A panel of a block as floats: where it lies, or in `panel`. *at is the next packed panel. */
static const float *floats_of(const struct sdt__micro_kernel *kernel, struct sdt_weight w, int n,
                              int k, int col, int width, int first, int kc, const char **at,
                              float *panel, uint16_t *halves) {
    size_t count = (size_t)width * (size_t)kc;
    const void *stored = halves;
    if (w.packed) {
        stored = *at;
        *at += count * sdt_dtype_size(w.dtype);
        if (w.dtype == SDT_F32)
            return stored;
    } else if (w.dtype == SDT_F32 || w.dtype == SDT_F64) {
        pack_panel(kernel, w.dtype, n, k, col, width, first, kc, w.data, panel);
        return panel;
    } else {
        pack_panel(kernel, w.dtype, n, k, col, width, first, kc, w.data, halves);
    }
    kernel->widen(w.dtype, count, stored, panel);
    return panel;
}

/* Where the loops are: a group of columns, a block of k, and the column after the panel. */
struct place {
    int group, group_end, first, end, col;
};

/* The rows of w that the panel after this one is made of are the next to be read. */
static void look_ahead(struct sdt__strip *strip, struct sdt_weight w, int n, int k, int run,
                       struct place at) {
    size_t element = sdt_dtype_size(w.dtype);
    if (at.col == at.group_end) {
        at.first = at.end < k ? at.end : 0;
        at.end = block_end(k, run, at.first);
        at.col = at.first > 0 ? at.group : at.group_end;
    }
    if (at.col == n)
        return;
    int lanes = sdt__micro_kernel()->lanes;
    strip->next_rows = at_most(sdt__panel_vectors(n, at.col, lanes) * lanes, n - at.col);
    strip->next = (const char *)w.data + ((size_t)at.col * (size_t)k + (size_t)at.first) * element;
    strip->next_bytes = (size_t)(at.end - at.first) * element;
    strip->next_ld = (size_t)k * element;
}

void sdt__multiply(const struct sdt__rows *x, int n, int k, int run, struct sdt_weight w,
                   const struct sdt__sums *sums) {
    const struct sdt__micro_kernel *kernel = sdt__micro_kernel();
    /* A panel of a block, and its halves before they are widened. */
    float panel[SDT__K_BLOCK * SDT__MOST_WIDTH] __attribute__((aligned(64)));
    uint16_t halves[SDT__K_BLOCK * SDT__MOST_WIDTH] __attribute__((aligned(64)));
    int lanes = kernel->lanes;
    const char *at = w.data;
    if (w.packed) {
        struct header header;
        memcpy(&header, w.data, sizeof header);
        at += sizeof header;
        w.dtype = header.dtype;
        run = header.run;
    }
    size_t element = sdt_dtype_size(w.dtype), segments = (size_t)x->segments;

    for (int group = 0, next; group < n; group = next) {
        bool begun[SDT__SEGMENTS] = {false};
        float *z = sums->scratch ? sums->y : sums->y + group;
        next = group_end(n, group, lanes);
        for (int first = 0, end; first < k; first = end) {
            const float *a[SDT__SEGMENTS];
            ptrdiff_t lda = x->ld;
            end = block_end(k, run, first);
            for (int s = 0; s < x->segments; s++)
                a[s] = x->at(x->arg, s, first, &lda);
            for (int col = group; col < next;) {
                int vectors = sdt__panel_vectors(n, col, lanes), width = vectors * lanes;
                struct sdt__strip strip = {.rows = x->rows,
                                           .kc = end - first,
                                           .vectors = vectors,
                                           .cols = at_most(width, n - col),
                                           .lda = lda,
                                           .ldb = width,
                                           .ldy = sums->ld};
                strip.b =
                    floats_of(kernel, w, n, k, col, width, first, strip.kc, &at, panel, halves);
                if (w.packed) {
                    strip.next = at;
                    strip.next_rows = 1;
                    strip.next_bytes = (size_t)width * (size_t)strip.kc * element / segments;
                } else {
                    look_ahead(&strip, w, n, k, run,
                               (struct place){group, next, first, end, col + width});
                }
                for (int s = 0; s < x->segments; s++) {
                    if (a[s]) {
                        strip.a = a[s];
                        strip.add = begun[s];
                        strip.y = z + s * sums->segment_ld + (col - group);
                        kernel->multiply(&strip);
                    }
                    if (w.packed)
                        strip.next = (const char *)strip.next + strip.next_bytes;
                    else
                        strip.next_rows = 0;
                }
                col += width;
            }
            for (int s = 0; s < x->segments; s++)
                begun[s] |= a[s] != NULL;
        }
        for (int s = 0; s < x->segments; s++) {
            float *sum = z + s * sums->segment_ld;
            for (int r = 0; !begun[s] && r < x->rows; r++) /* nothing but zeros */
                memset(sum + r * sums->ld, 0, (size_t)(next - group) * sizeof(float));
            if (sums->finish)
                sums->finish(sums->arg, s, group, next - group, sum);
        }
    }
}
