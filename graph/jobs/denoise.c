/* From a prompt to a latent, a step at a time. */
#include "graph/jobs/job.h"

#include <stdlib.h>
#include <string.h>

#include "graph/checkpoint/finite.h"
#include "graph/strategies/strategy.h"
#include "runtime/cuda.h"

static struct sdt_flow flow_of(struct sdt_job *job, struct sdt_halt *halt) {
    struct sdt_flow flow = sdt_machine_flow(job->service->machine, job->service->lane);
    flow.halt = halt;
    flow.tag.request = job->options.number;
    return flow;
}

static void tell_step(void *arg, int step, int steps) {
    struct sdt_teller *teller = arg;
    sdt__fast_ended(teller->fast, teller->number, step - 1);
    sdt__tell(teller, "denoise", step, steps);
}

/* ---- teams and their runs -------------------------------------------------------------------- */

enum sdt_status sdt__team_find(struct sdt_service *service, const int *devices, int count,
                               struct sdt_team **out, struct sdt_error *err) {
    const struct sdt_placement *p = &service->placement;
    size_t size = (size_t)count * sizeof *devices;

    for (*out = service->teams; *out; *out = (*out)->next)
        if ((*out)->devices == count && !memcmp((*out)->device, devices, size))
            return SDT_OK;
    struct sdt_team *team = calloc(1, sizeof *team);
    if (!team)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a group of %d devices", count);
    bool help = service->two && p->aco != SDT_ACO_OFF;
    team->devices = count;
    memcpy(team->device, devices, size);
    enum sdt_status status = sdt_group_init(&team->group, service->machine, count, devices,
                                            help ? p->vae_devices : 0, p->vae, err);
    if (status != SDT_OK) {
        sdt_group_clear(&team->group);
        free(team);
        return status;
    }
    team->next = service->teams;
    service->teams = *out = team;
    return SDT_OK;
}

/* What runs of this request on the team are made of. */
static struct sdt_parallel parallel_of(const struct sdt_service *service,
                                       const struct sdt_team *team,
                                       const struct sdt_request *request) {
    const struct sdt_group *group = &team->group;
    struct sdt_parallel parallel =
        sdt_parallel_of(request->strategy, &service->placement, group->devices, group->helpers);
    parallel.place = group->place;
    /* One forward has all devices. */
    parallel.apart &= sdt_pipeline_forwards(service->pipeline, request) > 1;
    parallel.anywhere = group->anywhere;
    parallel.dtype = service->kinds.dit_dtype;
    parallel.blocks = sdt__blocks(service->pipeline, request, request->strategy);
    return parallel;
}

/* Teams are added by other threads, and stay. */
static void free_runs(struct sdt_service *service) {
    starpu_pthread_mutex_lock(&service->mutex);
    struct sdt_team *teams = service->teams;
    starpu_pthread_mutex_unlock(&service->mutex);
    for (struct sdt_team *team = teams; team; team = team->next) {
        sdt_run_free(team->run);
        team->run = NULL;
    }
}

/* Rows that tiles have: all but the last ones of the video and of the text are alike. */
static int sizes_of(const struct sdt_layout *l, int size[3]) {
    const int tile[3] = {0, l->video_tiles - 1, l->tiles - 1};
    int count = 0;
    for (int i = 0; i < 3; i++) {
        int rows = sdt_tile_size(l, tile[i]);
        bool seen = false;
        for (int s = 0; s < count; s++)
            seen = seen || size[s] == rows;
        if (!seen)
            size[count++] = rows;
    }
    return count;
}

/* cuDNN's plans for its self attention, while weights are loaded. Of strategies that merge partial
 * results the shapes are many, and left to the tasks. */
static void plan_ahead(const struct sdt_run *run) {
    const struct sdt_layout *l = &run->layout;
    int before = 0, size[3], sizes = sizes_of(l, size), d = 0;
    while (d < l->devices - 1 && !l->place[d].here)
        d++;
    if (l->dtype != SDT_BF16 || !sdt_strategy_exact(run->parallel.strategy))
        return;
    for (int c = 0; c < l->chunks; c++) {
        struct sdt_cuda_shape shape = {
            .heads = l->head[c + 1] - l->head[c], .e = l->e, .tile = l->rows, .keys = l->tokens};
        for (int s = 0; s < sizes && shape.heads != before; s++) {
            shape.rows = size[s];
            sdt__cuda_plan_ahead(&l->place[d], &shape);
        }
        before = shape.heads;
    }
}

