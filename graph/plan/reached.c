/* Rates by class, measured with the operations that plans are predicted with, on all workers at
 * once: they share caches and the memory, in a run as here. */
#include "graph/plan/reached.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "graph/plan/cost.h"

/* Work and time of each class. */
struct sums {
    double flops[SDT_CLASSES], bytes[SDT_CLASSES], seconds[SDT_CLASSES];
};

static void add(struct sums *sums, const struct sdt_draft *d, struct sdt_operation o,
                double tasks) {
    enum sdt_class class = sdt_operation_class(&o);
    sums->flops[class] += tasks * sdt_operation_flops(&o);
    sums->bytes[class] += tasks * sizeof(float) * sdt_operation_elements(&o);
    sums->seconds[class] += tasks * sdt_operation_seconds(&d->rates->cpu, SDT_F32, &o);
}

/* Every weight is read once between two uses of another, by each worker or one that shares its
 * cache. */
static void spread(const struct sdt_draft *d, const struct sdt_weights *weights) {
    sdt__kernel_times_spread(d->rates->cpu.times,
                             sizeof(float) * (double)sdt_weights_parameters(weights));
}

/* All of a run but its self attention. */
static bool add_listed(struct sums *sums, const struct sdt_draft *d) {
    const struct sdt_vae *vae = d->pipeline->vae;
    const double tiles = (double)d->layout.tiles * d->forwards * d->request->steps;
    const double often[] = {[SDT_EACH_LAYER] = tiles * d->pipeline->dit->layers,
                            [SDT_EACH_TILE] = tiles,
                            [SDT_EACH_FORWARD] = d->forwards * (double)d->request->steps};
    struct sdt_operations step = {0}, decode = {0};
    spread(d, d->pipeline->dit->weights);
    sdt_draft_operations(d, &step);
    for (int i = 0; i < step.count; i++)
        add(sums, d, step.item[i], step.item[i].tasks * often[step.item[i].when]);
    spread(d, vae->weights);
    if (vae->kind->operations)
        vae->kind->operations(vae, &d->job, sdt_draft_decoders(d), &decode);
    for (int i = 0; i < decode.count; i++)
        add(sums, d, decode.item[i], decode.item[i].tasks);
    bool fine = !step.failed && !decode.failed;
    sdt_operations_clear(&step);
    sdt_operations_clear(&decode);
    return fine;
}

/* Each head's attention of each tile, and the projections before it. */
static void add_attention(struct sums *sums, const struct sdt_draft *d) {
    const struct sdt_dit *dit = d->pipeline->dit;
    const struct sdt_layout *layout = &d->layout;
    spread(d, dit->weights);
    double tiles = (double)layout->tiles * d->forwards * d->request->steps;
    struct sdt_operation product = {
        .kind = SDT_OPERATION_LINEAR, .rows = layout->rows, .n = dit->width, .k = dit->width};
    struct sdt_operation split = {.kind = SDT_OPERATION_SPLIT_HEADS,
                                  .rows = layout->rows,
                                  .heads = dit->heads,
                                  .e = dit->head_dim};
    add(sums, d, product, 3.0 * tiles * dit->layers);
    add(sums, d, split, 3.0 * tiles * dit->layers);
    for (int l = 0; l < dit->layers; l++) {
        int count = sdt_dit_groups(dit, l).count;
        struct sdt_operation attention = {.kind = SDT_OPERATION_ATTENTION,
                                          .rows = (layout->rows + count - 1) / count,
                                          .heads = 1,
                                          .e = layout->e,
                                          .keys = (layout->tokens + count - 1) / count};
        add(sums, d, attention, tiles * dit->heads * count);
    }
}

/* One worker's measurement, among others. */
struct measurement {
    const struct sdt_pipeline *pipeline;
    const struct sdt_request *request;
    struct sdt_machine_rates rates;
    struct sdt_kernel_times *times;
    struct sums sums;
    enum sdt_status status;
    struct sdt_error err;
};

static void *measure(void *arg) {
    struct measurement *m = arg;
    const struct sdt_placement together = {0};
    struct sdt_draft draft = {0};
    m->rates.cpu.times = m->times;
    m->status = sdt_draft_init(&draft, m->pipeline, m->request, &together, m->request->strategy,
                               &m->rates, &m->err);
    if (m->status == SDT_OK && !add_listed(&m->sums, &draft))
        m->status = sdt_fail(&m->err, SDT_ERROR_MEMORY, "out of memory while measuring");
    if (m->status == SDT_OK)
        add_attention(&m->sums, &draft);
    sdt_draft_clear(&draft);
    return NULL;
}

