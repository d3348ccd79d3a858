/* The options of stardit-generate, and what is wrong with a command line by itself. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <starpu.h>

#include "apps/model.h"
#include "apps/outputs.h"
#include "apps/read.h"
#include "apps/state.h"
#include "apps/strategy.h"
#include "stardit/stardit.h"
#include "stardit/video.h"

#define AT(field) APP_AT(struct app_settings, field)
#define FILES_AT(field) AT(files.field)
#define STEPS_AT(field) AT(step_table.field)

/* Filled before the table is read. */
static char strategy_help[300], output_help[400], no_rate[300];

static struct app_option options[] = {
    APP_HEADING("What to generate"),
    APP_STRING_OPTION(
        "model", "PATH", AT(files.model),
        "checkpoint: a folder in diffusers layout or of the original repository, a "
        ".safetensors file with all components, or org/name to look for in the "
        "Hugging Face cache; with --dry-run also a published size: wan-1.3b, wan-14b, "
        "hunyuan-13b, open-sora-plan-1.3"),
    APP_MODEL_FILES(FILES_AT),
    APP_STRING_OPTION("tokenizer", "PATH", AT(files.tokenizer),
                      "a folder, a spiece.model or a tokenizer.json in place of its tokenizer "
                      "(default: the model's, else what the text encoder's file holds)"),
    APP_STRING_OPTION("tokenizer-2", "PATH", AT(files.tokenizer_2),
                      "the same for a second text encoder"),
    APP_STRINGS_OPTION("lora", "FILE[:strength]", AT(lora.given),
                       "differences to the transformer's weights, merged when these are read: a "
                       ".safetensors file with diffusers' or the original's names, or its folder; "
                       "may be given several times (default strength 1)"),
    APP_STRING_OPTION("revision", "REV", AT(revision),
                      "of org/name: a branch, a tag or a commit, as org/name@REV (default main)"),
    APP_STRING_OPTION("variant", "NAME", AT(variant),
                      "weights whose files have this word in their names, as fp16, where there are "
                      "some"),
    APP_STRINGS_OPTION(
        "prompt", "TEXT", AT(prompts),
        "what to show; @FILE reads it from a file, @@ is an @; several make several videos"),
    APP_STRING_OPTION("prompt-file", "FILE", AT(prompt_file), "one prompt a line"),
    APP_STRING_OPTION("negative-prompt", "TEXT", AT(negative_prompt),
                      "what not to show; @FILE reads it from a file (default: the checkpoint's)"),
    APP_STRING_OPTION("token-ids", "LIST", AT(token_ids),
                      "the prompt as token ids, 1,2,3 (</s> is not added)"),
    APP_STRING_OPTION("token-ids-2", "LIST", AT(token_ids_2), "the same for a second text encoder"),
    APP_STRING_OPTION("prompt-embeds", "FILE", AT(prompt_embeds),
                      "the prompt as text encoder states: a safetensors file with the tensor "
                      "prompt_embeds [rows, width], and pooled_prompt_embeds [width] of a second "
                      "text encoder"),
    APP_STRING_OPTION("negative-prompt-embeds", "FILE", AT(negative_embeds),
                      "the same for the negative prompt: negative_prompt_embeds and "
                      "negative_pooled_prompt_embeds"),
    APP_INT_OPTION("height", "N", AT(height), 1, 65536,
                   "pixels, a multiple of 16 (default: the checkpoint's, else 480)"),
    APP_INT_OPTION("width", "N", AT(width), 1, 65536,
                   "pixels, a multiple of 16 (default: the checkpoint's, else 832)"),
    APP_INT_OPTION("num-frames", "N", AT(num_frames), 1, 1048576,
                   "frames, 4k+1 (default: the checkpoint's, else 81)"),
    APP_INT_OPTION("num-inference-steps", "N", AT(steps), 0, 1000,
                   "denoising steps (default: the checkpoint's, else 50); 0 decodes --latents"),
    APP_DOUBLE_OPTION(
        "guidance-scale", "G", AT(guidance_scale), 0.0, 1000.0,
        "how strongly to follow the prompt; above 1 each step takes two forwards, but "
        "where it is an input of the model (default: the checkpoint's, else the "
        "model's)"),
    APP_DOUBLE_OPTION("true-cfg-scale", "G", AT(true_cfg_scale), 0.0, 1000.0,
                      "where guidance is an input of the model: above 1, and with a negative "
                      "prompt, each step takes two forwards, put together by it (default: 1)"),
    APP_DOUBLE_OPTION("flow-shift", "S", AT(flow_shift), 1e-3, 1000.0,
                      "shift of the noise schedule (default: the checkpoint's, else 3)"),
    APP_CHOICE_OPTION(
        "sampler", "unipc|euler|renoise|euler-ancestral", AT(sampler),
        "solver: unipc or euler of flows, renoise of flows distilled to a few steps that take "
        "fresh noise each, euler-ancestral of models that predict v (default: the checkpoint's, "
        "else the model's)"),
    APP_CHOICE_OPTION("sampler-schedule", "new|old|linear", AT(schedule),
                      "how sigmas are laid out: as in diffusers' pipeline (new), unipc as in "
                      "diffusers up to 0.36 (old), euler from 1 to 1/steps (linear); default new"),
    APP_STEPS_OPTIONS(STEPS_AT),
    APP_INT_OPTION("max-sequence-length", "N", AT(max_sequence_length), 1, APP_MOST_TOKENS,
                   "tokens that a prompt is cut or padded to (default: the checkpoint's, else "
                   "512)"),
    APP_SEED_OPTION(
        "seed", "N", AT(seed),
        "of the starting noise, the same as torch's on a CPU (default 0); -1: a random one"),
    APP_STRING_OPTION("latents", "FILE", AT(latents),
                      "starting latent in place of noise: a safetensors file with the tensor "
                      "latent [1, channels, frames, height, width]"),
    APP_STRING_OPTION("resume", "FILE", AT(resume),
                      "go on from the state of a run that was killed or stopped, with the same "
                      "video; what is not given follows from the file"),
    APP_CHOICE_OPTION("dtype", APP_DTYPES, AT(place.dtype), APP_DTYPE_HELP),
    APP_HEADING("What to write"),
    APP_STRING_OPTION("output", "PATH", AT(output), output_help),
    APP_DOUBLE_OPTION("fps", "F", AT(fps), 0.01, 1000.0,
                      "frames per second of the video, of a .gif at most 100 (default: the "
                      "checkpoint's, else 16)"),
    APP_STRING_OPTION("save-latent", "FILE", AT(save_latent),
                      "write the final latent before it is decoded (.safetensors, or no ending)"),
    APP_INT_OPTION("checkpoint-every", "N", AT(checkpoint_every), 1, 1000,
                   "every N steps, write a state for --resume beside the output, as "
                   "out.state.safetensors; it is removed once the video is written"),
    APP_STRING_OPTION("contact-sheet", "FILE", AT(sheet), "also write frames side by side (.png)"),
    APP_INT_OPTION("sheet-columns", "N", AT(sheet_columns), 1, 64,
                   "columns of the contact sheet, and most rows (default 4)"),
    APP_INT_OPTION("sheet-scale", "N", AT(sheet_scale), 1, 64,
                   "enlargement of the contact sheet's frames (default 1)"),
    APP_FLAG_OPTION("force", AT(force), "replace files that are there"),
    APP_HEADING("Where and how to run"),
    APP_STRING_OPTION("devices", "N|LIST", AT(place.devices), APP_DEVICES_HELP),
    APP_STRING_OPTION("workers-per-device", "W|LIST", AT(place.workers), APP_WORKERS_HELP),
    APP_STRING_OPTION("device-speed", "LIST", AT(place.speed), APP_SPEED_HELP),
    APP_STRING_OPTION("strategy", "NAME", AT(place.strategy), strategy_help),
    APP_STRING_OPTION("chunk-heads", "K|auto", AT(place.chunk_heads),
                      "most heads of one exchange (default: 1 for pipesp, else all of a device)"),
    APP_INT_OPTION("patches", "M", AT(place.patches), 1, 1 << 16,
                   "pipefusion: parts of the tokens that go through the layers behind one another; "
                   "the result depends on it (default 4)"),
    APP_BLOCKS_OPTIONS(STEPS_AT),
    APP_INT_OPTION(
        "ulysses-degree", "U", AT(place.ulysses_degree), 1, SDT_MAX_DEVICES,
        "usp: devices of one ring position (default: all); pipefusion: of one stage (default 1)"),
    APP_INT_OPTION("ring-degree", "R", AT(place.ring_degree), 1, SDT_MAX_DEVICES,
                   "usp: positions of the ring (default: devices / Ulysses degree)"),
    APP_STRING_OPTION("dit-devices", "LIST", AT(place.dit_devices),
                      "devices that denoise, as 0-6, cpu:0,2 or cuda:0-6; with --vae-devices: "
                      "DeDiVAE, one prompt is denoised while another is decoded"),
    APP_STRING_OPTION("vae-devices", "LIST|auto", AT(place.vae_devices),
                      "devices that decode; auto divides --devices by the work of both"),
    APP_INT_OPTION("dit-parallel-size", "N", AT(place.dit_size), 1, SDT_MAX_DEVICES,
                   "the first N devices denoise (with --vae-parallel-size)"),
    APP_INT_OPTION("vae-parallel-size", "N", AT(place.vae_size), 1, SDT_MAX_DEVICES,
                   "the next N devices decode"),
    APP_CHOICE_OPTION("text-encoder-group", "dit|vae", AT(place.text_group),
                      "whose first device runs the text encoder (default dit)"),
    APP_CHOICE_OPTION("transport", "starpu|nccl", AT(place.transport),
                      "how pieces travel between devices: StarPU's own transfers (the default), "
                      "or rounds of NCCL over the DiT group; the bits are the same"),
    APP_CHOICE_OPTION("aco", "off|static|dynamic|auto", AT(place.aco),
                      "attention on idle VAE devices: a fixed share while nothing is decoded, "
                      "or piece by piece where it ends earlier (default off)"),
    APP_INT_OPTION("max-latents", "N", AT(place.max_latents), 1, APP_MOST_STRINGS,
                   "most latents alive before prompts wait (default 3)"),
    APP_FLAG_OPTION("vae-spill", AT(place.vae_spill),
                    "once nothing is left to denoise, the devices that denoised decode too"),
    APP_CHOICE_OPTION("streams", "1|2|auto", AT(place.streams),
                      "with guidance, the two forwards of a step: 2 side by side, each with "
                      "buffers of its own, or 1 after the other in less memory (default 2, or "
                      "what --plan auto finds)"),
    APP_FLAG_OPTION("use-cfg-parallel", AT(place.cfg_parallel),
                    "with guidance, the two forwards of a step on devices of their own: those that "
                    "denoise are cut into two groups by their speeds, each with all weights; only "
                    "latents and velocities go between them, and the bits are the same"),
    APP_CHOICE_OPTION("plan", "given|auto", AT(place.plan),
                      "auto: the strategy, groups, aco and streams with the shortest predicted "
                      "time, within what is given (default given)"),
    APP_STRING_OPTION("scheduler", "NAME", AT(scheduler),
                      "StarPU policy (default STARPU_SCHED, else pipedit)"),
    APP_FLAG_OPTION("enable-tiling", AT(tiling),
                    "decode in overlapping spatial tiles, which needs less memory"),
    APP_STRING_OPTION("tile-size", "S|RxC", AT(tile_size),
                      "tiles of S x S or R x C pixels (default 256; turns tiling on)"),
    APP_STRING_OPTION("tile-stride", "S|RxC", AT(tile_stride),
                      "a tile every S pixels, or R rows and C columns (default 3/4 of the size)"),
    APP_HEADING("What to report"),
    APP_FLAG_OPTION("dry-run", AT(dry_run),
                    "print the plan (devices, work, memory, time) and do nothing"),
    APP_STRING_OPTION("stats", "FILE", AT(stats), "write what the run did as JSON; - prints it"),
    APP_STRING_OPTION("trace", "FILE", AT(trace),
                      "write when each task ran, for chrome://tracing or Perfetto (JSON)"),
    APP_STRING_OPTION("dot", "FILE", AT(dot), "write the task graph for Graphviz"),
    APP_CHOICE_OPTION("progress", "auto|bar|plain|none", AT(progress),
                      "progress on stderr (default auto: a bar on a terminal, else lines)"),
    APP_FLAG_OPTION("quiet", AT(quiet), "print errors only"),
};

