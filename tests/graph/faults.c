/* The Nth allocation and the Nth submission of a run fail, N stepping through the run: over one
 * device, several devices, and two groups with their threads. Every run ends with a clear error and
 * takes nothing with it, and the machine then gives the bits of the first run again. Starting a
 * machine and opening a checkpoint likewise.
 *
 *   faults [SECONDS|all [CASE [PART PARTS]]]
 *
 * About as long for each case, default 6, which takes a sample of the calls; all: every one. Only
 * one case, from 0 on, the last one starts machines; of its calls only part PART, from 0 on, of
 * PARTS equal ones. tests/long/faults.sh takes all parts of all cases.
 *
 * graph/, codelets/ and the rest of stardit are linked into this program (tests/faults.h); StarPU
 * is not, so that it is our calls that fail. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef HAVE_PCRE2
#include <utf8proc.h>
#endif

#include "base/clock.h"
#include "graph/pipeline.h"
#include "tests/check.h"
#include "tests/faults.h"
#include "tests/light.h"

enum { REQUESTS = 2, SIZE = 32, FRAMES = 5, STEPS = 1, PIXELS = 3 * FRAMES * SIZE * SIZE };

/* ---- StarPU's functions that may fail -------------------------------------------------------- */

struct starpu_task *__real_starpu_task_create(void);
int __real_starpu_task_submit(struct starpu_task *task);
/* StarPU-MPI's library, where there is one, calls them too. */
#pragma GCC visibility push(default)
struct starpu_task *__wrap_starpu_task_create(void);
int __wrap_starpu_task_submit(struct starpu_task *task);
#pragma GCC visibility pop

static struct faults submissions;

struct starpu_task *__wrap_starpu_task_create(void) {
    return faults_refuse(&faults) ? NULL : __real_starpu_task_create();
}

/* StarPU frees these with the task, whether it is run or only destroyed. */
int __wrap_starpu_task_submit(struct starpu_task *task) {
    long given = (task->cl_arg_free && task->cl_arg) + (task->dyn_handles != NULL) +
                 (task->dyn_modes != NULL);
    atomic_fetch_sub(&faults.blocks, given);
    return faults_refuse(&submissions) ? -ENODEV : __real_starpu_task_submit(task);
}

#ifdef HAVE_PCRE2
/* utf8proc's, too. */
utf8proc_ssize_t __real_utf8proc_map(const utf8proc_uint8_t *text, utf8proc_ssize_t size,
                                     utf8proc_uint8_t **out, utf8proc_option_t options);
utf8proc_ssize_t __wrap_utf8proc_map(const utf8proc_uint8_t *text, utf8proc_ssize_t size,
                                     utf8proc_uint8_t **out, utf8proc_option_t options);
utf8proc_ssize_t __wrap_utf8proc_map(const utf8proc_uint8_t *text, utf8proc_ssize_t size,
                                     utf8proc_uint8_t **out, utf8proc_option_t options) {
    if (faults_refuse(&faults))
        return UTF8PROC_ERROR_NOMEM;
    utf8proc_ssize_t length = __real_utf8proc_map(text, size, out, options);
    atomic_fetch_add(&faults.blocks, length >= 0);
    return length;
}
#endif

/* jansson's blocks, which stardit frees, are counted; they do not fail, because jansson 2.14 ends
 * the program when it has no memory for a string with an escape in it. Its other failures:
 * tests/checkpoint/memory.c. */
static void *json_block(size_t size) {
    bool armed = atomic_exchange(&faults.armed, false);
    void *block = __wrap_malloc(size);
    atomic_store(&faults.armed, armed);
    return block;
}

/* ---- what is tried --------------------------------------------------------------------------- */

/* Checkpoints: folders of links into the sources; the demo is one as it is. */
enum { DEMO, HUNYUAN, OPENSORA, MODELS };
static const struct model {
    const char *name;
    const char *link[8][2]; /* from, to */
} models[MODELS] = {
    {"checkpoints/stardit-demo", {{NULL, NULL}}},
    {"hunyuan",
     {{"tests/golden/hunyuan_text/model_index.json", "model_index.json"},
      {"tests/golden/hunyuan_text/scheduler", "scheduler"},
      {"tests/golden/hunyuan_text/text_encoder", "text_encoder"},
      {"tests/golden/hunyuan_text/text_encoder_2", "text_encoder_2"},
      {"tests/golden/hunyuan_text/tokenizer", "tokenizer"},
      {"tests/golden/hunyuan_text/tokenizer_2", "tokenizer_2"},
      {"tests/golden/hunyuan_dit", "transformer"},
      {"tests/golden/hunyuan_vae", "vae"}}},
    {"opensora",
     {{"tests/golden/opensora/model_index.json", "model_index.json"},
      {"tests/golden/opensora/scheduler", "scheduler"},
      {"tests/golden/opensora/text_encoder", "text_encoder"},
      {"checkpoints/stardit-demo/tokenizer", "tokenizer"},
      {"tests/golden/opensora/transformer", "transformer"},
      {"tests/golden/wfvae", "vae"}}},
};

