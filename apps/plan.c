/* Printing a plan, and finding a smaller one where it would take hours. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/plan.h"

#include <stdio.h>
#include <unistd.h>

#include "apps/devices.h"
#include "apps/progress.h"
#include "apps/steps.h"

#define LONG_SECONDS 3600.0
#define SHORT_SECONDS 600.0

static void print_bytes(double bytes) {
    if (bytes >= 1e9)
        printf("%.2f GB", bytes * 1e-9);
    else
        printf("%.2f MB", bytes * 1e-6);
}

/* One unit for numbers that are added up: that of the largest, `all`. */
static double flop_unit(double all, const char **name) {
    *name = all >= 1e12 ? "TFLOP" : "GFLOP";
    return all >= 1e12 ? 1e12 : 1e9;
}

static int rounded(int value, double factor, int multiple) {
    int scaled = (int)(value * factor / multiple + 0.5) * multiple;
    return scaled < multiple ? multiple : scaled;
}

/* The largest request in fewer pixels, frames and steps that takes less than SHORT_SECONDS. */
static void print_smaller(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                          const struct sdt_placement *placement,
                          const struct sdt_machine_options *machine, const struct sdt_plan *plan) {
    static const double scales[] = {1.0, 0.75, 0.5, 0.375, 0.25, 0.125};
    static const int step_counts[] = {50, 30, 20, 10};
    struct sdt_model model = sdt_pipeline_model(pipeline);
    int space = model.space_ratio, time = model.time_ratio;
    struct sdt_placement together = {.precision = placement->precision};
    struct sdt_request best = {0};
    double best_seconds = 0.0;
    char duration[32];

    if (plan->dit_kind != plan->vae_kind)
        together = *placement; /* kinds do not work together */
    for (size_t s = 0; s < sizeof scales / sizeof scales[0]; s++) {
        struct sdt_request smaller = *request;
        smaller.height = rounded(request->height, scales[s], space * model.patch[1]);
        smaller.width = rounded(request->width, scales[s], space * model.patch[2]);
        for (int frames = request->num_frames; frames >= 1;
             frames = (frames - 1) / 2 / time * time + 1) {
            smaller.num_frames = frames;
            struct sdt_plan other;
            if (sdt_plan_make(pipeline, &smaller, &together, machine, &other, NULL) == SDT_OK) {
                double per_flop = other.seconds / other.total_flops;
                for (size_t n = 0; n < sizeof step_counts / sizeof step_counts[0]; n++) {
                    bool fewer = step_counts[n] < request->steps && !request->sigmas;
                    int steps = fewer ? step_counts[n] : request->steps;
                    double seconds =
                        per_flop * (other.text_flops + other.vae_flops + steps * other.step_flops);
                    if (seconds < SHORT_SECONDS && seconds > best_seconds) {
                        best = smaller;
                        best.steps = steps;
                        best_seconds = seconds;
                    }
                }
                sdt_plan_clear(&other);
            }
            if (frames == 1)
                break;
        }
    }
    if (best_seconds == 0.0) {
        printf("  smaller        no smaller video takes less than 10 minutes here\n");
        return;
    }
    app_duration(best_seconds, duration);
    printf("  smaller        --height %d --width %d --num-frames %d --num-inference-steps %d would "
           "take about %s\n",
           best.height, best.width, best.num_frames, best.steps, duration);
}

/* "0,1,2", or with GPUs "cuda:0,1,2" */
static void print_devices(const struct sdt_device *device, int count, const int *list) {
    char names[200];
    if (device) {
        app_devices_name(device, count, list, names, sizeof names);
        printf("%s", names);
    }
    for (int i = 0; !device && i < count; i++)
        printf("%s%d", i ? "," : "", list[i]);
}

static void print_groups(const struct sdt_placement *p, const struct sdt_device *device) {
    printf("  groups         denoise on ");
    print_devices(device, p->dit_devices, p->dit);
    printf(", decode on ");
    print_devices(device, p->vae_devices, p->vae);
    printf(", aco %s, text encoder with the %s group, at most %d latents%s\n", sdt_aco_name(p->aco),
           p->text_with_vae ? "decoding" : "denoising", p->most_latents > 0 ? p->most_latents : 3,
           p->vae_spill ? ", all decode at the end" : "");
}

