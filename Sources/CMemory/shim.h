#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

// Swift has no words for these. Asks for the line of the cache that an address lies in; any address may be asked for.
static inline void cmemory_prefetch(const void *address) { __builtin_prefetch(address, 1, 3); }

// Memory at a multiple of its size, a power of two, in large pages where the kernel gives them (madvise(2), MADV_HUGEPAGE); of no
// certain contents, for free(3). NULL where there is none.
static inline void *cmemory_region(size_t size) {
    void *region = aligned_alloc(size, size);
    if (region) madvise(region, size, MADV_HUGEPAGE);
    return region;
}
static inline void cmemory_release(void *region) { free(region); }
