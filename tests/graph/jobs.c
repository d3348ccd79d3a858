/* Jobs: requests that are paused, preempted, moved and cancelled while others go on, and whose bits
 * are those of requests that nobody disturbed.
 *
 * What happens when is decided by the steps that are told, not by a clock: a job submits the other
 * one, pauses or cancels itself when it reaches a step. */
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/machine.h"
#include "stardit/stardit.h"
#include "tests/check.h"
#include "tests/light.h"

enum { DEVICES = 3, SIZE = 32, FRAMES = 5, STEPS = 8, LOG = 400, JOBS = 3 };
#define VALUES (3 * FRAMES * SIZE * SIZE)

static struct sdt_pipeline *pipeline;
static const bool *skips; /* steps of the first job that skip the layers; NULL: none */
static struct sdt_machine *machine;

/* ---- what a job did -------------------------------------------------------------------------- */

struct event {
    int job, done;
    char phase; /* t, d (denoise), v (decode) */
};

struct scene;
/* Called at each event of job `job`, on the thread that tells. */
typedef void (*act)(struct scene *scene, int job, char phase, int done);

struct scene {
    pthread_mutex_t mutex;
    struct event log[LOG];
    int events;
    struct sdt_service *service;
    struct sdt_request request[JOBS];
    struct sdt_job *job[JOBS];
    act act;
    atomic_int acted;
    enum sdt_status status[JOBS];
    int delivered[JOBS], steps_done[JOBS];
    float *video[JOBS];
    int states, wanted; /* checkpoints seen; which one is kept, from 0 */
    struct sdt_solver_state state;
    float *array[5];
};

static void progress(void *arg, int job, const char *phase, int done, int total) {
    struct scene *s = arg;
    char letter = phase[0] == 't' ? 't' : phase[1] == 'e' && phase[2] == 'n' ? 'd' : 'v';
    (void)total;
    pthread_mutex_lock(&s->mutex);
    if (s->events < LOG)
        s->log[s->events++] = (struct event){job, done, letter};
    pthread_mutex_unlock(&s->mutex);
    if (s->act)
        s->act(s, job, letter, done);
}

static void deliver(void *arg, int job, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    struct scene *s = arg;
    pthread_mutex_lock(&s->mutex);
    s->status[job] = status;
    s->delivered[job]++;
    s->steps_done[job] = result->steps_done;
    free(s->video[job]);
    s->video[job] = result->video;
    result->video = NULL;
    pthread_mutex_unlock(&s->mutex);
    if (status != SDT_OK && status != SDT_ERROR_INTERRUPTED)
        CHECK(false, "job %d: %s", job, err->message);
}

static void scene_init(struct scene *s, act what) {
    static const char *const prompt[JOBS] = {"a red circle moving right over a blue background",
                                             "a green square over a white background",
                                             "a yellow triangle over a black background"};
    struct sdt_error err;
    *s = (struct scene){.act = what};
    pthread_mutex_init(&s->mutex, NULL);
    for (int j = 0; j < JOBS; j++) {
        CHECK(sdt_pipeline_defaults(pipeline, &s->request[j], &err) == SDT_OK, "%s", err.message);
        s->request[j].prompt = prompt[j];
        s->request[j].height = s->request[j].width = SIZE;
        s->request[j].num_frames = FRAMES;
        s->request[j].steps = STEPS - 2 * j;
        s->request[j].seed = 10 + (uint64_t)j;
        s->request[j].strategy = sdt_strategy_find("pipesp");
    }
    if (!skips)
        return;
    s->request[0].cache = (struct sdt_step_caching){.kind = SDT_CACHE_LIST, .skipped = skips};
    s->request[0].guided_to = 4;
    s->request[0].frozen_guidance = true;
}

static void scene_clear(struct scene *s) {
    for (int j = 0; j < JOBS; j++)
        free(s->video[j]);
    for (int i = 0; i < 5; i++)
        free(s->array[i]);
    pthread_mutex_destroy(&s->mutex);
}

