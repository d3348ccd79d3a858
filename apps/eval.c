/* stardit-eval: runs one component of a checkpoint on given tensors, and compares the result with
 * what another program got for the same. It is how parity with diffusers is checked. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apps/eval.h"
#include "apps/metrics.h"
#include "apps/options.h"
#include "apps/outputs.h"
#include "apps/stats.h"
#include "apps/strategy.h"
#include "runtime/machine.h"

static const char name_of_program[] = "stardit-eval";

/* What --compare accepts of a forward in bfloat16: relative L2. */
#define BF16_RELATIVE 2e-2

static const struct app_component *const components[] = {
    &app_eval_transformer, &app_eval_vae, &app_eval_text_encoder, &app_eval_scheduler};

/* ---- comparison ------------------------------------------------------------------------------ */

/* What a result is compared with: out.* of a component, everything but the inputs of a scheduler.
 */
static bool is_reference(const struct app_eval *eval, const struct sdt_stored *tensor) {
    if (!strcmp(eval->component, "scheduler"))
        return strncmp(tensor->name, "in.", 3) != 0;
    return !strncmp(tensor->name, "out.", 4);
}

/* Is it a result with guidance of thousands as an input? */
static bool takes_guidance(const struct app_eval *eval, const struct app_component *component,
                           const char *name) {
    return component->guidance_limit > 0.0 && !strcmp(name, "out.y") &&
           sdt_safetensors_find(eval->file, "in.guidance");
}

/* What is written is a number. */
static enum sdt_status check_result(const struct sdt_stored *tensor, struct sdt_error *err) {
    if (sdt_stored_check_finite("the result", tensor, err) == SDT_OK)
        return SDT_OK;
    return err->status = SDT_ERROR_NOT_FINITE; /* nobody's request was wrong */
}

/* One line about one tensor; *ok cleared where the limit is exceeded. */
static enum sdt_status compare_tensor(const struct app_eval *eval,
                                      const struct app_component *component,
                                      const struct sdt_stored *reference,
                                      const struct sdt_stored *result, bool *ok,
                                      struct sdt_error *err) {
    double limit = !strncmp(reference->name, "rng.", 4) ? 2e-6 : component->limit;
    if (takes_guidance(eval, component, reference->name))
        limit = component->guidance_limit;
    double largest = 0.0, difference2 = 0.0, reference2 = 0.0;
    float *expected = NULL;
    char shape[200], other[200];

    /* bfloat16 has 8 bits: single values are off by more than their neighbours differ. */
    bool rounded =
        eval->kinds.dit_dtype == SDT_BF16 && component->needs_machine && eval->atol < 0.0;
    if (eval->atol >= 0.0)
        limit = eval->atol;
    else if (rounded)
        limit = BF16_RELATIVE;
    app_shape_text(reference, shape, sizeof shape);
    if (!result || strcmp(shape, app_shape_text(result, other, sizeof other))) {
        printf("%s [%s] %s%s FAIL\n", reference->name, shape,
               result ? "the result has the shape " : "is not something this component gives",
               result ? other : "");
        *ok = false;
        return SDT_OK;
    }
    enum sdt_status status = sdt_stored_floats(reference, &expected, err);
    if (status != SDT_OK)
        return status;
    const float *values = result->data;
    for (size_t i = 0; i < reference->count; i++) {
        double difference = fabs((double)values[i] - (double)expected[i]);
        if (!(difference <= largest) && !isnan(largest)) /* NaN too, and then it stays */
            largest = difference;
        difference2 += difference * difference;
        reference2 += (double)expected[i] * (double)expected[i];
    }
    double relative = reference2 > 0.0 ? sqrt(difference2 / reference2) : sqrt(difference2);
    bool within = (rounded ? relative : largest) <= limit;
    printf("%s [%s] max_abs %.3g rel_l2 %.3g limit %g%s %s\n", reference->name, shape, largest,
           relative, limit, rounded ? " of rel_l2" : "", within ? "ok" : "FAIL");
    *ok &= within;
    free(expected);
    return SDT_OK;
}

