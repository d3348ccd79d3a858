/* No mapping decision changes the result: the golden Wan transformer, 200 times, each task on a worker drawn at
 * random among all workers of all devices, in random order (policy "scatter", worker masks off).
 *
 *   scatter [RUNS]     default 200
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/run/latent.h"

enum { DEVICES = 4 };

static const struct sdt_stored *input(const struct sdt_safetensors *file, const char *name) {
    const struct sdt_stored *tensor = sdt_safetensors_find(file, name);
    if (!tensor) {
        printf("no tensor %s: FAIL\n", name);
        exit(1);
    }
    return tensor;
}

static sdt_handle host_vector(float *values, size_t count) {
    sdt_handle handle = NULL;
    starpu_vector_data_register(&handle, STARPU_MAIN_RAM, (uintptr_t)values, (uint32_t)count,
                                sizeof(float));
    return handle;
}

int main(int argc, char **argv) {
    static const char *const strategies[] = {"pipesp", "ulysses", "single"};
    int runs = argc > 1 ? atoi(argv[1]) : 200, wrong = 0;
    const char *source = getenv("STARDIT_SOURCE_DIR");
    struct sdt_error err = {0};
    struct sdt_machine_options options = {
        .devices = DEVICES, .workers_per_device = 1, .scheduler = "scatter", .free_mapping = true};
    struct sdt_machine *machine = NULL;
    struct sdt_wan *wan = NULL;
    struct sdt_safetensors *file = NULL;
    char path[4096];

    snprintf(path, sizeof path, "%s/tests/golden/wan_dit", source ? source : ".");
    if (sdt_wan_open(path, &wan, &err) != SDT_OK)
        goto failed;
    snprintf(path, sizeof path, "%s/tests/golden/wan_dit/io.safetensors", source ? source : ".");
    if (sdt_safetensors_open(path, &file, &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK)
        goto failed;
    const struct sdt_stored *x = input(file, "in.x"), *text = input(file, "in.txt");
    float *latent_values = NULL, *text_values = NULL, *first = NULL, t;
    if (sdt_stored_floats(x, &latent_values, &err) != SDT_OK ||
        sdt_stored_floats(text, &text_values, &err) != SDT_OK)
        goto failed;
    memcpy(&t, input(file, "in.t")->data, sizeof t);
    struct sdt_wan_geometry geometry = {(int)x->shape[2], (int)x->shape[3], (int)x->shape[4]};

    for (int r = 0; r < runs; r++) {
        struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
        struct sdt_parallel parallel = {.strategy = sdt_strategy_find(strategies[r % 3]),
                                        .place = machine->device,
                                        .devices = DEVICES,
                                        /* fetching ahead changes nothing either */
                                        .offloads = r % 2};
        struct sdt_latent latent;
        float *y = calloc(x->count, sizeof *y);
        sdt_handle whole = host_vector(latent_values, x->count), out = host_vector(y, x->count);
        sdt_handle states = host_vector(text_values, text->count);
        struct sdt_wan_run *run = sdt_wan_run_new(&flow, wan, machine, &parallel, geometry, 1);
        if (!run || !y)
            goto failed;
        const struct sdt_layout *layout = sdt_wan_layout(run);
        sdt_latent_init(&flow, &latent, layout, sdt_wan_patch(wan, geometry), 0, NULL, NULL);
        sdt_latent_scatter(&flow, &latent, &machine->host, whole);
        sdt_wan_prompt(&flow, run, 0, states, (int)text->shape[1], 0);
        sdt_wan_forward(&flow, run, 0, t, latent.x[0]);
        for (int i = 0; i < layout->tiles; i++)
            sdt_insert_unpatchify(&flow, "gather", &latent.patch, (int64_t)i * layout->rows,
                                  layout->rows, sdt_wan_velocity(run, 0)[i], out);
        if (sdt__flow_wait(&flow, &err) != SDT_OK)
            goto failed;
        sdt_latent_clear(&latent);
        sdt_wan_run_free(run);
        starpu_data_unregister(whole);
        starpu_data_unregister(states);
        starpu_data_unregister(out);
        if (!first)
            first = y;
        else if (memcmp(first, y, x->count * sizeof *y))
            wrong++;
        if (y != first)
            free(y);
    }
    printf("%d runs on %d devices, every task anywhere at random: %d differ: %s\n", runs, DEVICES,
           wrong, wrong ? "FAIL" : "ok");
    free(first);
    free(latent_values);
    free(text_values);
    sdt_machine_close(machine);
    sdt_safetensors_close(file);
    sdt_wan_close(wan);
    return wrong ? 1 : 0;
failed:
    printf("%s: FAIL\n", err.message);
    return 1;
}
