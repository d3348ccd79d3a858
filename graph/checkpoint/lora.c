/* Which tensors of a LoRA belong to which of a model, and their sums. */
#define _GNU_SOURCE
#include "graph/checkpoint/lora.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"
#include "graph/checkpoint/adapter.h"
#include "graph/checkpoint/naming.h"
#include "graph/checkpoint/untrusted.h"
#include "kernels/kernels.h"

#define MOST_RANK 512

/* What one file adds to one tensor. */
struct addend {
    const struct sdt_stored *up, *down; /* [.., rank] and [rank, ..]; NULL: */
    const struct sdt_stored *diff;      /* as the tensor */
    size_t first;                       /* the row of `up` that is the tensor's first */
    int file;                           /* whose it is */
    float scale;
    struct addend *next; /* in the order of the files */
};

struct sdt_merge {
    struct sdt_stored base, merged;
    struct addend *addend;
    pthread_mutex_t mutex;
    int users; /* who read the values now */
};

struct sdt_merges {
    struct sdt_weights **file; /* [files] the LoRAs */
    double *strength;          /* [files] */
    int files;
    struct sdt_merge *merge; /* [count], a place for each tensor of the table */
    size_t count;
    void *room; /* addresses for what is computed */
    size_t bytes;
};

void sdt_merges_free(struct sdt_merges *merges) {
    if (!merges)
        return;
    for (size_t i = 0; merges->merge && i < merges->count; i++) {
        struct addend *addend = merges->merge[i].addend;
        while (addend) {
            struct addend *next = addend->next;
            free(addend);
            addend = next;
        }
        pthread_mutex_destroy(&merges->merge[i].mutex);
    }
    for (int i = 0; i < merges->files; i++)
        sdt_weights_close(merges->file[i]);
    if (merges->room)
        munmap(merges->room, merges->bytes);
    free(merges->merge);
    free(merges->file);
    free(merges->strength);
    free(merges);
}

/* ---- sums ------------------------------------------------------------------------------------ */

static size_t rows_of(const struct sdt_stored *tensor) {
    return tensor->rank ? (size_t)tensor->shape[0] : 1;
}

static const void *at(const struct sdt_stored *tensor, size_t index) {
    return (const char *)tensor->data + index * sdt_dtype_size(tensor->dtype);
}

enum { ROWS = 64, ACROSS = 64 };

/* w [rows, across] += a part of the addend, from that row and column on of a tensor with k
 * columns. */