/* The team's run for this job: the one before, if it fits. Runs of other teams are freed if no job
 * needs them: their buffers take room. NULL: the flow's error says why. */
static struct sdt_run *prepare(struct sdt_job *job, struct sdt_flow *flow) {
    struct sdt_service *service = job->service;
    struct sdt_dit *dit = service->pipeline->dit;
    struct sdt_geometry g = sdt__block_geometry(service->pipeline, &job->request, &job->blocks.q);
    int branches = sdt_pipeline_forwards(service->pipeline, &job->request);
    struct sdt_team *team = job->team;
    struct sdt_run *run = team->run;
    struct sdt_parallel parallel = parallel_of(service, team, &job->request);

    if (run && (parallel.apart ? run->apart != NULL : !run->apart && run->branches >= branches) &&
        run->parallel.strategy == job->request.strategy && g.frames == run->geometry.frames &&
        g.height == run->geometry.height && g.width == run->geometry.width &&
        run->parallel.blocks.overlap == parallel.blocks.overlap &&
        run->layout.tokens - run->layout.video == (dit->text_joins ? job->text_rows : 0))
        return run;
    if (!sdt__lane_drain(flow->lane, &flow->error))
        return NULL;
    free_runs(service);
    if (!service->parameters)
        service->parameters = sdt_parameters_new(dit->weights, service->machine);
    if (!service->parameters) {
        sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a run of the transformer");
        return NULL;
    }
    team->run = sdt_run_new(flow, dit, service->machine, service->parameters, &parallel, g,
                            branches, job->text_rows);
    if (team->run)
        plan_ahead(team->run);
    return team->run;
}

void sdt__denoise_unload(struct sdt_service *service) {
    free_runs(service);
    sdt_parameters_free(service->parameters);
    service->parameters = NULL;
}

/* What decoding takes of a device that both groups have. */
static double beside_of(const struct sdt_service *service, const struct sdt_request *request,
                        const struct sdt_place *place) {
    int devices = sdt__decodes_tiles(service->pipeline, request) ? service->vae.devices : 1;
    double bytes = 0.0;
    for (int v = 0; service->shared && v < service->vae.devices; v++)
        if (service->vae.place[v].device == place->device) /* without tiles, one decode on each */
            bytes = sdt__decode_bytes(service, request, service->vae.place + (devices > 1 ? 0 : v),
                                      devices, devices > 1 ? v : 0);
    return bytes;
}

/* Of a streamed request, whose decode all devices that decode share. */
static double streamed_beside(const struct sdt_service *service, const struct sdt_request *request,
                              const struct sdt_place *place) {
    for (int v = 0; v < service->vae.devices; v++)
        if (service->vae.place[v].device == place->device)
            return sdt__decode_bytes(service, request, service->vae.place, service->vae.devices, v);
    return 0.0;
}

/* On GPUs weights may come and go, on CPU devices all is to stay. Once for each team: what a decode
 * beside it takes is long to predict. */
static enum sdt_status check_memory(struct sdt_job *job, struct sdt_error *err) {
    const struct sdt_service *service = job->service;
    const struct sdt_pipeline *pipeline = service->pipeline;
    const struct sdt_request *request = &job->request;
    struct sdt_parallel parallel = parallel_of(service, job->team, request);
    struct sdt_run_parts parts = {0};