static void submit(struct scene *s, int job, int priority) {
    struct sdt_job_options options = {.number = job,
                                      .priority = priority,
                                      .progress = progress,
                                      .progress_arg = s,
                                      .deliver = deliver,
                                      .deliver_arg = s};
    struct sdt_error err;
    CHECK(sdt_service_submit(s->service, &s->request[job], &options, &s->job[job], &err) == SDT_OK,
          "%s", err.message);
}

static void open_service(struct scene *s, const char *queue, int dit, int vae) {
    struct sdt_service_options options = {.placement = {.dit_devices = dit, .vae_devices = vae},
                                          .queue = queue};
    struct sdt_error err;
    for (int d = 0; d < dit; d++)
        options.placement.dit[d] = d;
    for (int d = 0; d < vae; d++)
        options.placement.vae[d] = dit + d;
    if (sdt_service_open(pipeline, machine, &options, &s->service, &err) != SDT_OK) {
        printf("%s: FAIL\n", err.message);
        exit(1);
    }
}

/* Every job delivered once, nothing left of it. */
static void close_service(struct scene *s, int jobs) {
    struct sdt_error err;
    sdt_service_close(s->service, &err);
    for (int j = 0; j < jobs; j++) {
        CHECK(s->delivered[j] == 1, "job %d delivered %d times", j, s->delivered[j]);
        sdt_job_free(s->job[j]);
    }
    CHECK(sdt__handles_alive(&machine->handles) == 0, "%ld handles are left",
          sdt__handles_alive(&machine->handles));
}

static int at(const struct scene *s, int job, char phase, int done) {
    for (int e = 0; e < s->events; e++)
        if (s->log[e].job == job && s->log[e].phase == phase && s->log[e].done == done)
            return e;
    return -1;
}

/* ---- the scenes ------------------------------------------------------------------------------ */

static float *want[JOBS];

static void same_bits(const struct scene *s, int job, const char *what) {
    CHECK(s->status[job] == SDT_OK && s->video[job] &&
              !memcmp(s->video[job], want[job], VALUES * sizeof(float)),
          "%s: job %d has other bits (%s)", what, job, sdt_status_name(s->status[job]));
}

/* One after the other, undisturbed, on one device. */
static void undisturbed(void) {
    struct scene s;
    scene_init(&s, NULL);
    open_service(&s, NULL, 1, 1);
    for (int j = 0; j < JOBS; j++)
        submit(&s, j, 0);
    for (int j = 0; j < JOBS; j++)
        sdt_job_wait(s.job[j]);
    close_service(&s, JOBS);
    for (int j = 0; j < JOBS; j++) {
        CHECK(s.status[j] == SDT_OK, "job %d: %s", j, sdt_status_name(s.status[j]));
        want[j] = s.video[j];
        s.video[j] = NULL;
    }
    scene_clear(&s);
}

static void send_the_other(struct scene *s, int job, char phase, int done) {
    if (job == 0 && phase == 'd' && done == 2 && !atomic_exchange(&s->acted, 1))
        submit(s, 1, 5);
}

/* A job of higher priority arrives in the middle: the first waits at a step's boundary. */
static void preempted(int dit, int vae) {
    struct scene s;
    scene_init(&s, send_the_other);
    open_service(&s, "priority", dit, vae);
    submit(&s, 0, 0);
    sdt_job_wait(s.job[0]);
    close_service(&s, 2);
    int urgent = at(&s, 1, 'd', s.request[1].steps), last = at(&s, 0, 'd', STEPS), between = 0;
    for (int e = 0; e < urgent; e++)
        between += s.log[e].job == 0 && s.log[e].phase == 'd';
    printf(
        "%d + %d devices, priority: the first job stood at step %d of %d when the urgent one was "
        "denoised\n",
        dit, vae, between, STEPS);
    CHECK(urgent >= 0 && urgent < last, "the urgent job waited");
    CHECK(between <= 3, "it came at step 2, and %d steps of the other ended before it", between);
    same_bits(&s, 0, "preempted");
    same_bits(&s, 1, "urgent");
    scene_clear(&s);
}

