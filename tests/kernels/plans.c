/* Texts of plans (kernels/cuda/plans.h): one thread makes what several want, a later process reads
 * it, and a file that is not whole, not of this form or not for this plan is as none. */
#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/folder.h"
#include "kernels/cuda/plans.h"
#include "tests/check.h"

static const char of[] = "cuDNN 9.19.0, a GPU";
static const int64_t key[SDT__PLAN_KEY] = {2, 384, 384, 3, 3, 60, 104};
static const char body[] = "{\"a\": \"plan\"}";
static char folder[400];

static bool reads(const char *whose, const int64_t *wanted) {
    struct sdt__plans *plans = sdt__plans_new(folder);
    char *text;
    size_t size;
    enum sdt__plan_found found = sdt__plans_take(plans, whose, wanted, &text, &size);
    bool same = found == SDT__PLAN_TEXT && size == strlen(body) && !strcmp(text, body);
    CHECK(same || found == SDT__PLAN_WANTED, "a plan that was never kept");
    CHECK(sdt__plans_count(plans).read == same, "plans read are counted wrongly");
    free(text);
    sdt__plans_free(plans);
    return same;
}

static void make(void) {
    struct sdt__plans *plans = sdt__plans_new(folder);
    char *text;
    size_t size;
    CHECK(sdt__plans_take(plans, of, key, &text, &size) == SDT__PLAN_WANTED, "a plan too early");
    sdt__plans_put(plans, of, key, false, body, strlen(body), true, 0.5);
    CHECK(sdt__plans_take(plans, of, key, &text, &size) == SDT__PLAN_TEXT && !strcmp(text, body),
          "a plan that was made is not there");
    free(text);
    struct sdt__plans_count count = sdt__plans_count(plans);
    CHECK(count.made == 1 && count.ahead == 1 && count.read == 0 && count.none == 0 &&
              count.seconds == 0.5,
          "what was done is counted wrongly");
    sdt__plans_free(plans);
}

/* The one file of the folder. */
static void file_of(char *path, size_t size) {
    DIR *dir = opendir(folder);
    int files = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        if (entry->d_name[0] != '.') {
            snprintf(path, size, "%s/%s", folder, entry->d_name);
            files++;
        }
    if (dir)
        closedir(dir);
    CHECK(files == 1, "%d files in place of one", files);
}

static void write_file(const char *path, const char *data, size_t size) {
    FILE *file = fopen(path, "wb");
    CHECK(file && fwrite(data, 1, size, file) == size && fclose(file) == 0, "cannot write %s",
          path);
}

static void damaged(void) {
    char path[800], whole[2000], data[2100];
    int64_t other[SDT__PLAN_KEY];
    file_of(path, sizeof path);
    FILE *file = fopen(path, "rb");
    size_t size = file ? fread(whole, 1, sizeof whole, file) : 0;
    if (file)
        fclose(file);
    CHECK(size > strlen(body) && size < sizeof whole, "a file of %zu bytes", size);
    for (size_t i = 0; i < size; i++) { /* each byte changed, each length too short */
        memcpy(data, whole, size);
        data[i] ^= 1;
        write_file(path, data, size);
        CHECK(!reads(of, key), "byte %zu was changed, and the plan is taken", i);
        write_file(path, whole, i);
        CHECK(!reads(of, key), "a plan of %zu bytes in place of %zu is taken", i, size);
    }
    memcpy(data, whole, size);
    data[size] = '}';
    write_file(path, data, size + 1);
    CHECK(!reads(of, key), "a plan with a byte more is taken");
    write_file(path, whole, size);
    CHECK(reads(of, key), "the whole file is not taken");
    /* A file under another one's name: another key, another GPU. */
    memcpy(other, key, sizeof other);
    other[5]++;
    CHECK(!reads(of, other), "a plan for another shape is taken");
    CHECK(!reads("cuDNN 9.20.0, a GPU", key), "a plan of another version is taken");
    write_file(path, "stardit-plan 0 old\n", 19);
    CHECK(!reads(of, key), "a file of an older form is taken");
    make();
    CHECK(reads(of, key), "a damaged file was not replaced");
}

