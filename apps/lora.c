/* LoRA files on a command line. */
#include "apps/lora.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What stands behind the last ':' is a strength where it begins as a number does: FILE may have a
 * ':' itself. */
static enum sdt_status read_lora(const char *text, struct sdt_lora *lora, char path[PATH_MAX],
                                 struct sdt_error *err) {
    const char *colon = strrchr(text, ':');
    size_t length = strlen(text);
    char *end;

    lora->strength = 1.0;
    lora->path = path;
    if (colon && colon[1] && strchr("+-.0123456789", colon[1])) {
        lora->strength = strtod(colon + 1, &end);
        if (*end || !isfinite(lora->strength) || fabs(lora->strength) > 100.0)
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--lora %.200s: the strength must be a number, -100 to 100", text);
        length = (size_t)(colon - text);
    } else if (colon && (!colon[1] || !strchr(colon, '.'))) {
        return sdt_fail(err, SDT_ERROR_USAGE,
                        "--lora %.200s: the strength must be a number, as FILE:0.8", text);
    }
    if (length == 0 || length >= PATH_MAX)
        return sdt_fail(err, SDT_ERROR_USAGE, "--lora %.200s: names no file", text);
    snprintf(path, PATH_MAX, "%.*s", (int)length, text);
    if (access(path, F_OK) != 0)
        return sdt_fail(err, SDT_ERROR_MISSING,
                        "--lora %.200s: %s; a .safetensors file or its folder works", path,
                        strerror(errno));
    return SDT_OK;
}

enum sdt_status app_loras_read(struct app_loras *loras, struct sdt_error *err) {
    enum sdt_status status = SDT_OK;
    if (loras->given.count > APP_MOST_LORAS)
        return sdt_fail(err, SDT_ERROR_USAGE, "--lora: given more than %d times", APP_MOST_LORAS);
    for (int i = 0; i < loras->given.count && status == SDT_OK; i++)
        status = read_lora(loras->given.item[i], &loras->item[i], loras->path[i], err);
    return status;
}
