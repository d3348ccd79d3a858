/* The table of operation.h on CPUs: every kernel of stardit/kernels.h against its plain version. */
#include "tests/kernels/operation.h"

struct sdt_cuda *cuda;

const struct backend backend = {
    .kind = CPU, .ways = 1, .put = host_put, .get = host_get, .release = host_release};

int main(int argc, char **argv) {
    operations_run(argc, argv);
    return check_end("cpu");
}
