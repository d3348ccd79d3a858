/* Finding the tag of a task. Tags travel in task->sched_data, which StarPU leaves to us. */
#include "schedulers/tag.h"

#include <starpu.h>

const char *sdt_role_name(enum sdt_role role) {
    switch (role) {
#define SDT_ROLE_NAME(name, word)                                                                  \
    case SDT_ROLE_##name:                                                                          \
        return word;
        SDT_ROLE_TABLE(SDT_ROLE_NAME)
    case SDT_ROLES:
        break;
    }
    return "unknown";
}

const struct sdt_tag *sdt_task_tag(const struct starpu_task *task) {
    /* Only our tasks put their argument block into sched_data as well; the pointer of somebody
     * else's task is never followed. */
    if (!task->sched_data || task->sched_data != task->cl_arg)
        return NULL;
    const struct sdt_tag *tag = task->sched_data;
    return tag->mark == SDT_TAG_MARK ? tag : NULL;
}