/* As stable-diffusion.cpp and others call them. */
static const struct app_alias aliases[] = {
    {"m", "model"},
    {"p", "prompt"},
    {"n", "negative-prompt"},
    {"o", "output"},
    {"s", "seed"},
    {"H", "height"},
    {"W", "width"},
    {"t", "workers-per-device"},
    {"steps", "num-inference-steps"},
    {"cfg-scale", "guidance-scale"},
    {"threads", "workers-per-device"},
    {NULL, NULL},
};
static const struct app_alias hints[] = {
    {"size", "--height and --width say it"},
    {"vae-tiling", "did you mean --enable-tiling?"},
    {"num-videos-per-prompt", "give --prompt several times, or call with several seeds"},
    {"batch-count", "give --prompt several times, or call with several seeds"},
    {"negative", "did you mean --negative-prompt?"},
    {NULL, NULL},
};

static struct app_program program = {
    .name = "stardit-generate",
    .usage = "--model PATH --prompt TEXT --output PATH [options]",
    .summary = "Makes a video from a prompt with a Wan 2.1 checkpoint; all the work runs as "
               "StarPU tasks on one or several devices.",
    .options = options,
    .aliases = aliases,
    .hints = hints,
    .count = sizeof options / sizeof options[0],
    .notes = "Exit status: 0 done, 1 failed or interrupted, 2 wrong command line. Ctrl-C ends the "
             "run after the running tasks and keeps the latent.",
};

