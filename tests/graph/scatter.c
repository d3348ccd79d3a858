/* No mapping decision changes the result: the golden transformers, 200 times each, each task on a
 * worker drawn at random among all workers of all devices, in random order (policy "scatter",
 * worker masks off).
 *
 *   scatter [RUNS]     default 200
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/run/forward.h"
#include "stardit/safetensors.h"
#include "tests/light.h"

enum { DEVICES = 4 };

static const struct sdt_stored *input(const struct sdt_safetensors *file, const char *name) {
    const struct sdt_stored *tensor = sdt_safetensors_find(file, name);
    if (!tensor) {
        printf("no tensor %s: FAIL\n", name);
        exit(1);
    }
    return tensor;
}

/* Runs that went wrong; -1: it failed, and *err says why. */
static int scatter(const char *name, int runs, struct sdt_error *err) {
    static const char *const strategies[] = {"pipesp", "ulysses", "single"};
    int wrong = 0, left = 0;
    const char *source = getenv("STARDIT_SOURCE_DIR");
    struct sdt_machine_options options = {
        .devices = DEVICES, .workers_per_device = 1, .scheduler = "scatter", .free_mapping = true};
    struct sdt_machine *machine = NULL;
    struct sdt_dit *dit = NULL;
    struct sdt_safetensors *file = NULL;
    char path[4096];

    snprintf(path, sizeof path, "%s/tests/golden/%s", source ? source : ".", name);
    if (sdt_dit_open(path, NULL, 0, &dit, err) != SDT_OK)
        return -1;
    snprintf(path, sizeof path, "%s/tests/golden/%s/io.safetensors", source ? source : ".", name);
    if (sdt_safetensors_open(path, &file, err) != SDT_OK ||
        sdt_machine_open(&options, &machine, err) != SDT_OK)
        return -1;
    const struct sdt_stored *x = input(file, "in.x"), *text = input(file, "in.txt");
    float *latent_values = NULL, *text_values = NULL, *first = NULL, t;
    if (sdt_stored_floats(x, &latent_values, err) != SDT_OK ||
        sdt_stored_floats(text, &text_values, err) != SDT_OK)
        return -1;
    memcpy(&t, input(file, "in.t")->data, sizeof t);

    for (int r = 0; r < runs; r++) {
        struct sdt_forward forward = {
            .dit = dit,
            .machine = machine,
            .parallel = {.strategy = sdt_strategy_find(strategies[r % 3]),
                         .place = machine->device,
                         .devices = DEVICES},
            .geometry = {(int)x->shape[2], (int)x->shape[3], (int)x->shape[4]},
            .latent = latent_values,
            .text = text_values,
            .rows = (int)text->shape[1],
            .t = t,
            .guidance = 1.0f,
            .offloads = r % 2}; /* fetching ahead changes nothing either */
        float *y = calloc(x->count, sizeof *y);
        if (!y || sdt_forward_once(&forward, y, err) != SDT_OK)
            return -1;
        left += sdt__handles_alive(&machine->handles) != 0;
        if (!first)
            first = y;
        else if (memcmp(first, y, x->count * sizeof *y))
            wrong++;
        if (y != first)
            free(y);
    }
    printf("%s: %d runs on %d devices, every task anywhere at random: %d differ, %d leave handles: "
           "%s\n",
           name, runs, DEVICES, wrong, left, wrong || left ? "FAIL" : "ok");
    free(first);
    free(latent_values);
    free(text_values);
    sdt_machine_close(machine);
    sdt_safetensors_close(file);
    sdt_dit_close(dit);
    return wrong + left;
}

int main(int argc, char **argv) {
    static const char *const models[] = {"wan_dit", "osp13_dit"};
    int runs = argc > 1 ? atoi(argv[1]) : test_least() ? 10 : 200, wrong = 0;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        struct sdt_error err = {0};
        int more = scatter(models[m], runs, &err);
        if (more < 0) {
            printf("%s: %s: FAIL\n", models[m], err.message);
            return 1;
        }
        wrong += more;
    }
    return wrong > 0;
}
