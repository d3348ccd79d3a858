/* cuDNN's plans as text: in memory by library, GPU and shape, and each in a file. */
#include "kernels/cuda/plans.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/target.h"

enum state { MAKING, TEXT, NONE };
enum { MOST_BYTES = 64 << 20, HEAD = 512 };

struct plan {
    struct plan *next;
    enum state state;
    int64_t key[SDT__PLAN_KEY];
    char *text;
    size_t size;
    char of[];
};

struct sdt__plans {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct plan *first;
    struct sdt__plans_count count;
    char *folder;
};

struct sdt__plans *sdt__plans_new(const char *folder) {
    struct sdt__plans *plans = calloc(1, sizeof *plans);
    if (!plans)
        return NULL;
    plans->folder = folder ? strdup(folder) : NULL;
    if (folder && !plans->folder) {
        free(plans);
        return NULL;
    }
    pthread_mutex_init(&plans->mutex, NULL);
    pthread_cond_init(&plans->changed, NULL);
    return plans;
}

static void plan_free(struct plan *plan) {
    free(plan->text);
    free(plan);
}

void sdt__plans_free(struct sdt__plans *plans) {
    if (!plans)
        return;
    while (plans->first) {
        struct plan *next = plans->first->next;
        plan_free(plans->first);
        plans->first = next;
    }
    pthread_cond_destroy(&plans->changed);
    pthread_mutex_destroy(&plans->mutex);
    free(plans->folder);
    free(plans);
}

/* ---- files ----------------------------------------------------------------------------------- */

char *sdt__plans_folder(void) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    const char *below = cache && *cache == '/' ? "/stardit/cudnn" : "/.cache/stardit/cudnn";
    const char *root = cache && *cache == '/' ? cache : home;
    size_t size;
    if (!root || *root != '/')
        return NULL;
    size = strlen(root) + strlen(below) + 1;
    char *folder = malloc(size);
    if (folder)
        snprintf(folder, size, "%s%s", root, below);
    return folder;
}

/* FNV-1a. */
static uint64_t digest(const void *data, size_t size, uint64_t sum) {
    for (size_t i = 0; i < size; i++)
        sum = (sum ^ ((const unsigned char *)data)[i]) * 0x100000001b3u;
    return sum;
}
static const uint64_t start = 0xcbf29ce484222325u;

/* The file's name; malloc'ed. */
static char *path_of(const struct sdt__plans *plans, const char *of, const int64_t *key) {
    uint64_t name = digest(key, SDT__PLAN_KEY * sizeof *key, digest(of, strlen(of), start));
    size_t size = strlen(plans->folder) + 40;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%s/%016llx.plan", plans->folder, (unsigned long long)name);
    return path;
}

/* The first line of a file: its form, what it is for, how long the text is and its sum. All of it
 * is compared: nothing that was not written for this very plan gets to cuDNN. False: too long. */
static bool head_of(char *head /* [HEAD] */, const char *of, const int64_t *key, const char *text,
                    size_t size) {
    int at = snprintf(head, HEAD, "stardit-plan 1 %016llx %zu",
                      (unsigned long long)digest(text, size, start), size);
    for (int i = 0; i < SDT__PLAN_KEY; i++)
        if (at < HEAD)
            at += snprintf(head + at, (size_t)(HEAD - at), " %lld", (long long)key[i]);
    if (at < HEAD)
        at += snprintf(head + at, (size_t)(HEAD - at), " %s\n", of);
    return at < HEAD;
}

/* A plan's text from its file; NULL: there is none that can be used. */
static char *read_plan(const struct sdt__plans *plans, const char *of, const int64_t *key,
                       size_t *size) {
    char head[HEAD], wanted[HEAD], *text = NULL;
    char *path = plans->folder ? path_of(plans, of, key) : NULL;
    FILE *file = path ? fopen(path, "rb") : NULL;
    struct stat about;
    bool fine = false;

    free(path);
    if (!file)
        return NULL;
    if (fstat(fileno(file), &about) == 0 && S_ISREG(about.st_mode) && about.st_size < MOST_BYTES &&
        fgets(head, sizeof head, file) && (off_t)strlen(head) <= about.st_size) {
        *size = (size_t)about.st_size - strlen(head);
        text = malloc(*size + 1);
        fine = text && fread(text, 1, *size, file) == *size && *size > 0 &&
               head_of(wanted, of, key, text, *size) && strcmp(head, wanted) == 0;
    }
    fclose(file);
    if (!fine) {
        free(text);
        return NULL;
    }
    text[*size] = 0;
    return text;
}

static void make_folder(char *path) {
    for (char *at = path + 1; *at; at++)
        if (*at == '/') {
            *at = 0;
            mkdir(path, 0777);
            *at = '/';
        }
    mkdir(path, 0777);
}

