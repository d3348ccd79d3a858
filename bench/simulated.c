/* Starting stardit-simulate and reading its --stats; a run on this machine's own platform. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bench/simulated.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
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

static enum sdt_status start(char **argv, const char *errors,
                             struct app_simulation_process *process, struct sdt_error *err) {
    fflush(NULL);
    *process = (struct app_simulation_process){.child = fork()};
    if (process->child == 0) {
        int none = open("/dev/null", O_WRONLY);
        int messages = open(errors, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (none >= 0)
            dup2(none, 1);
        if (messages >= 0)
            dup2(messages, 2);
        execv(argv[0], argv);
        _exit(127);
    }
    if (process->child < 0)
        return sdt_fail(err, SDT_ERROR_IO, "no process for a simulation: %s", strerror(errno));
    return SDT_OK;
}

enum sdt_status app_simulation_start(const char *const *arguments, const char *errors,
                                     struct app_simulation_process *process,
                                     struct sdt_error *err) {
    char program[PATH_LENGTH], *argv[MOST_ARGUMENTS] = {program};
    int count = 1;
    enum sdt_status status = find_program(program, err);
    while (*arguments && count < MOST_ARGUMENTS - 1)
        argv[count++] = (char *)*arguments++;
    return status == SDT_OK ? start(argv, errors, process, err) : status;
}

void app_simulation_wait(struct app_simulation_process *process) {
    while (waitpid(process->child, &process->state, 0) < 0 && errno == EINTR)
        ;
}

/* The first line of its messages, without its name. */
static enum sdt_status fail_as(const char *errors, struct sdt_error *err) {
    char line[600] = "", *text = line;
    static const char name[] = "stardit-simulate: ";
    FILE *file = fopen(errors, "r");
    if (!file || !fgets(line, sizeof line, file))
        snprintf(line, sizeof line, "it did not end well");
    if (file)
        fclose(file);
    line[strcspn(line, "\n")] = '\0';
    if (!strncmp(line, name, sizeof name - 1))
        text += sizeof name - 1;
    return sdt_fail(err, SDT_ERROR_DEVICE, "%s", text);
}

static bool ended_well(const struct app_simulation_process *process) {
    return WIFEXITED(process->state) && WEXITSTATUS(process->state) == 0;
}

static double number(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}

static enum sdt_status read_stats(const char *path, struct app_times *simulated,
                                  struct sdt_error *err) {
    json_t *stats = json_load_file(path, 0, NULL), *device;
    size_t index;
    if (!stats)
        return sdt_fail(err, SDT_ERROR_FORMAT, "%s: no statistics", path);
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
    }
    json_decref(stats);
    return SDT_OK;
}

enum sdt_status app_simulation_result(const char *path, const char *errors,
                                      const struct app_simulation_process *process,
                                      struct app_simulation_result *result, struct sdt_error *err) {
    json_t *stats = ended_well(process) ? json_load_file(path, 0, NULL) : NULL;
    if (!stats)
        return fail_as(errors, err);
    *result = (struct app_simulation_result){number(stats, "total_seconds"),
                                             number(json_object_get(stats, "bounds"), "ratio")};
    json_decref(stats);
    return SDT_OK;
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
        status = app_simulation_start(argument, errors, &process, err);
    if (status != SDT_OK)
        return status;
    app_simulation_wait(&process);
    return ended_well(&process) ? read_stats(stats, simulated, err) : fail_as(errors, err);
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