static void pause_first(struct scene *s, int job, char phase, int done) {
    if (job == 0 && phase == 'd' && done == 3) {
        sdt_job_pause(s->job[0]);
        submit(s, 1, 0);
    }
    if (job == 1 && phase == 'd' && done == s->request[1].steps) {
        struct sdt_job_state state = sdt_job_poll(s->job[0]);
        CHECK(state.paused && !state.active && state.phase == SDT_JOB_STEP &&
                  state.steps_done < STEPS,
              "a paused job: phase %d at step %d", state.phase, state.steps_done);
        sdt_job_resume(s->job[0]);
    }
}

static void paused(void) {
    struct scene s;
    scene_init(&s, pause_first);
    open_service(&s, "fcfs", 2, 1);
    submit(&s, 0, 0);
    sdt_job_wait(s.job[0]);
    sdt_job_wait(s.job[1]);
    close_service(&s, 2);
    CHECK(at(&s, 1, 'd', s.request[1].steps) < at(&s, 0, 'd', STEPS), "it was not paused");
    same_bits(&s, 0, "paused");
    same_bits(&s, 1, "meanwhile");
    scene_clear(&s);
}

static char cancel_phase;
static void cancel_second(struct scene *s, int job, char phase, int done) {
    int when = cancel_phase == 't' ? 0 : cancel_phase == 'd' ? 2 : 1;
    if (job == 1 && phase == cancel_phase && done == when && !atomic_exchange(&s->acted, 1))
        sdt_job_cancel(s->job[1]);
}

/* The one in the middle of three ends in each of its phases; its neighbours do not notice. */
static void cancelled(char phase, int dit, int vae) {
    struct scene s;
    cancel_phase = phase;
    scene_init(&s, cancel_second);
    open_service(&s, NULL, dit, vae);
    for (int j = 0; j < 3; j++)
        submit(&s, j, 0);
    for (int j = 0; j < 3; j++)
        sdt_job_wait(s.job[j]);
    close_service(&s, 3);
    printf("%d + %d devices, cancelled in its %s: %d of %d steps done, %s\n", dit, vae,
           phase == 't'   ? "text"
           : phase == 'd' ? "steps"
                          : "decode",
           s.steps_done[1], s.request[1].steps, sdt_status_name(s.status[1]));
    CHECK(s.status[1] == SDT_ERROR_INTERRUPTED && !s.video[1], "the cancelled job: %s",
          sdt_status_name(s.status[1]));
    if (phase == 'd') /* step 2 was told; one more may be on its way */
        CHECK(s.steps_done[1] >= 2 && s.steps_done[1] <= 3, "it went on to step %d",
              s.steps_done[1]);
    same_bits(&s, 0, "before a cancelled job");
    same_bits(&s, 2, "after a cancelled job");
    scene_clear(&s);
}

static void move_it(struct scene *s, int job, char phase, int done) {
    static const int more[] = {0, 1, 2}, fewer[] = {2};
    struct sdt_error err;
    if (job != 0 || phase != 'd')
        return;
    if (done == 2)
        CHECK(sdt_job_move(s->job[0], more, 3, &err) == SDT_OK, "%s", err.message);
    if (done == 5)
        CHECK(sdt_job_move(s->job[0], fewer, 1, &err) == SDT_OK, "%s", err.message);
}

/* From two devices to three, and on to one, in the middle of its steps. */
static void moved(void) {
    static const int twice[] = {1, 1}, nowhere[] = {DEVICES};
    struct sdt_error err;
    struct scene s;
    scene_init(&s, move_it);
    open_service(&s, NULL, 2, 1);
    submit(&s, 0, 0);
    submit(&s, 1, 0);
    CHECK(sdt_job_move(s.job[1], twice, 2, &err) == SDT_ERROR_USAGE, "a device twice");
    CHECK(sdt_job_move(s.job[1], nowhere, 1, &err) == SDT_ERROR_USAGE, "a device that is not");
    CHECK(sdt_job_move(s.job[1], nowhere, 0, &err) == SDT_ERROR_USAGE, "no device");
    sdt_job_wait(s.job[0]);
    sdt_job_wait(s.job[1]);
    close_service(&s, 2);
    same_bits(&s, 0, "moved");
    same_bits(&s, 1, "beside it");
    scene_clear(&s);
}