    if (job->fits == job->team)
        return SDT_OK;
    job->offloads = false;
    enum sdt_status status = sdt_run_parts(
        pipeline->dit, &parallel, sdt__block_geometry(pipeline, request, &job->blocks.q),
        sdt_pipeline_forwards(pipeline, request), job->text_rows, &parts, err);
    for (int i = 0; status == SDT_OK && i < parallel.devices; i++) {
        const struct sdt_place *place = &parallel.place[i];
        struct sdt_need need = sdt_run_need(pipeline->dit, &parts, i, job->text_rows,
                                            request->steps, sdt_step_table_keeping(&job->table));
        bool gpu = place->kind == SDT_DEVICE_CUDA;
        double room = sdt__place_room(place);
        double beside = request->streamed ? streamed_beside(service, request, place)
                                          : beside_of(service, request, place);
        status = sdt__check_room(place, "denoising", (gpu ? need.least : need.all) + beside,
                                 request, err);
        job->offloads |= gpu && room > 0.0 && need.all + beside > room;
    }
    sdt_run_parts_clear(&parts);
    status = sdt__ranks_settle(SDT_LANE_DENOISE, status, err); /* each knows its own devices */
    if (status == SDT_OK) {
        job->offloads = sdt__ranks_any(SDT_LANE_DENOISE, job->offloads);
        job->fits = job->team;
    }
    return status;
}

/* ---- what is kept between steps -------------------------------------------------------------- */

static void free_kept(struct sdt_job *job) {
    for (int b = 0; b < 2; b++) {
        for (int t = 0; job->kept[b] && t < job->kept_tiles; t++)
            sdt__unregister_submit(job->kept[b][t]);
        free(job->kept[b]);
        job->kept[b] = NULL;
        for (int i = 0; job->stale[b] && i < job->stale_count[b]; i++)
            sdt__unregister_submit(job->stale[b][i]);
        free(job->stale[b]);
        job->stale[b] = NULL;
    }
}

/* Room for it, in the tiles of this run: of branches that keep something in any step. */
static void make_kept(struct sdt_job *job, struct sdt_flow *flow, struct sdt_run *run) {
    const struct sdt_layout *layout = &run->layout;
    free_kept(job);
    job->kept_tiles = layout->video_tiles;
    for (int b = 0; run->parallel.strategy->stale && b < 2; b++)
        if (b < sdt_run_of(run, b)->branches) {
            job->stale[b] = sdt_run_stale(flow, sdt_run_of(run, b));
            job->stale_count[b] = sdt_run_stale_count(sdt_run_of(run, b));
        }
    for (int b = 0; b < 2; b++) {
        bool keeps = false;
        for (int s = 0; s < job->table.steps; s++)
            keeps = keeps || job->table.step[s].keep[b];
        if (!keeps)
            continue;
        job->kept[b] = calloc((size_t)layout->video_tiles, sizeof *job->kept[b]);
        if (!job->kept[b] && flow->error.status == SDT_OK)
            sdt_fail(&flow->error, SDT_ERROR_MEMORY, "out of memory for a step cache");
        for (int t = 0; job->kept[b] && t < layout->video_tiles; t++)
            job->kept[b][t] =
                sdt__tensor(flow, layout->dtype,
                            (size_t)sdt_tile_size(layout, t) * (size_t)run->dit->width, "kept");
    }
}

/* ---- the beginning --------------------------------------------------------------------------- */

/* The latent on the host: where denoising starts. */
static enum sdt_status make_latent(struct sdt_job *job, struct sdt_error *err) {
    const struct sdt_request *request = &job->request;
    struct sdt_result *result = &job->result;
    const struct sdt_solver_state *resume = request->resume;
    const float *given = resume ? resume->x : request->latents;
    size_t count = sdt__latent_size(result);

    if (count > UINT32_MAX)
        return sdt_fail(err, SDT_ERROR_LIMIT, "a latent of %zu values; at most 2^32 - 1 work",
                        count);
    if (resume && (resume->step < 0 || resume->step > request->steps || !resume->x ||
                   (resume->step > 0 && resume->step < request->steps &&
                    (!resume->x_last || !resume->m0 || !resume->m1))))
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "a state after step %d of %d: it must be whole, and of a step that the "
                        "request has",
                        resume->step, request->steps);
    result->latent = malloc(count * sizeof *result->latent);
    if (!result->latent)
        return sdt_fail(err, SDT_ERROR_MEMORY, "no memory for a latent of %zu values", count);
    if (given && sdt_find_not_finite(count, given) < count)
        return sdt_fail(err, SDT_ERROR_USAGE, "the given latent holds NaN or infinity");
    if (given)
        memcpy(result->latent, given, count * sizeof *result->latent);
    else if (!sdt__blocks(job->service->pipeline, request, request->strategy).count)
        sdt_randn(request->seed, count, result->latent);
    return SDT_OK;
}

