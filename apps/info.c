/* stardit-info: what there is to run on, what was compiled in, and what a checkpoint holds. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <hwloc.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/devices.h"
#include "apps/info_file.h"
#include "apps/info_gpus.h"
#include "apps/info_platform.h"
#include "apps/model.h"
#include "apps/options.h"
#include "codelets/codelets.h"
#include "runtime/allowance.h"
#include "runtime/machine.h"

#include "config.h"

static const char name_of_program[] = "stardit-info";

/* ---- machine --------------------------------------------------------------------------------- */

static void print_count(hwloc_topology_t topology, hwloc_obj_type_t type, const char *one,
                        const char *many) {
    int count = hwloc_get_nbobjs_by_type(topology, type);
    if (count > 0)
        printf(", %d %s", count, count == 1 ? one : many);
}

/* The real machine: read before StarPU starts, which may be given a synthetic topology. */
static void print_topology(void) {
    hwloc_topology_t topology;

    if (hwloc_topology_init(&topology))
        return;
    hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_IMPORTANT);
    if (hwloc_topology_load(topology)) {
        printf("Machine:      hwloc cannot read the topology\n");
        hwloc_topology_destroy(topology);
        return;
    }
    hwloc_obj_t package = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, 0);
    const char *model = package ? hwloc_obj_get_info_by_name(package, "CPUModel") : NULL;
    struct sdt_allowance allowance;
    sdt__allowance_read("", &allowance);
    printf("Machine:      %s, %.1f GB of memory", model ? model : "unnamed CPU",
           allowance.total * 1e-9);
    print_count(topology, HWLOC_OBJ_PACKAGE, "package", "packages");
    print_count(topology, HWLOC_OBJ_NUMANODE, "NUMA node", "NUMA nodes");
    print_count(topology, HWLOC_OBJ_CORE, "core", "cores");
    print_count(topology, HWLOC_OBJ_PU, "hardware thread", "hardware threads");
    printf("\n");
    hwloc_obj_t numa = NULL;
    while ((numa = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, numa)))
        printf("              NUMA node %u: %d hardware threads, %.1f GB\n", numa->logical_index,
               hwloc_bitmap_weight(numa->cpuset), (double)numa->attr->numanode.local_memory * 1e-9);
    printf("Allowed:      %d core%s", allowance.cores, allowance.cores == 1 ? "" : "s");
    if (allowance.quota > 0.0)
        printf(", %.3g CPUs by quota", allowance.quota);
    printf(", %.2f GB of memory (%s)\n", allowance.memory * 1e-9, allowance.memory_limit);
    struct sdt_gpus gpus;
    sdt__gpus_find(&gpus);
    app_info_gpus(topology, &gpus);
    hwloc_topology_destroy(topology);
}

static void print_starpu(void) {
    int major, minor, release;

    starpu_get_version(&major, &minor, &release);
    printf("StarPU:       %d.%d.%d, native", major, minor, release);
#ifdef STARPU_USE_CUDA
    printf(" with CUDA");
#endif
    printf(", room for %d CPU workers and %d memory nodes\n", STARPU_MAXCPUS, STARPU_MAXNODES);
}

static void print_compiled_in(void) {
    printf("Compiled in:  mp4 (libav) %s, text prompts (SentencePiece) %s, BPE (PCRE2) %s, "
           "CUDA %s, NCCL %s, MPI %s\n",
#ifdef HAVE_LIBAV
           "yes",
#else
           "no",
#endif
#ifdef HAVE_SENTENCEPIECE
           "yes",
#else
           "no",
#endif
#ifdef HAVE_PCRE2
           "yes",
#else
           "no",
#endif
#ifdef HAVE_CUDA
           "yes",
#else
           "no",
#endif
#ifdef HAVE_NCCL
           "yes",
#else
           "no",
#endif
#ifdef HAVE_MPI
           "yes"
#else
           "no"
#endif
    );
}

static void print_policies(void) {
    for (int i = 0; sdt_scheduler_name(i); i++)
        printf("%s%s: %s%s\n", i ? "              " : "Policies:     ", sdt_scheduler_name(i),
               sdt_scheduler_summary(i), i ? "" : " (the default)");
    printf("              from StarPU:");
    for (struct starpu_sched_policy **p = starpu_sched_get_predefined_policies(); p && *p; p++)
        printf(" %s", (*p)->policy_name);
    printf("\n");
}

