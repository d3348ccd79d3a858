/* Tiles of any size give the same bits: a whole forward of the golden Wan transformer over 297
 * tokens, with tiles of 4 to 512 rows, on one device and on three. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/run/forward.h"
#include "tests/check.h"

enum { DEVICES = 3, TEXT = 9 };

static float *numbers(size_t n) {
    static unsigned state = 1;
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; x && i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(int)(state >> 8) / 8388608.0f - 1.0f;
    }
    return x;
}

static void check_choice(void) {
    static const struct {
        int64_t tokens;
        int workers, rows;
    } want[] = {{1, 1, 4},      {45, 1, 48},    {45, 8, 4},     {45, 2, 24},
                {80, 2, 40},    {80, 1, 80},    {256, 2, 64},   {780, 2, 100},
                {1024, 2, 128}, {4096, 64, 64}, {4096, 2, 128}, {32760, 2, 256}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++) {
        int rows = sdt_tile_rows(want[i].tokens, want[i].workers);
        CHECK(rows == want[i].rows, "%lld tokens on %d workers: tiles of %d, not %d",
              (long long)want[i].tokens, want[i].workers, rows, want[i].rows);
    }
    for (int64_t tokens = 1; tokens < 3000; tokens += 7)
        for (int workers = 1; workers < 20; workers++) {
            int rows = sdt_tile_rows(tokens, workers);
            CHECK(rows >= 4 && rows % 4 == 0 && rows <= 256 &&
                      (rows == 4 || (tokens + rows - 1) / rows >= workers),
                  "%lld tokens on %d workers: tiles of %d", (long long)tokens, workers, rows);
        }
}

/* False: it failed, and *err says why. */
static bool check_model(const char *name, struct sdt_error *err) {
    static const char *const strategies[] = {"single", "ulysses", "pipesp"};
    static const int rows[] = {16, 64, 128, 256, 4, 20, 300, 512};
    struct sdt_machine_options options = {.devices = DEVICES, .workers_per_device = 1};
    struct sdt_machine *machine = NULL;
    struct sdt_dit *dit = NULL;
    const char *source = getenv("STARDIT_SOURCE_DIR");
    char path[4096];
    float *first = NULL;
    int runs = 0, wrong = 0;

    snprintf(path, sizeof path, "%s/tests/golden/%s", source ? source : ".", name);
    if (sdt_dit_open(path, NULL, 0, &dit, err) != SDT_OK ||
        sdt_machine_open(&options, &machine, err) != SDT_OK)
        return false;
    struct sdt_forward forward = {.dit = dit,
                                  .machine = machine,
                                  .parallel = {.place = machine->device, .devices = DEVICES},
                                  .geometry = {3, 18, 22}, /* of the latent: 297 tokens */
                                  .rows = TEXT,
                                  .t = 500.0f,
                                  .guidance = 1.0f};
    size_t count = (size_t)dit->channels * 3 * 18 * 22;
    float *latent = numbers(count), *text = numbers((size_t)TEXT * (size_t)dit->text_dim);
    if (!latent || !text)
        return false;
    forward.latent = latent;
    forward.text = text;
    for (size_t s = 0; s < sizeof strategies / sizeof strategies[0]; s++)
        for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++, runs++) {
            float *y = calloc(count, sizeof *y);
            forward.parallel.strategy = sdt_strategy_find(strategies[s]);
            forward.parallel.tile_rows = rows[r];
            if (!y || sdt_forward_once(&forward, y, err) != SDT_OK)
                return false;
            if (!first)
                first = y;
            else if (memcmp(first, y, count * sizeof *y)) {
                printf("%s with tiles of %d rows: other bits\n", strategies[s], rows[r]);
                wrong++;
            }
            if (y != first)
                free(y);
        }
    CHECK(wrong == 0, "%d of %d forwards have other bits", wrong, runs);
    free(first);
    free(latent);
    free(text);
    sdt_machine_close(machine);
    sdt_dit_close(dit);
    printf("%s: %d forwards over 297 tokens, tiles of 4 to 512 rows: %d differ: %s\n", name, runs,
           wrong, wrong ? "FAIL" : "ok");
    return true;
}

int main(void) {
    static const char *const models[] = {"wan_dit", "osp13_dit"};
    check_choice();
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        struct sdt_error err = {0};
        if (!check_model(models[m], &err)) {
            printf("%s: %s: FAIL\n", models[m], err.message);
            return 1;
        }
    }
    return failures > 0;
}
