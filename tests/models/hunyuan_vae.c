/* HunyuanVideo's decoder: what it takes at the published size, and that a decode takes the memory
 * that is predicted, reports each frame, can be stopped at any frame with nothing left behind, and
 * says where numbers are none. Golden cases are in tests/apps/eval.sh. */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "graph/models/family.h"
#include "graph/run/parameters.h"
#include "stardit/graph.h"
#include "tests/check.h"

extern const char sdt__hunyuan_vae_config[];

/* ---- the published size ---------------------------------------------------------------------- */

static double flops_of(const struct sdt_vae *vae, int frames, int height, int width, bool whole,
                       bool tiled) {
    struct sdt_vae_job job = {
        .frames = frames, .height = height, .width = width, .whole = whole, .dtype = SDT_F32};
    if (tiled)
        job.tiling = vae->tile;
    return vae->kind->flops(vae, &job) * 1e-12;
}

/* Attention's part: queries of a frame see the keys of this frame and of all before it. */
static double attention_of(int frames, double pixels) {
    return 2.0 * 512.0 * pixels * pixels * frames * (frames + 1.0) * 1e-12;
}

static void check_flops(const char *what, double flops, double attention, double conv) {
    printf("%s: %.0f TFLOP, %.0f without attention; %.0f expected\n", what, flops,
           flops - attention, conv);
    CHECK(fabs(flops - attention - conv) < 0.002 * conv, "%s: not the expected FLOPs", what);
}

static void check_published(void) {
    struct sdt_vae *vae = NULL;
    struct sdt_error err = {0};
    if (sdt_vae_imagine(sdt__hunyuan_vae_config, SDT_F32, &vae, &err) != SDT_OK) {
        CHECK(false, "%s", err.message);
        return;
    }
    size_t parameters = sdt_weights_parameters(vae->weights);
    printf("%zu tensors, %.1f M parameters\n", sdt_weights_count(vae->weights),
           (double)parameters * 1e-6);
    CHECK(sdt_weights_count(vae->weights) == 140 && parameters / 100000 == 1461,
          "not the published decoder");
    /* 129x720x1280: 33 latents of 90x160; in time 10 tiles of 5 latents and one of 3. */
    double times = 10.0 * attention_of(5, 90 * 160) + attention_of(3, 90 * 160), tiles = 0.0;
    for (int y = 0; y < 90; y += 24)
        for (int x = 0; x < 160; x += 24) {
            double pixels = fmin(32, 90 - y) * fmin(32, 160 - x);
            tiles += 10.0 * attention_of(5, pixels) + attention_of(3, pixels);
        }
    check_flops("129x720x1280, whole", flops_of(vae, 33, 90, 160, true, false),
                attention_of(33, 90 * 160), 2011);
    check_flops("129x720x1280, tiles in time", flops_of(vae, 33, 90, 160, false, false), times,
                2890);
    check_flops("129x720x1280, tiles in time and space", flops_of(vae, 33, 90, 160, false, true),
                tiles, 4759);
    for (int tiled = 0; tiled < 2; tiled++) {
        struct sdt_vae_job job = {.frames = 33, .height = 90, .width = 160, .dtype = SDT_F32};
        if (tiled)
            job.tiling = vae->tile;
        printf("129x720x1280%s: %.2f GB\n", tiled ? ", in tiles" : "",
               vae->kind->bytes(vae, &job, 1, 0) * 1e-9);
    }
    sdt_vae_close(vae);
}

/* ---- decodes --------------------------------------------------------------------------------- */

static const char small[] = "{\"_class_name\": \"AutoencoderKLHunyuanVideo\", "
                            "\"latent_channels\": 4, \"block_out_channels\": [16, 32, 64, 64], "
                            "\"layers_per_block\": 2, \"norm_num_groups\": 8}";

struct seen {
    struct sdt_machine *machine;
    atomic_int frames;
    int total, stop_at; /* 0: never */
    atomic_bool wrong;
};

static void frame_done(void *arg, int done, int total) {
    struct seen *seen = arg;
    atomic_fetch_add(&seen->frames, 1);
    if (done < 1 || done > total || (seen->total && seen->total != total))
        atomic_store(&seen->wrong, true);
    if (done == seen->stop_at)
        sdt_machine_stop(seen->machine);
}

struct decode_case {
    int devices, workers, frames, height, width, tile;
    bool whole;
    int total; /* frames that are reported */
};

static const struct decode_case cases[] = {
    {1, 1, 9, 6, 8, 0, false, 41}, /* tiles of 5, 5 and 3 latents: 17 + 16 + 8 frames */
    {1, 3, 9, 6, 8, 0, false, 0},   {3, 1, 9, 6, 8, 0, false, 0},  {1, 1, 9, 6, 8, 0, true, 33},
    {2, 1, 6, 9, 11, 32, false, 0}, {3, 2, 3, 8, 8, 32, false, 0}, {2, 1, 1, 5, 3, 0, false, 1},
};

