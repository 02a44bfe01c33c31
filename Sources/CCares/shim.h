#include <ares.h>
#include <sys/eventfd.h>

// Swift's Glibc module leaves eventfd(2) out.
static inline int ccares_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
