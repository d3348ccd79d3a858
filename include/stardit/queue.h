/* Queues: which of the requests that wait goes on, and on which devices.
 *
 * A queue is asked at every boundary between two steps, so choosing another request than last time
 * is preemption: one that is not chosen waits with its state where it is. No choice changes a
 * result.
 *
 * A queue is one struct sdt_queue, of one or both kinds: `choose` says who goes on where a step
 * has all devices, or a device takes a request each; `share` gives each request devices of its
 * own. Those that come with stardit are found by their names; any other is a module, `--queue
 * ./mine.so`, a shared object with this function:
 *
 *   const struct sdt_queue *sdt_queue_module(void);
 *
 * It needs this header alone, calls nothing of stardit, and stays loaded. docs/serving.md has an
 * example. Times are seconds. */
#ifndef STARDIT_QUEUE_H
#define STARDIT_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Of the structs below. A module with another number is refused. */
#define SDT_QUEUE_ABI 1
/* Devices that `share` can tell apart, and how many sizes of groups there are: 1, 2, 4 ... of
 * them. */
#define SDT_QUEUE_DEVICES 64
#define SDT_QUEUE_SIZES 7

enum sdt_job_phase { SDT_JOB_TEXT, SDT_JOB_STEP, SDT_JOB_DECODE, SDT_JOB_DONE };

/* What a queue may know of a request. */
struct sdt_waiting {
    unsigned long arrival; /* order of submission */
    enum sdt_job_phase phase;
    bool begun;
    int priority;
    double arrived, deadline; /* on the clock of `now`; deadline: HUGE_VAL if it has none */
    int steps_left;
    double flops_left; /* of its text, steps and decode; 0: not known */
};

/* The same, where devices are shared out. */
struct sdt_sharer {
    struct sdt_waiting waiting;
    bool ready;       /* nothing of it is on its way: it can be given devices */
    uint64_t devices; /* of the step that is on its way, or else of its last one; bit d: device d */
    double ran;       /* seconds that its steps have taken up to now */
    /* A step on 2^i devices; 0: it cannot have so many. On one device it always can. */
    double step_seconds[SDT_QUEUE_SIZES];
    double rest_seconds; /* after its last step, on one device, in one piece */
};
struct sdt_share {
    double now;
    int devices;   /* at most SDT_QUEUE_DEVICES */
    uint64_t idle; /* that can be given out */
    const struct sdt_sharer *job /* [count], in the order of their arrival */;
    int count;
    /* Written by the queue, [count], all 0 before: the devices of a request's next step, a power
     * of two of those that are idle, no device twice; 0: it waits. After its last step: one
     * device. */
    uint64_t *given;
};

struct sdt_queue {
    int abi; /* SDT_QUEUE_ABI */
    const char *name;
    /* The index of the one that goes on, of count >= 1 in the order of their arrival. NULL: this
     * queue shares devices out, and cannot say who has them all. */
    int (*choose)(const struct sdt_waiting *job /* [count] */, int count, double now);
    /* NULL: this queue does not share devices out. It is called when a step has ended or a request
     * has come, and at least one is ready and a device idle. */
    void (*share)(const struct sdt_share *share);
};

#ifdef __cplusplus
}
#endif
#endif