/* Decodes; the video's frames are checked to be there. */
static enum sdt_status decode(struct sdt_vae *vae, struct sdt_machine *machine,
                              const struct sdt_vae_job *job, bool poisoned, struct sdt_error *err) {
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    size_t values = (size_t)vae->channels * (size_t)(job->frames * job->height * job->width);
    size_t frames = (size_t)(vae->time_ratio * (job->frames - 1) + 1);
    size_t pixels = frames * (size_t)(job->height * job->width) * 64;
    float *z = malloc(values * sizeof *z), *video = malloc(3 * pixels * sizeof *video);
    if (!z || !video)
        abort();
    for (size_t i = 0; i < values; i++)
        z[i] = sinf((float)i);
    if (poisoned)
        z[values / 2] = NAN;
    for (size_t i = 0; i < 3 * pixels; i++)
        video[i] = 9.f;
    sdt_handle latent = sdt__host_vector(&flow, z, values, "latent");
    sdt_handle out = sdt__host_vector(&flow, video, 3 * pixels, "video");
    enum sdt_status status = vae->kind->decode(&flow, vae, machine, job, latent, out, err);
    sdt__unregister(latent);
    sdt__unregister(out);
    size_t bad = 0;
    for (size_t i = 0; i < 3 * pixels; i++)
        bad += !(video[i] >= -1.f && video[i] <= 1.f);
    if (status == SDT_OK)
        CHECK(bad == 0, "%zu values are not of a video", bad);
    free(z);
    free(video);
    return status;
}

/* Predicted over what StarPU has allocated on a device at the end of any task. */
#define LEAST 0.95
#define MOST 1.4

static void check_case(struct sdt_vae *vae, const struct decode_case *c) {
    struct sdt_machine_options options = {.devices = c->devices, .workers_per_device = c->workers};
    struct sdt_machine *machine = NULL;
    struct sdt_error err = {0};
    if (sdt_machine_open(&options, &machine, &err) != SDT_OK) {
        CHECK(false, "%s", err.message);
        return;
    }
    struct seen seen = {.machine = machine, .total = c->total};
    struct sdt_vae_job job = {.frames = c->frames,
                              .height = c->height,
                              .width = c->width,
                              .scale = true,
                              .whole = c->whole,
                              .dtype = SDT_F32,
                              .place = machine->device,
                              .devices = machine->devices,
                              .frame_done = frame_done,
                              .frame_done_arg = &seen};
    if (c->tile)
        job.tiling = (struct sdt_vae_tiling){c->tile, c->tile, c->tile / 2, c->tile / 2};
    long alive = sdt__handles_alive(&machine->handles);
    enum sdt_status status = decode(vae, machine, &job, false, &err);
    CHECK(status == SDT_OK, "%s", err.message);
    int all = atomic_load(&seen.frames);
    CHECK(!atomic_load(&seen.wrong) && (!c->total || all == c->total), "%d frames were reported",
          all);
    printf("%d latents of %dx%d%s%s, %d x %d workers, %d frames:", c->frames, c->height, c->width,
           c->tile ? ", in tiles" : "", c->whole ? ", whole" : "", c->devices, c->workers, all);
    for (int d = 0; d < c->devices; d++) {
        double peak = (double)sdt__recorder_peak(machine->recorder, machine->device[d].node);
        double bytes = vae->kind->bytes(vae, &job, c->devices, d);
        bool fine = bytes == 0.0 || (bytes >= LEAST * peak && bytes <= MOST * peak);
        printf(" %.2f of %.2f MB%s", peak * 1e-6, bytes * 1e-6, fine ? "" : " (FAIL)");
        CHECK(fine, "device %d: memory was predicted wrongly", d);
    }
    printf("\n");
    status = decode(vae, machine, &job, true, &err);
    CHECK(status == SDT_ERROR_NOT_FINITE, "NaN in the latent: %s", sdt_status_name(status));
    sdt_machine_close(machine);
    for (int stop = 1; stop <= all; stop += all / 3 + 1) {
        if (sdt_machine_open(&options, &machine, &err) != SDT_OK)
            break;
        seen = (struct seen){.machine = machine, .stop_at = stop};
        job.place = machine->device;
        status = decode(vae, machine, &job, false, &err);
        CHECK(status == SDT_ERROR_INTERRUPTED || (status == SDT_OK && stop == all),
              "stopped at frame %d of %d: %s", stop, all, sdt_status_name(status));
        CHECK(sdt__handles_alive(&machine->handles) == alive,
              "stopped at frame %d of %d: %ld handles are left", stop, all,
              sdt__handles_alive(&machine->handles) - alive);
        sdt_machine_close(machine);
    }
}

int main(void) {
    struct sdt_vae *vae = NULL;
    struct sdt_error err = {0};
    check_published();
    if (sdt_vae_imagine(small, SDT_F32, &vae, &err) != SDT_OK ||
        sdt_weights_randomize(vae->weights, &err) != SDT_OK) {
        printf("%s: FAIL\n", err.message);
        return 1;
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_case(vae, &cases[i]);
    sdt_vae_close(vae);
    printf("%d failures\n", failures);
    return failures > 0;
}
