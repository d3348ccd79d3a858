/* What ranks settle before they work together. */
#include "apps/ranks.h"

#include <stdio.h>
#include <string.h>

#include "config.h"

enum sdt_status app_ranks_join(struct sdt_error *err) {
    enum sdt_status status = sdt_ranks_join(err);
    if (sdt_rank() > 0 && !freopen("/dev/null", "w", stdout))
        return sdt_fail(err, SDT_ERROR_IO, "%s: /dev/null cannot be opened", sdt_rank_name());
    return status;
}

int app_ranks_parsed(const char *program, int code) {
    struct sdt_error err = *app_reported();
    enum sdt_status status = code > 0 ? err.status : SDT_OK;
    if (sdt_ranks() == 1)
        return code;
    if (code > 0 && status == SDT_OK)
        status = sdt_fail(&err, SDT_ERROR_USAGE, "the command line");
    status = sdt_ranks_settle(status, &err);
    if (status == SDT_OK)
        return code;
    return code > 0 ? code : app_report(program, &err);
}

enum sdt_status app_ranks_check(const struct app_settings *s, struct sdt_error *err) {
    const struct {
        bool given;
        const char *option;
    } alone[] = {{s->trace, "trace"},
                 {s->dot, "dot"},
                 {s->checkpoint_every > 0, "checkpoint-every"},
                 {s->place.plan && !strcmp(s->place.plan, "auto"), "plan auto"}};
    for (size_t i = 0; i < sizeof alone / sizeof alone[0]; i++)
        if (sdt_ranks() > 1 && alone[i].given)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--%s: does not go with several ranks; without mpirun it would work",
                            alone[i].option);
    return SDT_OK;
}

/* Files may lie elsewhere on each machine; what they hold is compared. */
static bool is_path(const char *name) {
    static const char *const paths[] = {"model",        "transformer",    "vae",
                                        "text-encoder", "text-encoder-2", "tokenizer",
                                        "tokenizer-2"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        if (!strcmp(name, paths[i]))
            return true;
    return !strncmp(name, "lora", 4);
}

static enum sdt_status compare_recipe(const struct app_recipe *recipe, int number,
                                      struct sdt_error *err) {
    enum sdt_status status = sdt_ranks_same("the list of what decides the video", &recipe->count,
                                            sizeof recipe->count, err);
    for (size_t i = 0; i < recipe->count && status == SDT_OK; i++) {
        const struct sdt_metadata *entry = &recipe->entry[i];
        char what[80], of[24] = "";
        if (number > 0)
            snprintf(of, sizeof of, " of video %d", number + 1);
        snprintf(what, sizeof what, "%.40s%s", entry->key, of);
        status = sdt_ranks_same(what, entry->key, strlen(entry->key), err);
        if (status == SDT_OK && !is_path(entry->key))
            status = sdt_ranks_same(what, entry->value, strlen(entry->value), err);
    }
    return status;
}

/* Where things go, as a text: structs have gaps. */
static void describe(const struct app_settings *s, const struct sdt_placement *p, char *text,
                     size_t size) {
    int length =
        snprintf(text, size,
                 "%d devices, groups %d+%d, %d %d %d %d %d %d %d %d %d %s:", s->place.machine.count,
                 p->dit_devices, p->vae_devices, (int)p->precision, p->text_with_vae,
                 p->chunk_heads, p->ulysses_degree, p->patches, p->streams, p->cfg_parallel,
                 (int)p->aco, p->most_latents, s->scheduler ? s->scheduler : "");
    for (int i = 0; i < p->dit_devices + p->vae_devices && length < (int)size; i++)
        length += snprintf(text + length, size - (size_t)length, " %d",
                           i < p->dit_devices ? p->dit[i] : p->vae[i - p->dit_devices]);
}

enum sdt_status app_ranks_compare(const struct app_settings *s, const struct app_recipe *recipes,
                                  int count, const struct sdt_placement *placement,
                                  struct sdt_error *err) {
    char text[1024];
    if (sdt_ranks() == 1)
        return SDT_OK;
    describe(s, placement, text, sizeof text);
    enum sdt_status status =
        sdt_ranks_same("the version of stardit", PACKAGE_VERSION, sizeof PACKAGE_VERSION, err);
    if (status == SDT_OK)
        status = sdt_ranks_same("the number of prompts", &count, sizeof count, err);
    for (int r = 0; r < count && status == SDT_OK; r++)
        status = compare_recipe(&recipes[r], r, err);
    if (status == SDT_OK)
        status = sdt_ranks_same("the plan (devices, groups, chunks)", text, strlen(text), err);
    return status;
}