/* The devices that denoise wait for it, those that decode the last video do not. */
#define TEXT_PRIORITY 6

/* The text encoder's states of all branches' prompts. */
static enum sdt_status make_states(struct sdt_job *job, struct sdt_flow *flow, int branches,
                                   struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    sdt__text_keep(job);
    sdt__tell(job->teller, "text", 0, branches);
    flow->priority = TEXT_PRIORITY;
    for (int b = 0; status == SDT_OK && b < branches; b++) {
        status = sdt__text_states(job, flow, b, err);
        if (status == SDT_OK)
            sdt__tell(job->teller, "text", b + 1, branches);
        int rows = job->states[b][0].rows;
        job->text_rows = rows > job->text_rows ? rows : job->text_rows;
    }
    flow->priority = 0;
    job->result.prompt_tokens = job->states[0][0].rows;
    return status;
}

/* The state that denoising starts from, on the devices. */
static void scatter_state(struct sdt_job *job, struct sdt_flow *flow, const struct sdt_run *run) {
    const struct sdt_solver_state *resume = job->request.resume;
    size_t count = sdt__latent_size(&job->result);
    float *part[SDT_STATE_PARTS] = {job->result.latent};
    int first = resume ? resume->step : 0;

    sdt_latent_init(flow, job->latent, &run->layout, sdt_patch_of(run->dit, run->geometry), first,
                    job->request.steps, tell_step, job->teller);
    job->noise.seed = job->request.seed;
    job->latent->noise = &job->noise;
    if (resume && first > 0) { /* only read, though StarPU takes no pointer to const */
        part[SDT_SOLVER_X_LAST] = (float *)resume->x_last;
        part[SDT_SOLVER_M0] = (float *)resume->m0;
        part[SDT_SOLVER_M1] = (float *)resume->m1;
        if (sdt_step_table_frozen(&job->table, first))
            part[SDT_STATE_DIFFERENCE] = (float *)resume->difference;
    }
    for (int p = 0; p < SDT_STATE_PARTS && flow->error.status == SDT_OK; p++)
        if (part[p]) {
            job->whole[p] = sdt__host_vector(flow, part[p], count, "latent");
            sdt_latent_scatter(flow, job->latent, first, (enum sdt_solver_part)p, job->whole[p]);
        }
    job->step = first;
}

static enum sdt_status set_up(struct sdt_job *job, struct sdt_flow *flow, struct sdt_error *err) {
    const struct sdt_request *request = &job->request;
    job->blocks.q = sdt__blocks(job->service->pipeline, request, request->strategy);
    const bool blocks = job->blocks.q.count > 0;
    job->steps = blocks ? sdt_blocks_iterations(&job->blocks.q) : request->steps;
    enum sdt_status status = sdt__sampler_of(request, &job->sampler, err);
    if (status == SDT_OK)
        status = sdt__step_table(job->service->pipeline, request, &job->table, err);
    if (status == SDT_OK)
        status = check_memory(job, err);
    if (status != SDT_OK)
        return status;
    job->latent = blocks ? NULL : calloc(1, sizeof *job->latent);
    if (!job->latent && !blocks)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a request");
    if (blocks && (status = sdt__blocks_begin(job, err)) != SDT_OK)
        return status;
    struct sdt_run *run = prepare(job, flow);
    if (run) {
        if (!blocks) {
            scatter_state(job, flow, run);
            make_kept(job, flow, run);
        }
        run->schedule = (struct sdt_schedule){job->sampler.timesteps, request->steps,
                                              (float)request->guidance_scale};
        for (int b = 0; b < sdt_pipeline_forwards(job->service->pipeline, request); b++)
            sdt_run_prompt(flow, run, b, job->states[b], &job->prompt[b]);
        sdt_run_prompts_done(flow, run);
    }
    if (flow->error.status != SDT_OK && err)
        *err = flow->error;
    return flow->error.status;
}