static void add(const struct addend *a, size_t row, size_t rows, size_t column, size_t across,
                size_t k, float *w) {
    float up[ROWS * MOST_RANK], down[MOST_RANK * ACROSS]; /* 256 kB */
    if (a->diff) {
        for (size_t r = 0; r < rows; r++) {
            sdt_convert(a->diff->dtype, across, at(a->diff, (row + r) * k + column), up);
            for (size_t c = 0; c < across; c++)
                w[r * across + c] += a->scale * up[c];
        }
        return;
    }
    size_t rank = rows_of(a->down);
    for (size_t i = 0; i < rank; i++)
        sdt_convert(a->down->dtype, across, at(a->down, i * k + column), down + i * across);
    sdt_convert(a->up->dtype, rows * rank, at(a->up, (a->first + row) * rank), up);
    sdt_add_low_rank((int)rows, (int)across, (int)rank, up, down, a->scale, w);
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Block by block, so that nothing but the result needs memory. */
static void compute(const struct sdt_merge *merge) {
    const struct sdt_stored *base = &merge->base, *merged = &merge->merged;
    const size_t rows = rows_of(base), k = base->count / rows;
    const size_t size = sdt_dtype_size(merged->dtype);
    float w[ROWS * ACROSS];
    for (size_t row = 0; row < rows; row += ROWS)
        for (size_t column = 0; column < k; column += ACROSS) {
            size_t many = least(ROWS, rows - row), across = least(ACROSS, k - column);
            for (size_t r = 0; r < many; r++)
                sdt_convert(base->dtype, across, at(base, (row + r) * k + column), w + r * across);
            for (const struct addend *a = merge->addend; a; a = a->next)
                add(a, row, many, column, across, k, w);
            for (size_t r = 0; r < many; r++)
                sdt_convert_to(SDT_F32, across, w + r * across, merged->dtype,
                               (char *)merged->data + ((row + r) * k + column) * size);
        }
}

void sdt_stored_fetch(const struct sdt_stored *tensor) {
    struct sdt_merge *merge = tensor->merge;
    if (!merge)
        return;
    pthread_mutex_lock(&merge->mutex);
    if (merge->users++ == 0)
        compute(merge);
    pthread_mutex_unlock(&merge->mutex);
}

void sdt__merge_release(const struct sdt_stored *tensor) {
    struct sdt_merge *merge = tensor->merge;
    pthread_mutex_lock(&merge->mutex);
    if (merge->users > 0 && --merge->users == 0 && tensor->bytes > 0)
        madvise((void *)tensor->data, tensor->bytes, MADV_DONTNEED);
    pthread_mutex_unlock(&merge->mutex);
    sdt_stored_release(&merge->base);
}

const struct sdt_stored *sdt_stored_base(const struct sdt_stored *tensor) {
    return tensor->merge ? &tensor->merge->base : tensor;
}

const struct sdt_weights *sdt_merges_file(const struct sdt_merges *merges, int i) {
    return merges && i < merges->files ? merges->file[i] : NULL;
}

uint64_t sdt_merges_digest(const struct sdt_merges *merges, uint64_t hash) {
    for (int f = 0; merges && f < merges->files; f++) {
        hash = sdt__digest(hash, &merges->strength[f], sizeof merges->strength[f]);
        for (size_t i = 0; i < sdt_weights_count(merges->file[f]); i++) {
            const struct sdt_stored *t = sdt_weights_at(merges->file[f], i);
            hash = sdt__digest(hash, t->name, strlen(t->name));
            hash = sdt__digest(hash, t->data, t->bytes);
        }
    }
    for (size_t i = 0; merges && i < merges->count; i++)
        for (const struct addend *a = merges->merge[i].addend; a; a = a->next)
            hash = sdt__digest(hash, &a->scale, sizeof a->scale);
    return hash;
}

/* ---- names ----------------------------------------------------------------------------------- */

enum kind { UP, DOWN, ALPHA, DIFF, DIFF_BIAS, DIFF_TABLE, KINDS };

static const struct {
    const char *end;
    enum kind kind;
} ends[] = {
    {".lora_A.weight", DOWN},
    {".lora_B.weight", UP},
    {".lora_A.default.weight", DOWN},
    {".lora_B.default.weight", UP},
    {".lora_down.weight", DOWN},
    {".lora_up.weight", UP},
    {".lora.down.weight", DOWN},
    {".lora.up.weight", UP},
    {".alpha", ALPHA},
    {".diff", DIFF},
    {".diff_b", DIFF_BIAS},
    {".diff_m", DIFF_TABLE},
};

/* The kind of a LoRA's tensor, and the length of the name in front; KINDS: none. */
static enum kind kind_of(const char *name, size_t *stem) {
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t end = strlen(ends[i].end);
        if (length > end && !strcmp(name + length - end, ends[i].end)) {
            *stem = length - end;
            return ends[i].kind;
        }
    }
    return KINDS;
}

bool sdt_lora_describe(const struct sdt_weights *weights, struct sdt_lora_contents *contents) {
    *contents = (struct sdt_lora_contents){0};
    for (size_t i = 0; i < sdt_weights_count(weights); i++) {
        const struct sdt_stored *t = sdt_weights_at(weights, i);
        size_t stem;
        enum kind kind = kind_of(t->name, &stem);
        if (kind == KINDS)
            return false;
        int64_t rank = t->rank ? t->shape[0] : 0;
        if (kind == DOWN) {
            bool first = contents->pairs++ == 0;
            contents->least_rank =
                first || rank < contents->least_rank ? rank : contents->least_rank;
            contents->most_rank = rank > contents->most_rank ? rank : contents->most_rank;
        }
        contents->alphas += kind == ALPHA;
        contents->differences += kind == DIFF || kind == DIFF_BIAS || kind == DIFF_TABLE;
    }
    struct sdt_adapter adapter = {0};
    struct sdt_error err;
    if (contents->pairs && sdt_adapter_read(weights, &adapter, &err) == SDT_OK && adapter.settings)
        contents->scale = sdt_adapter_scale(&adapter, "", 0, (size_t)contents->most_rank);
    sdt_adapter_clear(&adapter);
    return contents->pairs + contents->differences > 0;
}

