/* Reading which steps a request takes. */
#include "apps/steps.h"

#include <stdio.h>
#include <stdlib.h>

/* Numbers with commas between them; the first above 1 says that all are of 1000. */
static enum sdt_status read_sigmas(struct app_steps *steps, int *count, struct sdt_error *err) {
    const char *at = steps->sigmas;
    char *end;

    *count = 0;
    do {
        double value = strtod(at, &end);
        if (end == at || (*end && *end != ','))
            return sdt_fail(err, SDT_ERROR_USAGE,
                            "--sigmas %.80s: must be numbers with commas between them",
                            steps->sigmas);
        if (*count == APP_MOST_STEPS)
            return sdt_fail(err, SDT_ERROR_USAGE, "--sigmas: more than %d numbers", APP_MOST_STEPS);
        steps->level[(*count)++] = value;
        at = end + 1;
    } while (*end);
    for (int i = *count - 1; i >= 0 && steps->level[0] > 1.0; i--)
        steps->level[i] /= 1000.0;
    return SDT_OK;
}

enum sdt_status app_steps_take(struct app_steps *steps, bool steps_given,
                               struct sdt_request *request, struct sdt_error *err) {
    int count = 0;
    if (!steps->sigmas)
        return SDT_OK;
    enum sdt_status status = read_sigmas(steps, &count, err);
    if (status == SDT_OK && steps_given && request->steps != count)
        status = sdt_fail(err, SDT_ERROR_USAGE,
                          "--sigmas has %d number%s, and --num-inference-steps is %d; the list "
                          "alone says how many steps there are",
                          count, count == 1 ? "" : "s", request->steps);
    request->sigmas = steps->level;
    request->steps = count;
    return status;
}
