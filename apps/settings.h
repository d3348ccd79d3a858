/* The command line of stardit-generate: its options and what can be said of them alone. */
#ifndef STARDIT_APPS_SETTINGS_H
#define STARDIT_APPS_SETTINGS_H

#include <stdint.h>

#include "apps/lora.h"
#include "apps/options.h"
#include "apps/placement.h"
#include "apps/steps.h"
#include "stardit/safetensors.h"
#include "stardit/stardit.h"

/* What the command line says, as it stands there. */
struct app_settings {
    struct app_strings prompts;
    struct sdt_model_files files; /* its model as well */
    struct app_loras lora;        /* which the files borrow */
    const char *revision, *variant, *prompt_file, *negative_prompt, *token_ids, *token_ids_2,
        *prompt_embeds, *negative_embeds;
    int height, width, num_frames, steps, max_sequence_length;
    double guidance_scale, true_cfg_scale, flow_shift, fps;
    struct app_steps step_table; /* which steps */
    const char *sampler, *schedule;
    uint64_t seed;
    const char *output, *latents, *save_latent, *sheet;
    const char *resume;
    struct sdt_safetensors *state; /* that file, open; NULL: none. Settings borrow from it */
    int checkpoint_every;
    int sheet_columns, sheet_scale;
    bool force;
    struct app_placement place;
    const char *scheduler;
    bool tiling;
    const char *tile_size, *tile_stride;
    const char *trace, *dot, *stats, *progress;
    bool dry_run, quiet;
};

/* Reads argv into *settings, which may borrow from it, and checks what can be told without opening
 * the checkpoint. -1: go on; else the exit code, after a message (or --help's text).
 * settings->state is the caller's to close then too. */
int app_settings_parse(struct app_settings *settings, int argc, char **argv);
/* Was the option on the command line? */
bool app_settings_given(const char *name);

/* ---- names of several outputs ---------------------------------------------------------------- */

/* The name of request r's file, malloc'ed: the number, from 1, in place of its %d. NULL: no name
 * was given, or out of memory. */
char *app_numbered(const char *name, int r);
/* Where a request's state goes: "v.state.safetensors" for the output "v.mp4". malloc'ed; NULL: out
 * of memory. */
char *app_state_name(const char *output);
/* How long a name is without its ending and slashes at its end; *start: of its last part. */
size_t app_stem_length(const char *name, size_t *start);
/* Several requests need names that differ, and none of them may be taken; one .png holds one
 * frame, the output's format so many frames a second, and a sheet so many pixels. */
enum sdt_status app_check_names(const struct app_settings *settings, int count,
                                const struct sdt_request *request, struct sdt_error *err);
#endif
