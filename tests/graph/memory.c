/* The memory that a plan predicts is the memory that a run takes. Measured is what StarPU has
 * allocated on a device at the end of any task. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graph/pipeline.h"
#include "runtime/machine.h"
#include "stardit/stardit.h"
#include "tests/hunyuan.h"

/* Predicted over measured. Less than 1: memory that StarPU keeps for later buffers of a size, and
 * tables of rotations. More: copies of pieces that were not all there at a time. */
#define LEAST 0.95
#define MOST 1.25
/* Of text encoders: two layers' weights are counted. Those of the second come when its tasks can
 * run, and the first one's may have gone by then, as threads happen to run; one layer's are there
 * in any case. */
#define TEXT_MOST 2.1

struct memory_case {
    const char *strategy;
    int devices, vae; /* vae 0: one group */
    int workers;      /* of each */
    enum sdt_aco aco;
    int tile; /* pixels of a decode tile; 0: whole */
    int chunk_heads;
    bool text_with_vae;
    enum sdt_transport transport;
    int frames; /* 0: the checkpoint's */
    bool streamed;
};

static const struct memory_case cases[] = {
    {.strategy = "ulysses", .devices = 2, .workers = 1},
    {.strategy = "ulysses", .devices = 3, .workers = 1},
    {.strategy = "pipesp", .devices = 2, .workers = 1, .chunk_heads = 1},
    {.strategy = "ring", .devices = 3, .workers = 1},
    {.strategy = "usp", .devices = 4, .workers = 1},
    {.strategy = "pipefusion", .devices = 3, .vae = 1, .workers = 1},
    {.strategy = "pipefusion", .devices = 5, .vae = 1, .workers = 1},
    {.strategy = "pipefusion", .devices = 3, .vae = 1, .workers = 2},
    {.strategy = "dualparal", .devices = 3, .vae = 1, .workers = 1, .frames = 69},
    {.strategy = "dualparal", .devices = 5, .vae = 1, .workers = 2, .frames = 37},
    {.strategy = "dualparal", .devices = 2, .workers = 1, .frames = 69, .streamed = true},
    {.strategy = "ulysses", .devices = 2, .workers = 2},
    {.strategy = "ulysses", .devices = 3, .vae = 1, .workers = 1},
    {.strategy = "pipesp", .devices = 3, .vae = 1, .workers = 1, .aco = SDT_ACO_STATIC},
    {.strategy = "ulysses", .devices = 2, .workers = 1, .tile = 32},
    {.strategy = "single", .devices = 2, .vae = 1, .workers = 1, .text_with_vae = true},
    /* Rounds of one device land beside what it sends to itself. */
    {.strategy = "ulysses", .devices = 2, .vae = 1, .workers = 1, .transport = SDT_TRANSPORT_NCCL},
};

static void deliver(void *arg, int request, enum sdt_status status, const struct sdt_error *err,
                    struct sdt_result *result) {
    (void)request;
    (void)result;
    if (status != SDT_OK)
        snprintf(arg, 600, "%s", err->message);
}