enum sdt_status sdt__job_begin(struct sdt_job *job, struct sdt_error *err) {
    struct sdt_pipeline *pipeline = job->service->pipeline;
    const struct sdt_request *request = &job->request;
    struct sdt_flow flow = flow_of(job, &job->halt);
    double start = sdt__now();

    enum sdt_status status = sdt__check_request(pipeline, request, err);
    if (status == SDT_OK && request->steps > 0)
        status = make_states(job, &flow, sdt_pipeline_forwards(pipeline, request), err);
    job->begun_at = sdt__now();
    job->result.text_seconds = job->begun_at - start;
    if (status == SDT_OK)
        status = make_latent(job, err);
    if (status == SDT_OK && request->steps > 0)
        status = set_up(job, &flow, err);
    job->mark = sdt__flow_mark(&flow);
    return status;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* The state after so many steps, [SDT_STATE_PARTS] arrays malloc'ed (NULL: not wanted, or no
 * memory), by tasks that go on after a stop. */
static enum sdt_status gather_state(struct sdt_job *job, int steps, bool whole,
                                    float *array[SDT_STATE_PARTS], struct sdt_error *err) {
    struct sdt_flow flow = flow_of(job, &job->keep);
    sdt_handle handle[SDT_STATE_PARTS] = {NULL};
    size_t count = sdt__latent_size(&job->result);
    int parts = whole ? SDT_SOLVER_PARTS + sdt_step_table_frozen(&job->table, steps) : 1;

    for (int p = 0; p < parts; p++) {
        if (!array[p])
            array[p] = malloc(count * sizeof *array[p]);
        if (!array[p]) {
            sdt_fail(&flow.error, SDT_ERROR_MEMORY, "no memory for a latent of %zu values", count);
            break;
        }
        handle[p] = sdt__host_vector(&flow, array[p], count, "latent");
        sdt_latent_gather(&flow, job->latent, steps, (enum sdt_solver_part)p, handle[p]);
    }
    if (flow.error.status != SDT_ERROR_STALLED)
        sdt__flow_reach(&flow, sdt__flow_mark(&flow));
    if (flow.error.status == SDT_OK)
        sdt__halt_status(&job->keep, &flow.error);
    for (int p = 0; flow.error.status != SDT_ERROR_STALLED && p < parts; p++)
        sdt__unregister(handle[p]); /* brings it home */
    if (flow.error.status != SDT_OK && err)
        *err = flow.error;
    return flow.error.status;
}

/* To a layout with other tiles (GPUs, another number of them): through the host. */
static enum sdt_status move_state(struct sdt_job *job, struct sdt_flow *flow, struct sdt_run *run,
                                  struct sdt_error *err) {
    float *array[SDT_STATE_PARTS] = {NULL};
    size_t count = sdt__latent_size(&job->result);
    if (!sdt__flow_reach(flow, job->mark))
        return flow->error.status;
    enum sdt_status status = gather_state(job, job->step, job->step > 0, array, err);
    if (status == SDT_OK) {
        struct sdt_latent *old = job->latent, *moved = calloc(1, sizeof *moved);
        if (moved)
            sdt_latent_init(flow, moved, &run->layout, old->patch, job->step, old->steps,
                            old->step_done, old->step_done_arg);
        else
            status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a request");
        for (int p = 0; moved && p < SDT_STATE_PARTS; p++)
            if (array[p]) {
                sdt_handle whole = sdt__host_vector(flow, array[p], count, "latent");
                sdt_latent_scatter(flow, moved, job->step, (enum sdt_solver_part)p, whole);
                sdt__unregister(whole);
            }
        if (moved) {
            moved->noise = &job->noise;
            job->latent = moved;
            make_kept(job, flow, run); /* jobs move where nothing kept is read */
            sdt_latent_clear(old);
            free(old);
        }
    }
    for (int p = 0; p < SDT_STATE_PARTS; p++)
        free(array[p]);
    return status;
}

