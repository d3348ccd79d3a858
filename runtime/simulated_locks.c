/* StarPU's mutexes and conditions in simulated time, in place of its own, which a program that
 * defines them overrides.
 *
 * SimGrid runs one thread at a time, and another only where that one calls it. StarPU calls it for
 * every lock and unlock, two switches of contexts each, although a lock is hardly ever taken: one
 * of 3000 in tests/simulation. Here a lock is a mark, and who finds it taken waits by StarPU's own
 * functions. A simulation takes a quarter of the time. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include <starpu.h>

/* StarPU's own. */
static struct {
    bool there;
    int (*lock)(starpu_pthread_mutex_t *), (*unlock)(starpu_pthread_mutex_t *);
    int (*wait)(starpu_pthread_cond_t *, starpu_pthread_mutex_t *);
    int (*signal)(starpu_pthread_cond_t *), (*broadcast)(starpu_pthread_cond_t *);
    int (*cond_destroy)(starpu_pthread_cond_t *);
    starpu_pthread_mutex_t mutex; /* of all waits */
    starpu_pthread_cond_t freed;  /* some mutex that was taken */
    int waiting;                  /* for one */
} own;

/* What a condition points to. */
struct condition {
    starpu_pthread_cond_t cond;
    int waiting;
    int arriving, missed; /* of these: about to wait; told before they did */
};

static char mark; /* what a mutex that is taken points to */
#define TAKEN ((starpu_pthread_mutex_t)&mark)

static void find(void *function, const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        STARPU_ABORT_MSG("StarPU has no %s", name);
    *(void **)function = found;
}

static void find_own(void) {
    if (own.there)
        return;
    find(&own.lock, "starpu_pthread_mutex_lock");
    find(&own.unlock, "starpu_pthread_mutex_unlock");
    find(&own.wait, "starpu_pthread_cond_wait");
    find(&own.signal, "starpu_pthread_cond_signal");
    find(&own.broadcast, "starpu_pthread_cond_broadcast");
    find(&own.cond_destroy, "starpu_pthread_cond_destroy");
    own.there = true;
}

static void give_back(starpu_pthread_mutex_t *mutex) {
    *mutex = NULL;
    if (own.waiting > 0)
        own.broadcast(&own.freed);
}

/* Condition variables are woken by SimGrid's own thread, too, which must not wait. */
static int tell(starpu_pthread_cond_t *cond, bool all) {
    struct condition *c = (struct condition *)*cond;
    if (!c || c->waiting == 0)
        return 0;
    if (c->missed < c->arriving) {
        c->missed = all ? c->arriving : c->missed + 1;
        if (!all)
            return 0;
    }
    return all ? own.broadcast(&c->cond) : own.signal(&c->cond);
}

#pragma GCC visibility push(default)

int starpu_pthread_mutex_init(starpu_pthread_mutex_t *mutex,
                              const starpu_pthread_mutexattr_t *attributes) {
    (void)attributes;
    *mutex = NULL;
    return 0;
}

int starpu_pthread_mutex_destroy(starpu_pthread_mutex_t *mutex) {
    *mutex = NULL;
    return 0;
}

int starpu_pthread_mutex_lock(starpu_pthread_mutex_t *mutex) {
    while (*mutex == TAKEN) {
        find_own();
        own.waiting++;
        own.lock(&own.mutex);
        if (*mutex == TAKEN)
            own.wait(&own.freed, &own.mutex);
        own.unlock(&own.mutex);
        own.waiting--;
    }
    *mutex = TAKEN;
    return 0;
}

int starpu_pthread_mutex_unlock(starpu_pthread_mutex_t *mutex) {
    give_back(mutex);
    return 0;
}

/* Who tries once more lets others go on, as StarPU's own does. */
int starpu_pthread_mutex_trylock(starpu_pthread_mutex_t *mutex) {
    if (*mutex == TAKEN) {
        find_own();
        own.lock(&own.mutex);
        own.unlock(&own.mutex);
        return EBUSY;
    }
    *mutex = TAKEN;
    return 0;
}

int starpu_pthread_cond_init(starpu_pthread_cond_t *cond, starpu_pthread_condattr_t *attributes) {
    (void)attributes;
    *cond = NULL;
    return 0;
}

int starpu_pthread_cond_destroy(starpu_pthread_cond_t *cond) {
    struct condition *c = (struct condition *)*cond;
    if (c && c->waiting == 0) {
        own.cond_destroy(&c->cond);
        free(c);
    }
    *cond = NULL;
    return 0;
}

int starpu_pthread_cond_signal(starpu_pthread_cond_t *cond) { return tell(cond, false); }

int starpu_pthread_cond_broadcast(starpu_pthread_cond_t *cond) { return tell(cond, true); }

int starpu_pthread_cond_wait(starpu_pthread_cond_t *cond, starpu_pthread_mutex_t *mutex) {
    struct condition *c = (struct condition *)*cond;
    find_own();
    if (!c) {
        c = calloc(1, sizeof *c);
        if (!c)
            STARPU_ABORT_MSG("no memory for a condition");
        *cond = (starpu_pthread_cond_t)c;
    }
    c->waiting++;
    own.lock(&own.mutex);
    c->arriving++;
    give_back(mutex);
    c->arriving--;
    if (c->missed > 0)
        c->missed--;
    else
        own.wait(&c->cond, &own.mutex);
    c->waiting--;
    own.unlock(&own.mutex);
    return starpu_pthread_mutex_lock(mutex);
}

/* StarPU limits waits where it was built for OpenMP alone; nothing here ends by that limit. */
int starpu_pthread_cond_timedwait(starpu_pthread_cond_t *cond, starpu_pthread_mutex_t *mutex,
                                  const struct timespec *until) {
    (void)until;
    return starpu_pthread_cond_wait(cond, mutex);
}

#pragma GCC visibility pop