/* Numbers of a latent. */
static size_t latent_count(void) {
    struct sdt_model model = sdt_pipeline_model(pipeline);
    return (size_t)model.channels * ((FRAMES - 1) / (size_t)model.time_ratio + 1) *
           (SIZE / (size_t)model.space_ratio) * (SIZE / (size_t)model.space_ratio);
}

static void keep_state(void *arg, int number, const struct sdt_solver_state *state) {
    struct scene *s = arg;
    size_t count = latent_count();
    const float *array[] = {state->x, state->x_last, state->m0, state->m1, state->difference};
    (void)number;
    if (s->states++ != s->wanted)
        return;
    for (int i = 0; i < 5 && array[i]; i++) {
        s->array[i] = malloc(count * sizeof(float));
        memcpy(s->array[i], array[i], count * sizeof(float));
    }
    s->state = (struct sdt_solver_state){state->step, s->array[0], s->array[1],
                                         s->array[2], s->array[3], s->array[4]};
}

/* From a state that was handed out, another job goes on, on other devices: from within the steps,
 * or from their end. */
static void resumed(int wanted, int step) {
    struct sdt_job_options options = {.checkpoint_every = 2, .checkpoint = keep_state};
    struct sdt_error err;
    struct scene s;
    scene_init(&s, NULL);
    s.wanted = wanted;
    open_service(&s, NULL, 2, 1);
    options.deliver = deliver;
    options.deliver_arg = options.checkpoint_arg = &s;
    CHECK(sdt_service_submit(s.service, &s.request[0], &options, &s.job[0], &err) == SDT_OK, "%s",
          err.message);
    sdt_job_wait(s.job[0]);
    close_service(&s, 1);
    same_bits(&s, 0, "with checkpoints");
    CHECK(s.states == 4 && s.state.step == step, "%d states, number %d after step %d", s.states,
          wanted, s.state.step);
    if (step == STEPS)
        s.state.x_last = s.state.m0 = s.state.m1 = NULL;
    s.request[0].resume = &s.state;
    s.delivered[0] = 0;
    open_service(&s, NULL, 1, 1);
    submit(&s, 0, 0);
    sdt_job_wait(s.job[0]);
    close_service(&s, 1);
    CHECK(at(&s, 0, 'd', step) < 0 && (step == STEPS || at(&s, 0, 'd', step + 1) >= 0),
          "it did not go on from step %d", step);
    same_bits(&s, 0, "resumed");
    scene_clear(&s);
}

/* A job that another takes the place of hands its state out, once, and goes on from it elsewhere
 * with the same bits. */
static void kept(int dit, int vae) {
    struct sdt_job_options options = {
        .checkpoint_every = 1000, .checkpoint = keep_state, .progress = progress};
    struct sdt_error err;
    struct scene s;
    scene_init(&s, send_the_other);
    open_service(&s, "priority", dit, vae);
    options.deliver = deliver;
    options.deliver_arg = options.checkpoint_arg = options.progress_arg = &s;
    CHECK(sdt_service_submit(s.service, &s.request[0], &options, &s.job[0], &err) == SDT_OK, "%s",
          err.message);
    sdt_job_wait(s.job[0]);
    close_service(&s, 2);
    printf("%d + %d devices: a preempted job's state after step %d, %d states in all\n", dit, vae,
           s.state.step, s.states);
    CHECK(s.states == 2 && s.state.step >= 2 && s.state.step <= 3, /* and after the last step */
          "%d states, the first after step %d", s.states, s.state.step);
    same_bits(&s, 0, "preempted and kept");
    s.request[0].resume = &s.state;
    s.act = NULL;
    s.delivered[0] = 0;
    open_service(&s, NULL, 1, 1);
    submit(&s, 0, 0);
    sdt_job_wait(s.job[0]);
    close_service(&s, 1);
    same_bits(&s, 0, "gone on from where it was preempted");
    scene_clear(&s);
}