static void print_strategies(void) {
    for (int i = 0; sdt_strategies[i]; i++)
        printf("%s%s: %s\n",
               i ? "              " : "Strategies:   ", sdt_strategy_name(sdt_strategies[i]),
               sdt_strategy_summary(sdt_strategies[i]));
}

static void print_workers(const char *title, const struct sdt_place *place) {
    bool first = true;
    printf("              %s: memory node %u, %d worker%s (", title, place->node, place->workers,
           place->workers == 1 ? "" : "s");
    for (unsigned w = 0; w < starpu_worker_get_count(); w++) {
        char worker[64];
        if (!(place->mask[w / 32] >> (w % 32) & 1))
            continue;
        starpu_worker_get_name((int)w, worker, sizeof worker);
        printf("%s%s", first ? "" : ", ", worker);
        first = false;
    }
    printf(")\n");
}

/* `text`: what --devices says. */
static enum sdt_status print_machine(const char *text, const struct app_devices *devices,
                                     struct sdt_error *err) {
    struct sdt_machine *machine = NULL;
    struct sdt_machine_options options = {0};

    app_devices_options(devices, &options);
    print_topology();
    print_starpu();
    app_devices_announce(name_of_program, devices);
    enum sdt_status status = sdt_machine_open(&options, &machine, err);
    if (status != SDT_OK)
        return status;
    app_devices_tell(name_of_program, machine);
    printf("Devices:      %d with --devices %s, at most %d on CPUs and %d GPUs, policy %s\n",
           machine->devices, text ? text : "1", SDT_MAX_LOCAL_DEVICES, SDT_MAX_GPUS,
           machine->scheduler);
    for (int d = 0; d < machine->devices; d++) {
        char title[64], name[SDT_DEVICE_NAME], speed[24] = "";
        if (devices->has_speed)
            snprintf(speed, sizeof speed, ", speed %.4g", devices->speed[d]);
        if (machine->gpus)
            snprintf(title, sizeof title, "device %d, %s%s", d,
                     sdt_device_name(machine->what[d], name), speed);
        else
            snprintf(title, sizeof title, "device %d%s", d, speed);
        print_workers(title, &machine->device[d]);
    }
    if (machine->devices > 1 || machine->gpus)
        print_workers("host", &machine->host);
    sdt_machine_close(machine);
    print_policies();
    print_strategies();
    print_compiled_in();
    app_info_libraries();
    return SDT_OK;
}

/* ---- codelets -------------------------------------------------------------------------------- */

static void print_codelets(void) {
    printf("%-20s %-5s %s\n", "codelet", "CPU", "CUDA");
    for (int i = 0; sdt_codelets[i]; i++)
        printf("%-20s %-5s %s\n", sdt_codelets[i]->name,
               sdt_codelets[i]->cpu_funcs[0] ? "yes" : "no",
               sdt_codelets[i]->cuda_funcs[0] ? "yes" : "no");
}

/* ---- checkpoint ------------------------------------------------------------------------------ */

/* What --vae-devices auto makes of this machine's GPUs for the request. */
static void print_groups(const struct sdt_pipeline *pipeline, const struct sdt_request *request) {
    struct sdt_gpus gpus;
    struct sdt_device device[SDT_MAX_GPUS];
    struct sdt_placement p = {0};
    struct sdt_machine_options machine = {.device = device};
    sdt__gpus_find(&gpus);
    if (gpus.count < 2)
        return;
    for (int i = 0; i < gpus.count; i++)
        device[i] = (struct sdt_device){SDT_DEVICE_CUDA, i};
    machine.devices = gpus.count;
    sdt_placement_balance(pipeline, request, &machine, &p);
    printf("Groups:       --devices cuda:0-%d --vae-devices auto denoises on cuda:0-%d and decodes "
           "on cuda:%d-%d\n",
           gpus.count - 1, p.dit[p.dit_devices - 1], p.vae[0], p.vae[p.vae_devices - 1]);
}

struct settings {
    bool codelets;
    struct sdt_model_files files;
    const char *file;     /* to describe */
    char lora[PATH_MAX];  /* that file, of a folder */
    const char *platform; /* to write */
    int height, width, num_frames;
    const char *devices_text, *workers, *speed;
    struct app_devices devices;
};

/* ---- options --------------------------------------------------------------------------------- */

#define AT(field) APP_AT(struct settings, field)
#define FILES_AT(field) AT(files.field)