/* The number of devices that were predicted wrongly. */
static int check(const struct memory_case *c, struct sdt_pipeline *pipeline,
                 struct sdt_request request) {
    struct sdt_machine_options options = {.devices = c->devices, .workers_per_device = c->workers};
    char message[600] = "";
    struct sdt_run_options run = {.placement = {.aco = c->aco,
                                                .chunk_heads = c->chunk_heads,
                                                .transport = c->transport,
                                                .text_with_vae = c->text_with_vae},
                                  .deliver = deliver,
                                  .deliver_arg = message};
    struct sdt_machine *machine = NULL;
    struct sdt_plan plan;
    struct sdt_error err = {0};
    int wrong = 0;

    if (c->vae) {
        run.placement.dit_devices = c->devices - c->vae;
        run.placement.vae_devices = c->vae;
        for (int d = 0; d < c->devices; d++)
            if (d < c->devices - c->vae)
                run.placement.dit[d] = d;
            else
                run.placement.vae[d - (c->devices - c->vae)] = d;
    }
    request.strategy = sdt_strategy_find(c->strategy);
    if (sdt_strategy_stale(request.strategy))
        request.steps = 8; /* the least */
    if (sdt_strategy_blocks(request.strategy)) {
        request.steps = 8;
        request.block_frames = 8;
        request.streamed = c->streamed;
    }
    if (c->frames)
        request.num_frames = c->frames;
    if (c->tile)
        request.tiling = (struct sdt_vae_tiling){c->tile, c->tile, c->tile / 2, c->tile / 2};
    if (sdt_plan_make(pipeline, &request, &run.placement, &options, &plan, &err) != SDT_OK ||
        sdt_machine_open(&options, &machine, &err) != SDT_OK ||
        sdt_pipeline_run_all(pipeline, machine, &request, 1, &run, &err) != SDT_OK || *message) {
        printf("%s%s: FAIL\n", err.message, message);
        return 1;
    }
    printf("%-8s %d + %d devices, %d worker%s, %s%s:", c->strategy, c->devices - c->vae, c->vae,
           c->workers, c->workers == 1 ? "" : "s", sdt_aco_name(c->aco),
           c->tile                              ? ", decode in tiles"
           : c->transport == SDT_TRANSPORT_NCCL ? ", in rounds"
                                                : "");
    for (int d = 0; d < c->devices; d++) {
        double peak = (double)sdt__recorder_peak(machine->recorder, machine->device[d].node);
        double over = plan.device_bytes[d] / peak;
        bool fine = over >= LEAST && over <= MOST;
        printf(" %.2f of %.2f MB%s", peak * 1e-6, plan.device_bytes[d] * 1e-6,
               fine ? "" : " (FAIL)");
        wrong += !fine;
    }
    printf("\n");
    sdt_plan_clear(&plan);
    sdt_machine_close(machine);
    return wrong;
}

/* A model whose text joins self attention, and which computes all steps' conditions ahead: so many
 * that they take as much as the rest. */
static int check_joint(void) {
    static const struct memory_case joint[] = {
        {.strategy = "ulysses", .devices = 2, .workers = 1},
        {.strategy = "pipesp", .devices = 3, .workers = 1, .chunk_heads = 1},
        {.strategy = "ring", .devices = 3, .workers = 1},
        {.strategy = "ulysses", .devices = 3, .vae = 1, .workers = 2},
        {.strategy = "pipefusion", .devices = 3, .vae = 1, .workers = 1},
    };
    struct sdt_pipeline *pipeline = hunyuan_open();
    struct sdt_request request = hunyuan_request(pipeline);
    int wrong = 0;
    request.height = 96;
    request.width = 160;
    request.num_frames = 9;
    request.steps = 40;
    for (size_t i = 0; i < sizeof joint / sizeof joint[0]; i++) {
        request.true_cfg_scale = i % 2 ? 2.0 : 1.0;
        wrong += check(&joint[i], pipeline, request);
    }
    sdt_pipeline_close(pipeline);
    return wrong;
}

/* Cross attention, layers that skip tokens, and a decoder streamed in time. */
static int check_opensora(void) {
    static const struct memory_case opensora[] = {
        {.strategy = "ulysses", .devices = 3, .workers = 1},
        {.strategy = "pipesp", .devices = 2, .workers = 2, .chunk_heads = 1},
        {.strategy = "ring", .devices = 3, .workers = 1},
        {.strategy = "ulysses", .devices = 3, .vae = 1, .workers = 1},
    };
    static const char *const part[][2] = {
        {"tests/golden/opensora/model_index.json", "model_index.json"},
        {"tests/golden/opensora/scheduler", "scheduler"},
        {"tests/golden/opensora/text_encoder", "text_encoder"},
        {"tests/golden/opensora/transformer", "transformer"},
        {"tests/golden/wfvae", "vae"},
        {NULL, NULL}};
    static const int32_t ids[] = {17, 5, 1};
    struct sdt_pipeline *pipeline = linked_open(part);
    struct sdt_request request;
    struct sdt_error err = {0};
    int wrong = 0;
    if (sdt_pipeline_defaults(pipeline, &request, &err) != SDT_OK)
        linked_leave(err.message);
    request.token_ids = ids;
    request.token_count = sizeof ids / sizeof ids[0];
    request.guidance_scale = 1.0; /* no text of a negative prompt, which takes a tokenizer */
    request.max_sequence_length = request.token_count;
    request.height = 320;
    request.width = 256;
    request.num_frames = 21;
    request.steps = 2;
    for (size_t i = 0; i < sizeof opensora / sizeof opensora[0]; i++)
        wrong += check(&opensora[i], pipeline, request);
    sdt_pipeline_close(pipeline);
    return wrong;
}

