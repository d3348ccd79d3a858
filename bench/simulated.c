/* The stardit-simulate beside this program, and a run on this machine's own platform. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bench/simulated.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "apps/info_platform.h"
#include "base/folder.h"

enum { PATH_LENGTH = 4200, MOST_ARGUMENTS = 40 };

/* ---- what it reads --------------------------------------------------------------------------- */

static enum sdt_status write_text(const char *folder, const char *name, const char *text,
                                  struct sdt_error *err) {
    char path[PATH_LENGTH];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    bool fine = file && fputs(text, file) >= 0;
    fine = file && fclose(file) == 0 && fine;
    return fine ? SDT_OK : sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
}

/* A checkpoint of two configurations. */
static enum sdt_status write_model(const char *folder, const struct app_simulated_case *what,
                                   struct sdt_error *err) {
    static const char *const part[] = {"transformer", "vae"};
    char path[PATH_LENGTH];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, part[i]);
        if (mkdir(path, 0700))
            return sdt_fail(err, SDT_ERROR_IO, "%s: %s", path, strerror(errno));
    }
    enum sdt_status status =
        write_text(folder, "model_index.json",
                   "{\"_class_name\": \"WanPipeline\", "
                   "\"transformer\": [\"diffusers\", \"WanTransformer3DModel\"], "
                   "\"vae\": [\"diffusers\", \"AutoencoderKLWan\"]}",
                   err);
    if (status == SDT_OK)
        status = write_text(folder, "transformer/config.json", what->dit, err);
    return status == SDT_OK ? write_text(folder, "vae/config.json", what->vae, err) : status;
}

/* ---- running --------------------------------------------------------------------------------- */

/* Beside this program. */
static enum sdt_status find_program(char path[PATH_LENGTH], struct sdt_error *err) {
    static const char name[] = "stardit-simulate";
    ssize_t length = readlink("/proc/self/exe", path, PATH_LENGTH - sizeof name - 1);
    path[length > 0 ? length : 0] = '\0';
    char *end = strrchr(path, '/');
    strcpy(end ? end + 1 : path, name);
    if (access(path, X_OK) == 0)
        return SDT_OK;
    return sdt_fail(err, SDT_ERROR_MISSING,
                    "%s: %s (it is built where StarPU over SimGrid is: configure "
                    "--with-starpu-simgrid)",
                    path, strerror(errno));
}

enum sdt_status app_simulation_beside(const char *const *arguments, const char *errors,
                                      struct app_simulation_process *process,
                                      struct sdt_error *err) {
    char program[PATH_LENGTH];
    const char *argv[MOST_ARGUMENTS] = {program};
    int count = 1;
    enum sdt_status status = find_program(program, err);
    while (*arguments && count < MOST_ARGUMENTS - 1)
        argv[count++] = *arguments++;
    return status == SDT_OK ? app_simulation_start(program, argv, errors, process, err) : status;
}

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static double tasks_of(const json_t *device) {
    const char *role;
    json_t *totals;
    double tasks = 0.0;
    json_object_foreach(json_object_get(device, "roles"), role, totals) tasks +=
        number(totals, "tasks");
    return tasks;
}

static void read_stats(const json_t *stats, struct app_times *simulated) {
    const json_t *device;
    size_t index;
    const json_t *video = json_array_get(json_object_get(stats, "videos"), 0);
    *simulated =
        (struct app_times){.step = number(stats, "step_seconds"),
                           .decode = number(video, "decode_seconds"),
                           .run = number(video, "text_seconds") + number(video, "denoise_seconds") +
                                  number(video, "decode_seconds"),
                           .cores = number(json_object_get(stats, "host"), "busy_seconds")};
    json_array_foreach(json_object_get(stats, "device"), index, device) {
        if (index == 0 && json_array_size(json_object_get(stats, "device")) == 1)
            simulated->cores = 0.0; /* host and device are one */
        simulated->cores += number(device, "busy_seconds");
        simulated->tasks += tasks_of(device);
    }
}

/* ---- one case -------------------------------------------------------------------------------- */

static enum sdt_status measure(const struct app_simulated_case *what, const char *model,
                               const char *path, struct sdt_error *err) {
    const struct sdt_request *r = what->request;
    const struct sdt_measured_size size = {model, r->height, r->width, r->num_frames};
    struct app_devices devices = {.workers_each = what->workers};
    app_devices_stand_ins(&devices, what->devices);
    return app_info_platform(&size, &devices, path, err);
}

static enum sdt_status simulate(const struct app_simulated_case *what, const char *model,
                                const char *folder, struct app_times *simulated,
                                struct sdt_error *err) {
    const struct sdt_request *r = what->request;
    char platform[PATH_LENGTH], stats[PATH_LENGTH], number[8][16];
    const char *option[] = {"--height",      "--width",
                            "--num-frames",  "--num-inference-steps",
                            "--prompts",     "--max-sequence-length",
                            "--chunk-heads", "--forwards"};
    const int value[] = {r->height, r->width,    r->num_frames,     r->steps,
                         1,         what->words, what->chunk_heads, r->guidance_scale == 1.0};
    char errors[PATH_LENGTH];
    const char *argument[MOST_ARGUMENTS];
    struct app_simulation_process process;
    int count = 0;
    snprintf(errors, sizeof errors, "%s/errors", folder);
    snprintf(platform, sizeof platform, "%s/platform.txt", folder);
    snprintf(stats, sizeof stats, "%s/stats.json", folder);
    const char *given[] = {"--model", model, "--platform", platform,
                           "--stats", stats, "--strategy", what->strategy};
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++)
        argument[count++] = given[i];
    for (int i = 0; i < 8; i++) {
        if (!value[i])
            continue;
        snprintf(number[i], sizeof number[i], "%d", value[i]);
        argument[count++] = option[i];
        argument[count++] = number[i];
    }
    argument[count] = NULL;
    enum sdt_status status = measure(what, model, platform, err);
    if (status == SDT_OK)
        status = app_simulation_beside(argument, errors, &process, err);
    if (status != SDT_OK)
        return status;
    app_simulation_wait(&process);
    json_t *object = app_simulation_stats(stats, errors, &process, err);
    if (!object)
        return err->status;
    read_stats(object, simulated);
    json_decref(object);
    return SDT_OK;
}

enum sdt_status app_simulated(const struct app_simulated_case *what, struct app_times *simulated,
                              struct sdt_error *err) {
    char *folder = NULL;
    enum sdt_status status = sdt__folder_make(&folder, err);
    if (status == SDT_OK && !what->model)
        status = write_model(folder, what, err);
    if (status == SDT_OK)
        status = simulate(what, what->model ? what->model : folder, folder, simulated, err);
    sdt__folder_remove(folder);
    return status;
}