/* A tensor of the model under one spelling of its name, without the prefix of its file. */
struct spelled {
    char *text, *flat; /* flat: '_' for '.' */
    size_t index;      /* in the table */
};

struct spelling {
    struct spelled *item; /* [count], by text, then index */
    size_t count;
};

static int compare(const void *a, const void *b) {
    const struct spelled *x = a, *y = b;
    int order = strcmp(x->text, y->text);
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

static void spelling_free(struct spelling *spelling) {
    for (size_t i = 0; i < spelling->count; i++) {
        free(spelling->item[i].text);
        free(spelling->item[i].flat);
    }
    free(spelling->item);
    *spelling = (struct spelling){0};
}

/* Adds all names of the table as the naming has them; false: out of memory. */
static bool spell_all(const struct sdt_tensor_table *table, const struct sdt_naming *naming,
                      struct spelling *spelling) {
    struct spelled *item =
        realloc(spelling->item, (spelling->count + table->count + 1) * sizeof *item);
    if (!item)
        return false;
    spelling->item = item;
    for (size_t i = 0; i < table->count; i++) {
        char text[SDT_NAME_ROOM];
        sdt_naming_spell(naming, table->model, table->required[i].name, text, sizeof text);
        struct spelled *s = &spelling->item[spelling->count++];
        *s = (struct spelled){strdup(text), strdup(text), i};
        if (!s->text || !s->flat)
            return false;
        for (char *c = s->flat; *c; c++)
            *c = *c == '.' ? '_' : *c;
    }
    return true;
}

static bool spell_table(const struct sdt_tensor_table *table, struct spelling *spelling) {
    const struct sdt_naming *naming = table->namings ? table->namings->naming : NULL;
    bool fine = spell_all(table, NULL, spelling);
    for (; fine && naming && naming->name; naming++)
        fine = !naming->spell || spell_all(table, naming, spelling);
    for (naming = table->lora_naming; fine && naming && naming->name; naming++)
        fine = spell_all(table, naming, spelling);
    if (!fine || spelling->count == 0)
        return fine;
    qsort(spelling->item, spelling->count, sizeof *spelling->item, compare);
    size_t kept = 1; /* what two namings spell alike stands there once */
    for (size_t i = 1; i < spelling->count; i++) {
        struct spelled *s = &spelling->item[i];
        if (compare(s, &spelling->item[kept - 1]) != 0) {
            spelling->item[kept++] = *s;
            continue;
        }
        free(s->text);
        free(s->flat);
    }
    spelling->count = kept;
    return true;
}

/* ---- matching -------------------------------------------------------------------------------- */

/* What is being merged into what. */
struct matching {
    struct sdt_merges *merges;
    const struct sdt_tensor_table *table;
    struct spelling spelling;
    const struct sdt_weights *file;
    struct sdt_adapter adapter; /* the file's settings */
    double strength;
    struct sdt_error *err;
};

static enum sdt_status refuse(const struct matching *m, enum sdt_status status, const char *name,
                              const char *why) {
    return sdt_fail(m->err, status, "%s: tensor '%.*s' %s",
                    sdt__path_tail(sdt_weights_folder(m->file)), SDT__NAME_SHOWN, name, why);
}

/* The first item of the spelling with that text, and how many there are. NULL: none. */
static const struct spelled *find_text(const struct spelling *spelling, const char *text,
                                       size_t *count) {
    size_t low = 0, high = spelling->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(spelling->item[middle].text, text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *count = 0;
    while (low + *count < spelling->count && !strcmp(spelling->item[low + *count].text, text))
        ++*count;
    return *count ? &spelling->item[low] : NULL;
}

static const struct spelled *find_flat(const struct spelling *spelling, const char *flat,
                                       size_t *count) {
    *count = 0;
    for (size_t i = 0; i < spelling->count; i++)
        if (!strcmp(spelling->item[i].flat, flat))
            return find_text(spelling, spelling->item[i].text, count);
    return NULL;
}

/* The tensors of the model that the name of length `stem` stands for. */
static const struct spelled *find(const struct matching *m, const char *name, size_t stem,
                                  enum kind kind, size_t *count) {
    static const char *const prefixes[] = {"", "transformer.", "diffusion_model.",
                                           "model.diffusion_model.", "base_model.model."};
    static const char flat[] = "lora_unet_";
    const char *end = kind == DIFF_BIAS ? ".bias" : kind == DIFF_TABLE ? ".modulation" : ".weight";
    char text[2 * SDT_NAME_ROOM];
    const struct spelled *found = NULL;

    *count = 0;
    if (stem > SDT_NAME_ROOM)
        return NULL;
    for (size_t p = 0; p < sizeof prefixes / sizeof prefixes[0] && !found; p++) {
        size_t length = strlen(prefixes[p]);
        if (stem <= length || strncmp(name, prefixes[p], length) != 0)
            continue;
        snprintf(text, sizeof text, "%.*s%s", (int)(stem - length), name + length, end);
        found = find_text(&m->spelling, text, count);
        if (!found && kind == DIFF) /* a table has no .weight */
            text[stem - length] = '\0', found = find_text(&m->spelling, text, count);
    }
    if (!found && !strncmp(name, flat, strlen(flat))) {
        snprintf(text, sizeof text, "%.*s_%s", (int)(stem - strlen(flat)), name + strlen(flat),
                 end + 1);
        found = find_flat(&m->spelling, text, count);
    }
    return found;
}

/* The file's tensor of that stem and kind; NULL: none. */
static const struct sdt_stored *partner(const struct matching *m, const char *name, size_t stem,
                                        enum kind kind) {
    char text[2 * SDT_NAME_ROOM];
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        if (ends[i].kind != kind)
            continue;
        snprintf(text, sizeof text, "%.*s%s", (int)stem, name, ends[i].end);
        const struct sdt_stored *found = sdt_weights_find(m->file, text);
        if (found)
            return found;
    }
    return NULL;
}

/* The one number that a tensor holds. */
static float number_of(const struct sdt_stored *t) {
    float value;
    sdt_convert(t->dtype, 1, t->data, &value);
    return value;
}

/* strength (alpha / rank), alpha being the one of that stem, or as the file's settings have it. */
static float scale_of(const struct matching *m, const char *name, size_t stem, size_t rank) {
    const struct sdt_stored *alpha = partner(m, name, stem, ALPHA);
    if (alpha && alpha->count == 1)
        return (float)(m->strength * ((double)number_of(alpha) / (double)rank));
    return (float)(m->strength * sdt_adapter_scale(&m->adapter, name, stem, rank));
}

/* A file adds one pair and one difference to a tensor at most: more are the same one in two
 * spellings, and the file's writer meant it once. */
static enum sdt_status append(const struct matching *m, const struct sdt_stored *t, size_t index,
                              struct addend addend) {
    struct addend *new, **link = &m->merges->merge[index].addend;
    char why[400];
    addend.file = m->merges->files;
    for (; *link; link = &(*link)->next)
        if ((*link)->file == addend.file && !(*link)->diff == !addend.diff) {
            snprintf(why, sizeof why, "is the second one for the model's '%.120s', beside '%.120s'",
                     m->table->required[index].name,
                     ((*link)->diff ? (*link)->diff : (*link)->down)->name);
            return refuse(m, SDT_ERROR_FORMAT, t->name, why);
        }
    new = malloc(sizeof *new);
    if (!new)
        return sdt_fail(m->err, SDT_ERROR_MEMORY, "no memory to merge %s",
                        sdt__path_tail(sdt_weights_folder(m->file)));
    *new = addend;
    *link = new;
    return SDT_OK;
}

static size_t elements(const struct sdt_requirement *required) {
    size_t count = 1;
    for (int i = 0; i < required->rank; i++)
        count *= (size_t)required->shape[i];
    return count;
}

static enum sdt_status refuse_shape(const struct matching *m, const struct sdt_stored *t,
                                    const struct spelled *to) {
    const struct sdt_requirement *required = &m->table->required[to->index];
    char found[SDT__SHAPE_TEXT], model[SDT__SHAPE_TEXT], why[400];
    sdt__shape_text(t->rank, t->shape, found);
    sdt__shape_text(required->rank, required->shape, model);
    snprintf(why, sizeof why, "of shape %.80s does not fit the model's '%.120s' of shape %.80s",
             found, required->name, model);
    return refuse(m, SDT_ERROR_FORMAT, t->name, why);
}

/* Up and down. The rows of the tensors that share the name follow one another in up. */
static enum sdt_status add_pair(const struct matching *m, const struct sdt_stored *down,
                                size_t stem, const struct spelled *to, size_t count) {
    const struct sdt_stored *up = partner(m, down->name, stem, UP);
    size_t rows = 0, rank = rows_of(down);
    enum sdt_status status = SDT_OK;

    if (!up)
        return refuse(m, SDT_ERROR_FORMAT, down->name, "has no other half (lora_B, lora_up)");
    if (down->rank < 2 || rank < 1 || rank > MOST_RANK)
        return refuse(m, SDT_ERROR_UNSUPPORTED, down->name, "is no matrix of rank 1 to 512");
    for (size_t i = 0; i < count; i++) {
        const struct sdt_requirement *required = &m->table->required[to[i].index];
        size_t n = required->rank ? (size_t)required->shape[0] : 0;
        rows += n;
        if (required->rank < 2 || down->count != rank * (elements(required) / n))
            return refuse_shape(m, down, &to[i]);
    }
    if (up->rank < 2 || rows_of(up) != rows || up->count != rows * rank)
        return refuse_shape(m, up, to);
    struct addend addend = {.up = up, .down = down, .scale = scale_of(m, down->name, stem, rank)};
    for (size_t i = 0; i < count && status == SDT_OK; i++) {
        status = append(m, down, to[i].index, addend);
        addend.first += (size_t)m->table->required[to[i].index].shape[0];
    }
    return status;
}

static enum sdt_status add_difference(const struct matching *m, const struct sdt_stored *diff,
                                      const struct spelled *to, size_t count) {
    const struct sdt_requirement *required = &m->table->required[to->index];
    if (count != 1 || diff->count != elements(required) ||
        (required->rank && rows_of(diff) != (size_t)required->shape[0]))
        return refuse_shape(m, diff, to);
    return append(m, diff, to->index, (struct addend){.diff = diff, .scale = (float)m->strength});
}

static enum sdt_status add_tensor(const struct matching *m, const struct sdt_stored *t) {
    size_t stem = 0, count = 0;
    enum kind kind = kind_of(t->name, &stem);

    if (kind == KINDS)
        return refuse(m, SDT_ERROR_UNSUPPORTED, t->name,
                      "is none of a LoRA that is read: lora_A, lora_B, lora_down, lora_up, alpha, "
                      "diff, diff_b and diff_m are");
    if (!sdt__stored_is_float(t))
        return refuse(m, SDT_ERROR_UNSUPPORTED, t->name, "holds no floating point numbers");
    if (kind == UP && !partner(m, t->name, stem, DOWN))
        return refuse(m, SDT_ERROR_FORMAT, t->name, "has no other half (lora_A, lora_down)");
    if ((kind == UP || kind == DOWN) && partner(m, t->name, stem, kind) != t)
        return refuse(m, SDT_ERROR_FORMAT, t->name, "is there twice, in two spellings");
    if (kind == ALPHA && (t->count != 1 || !partner(m, t->name, stem, DOWN)))
        return refuse(m, SDT_ERROR_FORMAT, t->name, "is no number beside a lora_A or lora_down");
    if (kind == ALPHA && t->count == 1 && !isfinite(number_of(t)))
        return refuse(m, SDT_ERROR_NOT_FINITE, t->name, "is NaN or infinite");
    if (kind == UP || kind == ALPHA)
        return SDT_OK;
    const struct spelled *to = find(m, t->name, stem, kind, &count);
    if (!to)
        return refuse(m, SDT_ERROR_FORMAT, t->name,
                      "belongs to no tensor of the transformer; a LoRA of this model would work");
    return kind == DOWN ? add_pair(m, t, stem, to, count) : add_difference(m, t, to, count);
}

/* ---- places ---------------------------------------------------------------------------------- */

/* Puts merged tensors in the place of those of the weights. */
static enum sdt_status place(struct sdt_merges *merges, struct sdt_weights *weights,
                             const struct sdt_tensor_table *table, struct sdt_error *err) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < merges->count; i++) {
        struct sdt_merge *merge = &merges->merge[i];
        const struct sdt_stored *base = sdt_weights_find(weights, table->required[i].name);
        if (!merge->addend || !base)
            continue;
        merge->base = merge->merged = *base;
        if (base->dtype == SDT_F64) /* weights are rounded to float32 when they are read anyway */
            merge->merged.dtype = SDT_F32;
        merge->merged.bytes = base->count * sdt_dtype_size(merge->merged.dtype);
        merge->merged.merge = merge;
        merges->bytes += (merge->merged.bytes + page - 1) / page * page;
    }
    if (merges->bytes == 0)
        return SDT_OK;
    merges->room = mmap(NULL, merges->bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (merges->room == MAP_FAILED) {
        merges->room = NULL;
        return sdt_fail(err, SDT_ERROR_MEMORY, "no addresses for %zu bytes of merged weights",
                        merges->bytes);
    }
    char *next = merges->room;
    for (size_t i = 0; i < merges->count; i++) {
        struct sdt_merge *merge = &merges->merge[i];
        if (!merge->merged.merge)
            continue;
        merge->merged.data = next;
        next += (merge->merged.bytes + page - 1) / page * page;
        sdt__weights_put(weights, &merge->merged);
    }
    return SDT_OK;
}