static enum sdt_status compare(const struct app_eval *eval, const struct app_component *component,
                               const struct app_results *results, bool *ok, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    int compared = 0;

    *ok = true;
    for (size_t i = 0; status == SDT_OK && i < sdt_safetensors_count(eval->file); i++) {
        const struct sdt_stored *reference = sdt_safetensors_at(eval->file, i);
        if (!is_reference(eval, reference))
            continue;
        status = compare_tensor(eval, component, reference,
                                app_eval_result(results, reference->name), ok, err);
        compared++;
    }
    if (status == SDT_OK && !compared)
        status =
            sdt_fail(err, SDT_ERROR_MISSING, "%s: no tensor out.* to compare with", eval->path);
    return status;
}

/* ---- program --------------------------------------------------------------------------------- */

/* All devices work together, so they are of one kind. */
static enum sdt_status settle_devices(struct app_eval *eval, struct sdt_error *err) {
    struct sdt_placement together = {.precision = app_precision(eval->dtype_text)};
    enum sdt_status status = app_devices_read(eval->devices_text, &eval->list, err);
    if (status == SDT_OK && eval->list.count == 0)
        app_devices_stand_ins(&eval->list, 1);
    const struct sdt_device *device = app_devices_list(&eval->list);
    if (status == SDT_OK)
        status = sdt_devices_check(device, eval->list.count, err);
    if (status == SDT_OK)
        status = app_devices_shares(&eval->list, eval->workers, eval->speed, err);
    if (status == SDT_OK)
        status = sdt__settle_kinds(&together, device, eval->list.count, &eval->kinds, err);
    return status;
}

/* The component's folder: the sub-folder of a whole checkpoint, else the folder itself. */
static enum sdt_status find_folder(const struct app_eval *eval, char **folder,
                                   struct sdt_error *err) {
    char *index = NULL;
    enum sdt_status status = SDT_OK;

    if (asprintf(&index, "%s/model_index.json", eval->model) < 0)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory");
    int length = access(index, F_OK) == 0 ? asprintf(folder, "%s/%s", eval->model, eval->component)
                                          : asprintf(folder, "%s", eval->model);
    if (length < 0) {
        *folder = NULL;
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory");
    }
    free(index);
    return status;
}

static enum sdt_status write_stats(const struct app_eval *eval, struct sdt_error *err) {
    double bytes[(SDT_MAX_DEVICES + 1) * (SDT_MAX_DEVICES + 1)] = {0};
    json_t *stats = app_stats_begin(name_of_program);

    json_object_set_new(stats, "component", json_string(eval->component));
    if (eval->machine) {
        json_object_set_new(stats, "strategy", json_string(sdt_strategy_name(eval->strategy)));
        const struct sdt_plan on = {.dit_kind = eval->kinds.dit,
                                    .vae_kind = eval->kinds.vae,
                                    .dit_dtype = eval->kinds.dit_dtype,
                                    .vae_dtype = eval->kinds.vae_dtype};
        app_stats_kinds(stats, &on, false);
        app_stats_machine(stats, eval->machine, eval->has_layout ? eval->tiles : NULL,
                          eval->has_layout ? eval->heads : NULL);
        sdt_machine_traffic(eval->machine, bytes);
        const struct sdt_cudnn_use use = sdt_machine_cudnn(eval->machine);
        app_stats_cudnn(stats, &use);
        app_stats_moved(stats, bytes, 0.0, eval->machine->devices);
    }
    return app_stats_write(stats, eval->stats, err);
}