/* ---- names of several outputs ---------------------------------------------------------------- */

/* Where a name's number goes: "%d", "%3d" or "%03d", once. NULL: nowhere, or the name is no such
 * pattern. */
static const char *number_place(const char *name, int *width, int *length) {
    const char *percent = strchr(name, '%');
    if (!percent || strchr(percent + 1, '%'))
        return NULL;
    *length = 1 + (int)strspn(percent + 1, "0123456789");
    *width = atoi(percent + 1);
    if (percent[*length] != 'd' || *width > 9)
        return NULL;
    ++*length;
    return percent;
}

char *app_numbered(const char *name, int r) {
    char *text = NULL;
    int width, length;
    const char *percent = name ? number_place(name, &width, &length) : NULL;
    if (!name)
        return NULL;
    if (!percent)
        return strdup(name);
    return asprintf(&text, "%.*s%0*d%s", (int)(percent - name), name, width, r + 1,
                    percent + length) < 0
               ? NULL
               : text;
}

size_t app_stem_length(const char *name, size_t *start) {
    size_t length = strlen(name);
    while (length > 1 && name[length - 1] == '/')
        length--;
    *start = length;
    while (*start > 0 && name[*start - 1] != '/')
        --*start;
    for (size_t i = length; i > *start + 1; i--)
        if (name[i - 1] == '.')
            return i - 1;
    return length;
}