enum sdt_status sdt_lora_file(const char *path, char **file, struct sdt_error *err) {
    static const char *const names[] = {"pytorch_lora_weights.safetensors",
                                        "adapter_model.safetensors"};
    struct stat info;
    bool failed = false;

    *file = NULL;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        *file = strdup(path);
        failed = !*file;
    }
    for (size_t i = 0; i < 2 && !*file && !failed; i++) {
        char *one = sdt__path_join(path, names[i]);
        failed = !one;
        if (one && access(one, F_OK) == 0)
            *file = one;
        else
            free(one);
    }
    if (failed)
        return sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory to open it", sdt__path_tail(path));
    if (!*file)
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s: a folder with neither %s nor %s; name the LoRA's file itself",
                        sdt__path_tail(path), names[0], names[1]);
    return SDT_OK;
}

static enum sdt_status open_lora(const char *path, struct sdt_weights **weights,
                                 struct sdt_error *err) {
    char *file;
    enum sdt_status status = sdt_lora_file(path, &file, err);
    if (status == SDT_OK)
        status = sdt_weights_open(file, weights, err);
    free(file);
    return status;
}

static struct sdt_merges *new_merges(size_t tensors, int files) {
    struct sdt_merges *merges = calloc(1, sizeof *merges);
    if (!merges)
        return NULL;
    merges->merge = calloc(tensors + 1, sizeof *merges->merge);
    merges->file = calloc((size_t)files, sizeof *merges->file);
    merges->strength = calloc((size_t)files, sizeof *merges->strength);
    if (!merges->merge || !merges->file || !merges->strength) {
        sdt_merges_free(merges);
        return NULL;
    }
    merges->count = tensors;
    for (size_t i = 0; i < tensors; i++)
        pthread_mutex_init(&merges->merge[i].mutex, NULL);
    return merges;
}

