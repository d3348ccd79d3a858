/* stardit-bench kernels --device cuda: each CUDA kernel at a realistic size in bfloat16, checked
 * against its plain version and timed by CUDA events.
 *
 * As on CPUs each kernel races a yardstick, slices of both in turn, and the best time of each
 * counts: a device copy of as many bytes where memory is the work; a plain cublasGemmEx of the same
 * shape for linear layers; a bfloat16 product of 8192^3 for attention and convolutions. The error
 * is the relative L2 over a part of the output that the double-precision version can compute in
 * reasonable time, first and last rows where rows are independent. */
#include "bench/cuda.h"

#include "config.h"

#include <stdio.h>

#ifndef HAVE_CUDA
int app_bench_cuda(int names, char **name) {
    (void)names;
    (void)name;
    fprintf(stderr, "stardit-bench: this build has no CUDA\n");
    return 1;
}
#else

#include <stdlib.h>

#include "bench/cuda_race.h"

static void run_all(struct race *race, bool cudnn) {
    static const struct sdt_conv convs[] = {
        {16, 384, 3, 3, 60, 104, 0, 0},   {384, 384, 3, 3, 60, 104, 0, 0},
        {384, 192, 1, 3, 60, 104, 1, 0},  {192, 192, 3, 3, 240, 416, 0, 0},
        {192, 384, 1, 1, 120, 208, 0, 0}, {192, 96, 1, 3, 240, 416, 1, 0},
        {96, 96, 3, 3, 480, 832, 0, 0},   {96, 3, 3, 3, 480, 832, 0, 0},
    };
    if (race_asked(race, "linear")) {
        race_linear(race, 8192, 5120, 5120, SDT_EPILOGUE_NONE, false);
        race_linear(race, 8192, 13824, 5120, SDT_EPILOGUE_GELU_TANH, false);
        race_linear(race, 8192, 1536, 1536, SDT_EPILOGUE_NONE, false);
        race_linear(race, 8192, 8960, 1536, SDT_EPILOGUE_GELU_TANH, false);
        race_linear(race, 1000, 5120, 5120, SDT_EPILOGUE_NONE, false);
    }
    if (race_asked(race, "linear_residual")) {
        race_linear(race, 8192, 5120, 13824, SDT_EPILOGUE_NONE, true);
        race_linear(race, 8192, 1536, 8960, SDT_EPILOGUE_NONE, true);
    }
    for (int own = !cudnn; own < 2; own++)
        if (race_asked(race, "attention")) {
            race_attention(race, 24, 16384, 128, own);
            race_attention(race, 5, 32760, 128, own);
            race_attention(race, 24, 16384, 64, own);
        }
    if (race_asked(race, "cross_attention")) {
        race_cross_attention(race, 8192, 40, 128, 512);
        race_cross_attention(race, 8192, 12, 128, 512);
    }
    if (race_asked(race, "text_attention"))
        race_text_attention(race, 512, 64, 64);
    if (race_asked(race, "frame_attention"))
        race_frame_attention(race, 60 * 104, 384);
    for (int own = !cudnn; own < 2; own++)
        for (size_t i = 0; i < sizeof convs / sizeof *convs; i++)
            if (race_asked(race, "conv_frame"))
                race_conv(race, convs[i], own);
    for (int own = !cudnn; own < 2; own++)
        if (race_asked(race, "time_upsample"))
            race_time_upsample(race, 60, 104, 384, own);
    race_norms(race, 32768, 5120);
    race_norms(race, 32768, 1536);
    race_heads(race, 8192, 40, 128);
    race_elements(race, (size_t)1 << 27);
    if (race_asked(race, "channel_norm")) {
        race_channel_norm(race, (size_t)480 * 832, 96);
        race_channel_norm(race, (size_t)4 * 480 * 832, 96);
    }
    if (race_asked(race, "sampler_step")) {
        race_sampler(race, (size_t)16 * 21 * 60 * 104);
        race_sampler(race, (size_t)16 * 21 * 90 * 160 * 8);
    }
    if (race_asked(race, "patchify"))
        race_patchify(race, (struct sdt_patch){16, 21, 90, 160, {1, 2, 2}});
}

int app_bench_cuda(int names, char **name) {
    struct race race = {.names = names, .name = name};
    const char *why = NULL, *cudnn = NULL;
    int result = 0;
    race.used = calloc((size_t)names + 1, sizeof *race.used);
    if (!race.used) {
        race_stop(&race, "host", "no memory");
    } else if (race_open(&race)) {
        cudnn = sdt_cuda_cudnn(race.cuda, &why);
        printf("cuDNN %s%s\n", cudnn ? cudnn : "not used: ", cudnn ? "" : why);
        race_print_yardsticks(&race);
        printf("%-16s %-40s %9s %9s %14s %17s\n", "kernel", "size", "error", "allowed", "time",
               "rate");
        run_all(&race, cudnn != NULL);
    }
    if (race.why[0])
        fprintf(stderr, "stardit-bench: %s\n", race.why);
    if (race.why[0] || race.failed)
        result = 1;
    for (int i = 0; i < names && race.used && !race.why[0]; i++)
        if (!race.used[i]) {
            fprintf(stderr, "stardit-bench: no CUDA kernel is called \"%s\"\n", name[i]);
            result = 2;
        }
    race_close(&race);
    free(race.used);
    return result;
}
#endif
