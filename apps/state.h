/* A run's state in a file: the latent with the rest of the solver's state, and beside them as texts
 * all that decides the video. What --checkpoint-every and a stopped run write, and --resume
 * reads. */
#ifndef STARDIT_APPS_STATE_H
#define STARDIT_APPS_STATE_H

#include "apps/settings.h"
#include "stardit/safetensors.h"
#include "stardit/stardit.h"

/* The key of __metadata__ by which a state is known. */
#define APP_STATE_MARK "stardit"

enum { APP_RECIPE_ENTRIES = 40 };

/* What a video is made of, by the names of the options, and what else decides its bits. */
struct app_recipe {
    size_t count;
    struct sdt_metadata entry[APP_RECIPE_ENTRIES]; /* values are malloc'ed */
};

/* Of a request that has been planned; checkpoint: its sum. *recipe is to be cleared after a failure
 * too. SDT_ERROR_MEMORY. */
enum sdt_status app_recipe_make(const struct app_settings *settings, uint64_t checkpoint,
                                const struct sdt_request *request,
                                const struct sdt_placement *placement, const struct sdt_plan *plan,
                                struct app_recipe *recipe, struct sdt_error *err);
void app_recipe_clear(struct app_recipe *recipe); /* of one that is all zeros, too */

/* Opens a file that holds a state, else SDT_ERROR_FORMAT; outcomes as sdt_safetensors_open. */
enum sdt_status app_state_open(const char *path, struct sdt_safetensors **file,
                               struct sdt_error *err);
/* Sets the options of which the command line says nothing to what the file says. -1, or the exit
 * code after a message. */
int app_state_take(const struct app_program *program, const struct sdt_safetensors *file);
/* As long as the file is open: the options that app_state_take leaves to the output's kind. */
int app_state_take_fps(const struct app_program *program, const struct sdt_safetensors *file);
/* SDT_ERROR_USAGE with the first thing that differs. */
enum sdt_status app_state_check(const struct sdt_safetensors *file, const struct app_recipe *recipe,
                                struct sdt_error *err);
/* The state itself. The arrays are malloc'ed, for app_state_free(). SDT_ERROR_FORMAT when the file
 * does not hold what a state after its step has, or holds NaN or infinity; SDT_ERROR_MEMORY. */
enum sdt_status app_state_read(const struct sdt_safetensors *file,
                               const struct sdt_pipeline *pipeline,
                               const struct sdt_request *request, struct sdt_solver_state *state,
                               struct sdt_error *err);
void app_state_free(struct sdt_solver_state *state);

/* Replaces the file as a whole. state: of the arrays, those that are not NULL are written, each
 * [C, T, H, W] = shape. Outcomes as sdt_safetensors_write_with. */
enum sdt_status app_state_write(const char *path, const struct app_recipe *recipe,
                                const int64_t shape[4], const struct sdt_solver_state *state,
                                struct sdt_error *err);
#endif