enum sdt_status sdt_weights_merge(struct sdt_weights *weights, const struct sdt_tensor_table *table,
                                  const struct sdt_lora *lora, int count, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    if (count == 0)
        return SDT_OK;
    struct matching m = {.merges = new_merges(table->count, count), .table = table, .err = err};
    if (!m.merges || !spell_table(table, &m.spelling))
        status = sdt_fail(err, SDT_ERROR_MEMORY, "no memory to merge %s", lora[0].path);
    for (int i = 0; i < count && status == SDT_OK; i++) {
        struct sdt_weights *file;
        if ((status = open_lora(lora[i].path, &file, err)) != SDT_OK)
            break;
        m.merges->file[i] = file;
        m.merges->strength[i] = m.strength = lora[i].strength;
        m.merges->files++;
        m.file = file;
        if (sdt_weights_count(file) == 0)
            status = sdt_fail(err, SDT_ERROR_FORMAT, "%s holds no tensors", lora[i].path);
        else
            status = sdt_adapter_read(file, &m.adapter, err);
        for (size_t t = 0; t < sdt_weights_count(file) && status == SDT_OK; t++)
            status = add_tensor(&m, sdt_weights_at(file, t));
        sdt_adapter_clear(&m.adapter);
    }
    spelling_free(&m.spelling);
    if (status == SDT_OK && !sdt__weights_imagined(weights))
        status = place(m.merges, weights, table, err);
    if (status == SDT_OK)
        sdt__weights_own(weights, m.merges);
    else
        sdt_merges_free(m.merges);
    return status;
}
