/* A hash of bytes, to tell contents apart. */
#ifndef STARDIT_DIGEST_H
#define STARDIT_DIGEST_H

#include <stddef.h>
#include <stdint.h>

#define SDT__DIGEST_BEGIN UINT64_C(14695981039346656037)

/* The hash with more bytes. Each step can be undone, so data that differ in one word never give the
 * same hash. Not against anybody who wants two to look alike. */
uint64_t sdt__digest(uint64_t hash, const void *data, size_t bytes);
#endif