char *app_state_name(const char *output) {
    size_t start;
    char *path;
    int length = (int)app_stem_length(output, &start);
    return asprintf(&path, "%.*s.state.safetensors", length, output) < 0 ? NULL : path;
}

/* A state that is there may be all that is left of a run; the one that this run goes on from is not
 * lost. */
static enum sdt_status check_state(const struct app_settings *s, const char *output,
                                   struct sdt_error *err) {
    struct stat there, from;
    char *path = app_state_name(output);
    enum sdt_status status = SDT_OK;

    if (!path)
        return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for a name");
    bool same = s->resume && stat(path, &there) == 0 && stat(s->resume, &from) == 0 &&
                there.st_dev == from.st_dev && there.st_ino == from.st_ino;
    if (status == SDT_OK && stat(path, &there) == 0 && S_ISREG(there.st_mode) && !s->force && !same)
        status =
            sdt_fail(err, SDT_ERROR_USAGE,
                     "--checkpoint-every: %s exists already (--resume goes on from it, --force "
                     "replaces it)",
                     path);
    if (status == SDT_OK)
        status = app_check_target("checkpoint-every", path, s->force || same, err);
    free(path);
    return status;
}

/* What the run reads; how many there are. */
static size_t list_inputs(const struct app_settings *s, struct app_file *file) {
    const struct sdt_model_files *f = &s->files;
    const struct app_file input[] = {
        {APP_FILE_READ, "model", f->model},
        {APP_FILE_READ, "transformer", f->transformer},
        {APP_FILE_READ, "vae", f->vae},
        {APP_FILE_READ, "text-encoder", f->text_encoder},
        {APP_FILE_READ, "text-encoder-2", f->text_encoder_2},
        {APP_FILE_READ, "tokenizer", f->tokenizer},
        {APP_FILE_READ, "tokenizer-2", f->tokenizer_2},
        {APP_FILE_READ, "prompt-file", s->prompt_file},
        {APP_FILE_READ, "negative-prompt", app_prompt_file(s->negative_prompt)},
        {APP_FILE_READ, "prompt-embeds", s->prompt_embeds},
        {APP_FILE_READ, "negative-prompt-embeds", s->negative_embeds},
        {APP_FILE_READ, "latents", s->latents},
        {APP_FILE_READ, "resume", s->resume},
    };
    size_t count = sizeof input / sizeof input[0];
    memcpy(file, input, sizeof input);
    for (int i = 0; i < f->loras; i++)
        file[count++] = (struct app_file){APP_FILE_READ, "lora", f->lora[i].path};
    for (int i = 0; i < s->prompts.count; i++)
        file[count++] =
            (struct app_file){APP_FILE_READ, "prompt", app_prompt_file(s->prompts.item[i])};
    return count;
}

