#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// Swift's Glibc module leaves these out, or gives them types that Swift cannot use.
static inline int cepoll_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }
static inline int cepoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

// Accepts a connection: close-on-exec and non-blocking.
static inline int cepoll_accept(int listener, struct sockaddr_storage *address) {
    unsigned length = sizeof *address;
    return (int)syscall(SYS_accept4, listener, address, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

static inline int cepoll_control(int epoll, int operation, int descriptor, uint32_t events, uint64_t token) {
    struct epoll_event event = {.events = events, .data = {.u64 = token}};
    return epoll_ctl(epoll, operation, descriptor, &event);
}

// EPOLLET is bit 31, which Swift would take for a negative number.
static const uint32_t cepoll_in = EPOLLIN;
static const uint32_t cepoll_gone = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
static const uint32_t cepoll_edge = EPOLLET;
