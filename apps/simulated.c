/* Starting stardit-simulate, and reading its --stats or its messages. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "apps/simulated.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum sdt_status app_simulation_start(const char *program, const char *const *argv,
                                     const char *errors, struct app_simulation_process *process,
                                     struct sdt_error *err) {
    fflush(NULL);
    *process = (struct app_simulation_process){.child = fork()};
    if (process->child == 0) {
        int none = open("/dev/null", O_WRONLY);
        int messages = open(errors, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (none >= 0)
            dup2(none, 1);
        if (messages >= 0)
            dup2(messages, 2);
        execv(program, (char *const *)argv);
        _exit(127);
    }
    if (process->child < 0)
        return sdt_fail(err, SDT_ERROR_IO, "no process for a simulation: %s", strerror(errno));
    return SDT_OK;
}

void app_simulation_wait(struct app_simulation_process *process) {
    while (waitpid(process->child, &process->state, 0) < 0 && errno == EINTR)
        ;
}

json_t *app_simulation_stats(const char *stats, const char *errors,
                             const struct app_simulation_process *process, struct sdt_error *err) {
    char line[600] = "", *text = line;
    static const char name[] = "stardit-simulate: ";
    bool fine = WIFEXITED(process->state) && WEXITSTATUS(process->state) == 0;
    json_t *object = fine ? json_load_file(stats, 0, NULL) : NULL;
    if (object)
        return object;
    FILE *file = fopen(errors, "r");
    if (!file || !fgets(line, sizeof line, file))
        snprintf(line, sizeof line, "it did not end well");
    if (file)
        fclose(file);
    line[strcspn(line, "\n")] = '\0';
    if (!strncmp(line, name, sizeof name - 1))
        text += sizeof name - 1;
    sdt_fail(err, SDT_ERROR_DEVICE, "%s", text);
    return NULL;
}