static struct app_option options[] = {
    APP_HEADING("What to print (default: the machine, StarPU, policies and strategies)"),
    APP_FLAG_OPTION("codelets", AT(codelets), "every codelet and where it has an implementation"),
    APP_STRING_OPTION(
        "model", "PATH", AT(files.model),
        "a checkpoint's parameters, bytes and work, as of stardit-generate; also of a "
        "published size, as --help of stardit-generate names them"),
    APP_STRING_OPTION("platform", "FILE", AT(platform),
                      "measure this machine (some seconds) and write it as a platform of "
                      "stardit-simulate, CPUs with the sizes of --model DIR|NAME (default "
                      "wan-1.3b)"),
    APP_MODEL_FILES(FILES_AT),
    APP_HEADING("With --model or --platform"),
    APP_INT_OPTION("height", "N", AT(height), 1, 65536,
                   "of the video, pixels (default: the checkpoint's)"),
    APP_INT_OPTION("width", "N", AT(width), 1, 65536,
                   "of the video, pixels (default: the checkpoint's)"),
    APP_INT_OPTION("num-frames", "N", AT(num_frames), 1, 65536,
                   "of the video (default: the checkpoint's)"),
    APP_HEADING("Without --model"),
    APP_STRING_OPTION("devices", "N|LIST", AT(devices_text),
                      "open and show these: " APP_DEVICES_HELP),
    APP_STRING_OPTION("workers-per-device", "W|LIST", AT(workers), APP_WORKERS_HELP),
    APP_STRING_OPTION("device-speed", "LIST", AT(speed), APP_SPEED_HELP),
};

static struct app_program program = {
    .name = name_of_program,
    .usage = "[--codelets] [--model PATH] [--platform FILE] [FILE]",
    .summary = "Prints what stardit can run on here, what a checkpoint holds, or what a FILE is.",
    .options = options,
    .count = sizeof options / sizeof options[0],
};

/* ---- a model --------------------------------------------------------------------------------- */

/* A published size by its name. */
static bool is_size(const char *model) {
    for (int i = 0; model && sdt_size_name(i); i++)
        if (!strcmp(sdt_size_name(i), model))
            return true;
    return false;
}

/* A checkpoint, or a size, which has no files that others could take the place of. */
static enum sdt_status open_model(const struct sdt_model_files *f, struct sdt_pipeline **pipeline,
                                  struct sdt_error *err) {
    const struct {
        const char *option, *given;
    } file[] = {{"transformer", f->transformer},
                {"vae", f->vae},
                {"text-encoder", f->text_encoder},
                {"text-encoder-2", f->text_encoder_2}};
    if (!is_size(f->model))
        return sdt_pipeline_open_files(f, pipeline, err);
    for (size_t i = 0; i < sizeof file / sizeof file[0]; i++)
        if (file[i].given)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s: goes with --model of a checkpoint, or without it; %s is a size",
                            file[i].option, f->model);
    return sdt_pipeline_imagine(f->model, pipeline, err);
}

static enum sdt_status print_model(const struct settings *s, struct sdt_error *err) {
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request request;
    enum sdt_status status = open_model(&s->files, &pipeline, err);

    if (status != SDT_OK)
        return status;
    status = sdt_pipeline_defaults(pipeline, &request, err);
    if (status != SDT_OK)
        goto out;
    if (app_given(&program, "height"))
        request.height = s->height;
    if (app_given(&program, "width"))
        request.width = s->width;
    if (app_given(&program, "num-frames"))
        request.num_frames = s->num_frames;

    struct sdt_request_work work;
    status = sdt_pipeline_work(pipeline, &request, &work, err);
    if (status != SDT_OK)
        goto out;
    const struct sdt_model model = sdt_pipeline_model(pipeline);
    const int forwards = sdt_pipeline_forwards(pipeline, &request);
    int64_t latent[4];
    sdt_pipeline_latent_shape(pipeline, &request, latent);