static enum sdt_status evaluate(struct app_eval *eval, const struct app_component *component,
                                bool *ok, struct sdt_error *err) {
    struct sdt_safetensors *file = NULL;
    struct app_results results = {0};
    char *folder = NULL;
    enum sdt_status status = sdt_safetensors_open(eval->input, &file, err);

    if (status != SDT_OK)
        return status;
    eval->file = file;
    eval->path = sdt_safetensors_path(file);
    if (eval->model)
        status = find_folder(eval, &folder, err);
    if (status == SDT_OK && component->needs_machine) {
        struct sdt_machine_options options = {.scheduler = eval->scheduler};
        app_devices_options(&eval->list, &options);
        app_devices_announce(name_of_program, &eval->list);
        status = sdt_machine_open(&options, &eval->machine, err);
        if (status == SDT_OK)
            app_devices_tell(name_of_program, eval->machine);
    }
    if (status == SDT_OK)
        status = component->run(eval, folder, &results, err);
    if (status == SDT_ERROR_STALLED)
        _exit(app_report(name_of_program, err)); /* StarPU cannot be stopped any more */
    if (status == SDT_OK && eval->compare)
        status = compare(eval, component, &results, ok, err);
    for (size_t i = 0; status == SDT_OK && eval->output && i < results.count; i++)
        status = check_result(&results.tensor[i], err);
    if (status == SDT_OK && eval->output)
        status = sdt_safetensors_write(eval->output, results.count, results.tensor, err);
    if (status == SDT_OK && eval->stats)
        status = write_stats(eval, err);
    sdt_machine_close(eval->machine);
    app_eval_clear(&results);
    free(folder);
    sdt_safetensors_close(file);
    return status;
}

#define AT(field) APP_AT(struct app_eval, field)

static char strategy_help[300]; /* filled before the table is read */

static struct app_option options[] = {
    APP_HEADING("What to run"),
    APP_STRING_OPTION("model", "DIR", AT(model),
                      "a component's folder or .safetensors file, or a whole checkpoint in "
                      "diffusers layout (not needed for scheduler)"),
    APP_CHOICE_OPTION("component", "transformer|vae|text_encoder|scheduler", AT(component),
                      "what to run"),
    APP_STRING_OPTION("input", "FILE", AT(input), "safetensors file with the inputs, tensors in.*"),
    APP_STRING_OPTION("output", "FILE", AT(output), "write the results, tensors out.*, F32"),
    APP_FLAG_OPTION("compare", AT(compare),
                    "compare with the tensors out.* of the input file, one line each; exit 1 "
                    "if one is off"),
    APP_DOUBLE_OPTION("atol", "X", AT(atol), 0.0, 1e30,
                      "largest absolute error that --compare accepts (default 5e-5, out.y with "
                      "guidance as an input 5e-4; scheduler 5e-6, its noise 2e-6; in bfloat16 a "
                      "relative L2 of 2e-2)"),
    APP_STRING_OPTION("metrics", "A B", AT(metrics),
                      "PSNR and SSIM of two videos or latents, .safetensors files; nothing is run"),
    APP_FLAG_OPTION("force", AT(force), "replace files that are there"),
    APP_HEADING("Where to run"),
    APP_STRING_OPTION("devices", "N|LIST", AT(devices_text), APP_DEVICES_HELP),
    APP_CHOICE_OPTION("dtype", APP_DTYPES, AT(dtype_text), APP_DTYPE_HELP),
    APP_STRING_OPTION("workers-per-device", "W|LIST", AT(workers), APP_WORKERS_HELP),
    APP_STRING_OPTION("device-speed", "LIST", AT(speed), APP_SPEED_HELP),
    APP_STRING_OPTION("strategy", "NAME", AT(strategy_name), strategy_help),
    APP_INT_OPTION("chunk-heads", "K", AT(chunk_heads), 1, 1024,
                   "most heads of one exchange (default: 1 for pipesp, else all of a device)"),
    APP_INT_OPTION("ulysses-degree", "U", AT(ulysses_degree), 1, SDT_MAX_DEVICES,
                   "usp: devices of one ring position (default: all)"),
    APP_STRING_OPTION("scheduler", "NAME", AT(scheduler),
                      "StarPU policy (default STARPU_SCHED, else pipedit)"),
    APP_STRING_OPTION("stats", "FILE", AT(stats),
                      "write JSON about tasks, devices and bytes moved; - prints it"),
};