/* Which of these goes on, by hand. */
static void chosen(void) {
    const struct sdt_waiting job[] = {
        {.arrival = 0, .priority = 1, .deadline = HUGE_VAL, .flops_left = 30},
        {.arrival = 1, .priority = 3, .deadline = 50, .flops_left = 20},
        {.arrival = 2, .priority = 3, .deadline = 40, .flops_left = 10},
        {.arrival = 3, .priority = 2, .deadline = 40, .flops_left = 10, .begun = true}};
    static const struct {
        const char *queue;
        int of[4]; /* of the first 1, 2, 3, 4 */
    } row[] = {{"fcfs", {0, 0, 0, 0}},
               {"priority", {0, 1, 1, 1}},
               {"edf", {0, 1, 2, 2}},
               {"srtf", {0, 1, 2, 3}},
               {"sjf", {0, 1, 2, 3}}};
    size_t rows = 0;
    for (; rows < sizeof row / sizeof row[0]; rows++) {
        const struct sdt_queue *queue = NULL;
        CHECK(sdt_queue_open(row[rows].queue, &queue, NULL) == SDT_OK, "%s", row[rows].queue);
        for (int count = 1; count <= 4; count++) {
            int best = queue->choose(job, count, 45.0);
            CHECK(best == row[rows].of[count - 1], "%s of %d: %d goes on, not %d", row[rows].queue,
                  count, best, row[rows].of[count - 1]);
        }
    }
    size_t choosing = 0; /* the others: tests/graph/queues.c */
    for (int q = 0; sdt_queue_name(q); q++) {
        const struct sdt_queue *queue = NULL;
        CHECK(sdt_queue_open(sdt_queue_name(q), &queue, NULL) == SDT_OK, "%s", sdt_queue_name(q));
        choosing += queue->choose != NULL;
    }
    CHECK(choosing == rows, "%zu queues choose, and %zu are tried", choosing, rows);
}

/* The job with the least to do goes first, whenever it came. */
static void shortest(void) {
    struct scene s;
    scene_init(&s, NULL);
    open_service(&s, "srtf", 0, 0);
    for (int j = 0; j < 3; j++) /* of 8, 6 and 4 steps */
        submit(&s, j, 0);
    for (int j = 0; j < 3; j++)
        sdt_job_wait(s.job[j]);
    close_service(&s, 3);
    CHECK(at(&s, 2, 'd', s.request[2].steps) < at(&s, 1, 'd', s.request[1].steps),
          "the shortest job did not come first");
    for (int j = 0; j < 3; j++)
        same_bits(&s, j, "the shortest first");
    scene_clear(&s);
}

/* After the first step there is no history, and a state holds nothing that was never written: it
 * has the same bytes whatever memory held before. */
static void decided(void) {
    struct sdt_job_options options = {.checkpoint_every = 1, .checkpoint = keep_state};
    struct sdt_error err;
    struct scene s[2];
    for (int i = 0; i < 2; i++) {
        mallopt(M_PERTURB, i ? 0x55 : 0x2a);
        scene_init(&s[i], NULL);
        s[i].request[0].steps = 2;
        open_service(&s[i], NULL, 1, 0);
        options.deliver = deliver;
        options.deliver_arg = options.checkpoint_arg = &s[i];
        CHECK(sdt_service_submit(s[i].service, &s[i].request[0], &options, &s[i].job[0], &err) ==
                  SDT_OK,
              "%s", err.message);
        sdt_job_wait(s[i].job[0]);
        close_service(&s[i], 1);
    }
    for (int part = 0; part < 4; part++)
        CHECK(!memcmp(s[0].array[part], s[1].array[part], latent_count() * sizeof(float)),
              "array %d of a state differs from run to run", part);
    mallopt(M_PERTURB, 0);
    scene_clear(&s[0]);
    scene_clear(&s[1]);
}

