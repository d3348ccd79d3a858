/* WFVAE's decoder: what the published one has and takes, that memory is what is predicted and does
 * not grow with the frames, and that a decode tells its frames and can be stopped. (Its numbers:
 * tests/apps/eval.sh.) */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/models/family.h"
#include "graph/pipeline.h"
#include "runtime/machine.h"
#include "tests/check.h"

extern const char sdt__wfvae_config[];

/* As tests/graph/memory.c has them. */
#define LEAST 0.95
#define MOST 1.4

/* ---- the published decoder ------------------------------------------------------------------- */

static struct sdt_vae *imagine(const char *config) {
    struct sdt_error err = {0};
    struct sdt_vae *vae = NULL;
    CHECK(sdt_vae_imagine(config, SDT_F32, &vae, &err) == SDT_OK, "%s", err.message);
    return vae;
}

/* The same with one block in a branch. */
static char *with_one_block(void) {
    static char config[1000];
    snprintf(config, sizeof config, "%s", sdt__wfvae_config);
    char *number = strstr(config, "\"connect_res_layer_num\": 2");
    CHECK(number, "the published configuration has no connect_res_layer_num 2");
    if (number)
        number[strlen("\"connect_res_layer_num\": ")] = '1';
    return config;
}

static void check_published(void) {
    struct sdt_vae *two = imagine(sdt__wfvae_config), *one = imagine(with_one_block());
    struct sdt_vae_job job = {.frames = 24, .height = 44, .width = 80};
    if (!two || !one)
        return;
    size_t of_two = sdt_weights_parameters(two->weights);
    size_t of_one = sdt_weights_parameters(one->weights);
    printf("%zu parameters with two blocks in a branch, %zu with one\n", of_two, of_one);
    CHECK(of_two == 110165436 && of_one == 108394428, "not 110165436 and 108394428");

    double attention = 24.0 * 4.0 * 512 * (44.0 * 80) * (44.0 * 80);
    double flops = two->kind->flops(two, &job);
    printf("93x352x640: %.1f TFLOP of convolutions, %.1f of attention\n",
           (flops - attention) * 1e-12, attention * 1e-12);
    CHECK(fabs((flops - attention) * 1e-12 - 95.0) < 0.5, "not 95 TFLOP");

    /* The operations of a plan are the same work. */
    struct sdt_operations list = {0};
    double listed = 0.0;
    two->kind->operations(two, &job, 3, &list);
    for (int i = 0; i < list.count; i++)
        if (list.item[i].kind == SDT_OPERATION_CONV || list.item[i].kind == SDT_OPERATION_ATTENTION)
            listed += list.item[i].tasks * sdt_operation_flops(&list.item[i]);
    CHECK(fabs(listed / flops - 1.0) < 1e-9, "the plan's operations are %.3f TFLOP, not %.3f",
          listed * 1e-12, flops * 1e-12);
    sdt_operations_clear(&list);

    for (int kind = 0; kind < 2; kind++) {
        job.dtype = kind ? SDT_BF16 : SDT_F32;
        double bytes = two->kind->bytes(two, &job, 1, 0);
        job.frames = 1000;
        double longer = two->kind->bytes(two, &job, 1, 0);
        job.frames = 24;
        printf("%s: %.2f GB for 93 frames, %.2f for 3997\n", kind ? "bfloat16" : "float32",
               bytes * 1e-9, longer * 1e-9);
        /* but for the latent, of which a GPU has a copy */
        double latents = kind ? 4.0 * two->channels * job.height * job.width * (1000 - 24) : 0.0;
        CHECK(fabs(longer - bytes - latents) < 1.0, "memory grows with the frames");
    }
    sdt_vae_close(two);
    sdt_vae_close(one);
}

/* Eight frames of a latent one: branches run further ahead there. */
static void check_eightfold(void) {
    struct sdt_vae_job job = {.frames = 2, .height = 6, .width = 6};
    struct sdt_error err = {0};
    struct sdt_vae *vae = NULL;
    char path[4096];
    snprintf(path, sizeof path, "%s/tests/golden/wfvae15", getenv("STARDIT_SOURCE_DIR"));
    CHECK(sdt_vae_open(path, NULL, &vae, &err) == SDT_OK, "%s", err.message);
    for (int frames = 4; vae && frames <= 64; frames *= 2)
        for (int d = 0; d < 3; d++) {
            job.frames = frames;
            double bytes = vae->kind->bytes(vae, &job, 3, d);
            job.frames = frames / 2;
            double before = vae->kind->bytes(vae, &job, 3, d);
            CHECK(frames < 16 || bytes == before,
                  "device %d: %.2f MB for %d latent frames, %.2f for %d", d, bytes * 1e-6, frames,
                  before * 1e-6, frames / 2);
        }
    sdt_vae_close(vae);
}