/* Inserting tasks takes a core's time too, which workers lack where there is one on each core. */
static bool inserts_apart(const struct sdt_machine_rates *rates) {
    int workers = 0;
    for (int d = 0; d < rates->devices; d++)
        workers += rates->workers[d] > 0 ? rates->workers[d] : 1;
    return workers < rates->cores;
}

double sdt_insert_seconds_apart(const struct sdt_machine_rates *rates) {
    return inserts_apart(rates) ? rates->overheads.insert : 0.0;
}

static double task_seconds(const struct sdt_machine_rates *rates) {
    return rates->overheads.run + (inserts_apart(rates) ? 0.0 : rates->overheads.insert);
}

static void conclude(const struct measurement *m, int count, struct sdt_reached *reached) {
    struct sums all = {0};
    for (int i = 0; i < count; i++)
        for (int c = 0; c < SDT_CLASSES; c++) {
            all.flops[c] += m[i].sums.flops[c];
            all.bytes[c] += m[i].sums.bytes[c];
            all.seconds[c] += m[i].sums.seconds[c];
        }
    for (int c = 0; c < SDT_CLASSES; c++)
        reached->flops[c] = all.seconds[c] > 0.0 ? all.flops[c] / all.seconds[c] : 0.0;
    if (all.seconds[SDT_CLASS_OTHER] > 0.0)
        reached->bytes_per_second = all.bytes[SDT_CLASS_OTHER] / all.seconds[SDT_CLASS_OTHER];
}

static enum sdt_status measure_all(const struct sdt_pipeline *pipeline,
                                   const struct sdt_request *request,
                                   const struct sdt_machine_rates *rates,
                                   struct sdt_reached *reached, struct sdt_error *err) {
    enum { MOST = 64 };
    struct measurement m[MOST] = {{0}};
    pthread_t thread[MOST];
    bool started[MOST] = {false};
    int count = 0;
    for (int d = 0; d < rates->devices; d++)
        count += rates->workers[d] > 0 ? rates->workers[d] : 1;
    count = count > MOST ? MOST : count;
    enum sdt_status status = SDT_OK;
    for (int i = 0; i < count; i++) {
        m[i] = (struct measurement){.pipeline = pipeline, .request = request, .rates = *rates};
        m[i].times = sdt__kernel_times_new();
        if (!m[i].times && status == SDT_OK)
            status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory while measuring");
    }
    for (int i = 1; i < count && status == SDT_OK; i++)
        started[i] = pthread_create(&thread[i], NULL, measure, &m[i]) == 0;
    if (status == SDT_OK)
        measure(&m[0]);
    for (int i = 1; i < count; i++)
        if (started[i])
            pthread_join(thread[i], NULL);
    for (int i = 0; i < count; i++) {
        if (status == SDT_OK && m[i].status != SDT_OK) {
            status = m[i].status;
            *err = m[i].err;
        }
        sdt__kernel_times_free(m[i].times);
    }
    if (status == SDT_OK)
        conclude(m, count, reached);
    return status;
}

enum sdt_status sdt_measure_reached(const struct sdt_measured_size *size,
                                    const struct sdt_machine_options *machine,
                                    struct sdt_reached *reached, struct sdt_error *err) {
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request request;
    struct sdt_machine_rates rates;
    *reached = (struct sdt_reached){0};
    enum sdt_status status = sdt_pipeline_imagine(size->model, &pipeline, err);
    if (status == SDT_OK)
        status = sdt_pipeline_defaults(pipeline, &request, err);
    if (status == SDT_OK) {
        request.height = size->height ? size->height : request.height;
        request.width = size->width ? size->width : request.width;
        request.num_frames = size->num_frames ? size->num_frames : request.num_frames;
        status = sdt__check_request(pipeline, &request, err);
    }
    if (status == SDT_OK)
        status = sdt_measure_rates(pipeline, machine, SDT_PRECISION_AUTO, &rates, err);
    if (status == SDT_OK)
        status = measure_all(pipeline, &request, &rates, reached, err);
    if (status == SDT_OK) {
        reached->load_bytes_per_second = sdt_measure_packing(pipeline->dit->width);
        reached->task_seconds = task_seconds(&rates);
        reached->link_bytes_per_second = rates.link_bytes_per_second;
        /* A worker handles a transfer between its tasks, as it does a task. */
        reached->link_seconds = rates.overheads.transfer + rates.overheads.run;
        reached->memory_bytes = rates.memory_bytes;
        reached->devices = rates.devices;
        reached->workers = rates.workers[0] > 0 ? rates.workers[0] : 1;
    }
    sdt_pipeline_close(pipeline);
    return status;
}
