/* What a scheduler may know of a task. The header is installed, for policies outside this tree, so
 * it lives with the public ones. */
#include "stardit/tag.h"
