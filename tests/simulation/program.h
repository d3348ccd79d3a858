/* A program that runs in simulated time. It defines, before or after this is included:
 *
 *   usage         the names of its arguments
 *   arguments     how many there are
 *   platform_of   the machine that it simulates, by its arguments
 *   run           what it does there; the exit status */
#ifndef STARDIT_TESTS_SIMULATION_PROGRAM_H
#define STARDIT_TESTS_SIMULATION_PROGRAM_H

#include <stdio.h>
#include <stdlib.h>

#include "runtime/machine.h"
#include "runtime/simulation.h"

static const char usage[];
static const int arguments;
static struct sdt_platform platform_of(char **argv);
static int run(struct sdt_machine *machine, char **argv);

/* Before libstarpu's main: see runtime/simulation.h. */
__attribute__((constructor)) static void launch(int argc, char **argv) {
    struct sdt_error err;
    int code = 1;
    if (sdt_simulation_launched())
        return;
    if (argc != 1 + arguments) {
        fprintf(stderr, "usage: %s %s\n", argv[0], usage);
        exit(2);
    }
    struct sdt_platform platform = platform_of(argv);
    if (sdt_simulation_launch(&platform, argv, &code, &err) != SDT_OK)
        fprintf(stderr, "%s\n", err.message);
    exit(code);
}

int main(int argc, char **argv) {
    (void)argc; /* launch() has looked */
    struct sdt_error err;
    struct sdt_machine *machine = NULL;
    struct sdt_platform platform = platform_of(argv);
    const struct sdt_machine_options options = {.devices = platform.devices,
                                                .workers_per_device = 1};
    sdt_simulation_use(&platform);
    if (sdt_machine_open(&options, &machine, &err) != SDT_OK) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    sdt_simulation_rates(machine);
    int code = run(machine, argv);
    fflush(stdout);
    sdt_simulation_finish();
    _Exit(code); /* its data need no way home */
}
#endif