/* Two services of one machine, of which one rests at a time: jobs have the bits of those of one. */
static void rested(struct sdt_pipeline *twin, int dit, int vae) {
    struct sdt_pipeline *own = pipeline;
    struct scene s[2];
    struct sdt_error err;
    for (int i = 0; i < 2; i++) {
        pipeline = i ? twin : own;
        scene_init(&s[i], NULL);
        open_service(&s[i], "fcfs", dit, vae);
        submit(&s[i], 0, 0);
        sdt_service_rest(s[i].service);
        CHECK(s[i].delivered[0] == 1, "a service rests before its job is delivered");
        CHECK(sdt_service_submit(s[i].service, &s[i].request[1], &(struct sdt_job_options){0}, NULL,
                                 &err) == SDT_ERROR_USAGE,
              "a job of a service that rests");
    }
    for (int i = 0; i < 2; i++) {
        CHECK(sdt_service_wake(s[i].service, &err) == SDT_OK, "%s", err.message);
        submit(&s[i], 1, 0);
        sdt_service_rest(s[i].service);
    }
    for (int i = 0; i < 2; i++) {
        sdt_service_close(s[i].service, &err);
        for (int j = 0; j < 2; j++) {
            same_bits(&s[i], j, "of two services");
            sdt_job_free(s[i].job[j]);
        }
        scene_clear(&s[i]);
    }
    CHECK(sdt__handles_alive(&machine->handles) == 0, "%ld handles are left",
          sdt__handles_alive(&machine->handles));
    pipeline = own;
}

/* Each waits in its second step for the other one, so both are on their way at once. */
static pthread_barrier_t both;
static void meet(struct scene *s, int job, char phase, int done) {
    (void)s;
    if (job == 0 && phase == 'd' && done == 2)
        pthread_barrier_wait(&both);
}

static int lanes_taken(void) { return __builtin_popcountll(atomic_load(&machine->lanes)); }

/* Two services work side by side, each on a device of its own, and then one on a device of the
 * other's: bits as ever. */
static void side_by_side(struct sdt_pipeline *twin) {
    struct sdt_pipeline *own = pipeline;
    struct scene s[2];
    struct sdt_error err;
    pthread_barrier_init(&both, NULL, 2);
    for (int shared = 0; shared < 2; shared++) {
        for (int i = 0; i < 2; i++) {
            struct sdt_service_options options = {.queue = "fcfs"};
            struct sdt_placement *p = &options.placement;
            p->dit_devices = p->vae_devices = i && shared ? DEVICES : 1;
            for (int d = 0; d < p->dit_devices; d++)
                p->dit[d] = p->vae[d] = p->dit_devices > 1 ? d : i;
            pipeline = i ? twin : own;
            scene_init(&s[i], shared ? NULL : meet);
            CHECK(sdt_service_open(pipeline, machine, &options, &s[i].service, &err) == SDT_OK,
                  "%s", err.message);
            submit(&s[i], 0, 0);
        }
        CHECK(lanes_taken() == (shared ? 2 + 1 + DEVICES : 4), "%d lanes are taken", lanes_taken());
        submit(&s[0], 1, 0);
        for (int i = 0; i < 2; i++) {
            sdt_service_close(s[i].service, &err);
            for (int j = 0; j < 2 - i; j++) {
                same_bits(&s[i], j,
                          shared ? "of services that share a device" : "of services side by side");
                sdt_job_free(s[i].job[j]);
            }
            scene_clear(&s[i]);
        }
        CHECK(lanes_taken() == 0, "%d lanes are left", lanes_taken());
    }
    pthread_barrier_destroy(&both);
    pipeline = own;
}

/* As many as there are threads for. */
static void too_many(void) {
    struct sdt_service *service[SDT_SERVICE_LANES] = {NULL};
    struct sdt_service_options options = {.queue = "fcfs"};
    struct sdt_error err;
    int count = 0;
    while (sdt_service_open(pipeline, machine, &options, &service[count], &err) == SDT_OK)
        count++;
    CHECK(count == SDT_SERVICE_LANES / 2 && strstr(err.message, "too few of them are left"),
          "%d services: %s", count, err.message);
    sdt_service_rest(service[0]);
    CHECK(sdt_service_open(pipeline, machine, &options, &service[count], &err) == SDT_OK, "%s",
          err.message);
    CHECK(sdt_service_wake(service[0], &err) == SDT_ERROR_USAGE, "a service too many is awake");
    for (int i = 0; i <= count; i++)
        sdt_service_close(service[i], &err);
    CHECK(lanes_taken() == 0, "%d lanes are left", lanes_taken());
}