enum sdt_status sdt__job_keep(struct sdt_job *job, struct sdt_error *err) {
    const struct sdt_job_options *o = &job->options;
    float *array[SDT_STATE_PARTS] = {NULL};
    struct sdt_flow flow = flow_of(job, &job->halt);
    if (!sdt__flow_reach(&flow, job->mark)) {
        if (err)
            *err = flow.error;
        return flow.error.status;
    }
    if (sdt_latent_steps_done(job->latent) < job->step)
        return SDT_OK; /* it has been stopped: the end keeps what is whole */
    enum sdt_status status = gather_state(job, job->step, true, array, err);
    if (status == SDT_OK) {
        struct sdt_solver_state state = {job->step,
                                         array[SDT_SOLVER_X],
                                         array[SDT_SOLVER_X_LAST],
                                         array[SDT_SOLVER_M0],
                                         array[SDT_SOLVER_M1],
                                         array[SDT_STATE_DIFFERENCE]};
        o->checkpoint(o->checkpoint_arg, o->number, &state);
        job->handed = job->step;
    }
    for (int p = 0; status != SDT_ERROR_STALLED && p < SDT_STATE_PARTS; p++)
        free(array[p]);
    return status;
}

/* A state alone goes on from where nothing kept is read: one that falls due elsewhere waits. */
static enum sdt_status checkpoint_if_due(struct sdt_job *job, struct sdt_error *err) {
    const int steps = job->request.steps;
    if (job->step % job->options.checkpoint_every == 0)
        job->due = true;
    if (job->step != steps && !(job->due && sdt_step_table_whole(&job->table, job->step)))
        return SDT_OK;
    job->due = false;
    return sdt__job_keep(job, err);
}

/* Aco, static: the helpers are free while no latent waits for decoding or is being decoded. */
static bool nothing_to_decode(struct sdt_service *service) {
    bool nothing = true;
    starpu_pthread_mutex_lock(&service->mutex);
    for (struct sdt_job *job = service->first; job; job = job->next)
        nothing = nothing && job->phase != SDT_JOB_DECODE;
    starpu_pthread_mutex_unlock(&service->mutex);
    return nothing;
}

/* The tasks of one step, or in simulated time what stands for them. */
static void insert_step(struct sdt_job *job, struct sdt_flow *flow, struct sdt_run *run) {
    struct sdt_service *service = job->service;
    struct sdt_bounds before = sdt__recorder_bounds(service->machine->recorder);
    bool helped = run->parallel.aco != SDT_ACO_OFF && nothing_to_decode(service);
    const struct sdt_step *what = &job->table.step[job->step];
    sdt_handle *const kept[2] = {what->keep[0] ? job->kept[0] : NULL,
                                 what->keep[1] ? job->kept[1] : NULL};
    const int like = sdt__fast_like(what, helped);
    bool given = sdt__fast_knows(service->fast, job->step, like);

    run->helpers_free = helped;
    struct sdt_fast_phases *phases = sdt__fast_phases(service->fast);
    if (given && job->step == 0 && phases && phases->loads)
        sdt_run_load(flow, run);
    if (given)
        sdt__fast_insert(service->fast, flow, &run->layout, job->latent, kept, job->step, like);
    else
        sdt_latent_step(flow, run, &job->sampler, sdt__guidance(service->pipeline, &job->request),
                        &job->table, job->step, job->latent);
    sdt__fast_inserted(service->fast, job->options.number, job->step, like, given, before);
}

enum sdt_status sdt__job_step(struct sdt_job *job, struct sdt_error *err) {
    struct sdt_flow flow = flow_of(job, &job->halt);
    const struct sdt_job_options *o = &job->options;

    enum sdt_status status = sdt__halt_status(&job->halt, err);
    if (status == SDT_OK)
        status = check_memory(job, err);
    struct sdt_run *run = status == SDT_OK ? prepare(job, &flow) : NULL;
    if (run && job->latent && !sdt_latent_fits(job->latent, &run->layout))
        status = move_state(job, &flow, run, err);
    if (status == SDT_OK && run) {
        for (int b = 0; b < 2; b++) {
            struct sdt_branch *branch = &sdt_run_of(run, b)->branch[b];
            branch->prompt = &job->prompt[b];
            branch->kept = job->kept[b];
            branch->stale = job->stale[b];
        }
        run->offloads = job->offloads;
        if (job->latent)
            insert_step(job, &flow, run);
        else
            sdt__blocks_iteration(job, &flow, run);
    }
    if (status == SDT_OK && flow.error.status != SDT_OK) {
        status = flow.error.status;
        if (err)
            *err = flow.error;
    }
    job->mark = sdt__flow_mark(&flow);
    job->step += status == SDT_OK;
    if (status == SDT_OK && o->checkpoint_every > 0 && job->latent) /* blocks have no state */
        status = checkpoint_if_due(job, err);
    return status;
}