/* All that `count` requests write, beside what they read. */
static enum sdt_status check_places(const struct app_settings *s, int count,
                                    struct sdt_error *err) {
    enum { OF_RUN = 3, OF_REQUEST = 4, INPUTS = 13 + APP_MOST_LORAS + APP_MOST_STRINGS };
    const size_t outputs = OF_RUN + OF_REQUEST * (size_t)count;
    struct app_file *file = calloc(outputs + INPUTS, sizeof *file);
    char **path = calloc(OF_REQUEST * (size_t)count, sizeof *path);
    enum sdt_status status = SDT_OK;

    if (!file || !path)
        status = sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d names", count);
    for (int r = 0; r < count && status == SDT_OK; r++) {
        char **name = &path[OF_REQUEST * (size_t)r];
        struct app_file *at = &file[OF_REQUEST * (size_t)r];
        name[0] = app_numbered(s->output, r);
        name[1] = app_numbered(s->save_latent, r);
        name[2] = app_numbered(s->sheet, r);
        name[3] = s->checkpoint_every && name[0] ? app_state_name(name[0]) : NULL;
        at[0] = (struct app_file){APP_FILE_WRITTEN, "output", name[0]};
        at[1] = (struct app_file){APP_FILE_WRITTEN, "save-latent", name[1]};
        at[2] = (struct app_file){APP_FILE_WRITTEN, "contact-sheet", name[2]};
        at[3] = (struct app_file){APP_FILE_KEPT, "checkpoint-every", name[3]};
    }
    if (status == SDT_OK) {
        struct app_file *run = &file[OF_REQUEST * (size_t)count];
        run[0] = (struct app_file){APP_FILE_WRITTEN, "trace", s->trace};
        run[1] = (struct app_file){APP_FILE_WRITTEN, "dot", s->dot};
        run[2] = (struct app_file){APP_FILE_WRITTEN, "stats", s->stats};
        status = app_check_files(file, outputs + list_inputs(s, run + OF_RUN), err);
    }
    for (size_t i = 0; path && i < OF_REQUEST * (size_t)count; i++)
        free(path[i]);
    free(path);
    free(file);
    return status;
}