/* ---- decodes --------------------------------------------------------------------------------- */

struct told {
    struct sdt_machine *machine;
    int frames, total, stop_at; /* 0: never */
    bool in_order;
};

static void frame_done(void *arg, int done, int total) {
    struct told *told = arg;
    told->in_order &= done >= 1 && done <= total;
    told->frames++;
    told->total = total;
    if (done == told->stop_at)
        atomic_store(&told->machine->halt.stop, true);
}

struct decode_case {
    int devices, workers, frames, height, width, stop_at;
};

static void decode(struct sdt_vae *vae, const struct decode_case *c) {
    struct sdt_machine_options options = {.devices = c->devices, .workers_per_device = c->workers};
    struct sdt_machine *machine = NULL;
    struct sdt_error err = {0};
    CHECK(sdt_machine_open(&options, &machine, &err) == SDT_OK, "%s", err.message);
    if (!machine)
        return;
    struct told told = {.machine = machine, .stop_at = c->stop_at, .in_order = true};
    struct sdt_vae_job job = {.frames = c->frames,
                              .height = c->height,
                              .width = c->width,
                              .scale = true,
                              .place = machine->device,
                              .devices = c->devices,
                              .frame_done = frame_done,
                              .frame_done_arg = &told};
    int frames = vae->time_ratio * (c->frames - 1) + 1;
    size_t of_latent = (size_t)(vae->channels * c->frames * c->height * c->width);
    size_t of_video = (size_t)frames * (size_t)(c->height * c->width) * 64 * 3;
    float *z = calloc(of_latent, sizeof *z), *video = calloc(of_video, sizeof *video);
    if (!z || !video)
        abort();
    struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
    sdt_handle latent = sdt__host_vector(&flow, z, of_latent, "latent");
    sdt_handle out = sdt__host_vector(&flow, video, of_video, "video");
    enum sdt_status status = vae->kind->decode(&flow, vae, machine, &job, latent, out, &err);
    if (c->stop_at) {
        CHECK(status == SDT_ERROR_INTERRUPTED, "stopped at frame %d: status %d, %s", c->stop_at,
              status, err.message);
        CHECK(told.frames >= c->stop_at && told.frames < frames,
              "stopped at frame %d of %d, and %d were decoded", c->stop_at, frames, told.frames);
    } else {
        CHECK(status == SDT_OK, "%s", err.message);
        CHECK(told.frames == frames && told.total == frames && told.in_order,
              "told of %d frames of %d; there are %d", told.frames, told.total, frames);
        float largest = 0.f;
        for (size_t i = 0; i < of_video; i++)
            largest = fmaxf(largest, fabsf(video[i]));
        CHECK(largest <= 1.f && largest > 0.f, "a pipeline's video reaches %g", (double)largest);
    }
    printf("%d device%s, %d worker%s, %d latents of %dx%d:", c->devices, c->devices == 1 ? "" : "s",
           c->workers, c->workers == 1 ? "" : "s", c->frames, c->height, c->width);
    for (int d = 0; d < c->devices; d++) {
        double peak = (double)sdt__recorder_peak(machine->recorder, machine->device[d].node);
        double bytes = vae->kind->bytes(vae, &job, c->devices, d), over = bytes / peak;
        printf(" %.2f of %.2f MB", peak * 1e-6, bytes * 1e-6);
        /* The buffers of a short clip go before all have been used. */
        CHECK(c->stop_at || c->devices < 2 || (over >= LEAST && (c->frames < 5 || over <= MOST)),
              "device %d: %.2f predicted over measured", d, over);
    }
    printf("\n");
    sdt__unregister(latent);
    sdt__unregister(out);
    sdt_machine_close(machine);
    free(z);
    free(video);
}

int main(void) {
    static const struct decode_case cases[] = {
        {2, 1, 5, 12, 12, 0}, {3, 1, 5, 12, 12, 0}, {3, 1, 9, 12, 12, 0},
        {2, 2, 5, 12, 12, 0}, {8, 1, 2, 12, 12, 0}, {3, 1, 1, 7, 5, 0},
        {1, 2, 3, 7, 5, 0},   {1, 1, 8, 6, 6, 5},   {3, 1, 8, 6, 6, 5},
    };
    struct sdt_error err = {0};
    struct sdt_vae *vae = NULL;
    char path[4096];

    check_published();
    check_eightfold();
    snprintf(path, sizeof path, "%s/tests/golden/wfvae13", getenv("STARDIT_SOURCE_DIR"));
    CHECK(sdt_vae_open(path, NULL, &vae, &err) == SDT_OK, "%s", err.message);
    for (size_t i = 0; vae && i < sizeof cases / sizeof cases[0]; i++)
        decode(vae, &cases[i]);
    sdt_vae_close(vae);
    printf("%d failures\n", failures);
    return failures > 0;
}