static void print_device(const struct sdt_plan *plan, const struct sdt_device *device, int d) {
    char name[40] = "";
    if (device)
        app_devices_name(device + d, 1, NULL, name, sizeof name);
    printf("    device %-4d  %s%s%d tiles, %d of %d heads, peak memory ", d, name,
           *name ? ", " : "", plan->device_tiles[d], plan->device_heads[d], plan->heads);
    print_bytes(plan->device_bytes[d]);
    if (plan->device_room[d] > 0.0) {
        printf(" of ");
        print_bytes(plan->device_room[d]);
    }
    printf("%s\n", plan->device_offloads[d]
                       ? ": weights stay in the host's memory and come layer by layer"
                       : "");
    const double phase[] = {plan->device_text_bytes[d], plan->device_denoise_bytes[d],
                            plan->device_decode_bytes[d]};
    static const char *const name_of[] = {"text", "denoise", "decode"};
    const char *before = "                 ";
    for (int i = 0; i < 3; i++)
        if (phase[i] > 0.0) {
            printf("%s%s ", before, name_of[i]);
            print_bytes(phase[i]);
            before = ", ";
        }
    if (*before == ',')
        printf("\n");
}

/* "3 with 1 worker each", "3 with 2,1,1 workers" */
static void print_workers(const struct sdt_plan *plan) {
    bool alike = true;
    for (int d = 1; d < plan->devices; d++)
        alike &= plan->device_workers[d] == plan->device_workers[0];
    printf("%d with ", plan->devices);
    for (int d = 0; d < (alike ? 1 : plan->devices); d++)
        printf("%s%d", d ? "," : "", plan->device_workers[d]);
    if (alike)
        printf(" worker%s each", plan->device_workers[0] == 1 ? "" : "s");
    else
        printf(" workers");
}

static const char *dtype_word(enum sdt_dtype dtype) {
    return dtype == SDT_BF16 ? "bfloat16" : "float32";
}

static void print_memory(const struct sdt_plan *plan, const struct sdt_device *device) {
    double cpus = plan->host_bytes, gpus = 0.0;
    int count = 0;
    for (int d = 0; d < plan->devices; d++) {
        bool gpu = device && device[d].kind == SDT_DEVICE_CUDA;
        *(gpu ? &gpus : &cpus) += plan->device_bytes[d];
        count += gpu;
    }
    printf("  memory         ");
    if (count) {
        print_bytes(gpus);
        printf(" on %d GPU%s, ", count, count == 1 ? "" : "s");
    }
    print_bytes(cpus);
    printf(" %s, ", count ? "in the host's" : "on all devices");
    print_bytes(plan->host_available);
    printf(" available here%s%s\n", plan->devices > 1 && !count ? " (the devices share it)" : "",
           cpus > plan->host_available ? ", which is less" : "");
}

/* With guidance: how its two forwards run, and what the other way would give. */
static void print_streams(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                          const struct sdt_placement *placement,
                          const struct sdt_machine_options *machine, int requests,
                          const struct sdt_plan *plan) {
    static const char *const how[] = {"one forward after the other", "two forwards side by side"};

    if (plan->forwards < 2 || plan->blocks)
        return;
    printf("  streams        %d, %s\n", plan->streams, how[plan->streams - 1]);
    for (int streams = 1; streams <= 2; streams++) {
        struct sdt_candidate c = {.strategy = request->strategy, .placement = *placement};
        c.placement.streams = streams;
        if (sdt_plan_predict(pipeline, request, requests, machine, &c, NULL) == SDT_OK)
            printf(
                "    %d            predicted %.4g s a step, %.4g s of it exposed, %.2f MB on all "
                "devices\n",
                streams, c.step_seconds, c.exposed_seconds, c.memory_bytes * 1e-6);
    }
}

/* Branches on devices of their own, and what it would be if all devices had both. */
static void print_apart(const struct sdt_pipeline *pipeline, const struct sdt_request *request,
                        const struct sdt_placement *placement,
                        const struct sdt_machine_options *machine, int requests,
                        const struct sdt_plan *plan) {
    const int dit = placement->dit_devices ? placement->dit_devices : plan->devices;
    printf("  branches       apart: the prompt's on the first %d device%s that denoise%s, the "
           "negative one's on the last %d\n",
           dit - plan->apart, dit - plan->apart == 1 ? "" : "s", dit - plan->apart == 1 ? "s" : "",
           plan->apart);
    for (int apart = 0; apart < 2; apart++) {
        struct sdt_candidate c = {.strategy = request->strategy, .placement = *placement};
        c.placement.cfg_parallel = apart;
        if (sdt_plan_predict(pipeline, request, requests, machine, &c, NULL) == SDT_OK)
            printf("    %-12s predicted %.4g s a step, %.4g s of it exposed, %.2f MB on all "
                   "devices\n",
                   apart ? "apart" : "together", c.step_seconds, c.exposed_seconds,
                   c.memory_bytes * 1e-6);
    }
}