struct test {
    int model;
    int dit, vae; /* devices; 0 VAE devices: one group */
    const char *strategy;
    enum sdt_aco aco;
    int streams, tile;
};

static char folder[4096]; /* of the links */
static pid_t maker;

static void remove_links(void) {
    char path[5000];
    if (getpid() != maker)
        return;
    for (int m = 0; m < MODELS; m++) {
        for (int i = 0; i < 8 && models[m].link[i][0]; i++) {
            snprintf(path, sizeof path, "%s/%s/%s", folder, models[m].name, models[m].link[i][1]);
            unlink(path);
        }
        snprintf(path, sizeof path, "%s/%s", folder, models[m].name);
        if (m != DEMO)
            rmdir(path);
    }
    rmdir(folder);
}

static void make_links(void) {
    const char *source = getenv("STARDIT_SOURCE_DIR"), *tmp = getenv("TMPDIR");
    char here[4096], from[5000], to[5000];
    snprintf(folder, sizeof folder, "%s/faults-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!realpath(source ? source : ".", here) || !mkdtemp(folder))
        exit(99);
    maker = getpid();
    atexit(remove_links);
    for (int m = DEMO + 1; m < MODELS; m++) {
        snprintf(to, sizeof to, "%s/%s", folder, models[m].name);
        if (mkdir(to, 0700) != 0)
            exit(99);
        for (int i = 0; i < 8 && models[m].link[i][0]; i++) {
            snprintf(from, sizeof from, "%s/%s", here, models[m].link[i][0]);
            snprintf(to, sizeof to, "%s/%s/%s", folder, models[m].name, models[m].link[i][1]);
            if (symlink(from, to) != 0)
                exit(99);
        }
    }
}

static void model_path(int model, char *path, size_t size) {
    const char *source = getenv("STARDIT_SOURCE_DIR");
    snprintf(path, size, "%s/%s", model == DEMO ? (source ? source : ".") : folder,
             models[model].name);
}

/* HunyuanVideo's tokenizers take PCRE2. */
static bool is_built(int model) {
#ifdef HAVE_PCRE2
    (void)model;
    return true;
#else
    return model != HUNYUAN;
#endif
}

/* Which calls fail. */
struct share {
    double seconds; /* a sample that takes about as long; 0: every one */
    long part, parts;
};

struct delivered {
    float video[REQUESTS][PIXELS];
    int count[REQUESTS];
    enum sdt_status status[REQUESTS];
    char message[REQUESTS][600];
};

static void deliver(void *arg, int request, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    struct delivered *d = arg;
    d->count[request]++;
    d->status[request] = status;
    snprintf(d->message[request], sizeof d->message[request], "%s",
             status == SDT_OK ? "" : err->message);
    if (status == SDT_OK)
        memcpy(d->video[request], result->video, sizeof d->video[request]);
}

static enum sdt_status attempt(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                               const struct test *test, struct delivered *d,
                               struct sdt_error *err) {
    static const char *const prompt[REQUESTS] = {"a red ball", "snow"};
    struct sdt_request request[REQUESTS];
    struct sdt_run_options run = {.placement = {.dit_devices = test->vae ? test->dit : 0,
                                                .vae_devices = test->vae,
                                                .aco = test->aco,
                                                .streams = test->streams,
                                                .most_latents = 2},
                                  .deliver = deliver,
                                  .deliver_arg = d};
    for (int i = 0; i < test->dit + test->vae; i++)
        if (i < test->dit)
            run.placement.dit[i] = i;
        else
            run.placement.vae[i - test->dit] = i;
    for (int r = 0; r < REQUESTS; r++) {
        enum sdt_status status = sdt_pipeline_defaults(pipeline, &request[r], err);
        if (status != SDT_OK)
            return status;
        request[r].prompt = prompt[r];
        request[r].height = request[r].width = SIZE;
        request[r].num_frames = FRAMES;
        request[r].steps = STEPS;
        request[r].strategy = sdt_strategy_find(test->strategy);
        if (test->tile)
            request[r].tiling =
                (struct sdt_vae_tiling){test->tile, test->tile, test->tile - 8, test->tile - 8};
    }
    memset(d, 0, sizeof *d);
    return sdt_pipeline_run_all(pipeline, machine, request, REQUESTS, &run, err);
}

/* Does the error say something, and the right thing? */
static void check_error(const char *what, long n, enum sdt_status status, const char *message) {
    CHECK((status == SDT_ERROR_MEMORY || status == SDT_ERROR_DEVICE) && strlen(message) > 10,
          "%s %ld: %s, '%s'", what, n, sdt_status_name(status), message);
}

/* Fails call after call of f within the run, as far as the share goes; returns how many. */
static long fail_each(const char *what, struct faults *f, const struct share *share,
                      struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                      const struct test *test, const struct delivered *want) {
    struct delivered *got = malloc(sizeof *got);
    struct sdt_error err = {0};
    long tried = 0;

    if (!got)
        abort();
    double start = sdt__host_now();
    faults_arm(f, -1, false);
    attempt(pipeline, machine, test, got, &err);
    faults_disarm(f);
    double each = sdt__host_now() - start;
    const long calls = f->calls, blocks = faults.blocks;
    const long from = calls * share->part / share->parts;
    const long to = calls * (share->part + 1) / share->parts;
    const long wanted = (long)(share->seconds / 2.0 / each);
    const long stride = share->seconds <= 0.0 ? 1
                        : wanted > 0          ? (to - from) / wanted + 1
                                              : to - from;
    /* In twos, because what repeats in the run has some few calls: a task has two allocations. */
    for (long n = from; n < to && failures < 10;
         n += n - from < 10 || tried % 2 ? 1 : 2 * stride - 1) {
        err = (struct sdt_error){0};
        faults_arm(f, n, n % 3 == 2);
        enum sdt_status status = attempt(pipeline, machine, test, got, &err);
        faults_disarm(f);
        bool failed = f->failed;
        tried++;
        CHECK(faults.blocks == blocks, "%s %ld: %ld blocks leak", what, n, faults.blocks - blocks);
        if (status != SDT_OK)
            check_error(what, n, status, err.message);
        CHECK(failed || status == SDT_OK, "%s %ld: an error without a fault: %s", what, n,
              err.message);
        for (int r = 0; r < REQUESTS; r++) {
            CHECK(got->count[r] <= 1, "%s %ld: delivered twice", what, n);
            if (got->count[r] && got->status[r] != SDT_OK)
                check_error(what, n, got->status[r], got->message[r]);
            else if (got->count[r])
                CHECK(!memcmp(got->video[r], want->video[r], sizeof got->video[r]),
                      "%s %ld: a video of other bits", what, n);
            CHECK(got->count[r] || status != SDT_OK, "%s %ld: request %d is lost", what, n, r);
        }
        if (tried % 16 == 0) {
            CHECK(attempt(pipeline, machine, test, got, &err) == SDT_OK &&
                      !memcmp(got->video, want->video, sizeof got->video),
                  "%s %ld: the run after it: %s", what, n, err.message);
        }
    }
    CHECK(attempt(pipeline, machine, test, got, &err) == SDT_OK &&
              !memcmp(got->video, want->video, sizeof got->video),
          "%s: the run after all: %s", what, err.message);
    printf("  %ld of %ld failed: %s", tried, calls, what);
    if (share->parts > 1)
        printf(", %ld to %ld", from, to - 1);
    printf("\n");
    free(got);
    return tried;
}

static int run(const struct test *test, const struct share *share) {
    struct sdt_machine_options options = {.devices = test->dit + test->vae,
                                          .workers_per_device = 1};
    struct sdt_machine *machine = NULL;
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_error err = {0};
    struct delivered *want = malloc(sizeof *want);
    char path[4096];

    model_path(test->model, path, sizeof path);
    const long before = faults.blocks;
    if (!want || sdt_pipeline_open(path, &pipeline, &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK ||
        attempt(pipeline, machine, test, want, &err) != SDT_OK) {
        printf("  %s: FAIL\n", err.message);
        return 1;
    }
    fail_each("allocations", &faults, share, pipeline, machine, test, want);
    fail_each("submissions", &submissions, share, pipeline, machine, test, want);
    sdt_machine_close(machine);
    sdt_pipeline_close(pipeline);
    CHECK(faults.blocks == before, "%ld blocks are left at the end", faults.blocks - before);
    free(want);
    return failures > 0;
}

/* Opening the checkpoint, as a folder and with single files, and starting the machine. */
static int run_opening(void) {
    struct sdt_machine_options options = {.devices = 2, .workers_per_device = 1};
    static const char *const names[] = {"opening the checkpoint", "starting a machine",
                                        "opening files", "opening HunyuanVideo",
                                        "opening Open-Sora-Plan"};
    char path[4096], transformer[5000], text[5000], other[MODELS][5000];
    for (int m = 0; m < MODELS; m++)
        model_path(m, other[m], sizeof other[m]);
    model_path(DEMO, path, sizeof path);
    snprintf(transformer, sizeof transformer, "%s/transformer/diffusion_pytorch_model.safetensors",
             path);
    snprintf(text, sizeof text, "%s/text_encoder/model.safetensors", path);
    const struct sdt_model_files files = {
        .model = path, .transformer = transformer, .text_encoder = text, .tokenizer = path};
    for (int what = 0; what < 5; what++) {
        const char *name = names[what];
        if (what > 2 && !is_built(what - 2))
            continue;
        const long blocks = faults.blocks;
        bool failed = true;
        long n = 0;
        for (; failed && failures < 10; n++) {
            struct sdt_machine *machine = NULL;
            struct sdt_pipeline *pipeline = NULL;
            struct sdt_error err = {0};
            faults_arm(&faults, n, false);
            enum sdt_status status = what == 0   ? sdt_pipeline_open(path, &pipeline, &err)
                                     : what == 1 ? sdt_machine_open(&options, &machine, &err)
                                     : what == 2
                                         ? sdt_pipeline_open_files(&files, &pipeline, &err)
                                         : sdt_pipeline_open(other[what - 2], &pipeline, &err);
            faults_disarm(&faults);
            failed = faults.failed;
            if (failed && status != SDT_OK)
                CHECK(status == SDT_ERROR_MEMORY && err.message[0] && !machine && !pipeline,
                      "%s, allocation %ld: %s, '%s'", name, n, sdt_status_name(status),
                      err.message);
            CHECK(failed || status == SDT_OK, "%s: %s", name, err.message);
            sdt_machine_close(machine);
            sdt_pipeline_close(pipeline);
            CHECK(faults.blocks == blocks, "%s, allocation %ld: %ld blocks leak", name, n,
                  faults.blocks - blocks);
        }
        printf("  %ld of %ld failed: allocations of %s\n", n - 1, n - 1, name);
    }
    return failures > 0;
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        {DEMO, 1, 0, "single", SDT_ACO_OFF, 2, 0},
        {DEMO, 3, 0, "pipesp", SDT_ACO_OFF, 1, 0},
        {DEMO, 2, 0, "ring", SDT_ACO_OFF, 2, 24},
        {DEMO, 2, 1, "pipesp", SDT_ACO_DYNAMIC, 2, 0},
        {DEMO, 1, 2, "ulysses", SDT_ACO_STATIC, 2, 24},
        {HUNYUAN, 1, 1, "pipesp", SDT_ACO_STATIC, 1, 24},
        {OPENSORA, 2, 0, "ulysses", SDT_ACO_OFF, 2, 0},
    };
    const bool all = argc > 1 && !strcmp(argv[1], "all");
    const struct share share = {.seconds = all            ? 0.0
                                           : argc > 1     ? atof(argv[1])
                                           : test_light() ? 2.0
                                                          : 6.0,
                                .part = argc > 4 ? atol(argv[3]) : 0,
                                .parts = argc > 4 ? atol(argv[4]) : 1};
    int only = argc > 2 ? atoi(argv[2]) : -1;
    int wrong = 0, count = sizeof tests / sizeof tests[0];

    if ((argc > 1 && !all && share.seconds <= 0.0) || share.parts < 1 || share.part < 0 ||
        share.part >= share.parts || argc == 4) {
        fprintf(stderr, "usage: faults [SECONDS|all [CASE [PART PARTS]]]\n");
        return 2;
    }
    json_set_alloc_funcs(json_block, __wrap_free);
    make_links();
    /* Each in a process of its own, because StarPU is started anew with other devices. */
    for (int t = 0; t <= count; t++) {
        int status = 1;
        if ((only >= 0 && t != only) || (t < count && !is_built(tests[t].model)))
            continue;
        if (t < count)
            printf("%s, %d+%d devices, %s, aco %s, %d streams%s\n", models[tests[t].model].name,
                   tests[t].dit, tests[t].vae, tests[t].strategy, sdt_aco_name(tests[t].aco),
                   tests[t].streams, tests[t].tile ? ", tiles" : "");
        fflush(stdout);
        pid_t child = fork();
        if (child == 0)
            exit(t < count ? run(&tests[t], &share) : run_opening());
        if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0) {
            printf("  status %d: FAIL\n", status);
            wrong++;
        }
    }
    printf("%s\n", wrong ? "FAIL" : "ok");
    return wrong > 0;
}