/* Encoders of all kinds, large enough that small buffers do not count: a prompt on the second of
 * two devices. */
static int check_text(void) {
    static const struct {
        const char *config;
        int tokens, workers;
    } encoder[] = {
        {"{\"model_type\": \"umt5\", \"num_layers\": 4, \"d_model\": 256, \"num_heads\": 4, "
         "\"d_kv\": 64, "
         "\"d_ff\": 1024, \"vocab_size\": 100, \"feed_forward_proj\": \"gated-gelu\"}",
         40, 1},
        {"{\"model_type\": \"mt5\", \"num_layers\": 3, \"d_model\": 256, \"num_heads\": 4, "
         "\"d_kv\": 64, "
         "\"d_ff\": 1024, \"vocab_size\": 100, \"feed_forward_proj\": \"gated-gelu\"}",
         512, 2},
        {"{\"model_type\": \"llama\", \"hidden_size\": 512, \"num_hidden_layers\": 5, "
         "\"num_attention_heads\": 8, \"num_key_value_heads\": 2, \"intermediate_size\": 1408, "
         "\"vocab_size\": 100}",
         300, 2},
        {"{\"model_type\": \"clip_text_model\", \"hidden_size\": 384, \"num_hidden_layers\": 3, "
         "\"num_attention_heads\": 6, \"intermediate_size\": 1536, \"vocab_size\": 100, "
         "\"eos_token_id\": 2, \"hidden_act\": \"quick_gelu\"}",
         77, 1},
    };
    int wrong = 0;
    for (size_t i = 0; i < sizeof encoder / sizeof encoder[0]; i++) {
        struct sdt_machine_options options = {.devices = 2,
                                              .workers_per_device = encoder[i].workers};
        struct sdt_machine *machine = NULL;
        struct sdt_text *text = NULL;
        struct sdt_error err = {0};
        int tokens = encoder[i].tokens;
        int32_t ids[512] = {0};
        ids[tokens - 1] = 99; /* an end of text */
        if (sdt_text_imagine(encoder[i].config, SDT_F32, &text, &err) != SDT_OK ||
            sdt_weights_randomize(text->weights, &err) != SDT_OK ||
            sdt_machine_open(&options, &machine, &err) != SDT_OK)
            linked_leave(err.message);
        struct sdt_flow flow = sdt_machine_flow(machine, SDT_LANE_DENOISE);
        sdt_handle states = sdt__vector(
            &flow, (size_t)sdt_text_rows(text, tokens, 0) * (size_t)text->width, "states");
        if (text->kind->encode(&flow, text, machine, &machine->device[1], SDT_F32, ids, tokens, 0,
                               states, &err) != SDT_OK)
            linked_leave(err.message);
        sdt__unregister(states);
        double peak = (double)sdt__recorder_peak(machine->recorder, machine->device[1].node);
        double planned =
            text->kind->bytes(text, SDT_DEVICE_CPU, SDT_F32, encoder[i].workers, tokens);
        bool fine = planned / peak >= LEAST && planned / peak <= TEXT_MOST;
        printf("%s, %d tokens: %.2f of %.2f MB%s\n", text->kind->model_type, tokens, peak * 1e-6,
               planned * 1e-6, fine ? "" : " (FAIL)");
        wrong += !fine;
        sdt_machine_close(machine);
        sdt_text_close(text);
    }
    return wrong;
}

int main(void) {
    struct sdt_pipeline *pipeline = NULL;
    struct sdt_request request;
    struct sdt_error err = {0};
    char path[4096];
    int wrong = 0;

    snprintf(path, sizeof path, "%s/checkpoints/stardit-demo", getenv("STARDIT_SOURCE_DIR"));
    if (sdt_pipeline_open(path, &pipeline, &err) != SDT_OK ||
        sdt_pipeline_defaults(pipeline, &request, &err) != SDT_OK) {
        printf("%s: FAIL\n", err.message);
        return 1;
    }
    request.prompt = "a red circle moving right";
    request.steps = 2;
    request.max_sequence_length = 8; /* keys are counted for all of it */
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        wrong += check(&cases[i], pipeline, request);
    sdt_pipeline_close(pipeline);
    wrong += check_joint();
    wrong += check_opensora();
    wrong += check_text();
    printf("%d device%s predicted wrongly\n", wrong, wrong == 1 ? "" : "s");
    return wrong > 0;
}