/* Failures are no news: the next process makes the plan itself. */
static void write_plan(const struct sdt__plans *plans, const char *of, const int64_t *key,
                       const char *text, size_t size) {
    char head[HEAD], *partial = NULL;
    char *path = plans->folder ? path_of(plans, of, key) : NULL;
    if (!path || !head_of(head, of, key, text, size)) {
        free(path);
        return;
    }
    make_folder(plans->folder);
    if (sdt__target_begin(path, SDT__TARGET_FILE, &partial, NULL) == SDT_OK) {
        FILE *file = fopen(partial, "wb");
        bool fine = file && fputs(head, file) >= 0 && fwrite(text, 1, size, file) == size;
        if (file && fclose(file))
            fine = false;
        if (fine)
            sdt__target_commit(partial, path, SDT__TARGET_FILE, true, NULL);
        else
            sdt__target_abandon(partial, SDT__TARGET_FILE);
    }
    free(path);
}

/* ---- plans ----------------------------------------------------------------------------------- */

/* With the mutex. */
static struct plan **find(struct sdt__plans *plans, const char *of, const int64_t *key) {
    struct plan **at = &plans->first;
    while (*at && (memcmp((*at)->key, key, sizeof(*at)->key) || strcmp((*at)->of, of)))
        at = &(*at)->next;
    return at;
}

static char *copy_of(const struct plan *plan, size_t *size) {
    char *text = malloc(plan->size + 1);
    *size = plan->size;
    return text ? memcpy(text, plan->text, plan->size + 1) : NULL;
}

enum sdt__plan_found sdt__plans_take(struct sdt__plans *plans, const char *of,
                                     const int64_t key[SDT__PLAN_KEY], char **text, size_t *size) {
    enum sdt__plan_found found = SDT__PLAN_WANTED;
    struct plan *plan;

    *text = NULL;
    *size = 0;
    pthread_mutex_lock(&plans->mutex);
    while ((plan = *find(plans, of, key)) && plan->state == MAKING)
        pthread_cond_wait(&plans->changed, &plans->mutex);
    if (!plan && (plan = calloc(1, sizeof *plan + strlen(of) + 1))) {
        memcpy(plan->key, key, sizeof plan->key);
        strcpy(plan->of, of);
        plan->next = plans->first;
        plans->first = plan;
        pthread_mutex_unlock(&plans->mutex);
        char *from_disk = read_plan(plans, of, key, size);
        pthread_mutex_lock(&plans->mutex);
        if (from_disk) {
            plan->text = from_disk;
            plan->size = *size;
            plan->state = TEXT;
            plans->count.read++;
            pthread_cond_broadcast(&plans->changed);
        }
    }
    if (plan && plan->state != MAKING) {
        found = plan->state == TEXT ? SDT__PLAN_TEXT : SDT__PLAN_NONE;
        *text = copy_of(plan, size);
        if (!*text)
            found = SDT__PLAN_WANTED;
    }
    pthread_mutex_unlock(&plans->mutex);
    return found;
}

void sdt__plans_put(struct sdt__plans *plans, const char *of, const int64_t key[SDT__PLAN_KEY],
                    bool none, const char *text, size_t size, bool ahead, double seconds) {
    char *kept = text ? malloc(size + 1) : NULL;

    if (kept) {
        memcpy(kept, text, size);
        kept[size] = 0;
        if (!none)
            write_plan(plans, of, key, text, size);
    }
    pthread_mutex_lock(&plans->mutex);
    struct plan **at = find(plans, of, key), *plan = *at;
    plans->count.made += !none && text;
    plans->count.ahead += !none && text && ahead;
    plans->count.none += none;
    plans->count.seconds += seconds;
    if (none && text && !plans->count.first_none[0])
        snprintf(plans->count.first_none, sizeof plans->count.first_none, "%s", text);
    if (plan && kept) {
        free(plan->text);
        plan->text = kept;
        plan->size = size;
        plan->state = none ? NONE : TEXT;
        kept = NULL;
    } else if (plan) { /* whoever waits makes it */
        *at = plan->next;
        plan_free(plan);
    }
    free(kept);
    pthread_cond_broadcast(&plans->changed);
    pthread_mutex_unlock(&plans->mutex);
}

void sdt__plans_spoiled(struct sdt__plans *plans, const char *of,
                        const int64_t key[SDT__PLAN_KEY]) {
    pthread_mutex_lock(&plans->mutex);
    struct plan *plan = *find(plans, of, key);
    if (plan && plan->state == TEXT)
        plan->state = MAKING; /* by the caller */
    pthread_mutex_unlock(&plans->mutex);
}

struct sdt__plans_count sdt__plans_count(struct sdt__plans *plans) {
    pthread_mutex_lock(&plans->mutex);
    struct sdt__plans_count count = plans->count;
    pthread_mutex_unlock(&plans->mutex);
    return count;
}
