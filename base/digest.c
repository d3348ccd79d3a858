/* FNV-1a over words: 8 side by side, since one after the other would wait for a multiplication
 * each. */
#include "base/digest.h"

#include <string.h>

uint64_t sdt__digest(uint64_t hash, const void *data, size_t bytes) {
    enum { LANES = 8, WORD = sizeof(uint64_t) };
    const uint64_t prime = UINT64_C(1099511628211);
    const unsigned char *byte = data;
    uint64_t lane[LANES], word[LANES] = {0};

    for (int l = 0; l < LANES; l++)
        lane[l] = hash + (uint64_t)l;
    for (; bytes >= sizeof word; bytes -= sizeof word, byte += sizeof word) {
        memcpy(word, byte, sizeof word);
        for (int l = 0; l < LANES; l++)
            lane[l] = (lane[l] ^ word[l]) * prime;
    }
    for (size_t i = 0; i < bytes; i++)
        lane[0] = (lane[0] ^ byte[i]) * prime;
    for (int l = 0; l < LANES; l++)
        hash = (hash ^ (lane[l] ^ lane[l] >> 32)) * prime;
    return hash;
}