/* The video's picture: sheet_columns in a row, and as many rows at most. */
static enum sdt_status check_sheet(const struct app_settings *s, const struct sdt_request *request,
                                   struct sdt_error *err) {
    const struct sdt_video video = {
        .frames = request->num_frames, .height = request->height, .width = request->width};
    int rows = (video.frames + s->sheet_columns - 1) / s->sheet_columns;
    struct sdt_error why;
    if (!s->sheet || sdt_video_check_sheet(&video, s->sheet, s->sheet_columns,
                                           rows < s->sheet_columns ? rows : s->sheet_columns,
                                           s->sheet_scale, &why) == SDT_OK)
        return SDT_OK;
    return sdt_fail(err, why.status, "--contact-sheet %s (--sheet-columns, --sheet-scale)",
                    why.message);
}

enum sdt_status app_check_names(const struct app_settings *s, int count,
                                const struct sdt_request *request, struct sdt_error *err) {
    const int frames = request->num_frames;
    const double fps = request->fps;
    const char *const option[] = {"output", "save-latent", "contact-sheet"};
    const char *const name[] = {s->output, s->save_latent, s->sheet};
    enum sdt_status status = SDT_OK;
    int width, length;

    size_t ending = s->output ? strlen(s->output) : 0;
    if (frames > 1 && ending > 4 && !strcasecmp(s->output + ending - 4, ".png"))
        return sdt_fail(
            err, SDT_ERROR_USAGE,
            "--output %s: one .png holds one frame, not %d; a folder (%.*s/) would hold "
            "them",
            s->output, frames, (int)ending - 4, s->output);
    struct sdt_error why;
    if (s->output && sdt_video_check_rate(s->output, fps, &why) != SDT_OK)
        return sdt_fail(err, why.status, "--fps: %s", why.message);
    status = check_sheet(s, request, err);
    for (int r = 0; s->checkpoint_every && r < count && status == SDT_OK; r++) {
        char *output = app_numbered(s->output, r);
        status = output ? check_state(s, output, err)
                        : sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d names", count);
        free(output);
    }
    for (int i = 0; i < 3 && status == SDT_OK; i++) {
        if (!name[i])
            continue;
        if (!number_place(name[i], &width, &length) && count > 1)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s %s: %d prompts need a name with a number in it, as out-%%03d.mp4",
                            option[i], name[i], count);
        for (int r = 0; r < count && status == SDT_OK; r++) {
            char *path = app_numbered(name[i], r);
            if (!path)
                return sdt_fail(err, SDT_ERROR_MEMORY, "out of memory for %d names", count);
            status = i ? app_check_target(option[i], path, s->force, err)
                       : sdt_video_check_path(path, s->force, err);
            free(path);
        }
    }
    return status == SDT_OK ? check_places(s, count, err) : status;
}

/* ---- checks ---------------------------------------------------------------------------------- */