static struct app_program program = {
    .name = name_of_program,
    .usage = "--component NAME --input FILE [--model DIR] [--compare] [--output FILE]",
    .summary = "Runs one component of a checkpoint on given tensors, to check parity with other "
               "programs.",
    .options = options,
    .count = sizeof options / sizeof options[0],
};

/* What the command line says wrongly, by itself. -1: nothing, else the exit code. */
static int check_settings(const struct app_eval *eval, const struct app_component *component) {
    if (!eval->model && component->needs_machine)
        return app_usage(program.name, "--model is needed for --component %s", eval->component);
    if (!eval->compare && !eval->output && !eval->stats)
        return app_usage(program.name, "give --compare, --output or --stats: there is nothing to "
                                       "do with the result");
    const bool dit = !strcmp(component->name, "transformer"), solver = !component->needs_machine;
    static const char no_dit[] = "goes with --component transformer";
    static const char no_machine[] = "--component scheduler is computed here, without StarPU";
    const struct app_idle idle[] = {
        {"model", solver, no_machine},        {"devices", solver, no_machine},
        {"dtype", solver, no_machine},        {"workers-per-device", solver, no_machine},
        {"device-speed", solver, no_machine}, {"scheduler", solver, no_machine},
        {"strategy", !dit, no_dit},           {"chunk-heads", !dit, no_dit},
        {"ulysses-degree", !dit, no_dit},     {"atol", !eval->compare, "goes with --compare"},
    };
    return app_refuse_idle(&program, idle, sizeof idle / sizeof idle[0]);
}

/* Before anything runs: can the results be written, beside what is read? */
static enum sdt_status check_outputs(const struct app_eval *eval, struct sdt_error *err) {
    const char *stats = eval->stats && strcmp(eval->stats, "-") ? eval->stats : NULL;
    const struct app_file file[] = {{APP_FILE_READ, "model", eval->model},
                                    {APP_FILE_READ, "input", eval->input},
                                    {APP_FILE_WRITTEN, "output", eval->output},
                                    {APP_FILE_WRITTEN, "stats", stats}};
    enum sdt_status status = app_check_target("output", eval->output, eval->force, err);
    if (status == SDT_OK)
        status = app_check_target("stats", stats, eval->force, err);
    return status == SDT_OK ? app_check_files(file, sizeof file / sizeof file[0], err) : status;
}

int main(int argc, char **argv) {
    struct app_eval eval = {.atol = -1.0};
    const struct app_component *component = NULL;
    const char *second = NULL;
    struct sdt_error err;
    bool ok = true;

    program.settings = &eval;
    app_strategy_help(strategy_help, sizeof strategy_help);
    program.argument = &second;
    int code = app_parse(&program, argc, argv);
    if (code >= 0)
        return code;
    if (eval.metrics)
        return app_metrics(&program, eval.metrics, second);
    if (second)
        return app_usage(program.name, "unexpected argument %s; --metrics A B takes two", second);
    if (!eval.component || !eval.input)
        return app_usage(program.name, "--%s is needed (usage: %s %s)",
                         eval.component ? "input" : "component", program.name, program.usage);
    for (size_t i = 0; i < sizeof components / sizeof components[0]; i++)
        if (!strcmp(components[i]->name, eval.component))
            component = components[i];
    code = check_settings(&eval, component);
    if (code >= 0)
        return code;
    eval.strategy = app_strategy(eval.strategy_name, &err);
    if (eval.strategy && eval.ulysses_degree && !sdt_strategy_has_degree(eval.strategy))
        return app_usage(program.name, "--ulysses-degree: %s has no ring of Ulysses groups",
                         sdt_strategy_name(eval.strategy));
    if (!eval.strategy || settle_devices(&eval, &err) != SDT_OK)
        return app_report(program.name, &err);
    if (check_outputs(&eval, &err) != SDT_OK)
        return app_report(program.name, &err);

    if (evaluate(&eval, component, &ok, &err) != SDT_OK)
        return app_report(program.name, &err);
    return app_flush(program.name) || !ok;
}