static void print_latent(const struct sdt_plan *plan) {
    printf("  latent         %d channels, %d frame%s, %d high, %d wide\n", plan->channels,
           plan->frames, plan->frames == 1 ? "" : "s", plan->latent_height, plan->latent_width);
    printf("  tokens         %lld%s in %d tiles of %d\n", (long long)plan->tokens,
           plan->blocks ? " of a block" : "", plan->tiles, plan->tile_rows);
    if (plan->blocks)
        printf("  blocks         %d of %d frames of the latent, %d shared with each neighbour; %d "
               "iterations of up to %d blocks\n",
               plan->blocks, plan->block_frames, plan->overlap_frames,
               plan->steps + plan->blocks - 1,
               plan->blocks < plan->steps ? plan->blocks : plan->steps);
}

void app_plan_print(struct sdt_pipeline *pipeline, const struct sdt_request *request,
                    const struct sdt_placement *placement,
                    const struct sdt_machine_options *machine, int requests,
                    const struct sdt_plan *plan) {
    char duration[32], names[200];

    printf("Plan for %s\n", sdt_pipeline_folder(pipeline));
    printf("  video          %d frame%s, %d wide, %d high, %g frames per second\n",
           request->num_frames, request->num_frames == 1 ? "" : "s", request->width,
           request->height, request->fps);
    print_latent(plan);
    char shift[40] = "";
    if (request->sampler != SDT_SAMPLER_EULER_ANCESTRAL) /* which has none */
        snprintf(shift, sizeof shift, ", flow shift %g", request->flow_shift);
    printf("  steps          %d, %s%s%s, guidance %g (%d forward%s a step), seed %llu\n",
           request->steps, sdt_sampler_kind_name(request->sampler),
           request->sigmas                         ? " at given sigmas"
           : request->schedule == SDT_SCHEDULE_OLD ? " (old schedule)"
                                                   : "",
           shift, request->guidance_scale, plan->forwards, plan->forwards == 1 ? "" : "s",
           (unsigned long long)request->seed);
    app_steps_print(plan);
    if (request->resume)
        printf("  resumed        after step %d of %d\n", request->resume->step, request->steps);
    if (request->tiling.size_rows)
        printf("  decode tiles   %dx%d pixels every %dx%d (rows x columns)\n",
               request->tiling.size_rows, request->tiling.size_cols, request->tiling.stride_rows,
               request->tiling.stride_cols);
    printf("  devices        ");
    if (machine->device) {
        app_devices_name(machine->device, plan->devices, NULL, names, sizeof names);
        printf("%s", names);
    } else {
        print_workers(plan);
    }
    printf(", strategy %s, policy %s\n", sdt_strategy_name(request->strategy), machine->scheduler);
    printf("  precision      denoise in %s on %s, decode in %s on %s\n",
           dtype_word(plan->dit_dtype), sdt_device_kind_name(plan->dit_kind),
           dtype_word(plan->vae_dtype), sdt_device_kind_name(plan->vae_kind));
    if (placement->dit_devices)
        print_groups(placement, machine->device);
    for (int d = 0; d < plan->devices; d++)
        print_device(plan, machine->device, d);
    print_memory(plan, machine->device);
    if (plan->apart)
        print_apart(pipeline, request, placement, machine, requests, plan);
    else
        print_streams(pipeline, request, placement, machine, requests, plan);
    printf("  weights        ");
    print_bytes(plan->weight_bytes);
    printf(" in the checkpoint\n");
    printf("  exchanged      ");
    print_bytes(plan->exchanged_per_step);
    printf(" a step between devices");
    if (!app_steps_alike(plan)) {
        printf(", ");
        print_bytes(plan->exchanged);
        printf(" in all steps");
    }
    printf("\n");
    const char *unit_name;
    double unit = flop_unit(plan->total_flops, &unit_name);
    printf("  work           %.4g %s: text %.3g, %d step%s of %s%.3g, decode %.3g\n",
           plan->total_flops / unit, unit_name, plan->text_flops / unit, request->steps,
           request->steps == 1 ? "" : "s", app_steps_alike(plan) ? "" : "up to ",
           plan->step_flops / unit, plan->vae_flops / unit);
    const int before = request->resume ? request->resume->step : 0;
    app_duration(plan->seconds - app_steps_seconds(plan, before), duration);
    printf("  time           about %s%s at %.1f GFLOP/s a %s\n", duration,
           requests > 1 ? " a prompt"
           : before     ? " for what is left"
                        : "",
           plan->flops_per_second * 1e-9,
           plan->dit_kind == SDT_DEVICE_CUDA ? "GPU, a guess from its kind" : "worker");
    if (plan->seconds > LONG_SECONDS)
        print_smaller(pipeline, request, placement, machine, plan);
}