    printf("Checkpoint:   %s\n", sdt_pipeline_folder(pipeline));
    struct sdt_component component;
    for (int i = 0; sdt_pipeline_component(pipeline, i, &component); i++)
        app_info_component(&component);
    printf("Transformer:  %s, %d layers, %d heads x %d, %d latent channels, patch %dx%dx%d\n",
           model.family, model.layers, model.heads, model.head_dim, model.channels, model.patch[0],
           model.patch[1], model.patch[2]);
    printf("Size:         %d frames of %dx%d (width x height): latent %dx%dx%d, %lld tokens\n",
           request.num_frames, request.width, request.height, (int)latent[1], (int)latent[2],
           (int)latent[3], (long long)work.tokens);
    printf("Work:         %.4g TFLOP a step (%d forward%s of %.4g, %d text keys), %.4g TFLOP to "
           "decode, %d steps\n",
           work.forward_flops * forwards * 1e-12, forwards, forwards == 1 ? "" : "s",
           work.forward_flops * 1e-12, request.max_sequence_length, work.decode_flops * 1e-12,
           request.steps);
    if (work.text_flops > 0.0)
        printf("              %.4g TFLOP to encode a prompt of %d tokens\n",
               work.text_flops * 1e-12, request.max_sequence_length);
    print_groups(pipeline, &request);
out:
    sdt_pipeline_close(pipeline);
    return status;
}

/* ---- program --------------------------------------------------------------------------------- */

/* What the command line says wrongly, by itself. -1: nothing, else the exit code. */
static int check_settings(const struct settings *s, bool model, bool machine) {
    static const char no_model[] = "goes with --model or --platform";
    static const char no_platform[] = "goes without --platform, which reads configurations alone";
    static const char no_machine[] = "goes without --model, --codelets and a file";
    const struct app_idle idle[] = {
        {"platform", s->codelets || s->file, "goes without --codelets and a file"},
        {"transformer", s->platform, no_platform},
        {"vae", s->platform, no_platform},
        {"text-encoder", s->platform, no_platform},
        {"text-encoder-2", s->platform, no_platform},
        {"height", !model && !s->platform, no_model},
        {"width", !model && !s->platform, no_model},
        {"num-frames", !model && !s->platform, no_model},
        {"devices", !machine, no_machine},
        {"workers-per-device", !machine, no_machine},
        {"device-speed", !machine, no_machine},
    };
    return app_refuse_idle(&program, idle, sizeof idle / sizeof idle[0]);
}

/* All GPUs that are here. */
static void take_gpus(struct app_devices *devices) {
    struct sdt_gpus gpus;
    sdt__gpus_find(&gpus);
    devices->count = gpus.count;
    for (int d = 0; d < gpus.count; d++)
        devices->device[d] = (struct sdt_device){SDT_DEVICE_CUDA, d};
}

static enum sdt_status read_devices(struct settings *s, struct sdt_error *err) {
    enum sdt_status status = app_devices_read(s->devices_text, &s->devices, err);
    if (status == SDT_OK && s->platform && !s->devices_text)
        take_gpus(&s->devices);
    if (status == SDT_OK && s->devices.count == 0)
        app_devices_stand_ins(&s->devices, 1);
    if (status == SDT_OK)
        status = sdt_devices_check(app_devices_list(&s->devices), s->devices.count, err);
    if (status == SDT_OK)
        status = app_devices_shares(&s->devices, s->workers, s->speed, err);
    return status;
}

int main(int argc, char **argv) {
    struct settings s = {0};
    struct sdt_error err;
    struct stat info;

    program.settings = &s;
    program.argument = &s.file;
    int code = app_parse(&program, argc, argv);
    if (code >= 0)
        return code;
    bool model = s.files.model || s.files.transformer || s.files.vae || s.files.text_encoder ||
                 s.files.text_encoder_2;
    if (!model && s.file && (stat(s.file, &info) != 0 || S_ISDIR(info.st_mode)) &&
        !app_info_lora(s.file, s.lora)) {
        s.files.model = s.file; /* a folder, or org/name */
        s.file = NULL;
        model = true;
    }
    if (s.lora[0])
        s.file = s.lora;
    const bool machine = s.platform || (!model && !s.codelets && !s.file);
    code = check_settings(&s, model, machine);
    if (code >= 0)
        return code;
    if (read_devices(&s, &err) != SDT_OK)
        return app_report(name_of_program, &err);
    if (s.codelets)
        print_codelets();
    enum sdt_status status = model && !s.platform ? print_model(&s, &err) : SDT_OK;
    if (status == SDT_OK && s.file)
        status = app_info_file(s.file, &err);
    const struct sdt_measured_size size = {s.files.model ? s.files.model : "wan-1.3b", s.height,
                                           s.width, s.num_frames};
    if (s.platform)
        status = app_info_platform(&size, &s.devices, s.platform, &err);
    else if (machine)
        status = print_machine(s.devices_text, &s.devices, &err);
    if (status != SDT_OK)
        return app_report(name_of_program, &err);
    return app_flush(name_of_program);
}