/* What is refused, and what a deadline does. */
static void refused(void) {
    struct sdt_service_options options = {.queue = "lifo"};
    struct sdt_service *second;
    struct sdt_error err;
    struct scene s;
    CHECK(sdt_service_open(pipeline, machine, &options, &second, &err) == SDT_ERROR_USAGE,
          "an unknown queue");
    options.queue = "genserve";
    CHECK(sdt_service_open(pipeline, machine, &options, &second, &err) == SDT_ERROR_USAGE &&
              strstr(err.message, "queue genserve: it shares devices out"),
          "a queue that shares devices out");
    scene_init(&s, NULL);
    open_service(&s, "edf", 2, 1);
    submit(&s, 0, 0);
    submit(&s, 1, 0);
    submit(&s, 2, 0);
    sdt_job_deadline(s.job[2], -1.0);
    for (int j = 0; j < 3; j++)
        sdt_job_wait(s.job[j]);
    close_service(&s, 3);
    CHECK(at(&s, 2, 'd', s.request[2].steps) < at(&s, 1, 'd', 1), "the deadline did not count");
    for (int j = 0; j < 3; j++)
        same_bits(&s, j, "with a deadline");
    scene_clear(&s);
}

static void forget(void) {
    for (int j = 0; j < JOBS; j++) {
        free(want[j]);
        want[j] = NULL;
    }
}

/* The same of a job whose steps 3, 4 and 6 skip the layers: what it keeps for that is its own, goes
 * with it to other devices, and is in no state, so that these come before other steps. Step 3 is
 * its last one with both forwards; by how much they differ is in the states after it. */
static void cached(void) {
    static bool skipped[STEPS] = {[3] = true, [4] = true, [6] = true};
    skips = skipped;
    undisturbed();
    preempted(2, 1);
    preempted(0, 0);
    paused();
    cancelled('d', 2, 1);
    moved();
    resumed(1, 5);
    resumed(2, 7);
    resumed(3, STEPS);
}

/* One of each kind: what most of the code takes. */
static void one_of_each(struct sdt_pipeline *twin) {
    preempted(2, 1);
    paused();
    for (int p = 0; p < 3; p++)
        cancelled("tdv"[p], 2, 1);
    moved();
    resumed(1, 4);
    decided();
    side_by_side(twin);
}

static void the_others(struct sdt_pipeline *twin) {
    preempted(0, 0);
    for (int p = 0; p < 3; p++)
        cancelled("tdv"[p], 0, 0);
    resumed(3, STEPS);
    kept(2, 1);
    kept(0, 0);
    chosen();
    shortest();
    refused();
    rested(twin, 2, 1);
    rested(twin, 0, 0);
    too_many();
    forget();
    cached();
}

int main(void) {
    struct sdt_machine_options options = {.devices = DEVICES, .workers_per_device = 1};
    struct sdt_pipeline *twin = NULL;
    struct sdt_error err = {0};
    char path[4096];

    snprintf(path, sizeof path, "%s/checkpoints/stardit-demo", getenv("STARDIT_SOURCE_DIR"));
    if (sdt_pipeline_open(path, &pipeline, &err) != SDT_OK ||
        sdt_pipeline_open(path, &twin, &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK) {
        printf("%s: FAIL\n", err.message);
        return 1;
    }
    undisturbed();
    one_of_each(twin);
    if (!test_least())
        the_others(twin);
    forget();
    sdt_machine_close(machine);
    sdt_pipeline_close(pipeline);
    sdt_pipeline_close(twin);
    printf("%s\n", failures ? "FAIL" : "ok");
    return failures ? 1 : 0;
}
