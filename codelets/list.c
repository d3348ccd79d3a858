/* All codelets, so that stardit-info can say which implementations each one has: the names that
 * stand in stardit/codelets.h. */
#include "codelets/codelets.h"

#define SDT_DECLARE(name) extern struct starpu_codelet sdt__##name##_codelet;
SDT_CODELETS(SDT_DECLARE)

const struct starpu_codelet *const sdt_codelets[] = {
#define SDT_ENTRY(name) &sdt__##name##_codelet,
    SDT_CODELETS(SDT_ENTRY) NULL,
};