/* ---- threads --------------------------------------------------------------------------------- */

enum { THREADS = 8 };
struct worker {
    struct sdt__plans *plans;
    int made, got;
};

static void *want(void *arg) {
    struct worker *worker = arg;
    for (int64_t shape = 0; shape < 50; shape++) {
        int64_t wanted[SDT__PLAN_KEY] = {1, shape};
        char *text, mine[40];
        size_t size;
        snprintf(mine, sizeof mine, "plan %d", (int)shape);
        if (sdt__plans_take(worker->plans, of, wanted, &text, &size) == SDT__PLAN_WANTED) {
            worker->made++;
            usleep(500); /* others come for it meanwhile */
            sdt__plans_put(worker->plans, of, wanted, false, mine, strlen(mine), false, 0.0);
        } else {
            worker->got += !strcmp(text, mine);
        }
        free(text);
    }
    return NULL;
}

static void together(void) {
    struct sdt__plans *plans = sdt__plans_new(NULL);
    struct worker worker[THREADS] = {{0}};
    pthread_t thread[THREADS];
    int made = 0, got = 0;
    for (int t = 0; t < THREADS; t++) {
        worker[t].plans = plans;
        pthread_create(&thread[t], NULL, want, &worker[t]);
    }
    for (int t = 0; t < THREADS; t++) {
        pthread_join(thread[t], NULL);
        made += worker[t].made;
        got += worker[t].got;
    }
    printf("%d threads, 50 plans each: %d made, %d taken from others\n", THREADS, made, got);
    CHECK(made == 50 && got == 50 * (THREADS - 1), "a plan was made twice, or lost");
    sdt__plans_free(plans);
}

/* No plan, and a failure that says nothing of the shape. */
static void without(void) {
    struct sdt__plans *plans = sdt__plans_new(folder);
    int64_t wanted[SDT__PLAN_KEY] = {1, 7};
    char *text;
    size_t size;
    sdt__plans_take(plans, of, wanted, &text, &size);
    sdt__plans_put(plans, of, wanted, false, NULL, 0, false, 0.0);
    CHECK(sdt__plans_take(plans, of, wanted, &text, &size) == SDT__PLAN_WANTED,
          "a failure is kept");
    sdt__plans_put(plans, of, wanted, true, "not supported", 13, false, 0.0);
    CHECK(sdt__plans_take(plans, of, wanted, &text, &size) == SDT__PLAN_NONE &&
              !strcmp(text, "not supported"),
          "that there is no plan is not known to others");
    free(text);
    struct sdt__plans_count count = sdt__plans_count(plans);
    CHECK(count.none == 1 && !strcmp(count.first_none, "not supported"), "counted wrongly");
    sdt__plans_free(plans);
    CHECK(!reads(of, wanted), "that there is no plan is on disk");
}

/* A folder that cannot be made. */
static void nowhere(void) {
    char before[sizeof folder];
    strcpy(before, folder);
    snprintf(folder, sizeof folder, "/proc/no/such/folder");
    make();
    CHECK(!reads(of, key), "a plan from a folder that is not there");
    strcpy(folder, before);
}

int main(void) {
    char *root;
    struct sdt_error err;
    if (sdt__folder_make(&root, &err) != SDT_OK) {
        printf("%s\n", err.message);
        return 99;
    }
    snprintf(folder, sizeof folder, "%s/cache/stardit/cudnn", root);
    CHECK(!reads(of, key), "a plan from nowhere");
    make();
    CHECK(reads(of, key), "a plan that was made is not on disk");
    damaged();
    together();
    without();
    nowhere();
    sdt__folder_remove(root);
    return failures > 0;
}