/* ---- the end --------------------------------------------------------------------------------- */

/* What the first tasks have read. */
static void free_inputs(struct sdt_job *job) {
    for (int p = 0; p < SDT_STATE_PARTS; p++) {
        sdt__unregister(job->whole[p]);
        job->whole[p] = NULL;
    }
    for (int i = 0; i < 4; i++) {
        struct sdt_text_states *states = &job->states[i / 2][i % 2];
        float **values = &job->text_values[i / 2][i % 2];
        sdt__unregister(states->handle);
        free(*values);
        states->handle = NULL;
        *values = NULL;
    }
}

static void free_state(struct sdt_job *job) {
    if (job->latent)
        sdt_latent_clear(job->latent);
    free(job->latent);
    job->latent = NULL;
    free_kept(job);
    sdt__blocks_free(job);
    sdt_noise_clear(&job->noise);
    for (int b = 0; b < 2; b++)
        sdt_prompt_clear(&job->prompt[b]);
    sdt_sampler_clear(&job->sampler);
    sdt_step_table_clear(&job->table);
}

enum sdt_status sdt__job_gather(struct sdt_job *job, enum sdt_status status,
                                struct sdt_error *err) {
    struct sdt_result *result = &job->result;
    struct sdt_flow flow = flow_of(job, &job->halt);
    struct sdt_error found;

    if (status == SDT_ERROR_STALLED)
        return status; /* nothing can be freed any more */
    if (!sdt__flow_reach(&flow, job->mark)) {
        *err = flow.error;
        return SDT_ERROR_STALLED;
    }
    free_inputs(job);
    /* A task's failure says more than a stop. */
    if ((status == SDT_OK || status == SDT_ERROR_INTERRUPTED) &&
        sdt__halt_status(&job->halt, &found) != SDT_OK) {
        status = found.status;
        *err = found;
    }
    result->steps_done = job->latent ? sdt_latent_steps_done(job->latent) : 0;
    if (job->blocks.q.count && status == SDT_OK) {
        sdt__blocks_collect(job);
        result->steps_done = result->steps;
        if (job->request.streamed && !job->options.save_latent) {
            free(result->latent); /* which nothing was put into */
            result->latent = NULL;
        }
    } else if (result->steps_done > 0) {
        bool early = result->steps_done < result->steps &&
                     sdt_step_table_whole(&job->table, result->steps_done);
        float *array[SDT_STATE_PARTS] = {result->latent};
        enum sdt_status gathered = gather_state(job, result->steps_done, early, array, &found);
        result->x_last = array[SDT_SOLVER_X_LAST];
        result->m0 = array[SDT_SOLVER_M0];
        result->m1 = array[SDT_SOLVER_M1];
        result->difference = array[SDT_STATE_DIFFERENCE];
        if (gathered != SDT_OK && (status == SDT_OK || gathered == SDT_ERROR_STALLED)) {
            status = gathered;
            *err = found;
        }
        if (gathered == SDT_ERROR_STALLED)
            return gathered;
    }
    free_state(job);
    const struct sdt_pipeline *pipeline = job->service->pipeline;
    if (status == SDT_ERROR_NOT_FINITE) {
        const struct sdt_weights *read[3] = {NULL};
        for (int i = 0; i < 2 && pipeline->text[i]; i++)
            read[i] = pipeline->text[i]->weights;
        read[2] = pipeline->dit->weights;
        status = sdt_weights_blame(read, 3, err);
    }
    if (result->steps > 0)
        result->denoise_seconds = sdt__now() - job->begun_at;
    return status;
}