/* Options that would be ignored beside others: -1, or the exit code after a message. */
static int check_idle(const struct app_settings *s) {
    const bool timed = !s->output || sdt_video_is_timed(s->output);
    const bool steps = s->steps > 0 || !app_given(&program, "num-inference-steps");
    const bool stale = app_strategy_stale(s->place.strategy);
    const bool blocks = app_strategy_blocks(s->place.strategy);
    static const char no_sheet[] = "goes with --contact-sheet";
    static const char no_blocks[] = "goes with a strategy that has blocks (--strategy dualparal)";
    static const char no_steps[] = "--num-inference-steps 0 takes no steps";
    const struct app_idle idle[] = {
        {"revision", !s->files.model, "goes with --model org/name"},
        {"variant", !s->files.model, "goes with --model"},
        {"tokenizer",
         (s->token_ids || s->prompt_embeds) &&
             (s->negative_embeds ||
              (app_given(&program, "guidance-scale") && s->guidance_scale <= 1.0)),
         "no text is encoded"},
        {"token-ids-2", !s->token_ids, "goes with --token-ids"},
        {"sheet-columns", !s->sheet, no_sheet},
        {"sheet-scale", !s->sheet, no_sheet},
        {"seed", s->latents, "--latents takes the place of its noise"},
        {"progress", s->quiet && strcmp(s->progress ? s->progress : "none", "none"),
         "--quiet prints no progress"},
        {"negative-prompt", !steps, no_steps},
        {"token-ids", !steps, no_steps},
        {"prompt-embeds", !steps, no_steps},
        {"negative-prompt-embeds", !steps, no_steps},
        {"guidance-scale", !steps, no_steps},
        {"true-cfg-scale", !steps, no_steps},
        {"flow-shift", !steps, no_steps},
        {"sampler", !steps, no_steps},
        {"sampler-schedule", !steps, no_steps},
        {"sigmas", !steps, no_steps},
        {"cfg-gate", !steps, no_steps},
        {"force-guidance", !steps, no_steps},
        {"step-cache", !steps, no_steps},
        {"warmup-steps", !steps, no_steps},
        {"refresh-steps", !s->step_table.cache && !stale,
         "goes with --step-cache and strategies with keys of the step before"},
        {"block-frames", !blocks, no_blocks},
        {"overlap-frames", !blocks, no_blocks},
        {"checkpoint-every", blocks, "blocks at different steps have no state to go on from"},
        {"sampler-schedule", s->step_table.sigmas, "--sigmas takes the place of a schedule"},
        {"max-sequence-length", !steps, no_steps},
        {"checkpoint-every", !steps, no_steps},
        {"checkpoint-every", s->output && !strcmp(s->output, "-"),
         "nothing lies beside standard output; --output with a name works"},
        {"fps", !timed, no_rate},
    };
    return app_refuse_idle(&program, idle, sizeof idle / sizeof idle[0]);
}

static bool is_latent_name(const char *name) {
    size_t start, stem = app_stem_length(name, &start);
    return !name[stem] || name[stem] == '/' || !strcasecmp(name + stem, ".safetensors");
}

