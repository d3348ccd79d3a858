/* stardit-simulate as a process of its own: StarPU over SimGrid cannot share one with StarPU. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "bench/simulated.h"

#include <errno.h>
#include <fcntl.h>
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

/* Its standard output goes nowhere. */
static enum sdt_status run(char **argv, struct sdt_error *err) {
    int state = 0;
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        int none = open("/dev/null", O_WRONLY);
        if (none >= 0)
            dup2(none, 1);
        execv(argv[0], argv);
        _exit(127);
    }
    while (child > 0 && waitpid(child, &state, 0) < 0 && errno == EINTR)
        ;
    if (child > 0 && WIFEXITED(state) && WEXITSTATUS(state) == 0)
        return SDT_OK;
    return sdt_fail(err, SDT_ERROR_DEVICE, "%s did not end well", argv[0]);
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

/* ---- one case -------------------------------------------------------------------------------- */

static enum sdt_status measure(const struct app_simulated_case *what, const char *model,
                               const char *path, struct sdt_error *err) {
    const struct sdt_request *r = what->request;
    const struct sdt_measured_size size = {model, r->height, r->width, r->num_frames};
    struct app_devices devices = {.workers_each = what->workers};
    app_devices_stand_ins(&devices, what->devices);
    return app_info_platform(&size, &devices, path, err);
}

static enum sdt_status simulate(const struct app_simulated_case *what, const char *program,
                                const char *model, const char *folder, struct app_times *simulated,
                                struct sdt_error *err) {
    const struct sdt_request *r = what->request;
    char platform[PATH_LENGTH], stats[PATH_LENGTH], number[8][16];
    const char *option[] = {"--height",      "--width",
                            "--num-frames",  "--num-inference-steps",
                            "--prompts",     "--max-sequence-length",
                            "--chunk-heads", "--forwards"};
    const int value[] = {r->height, r->width,    r->num_frames,     r->steps,
                         1,         what->words, what->chunk_heads, r->guidance_scale == 1.0};
    char *argv[MOST_ARGUMENTS] = {(char *)program};
    int count = 1;
    snprintf(platform, sizeof platform, "%s/platform.txt", folder);
    snprintf(stats, sizeof stats, "%s/stats.json", folder);
    const char *given[] = {"--model", model, "--platform", platform,
                           "--stats", stats, "--strategy", what->strategy};
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++)
        argv[count++] = (char *)given[i];
    for (int i = 0; i < 8; i++) {
        if (!value[i])
            continue;
        snprintf(number[i], sizeof number[i], "%d", value[i]);
        argv[count++] = (char *)option[i];
        argv[count++] = number[i];
    }
    enum sdt_status status = measure(what, model, platform, err);
    if (status == SDT_OK)
        status = run(argv, err);
    return status == SDT_OK ? read_stats(stats, simulated, err) : status;
}

enum sdt_status app_simulated(const struct app_simulated_case *what, struct app_times *simulated,
                              struct sdt_error *err) {
    char program[PATH_LENGTH], *folder = NULL;
    enum sdt_status status = find_program(program, err);
    if (status == SDT_OK)
        status = sdt__folder_make(&folder, err);
    if (status == SDT_OK && !what->model)
        status = write_model(folder, what, err);
    if (status == SDT_OK)
        status =
            simulate(what, program, what->model ? what->model : folder, folder, simulated, err);
    sdt__folder_remove(folder);
    return status;
}
