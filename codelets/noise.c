/* Normal noise, drawn in order from one generator. It runs on the host: one draw follows another,
 * and its numbers are to be the same on every machine. */
#include "codelets/codelets.h"
#include "runtime/cuda.h"

struct noise {
    bool first;
    uint64_t seed;
    int before;
    size_t n;
    int generator, y;
};

static void noise_cpu(void *buffers[], void *cl_arg) {
    const struct noise *a = sdt__task_args(cl_arg);
    if (!a)
        return;
    struct sdt_generator *generator = sdt__pointer(buffers, a->generator);
    if (a->first) {
        sdt_generator_seed(generator, a->seed);
        for (int i = 0; i < a->before; i++)
            sdt_normal_skip(generator, a->n);
    }
    sdt_normal(generator, a->n, sdt__floats(buffers, a->y));
}

struct starpu_codelet sdt__noise_codelet = {
    .name = "noise",
    SDT_ON_CPU(noise_cpu),
    .nbuffers = STARPU_VARIABLE_NBUFFERS,
    .model = &sdt__cost_model,
};

void sdt_insert_noise(struct sdt_flow *flow, const char *name, bool first, uint64_t seed,
                      int before, size_t n, sdt_handle generator, sdt_handle y) {
    struct sdt_task task;
    sdt__task_begin(&task, flow);
    struct noise a = {first,
                      seed,
                      before,
                      n,
                      .generator = sdt__task_access(&task, generator, first ? STARPU_W : STARPU_RW),
                      .y = sdt__task_write(&task, y)};
    sdt__task_submit(&task, &sdt__noise_codelet, name, 40.0 * (double)n, 4.0 * (double)n, &a,
                     sizeof a);
}