/* What can be told without opening the checkpoint. */
static int check_settings(const struct app_settings *s) {
    const char *name = program.name;
    const struct {
        const char *option, *path;
    } targets[] = {{"save-latent", s->save_latent},
                   {"contact-sheet", s->sheet},
                   {"trace", s->trace},
                   {"dot", s->dot},
                   {"stats", s->stats && strcmp(s->stats, "-") ? s->stats : NULL}};
    const size_t count = sizeof targets / sizeof targets[0];
    struct sdt_error err;
    bool texts = s->prompts.count || s->prompt_file;
    int prompts = texts + !!s->token_ids + !!s->prompt_embeds;

    if (!s->files.model && !(s->files.transformer && s->files.vae))
        return app_usage(name,
                         "--model is needed: a checkpoint, or --transformer and --vae with files "
                         "(usage: %s %s)",
                         name, program.usage);
    bool decode_only = app_given(&program, "num-inference-steps") && s->steps == 0;
    if (decode_only && !s->latents)
        return app_usage(name, "--num-inference-steps 0 only decodes: --latents is needed");
    if (!decode_only && prompts == 0)
        return app_usage(name,
                         "--prompt is needed (or --prompt-file, --token-ids, --prompt-embeds)");
    if (prompts > 1)
        return app_usage(name, "--prompt, --token-ids and --prompt-embeds exclude one another");
    if (s->negative_prompt && s->negative_embeds)
        return app_usage(name,
                         "--negative-prompt and --negative-prompt-embeds exclude one another");
    if (!s->output && !s->dry_run) {
        char endings[200];
        sdt_video_endings(false, endings, sizeof endings);
        return app_usage(name, "--output is needed: a name with an ending (%s), or a folder",
                         endings);
    }
    bool several = s->prompts.count > 1 || s->prompt_file; /* names are checked one by one later */
    if (s->output && !several && sdt_video_check_path(s->output, s->force, &err) != SDT_OK)
        return app_report(name, &err);
    if (s->output && !strcmp(s->output, "-") && s->stats && !strcmp(s->stats, "-"))
        return app_usage(name, "--output - and --stats - both take standard output");
    for (size_t i = 0; i < count; i++)
        if (app_check_target(targets[i].option, targets[i].path, s->force, &err) != SDT_OK)
            return app_report(name, &err);
    if (!several && check_places(s, 1, &err) != SDT_OK)
        return app_report(name, &err);
    if (s->save_latent && !is_latent_name(s->save_latent))
        return app_usage(name,
                         "--save-latent %s: what is written is safetensors; the name must end in "
                         ".safetensors, or have no ending",
                         s->save_latent);
    if (s->sheet) {
        size_t length = strlen(s->sheet);
        if (length < 5 || strcasecmp(s->sheet + length - 4, ".png"))
            return app_usage(name, "--contact-sheet %s: the name must end in .png", s->sheet);
    }
    return check_idle(s);
}

bool app_settings_given(const char *name) { return app_given(&program, name); }

/* What the file of --resume says. */
static int take_state(struct app_settings *s) {
    struct sdt_error err;
    if (s->latents)
        return app_usage(program.name, "--latents and --resume exclude one another");
    if (app_state_open(s->resume, &s->state, &err) != SDT_OK)
        return app_report(program.name, &err);
    return app_state_take(&program, s->state);
}

/* What names the formats of videos that there are. */
static void fill_texts(void) {
    char endings[200];
    sdt_video_endings(false, endings, sizeof endings);
    snprintf(output_help, sizeof output_help,
             "the video: %s, a folder of PNG files, or - for y4m on standard output; with several "
             "prompts a name as out-%%03d.mp4, numbered from 1",
             endings);
    sdt_video_endings(true, endings, sizeof endings);
    snprintf(no_rate, sizeof no_rate, "this output has no frame rate; %s have", endings);
}

int app_settings_parse(struct app_settings *s, int argc, char **argv) {
    *s = (struct app_settings){.sheet_columns = 4, .sheet_scale = 1};
    program.settings = s;
    app_strategy_help(strategy_help, sizeof strategy_help);
    fill_texts();
    struct sdt_error err;
    int code = app_parse(&program, argc, argv);
    if (code < 0 && s->resume)
        code = take_state(s);
    if (code < 0 && app_loras_read(&s->lora, &err) != SDT_OK)
        code = app_report(program.name, &err);
    s->files.lora = s->lora.item;
    s->files.loras = s->lora.given.count;
    if (code < 0)
        code = check_settings(s);
    if (code < 0 && s->resume) /* only now: an output without a frame rate refuses one */
        code = app_state_take_fps(&program, s->state);
    if (s->place.plan && !strcmp(s->place.plan, "given"))
        s->place.plan = NULL;
    return code;
}
