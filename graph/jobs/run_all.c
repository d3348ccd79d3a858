/* Running a list of requests: a service that takes them, and no more. */
#include "graph/jobs/job.h"

enum sdt_status sdt_pipeline_run_all(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                     const struct sdt_request *requests, int count,
                                     const struct sdt_run_options *options, struct sdt_error *err) {
    const struct sdt_service_options service_options = {.placement = options->placement};
    struct sdt_service *service = NULL;
    enum sdt_status status = SDT_OK;

    if (count < 1)
        return sdt_fail(err, SDT_ERROR_USAGE, "%d requests; it takes at least one", count);
    for (int r = 0; r < count && status == SDT_OK; r++) { /* before anything is begun */
        status = sdt_strategy_allows(requests[r].strategy, &options->placement, machine->devices,
                                     pipeline->dit, err);
        if (status == SDT_OK)
            status = sdt__prepare_text(pipeline, &requests[r], err);
    }
    if (status == SDT_OK)
        status = sdt_service_open(pipeline, machine, &service_options, &service, err);
    if (status != SDT_OK)
        return status;
    for (int r = 0; r < count && status == SDT_OK; r++) {
        struct sdt_job_options job = {.number = r,
                                      .save_latent =
                                          options->save_latent ? options->save_latent[r] : NULL,
                                      .progress = options->progress,
                                      .progress_arg = options->progress_arg,
                                      .deliver = options->deliver,
                                      .deliver_arg = options->deliver_arg,
                                      .checkpoint_every = options->checkpoint_every,
                                      .checkpoint = options->checkpoint,
                                      .checkpoint_arg = options->checkpoint_arg,
                                      .frames = options->frames,
                                      .frames_arg = options->frames_arg};
        status = sdt_service_submit(service, &requests[r], &job, NULL, err);
    }
    enum sdt_status closed = sdt_service_close(service, status == SDT_OK ? err : NULL);
    return status == SDT_OK ? closed : status;
}

static void keep(void *arg, int request, enum sdt_status status, const struct sdt_error *err,
                 struct sdt_result *result) {
    (void)request;
    (void)status;
    (void)err;
    struct sdt_result *kept = arg;
    *kept = *result;
    result->video = result->latent = NULL;
    result->x_last = result->m0 = result->m1 = result->difference = NULL;
}

enum sdt_status sdt_pipeline_run(struct sdt_pipeline *pipeline, struct sdt_machine *machine,
                                 const struct sdt_request *request, const char *save_latent,
                                 sdt_progress progress, void *progress_arg,
                                 struct sdt_result *result, struct sdt_error *err) {
    const char *const paths[] = {save_latent};
    struct sdt_run_options options = {.save_latent = paths,
                                      .progress = progress,
                                      .progress_arg = progress_arg,
                                      .deliver = keep,
                                      .deliver_arg = result};
    *result = (struct sdt_result){0};
    return sdt_pipeline_run_all(pipeline, machine, request, 1, &options, err);
}
