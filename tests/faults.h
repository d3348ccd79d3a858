/* Allocations and submissions that fail, for tests that are linked with the linker's --wrap: it
 * reaches the calls of what is linked into the program, not those of shared libraries.
 *
 * A test names the functions in its LDFLAGS (fault_ldflags in Makefile.am), arms, calls, disarms.
 * Counting goes over all threads. */
#ifndef STARDIT_TESTS_FAULTS_H
#define STARDIT_TESTS_FAULTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct faults {
    atomic_bool armed;
    long first;         /* the call that fails, from 0 */
    bool all;           /* and all after it */
    atomic_long calls;  /* seen since they were armed */
    atomic_bool failed; /* one has failed */
    atomic_long blocks; /* allocated and not freed, by whoever calls the wrapped functions */
};
/* Of malloc, calloc, realloc, strdup, asprintf and mmap; blocks of posix_memalign and free as
 * well. */
extern struct faults faults;

void faults_arm(struct faults *f, long first, bool all);
void faults_disarm(struct faults *f);
/* Is this call to fail? */
bool faults_refuse(struct faults *f);

void *__wrap_malloc(size_t size);
void __wrap_free(void *block);
#endif
