/* Which naming a file has, and its tensors under the model's names. */
#include "graph/checkpoint/naming.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/untrusted.h"

/* ---- spelling -------------------------------------------------------------------------------- */

void sdt_replace(const struct sdt_replacement *list, const char *name, char *text, size_t size) {
    char before[SDT_NAME_ROOM];

    snprintf(text, size, "%s", name);
    for (; list->ours; list++) {
        const char *at = strstr(text, list->ours);
        if (!at)
            continue;
        snprintf(before, sizeof before, "%.*s%s%s", (int)(at - text), text, list->theirs,
                 at + strlen(list->ours));
        snprintf(text, size, "%s", before);
    }
}

void sdt_naming_spell(const struct sdt_naming *naming, const void *model, const char *name,
                      char *text, size_t size) {
    if (naming && naming->spell)
        naming->spell(model, name, text, size);
    else
        snprintf(text, size, "%s", name);
}

/* text = the whole name in a file. */
static void spell(const char *prefix, const struct sdt_naming *naming, const void *model,
                  const char *name, char text[2 * SDT_NAME_ROOM]) {
    char own[SDT_NAME_ROOM];
    sdt_naming_spell(naming, model, name, own, sizeof own);
    snprintf(text, 2 * SDT_NAME_ROOM, "%s%s", prefix, own);
}

/* ---- recognising ----------------------------------------------------------------------------- */

bool sdt_naming_recognise(const struct sdt_namings *namings, const char *const *marks,
                          const struct sdt_weights *weights, struct sdt_recognised *found) {
    for (const char *const *prefix = namings->prefix; *prefix; prefix++)
        for (const struct sdt_naming *naming = namings->naming; naming->name; naming++) {
            bool all = true;
            for (const char *const *mark = marks; *mark && all; mark++) {
                char text[2 * SDT_NAME_ROOM];
                spell(*prefix, naming, NULL, *mark, text);
                all = sdt_weights_find(weights, text) != NULL;
            }
            if (all) {
                *found = (struct sdt_recognised){weights, naming, *prefix};
                return true;
            }
        }
    return false;
}

const struct sdt_stored *sdt_recognised_tensor(const struct sdt_recognised *found,
                                               const char *format, ...) {
    char name[SDT_NAME_ROOM], text[2 * SDT_NAME_ROOM];
    va_list args;

    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    spell(found->prefix, found->naming, NULL, name, text);
    return sdt_weights_find(found->weights, text);
}

/* ---- settling -------------------------------------------------------------------------------- */

/* A name of the table in one naming. */
struct spelled {
    char *text;
    const char *name;
};

struct spelling {
    struct spelled *item; /* [count], in order of text */
    size_t count;
};

static int compare(const void *a, const void *b) {
    const struct spelled *x = a, *y = b;
    return strcmp(x->text, y->text);
}

static void spelling_free(struct spelling *spelling) {
    for (size_t i = 0; i < spelling->count; i++)
        free(spelling->item[i].text);
    free(spelling->item);
    *spelling = (struct spelling){0};
}

/* All names of the table in that naming, without a prefix; false: out of memory. */
static bool spell_all(const struct sdt_tensor_table *table, const struct sdt_naming *naming,
                      struct spelling *spelling) {
    spelling->item = calloc(table->count + 1, sizeof *spelling->item);
    if (!spelling->item)
        return false;
    for (size_t i = 0; i < table->count; i++) {
        char text[SDT_NAME_ROOM];
        sdt_naming_spell(naming, table->model, table->required[i].name, text, sizeof text);
        spelling->item[i] = (struct spelled){strdup(text), table->required[i].name};
        spelling->count++;
        if (!spelling->item[i].text) {
            spelling_free(spelling);
            return false;
        }
    }
    qsort(spelling->item, spelling->count, sizeof *spelling->item, compare);
    return true;
}

static const char *find_name(void *arg, const char *stored) {
    const struct spelling *spelling = arg;
    const struct spelled key = {(char *)stored, NULL}, *found;
    found = bsearch(&key, spelling->item, spelling->count, sizeof key, compare);
    return found ? found->name : NULL;
}

static size_t hits(const struct spelling *spelling, const char *prefix,
                   const struct sdt_weights *weights) {
    size_t found = 0;
    for (size_t i = 0; i < spelling->count; i++) {
        char text[2 * SDT_NAME_ROOM];
        snprintf(text, sizeof text, "%s%s", prefix, spelling->item[i].text);
        found += sdt_weights_find(weights, text) != NULL;
    }
    return found;
}

/* A tensor that the file's naming does not have and another has. */
static enum sdt_status refuse_mixture(const struct sdt_tensor_table *table, struct spelling *best,
                                      struct spelling *other, const struct sdt_naming *other_naming,
                                      const struct sdt_weights *weights, struct sdt_error *err) {
    const size_t length = strlen(table->prefix);
    for (size_t i = 0; i < sdt_weights_count(weights); i++) {
        const char *stored = sdt_weights_at(weights, i)->name, *name;
        if (strncmp(stored, table->prefix, length) != 0 || find_name(best, stored + length) ||
            !(name = find_name(other, stored + length)) ||
            sdt_tensor_table_ignores(table, stored + length))
            continue;
        char text[SDT_NAME_ROOM];
        sdt_naming_spell(table->naming, table->model, name, text, sizeof text);
        return sdt_fail(err, SDT_ERROR_FORMAT,
                        "%s mixes two layouts: '%.*s' is spelt as in %s, where %s has '%s%.*s'; a "
                        "file with one of them throughout would work",
                        sdt__path_tail(sdt_weights_stored_path(weights, stored)), SDT__NAME_SHOWN,
                        stored, other_naming->name, table->naming->name, table->prefix,
                        SDT__NAME_SHOWN, text);
    }
    return SDT_OK;
}

enum sdt_status sdt_tensor_table_settle(struct sdt_tensor_table *table, struct sdt_weights *weights,
                                        struct sdt_error *err) {
    enum { MOST_NAMINGS = 8 };
    struct spelling spelling[MOST_NAMINGS] = {{0}};
    enum sdt_status status = SDT_OK;
    size_t most = 0, best = 0;
    int namings = 0;

    if (!table->namings || table->no_memory)
        return SDT_OK;
    for (const struct sdt_naming *l = table->namings->naming; l->name && namings < MOST_NAMINGS;
         l++, namings++) {
        if (!spell_all(table, l, &spelling[namings])) {
            status = sdt_fail(err, SDT_ERROR_MEMORY, "%s: no memory for the names of its tensors",
                              sdt__path_tail(sdt_weights_folder(weights)));
            goto out;
        }
        for (const char *const *prefix = table->namings->prefix; *prefix; prefix++) {
            size_t found = hits(&spelling[namings], *prefix, weights);
            if (found > most) {
                most = found;
                best = (size_t)namings;
                table->naming = l;
                table->prefix = *prefix;
            }
        }
    }
    if (most == 0)
        goto out; /* nothing is there: the names as they are */
    for (int i = 0; i < namings && status == SDT_OK; i++)
        if ((size_t)i != best)
            status = refuse_mixture(table, &spelling[best], &spelling[i],
                                    &table->namings->naming[i], weights, err);
    if (status == SDT_OK && (best > 0 || *table->prefix))
        status = sdt_weights_rename(weights, table->prefix, find_name, &spelling[best], err);
out:
    for (int i = 0; i < namings; i++)
        spelling_free(&spelling[i]);
    return status;
}
