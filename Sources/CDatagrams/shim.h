#include <errno.h>
#include <malloc.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// Many datagrams in one system call. Swift's Glibc module leaves recvmmsg and sendmmsg out, and the addresses of packets
// (ip(7), IP_PKTINFO) are macros.

struct cdatagram_header {
    struct msghdr header;
    unsigned length;
};

// in_pktinfo and in6_pktinfo, of which one is present at a time (RFC 3542 §6).
struct cdatagram_info4 { int interface; uint32_t local; uint32_t destination; };
struct cdatagram_info6 { uint8_t local[16]; uint32_t interface; };
enum { cdatagram_control = 64, cdatagram_batch = 64 };

struct cdatagram_slot {
    struct sockaddr_storage peer;
    struct iovec vector;
    char control[cdatagram_control] __attribute__((aligned(8)));
};

// Gives memory that was freed back to the system (malloc_trim(3)).
static inline void cdatagram_give_back(void) { malloc_trim(0); }

// What is received, and what is sent in reply: the n-th of one has nothing to do with the n-th of the other.
struct cdatagram_batch_memory {
    struct cdatagram_header headers[cdatagram_batch];
    struct cdatagram_slot slots[cdatagram_batch];
};

static inline struct cdatagram_batch_memory *cdatagram_make(void) {
    return (struct cdatagram_batch_memory *)calloc(1, sizeof(struct cdatagram_batch_memory));
}

// Waits for the first, takes what is there besides, and returns how many; -1 with errno. Datagram n is put to
// octets + n * stride; what is longer than stride is cut.
static inline int cdatagram_receive(int descriptor, struct cdatagram_batch_memory *batch, uint8_t *octets, unsigned stride, int wants_info) {
    for (int i = 0; i < cdatagram_batch; i++) {
        struct cdatagram_slot *slot = &batch->slots[i];
        struct msghdr *header = &batch->headers[i].header;
        slot->vector.iov_base = octets + (size_t)i * stride;
        slot->vector.iov_len = stride;
        header->msg_name = &slot->peer;
        header->msg_namelen = sizeof slot->peer;
        header->msg_iov = &slot->vector;
        header->msg_iovlen = 1;
        header->msg_control = wants_info ? slot->control : 0;
        header->msg_controllen = wants_info ? sizeof slot->control : 0;
        header->msg_flags = 0;
    }
    return (int)syscall(SYS_recvmmsg, descriptor, batch->headers, cdatagram_batch, MSG_WAITFORONE, 0);
}

static inline unsigned cdatagram_length(const struct cdatagram_batch_memory *batch, int index) { return batch->headers[index].length; }

// 4 or 6, 0 for neither.
static inline int cdatagram_family(const struct cdatagram_batch_memory *batch, int index) {
    int family = batch->slots[index].peer.ss_family;
    return family == AF_INET ? 4 : family == AF_INET6 ? 6 : 0;
}

static inline uint32_t cdatagram_v4(const struct cdatagram_batch_memory *batch, int index) {
    return ntohl(((const struct sockaddr_in *)&batch->slots[index].peer)->sin_addr.s_addr);
}

static inline uint64_t cdatagram_v6(const struct cdatagram_batch_memory *batch, int index, int half) {
    uint64_t bits;
    memcpy(&bits, (const char *)&((const struct sockaddr_in6 *)&batch->slots[index].peer)->sin6_addr + 8 * half, 8);
    return __builtin_bswap64(bits);
}

static inline unsigned cdatagram_port(const struct cdatagram_batch_memory *batch, int index) {
    const struct cdatagram_slot *slot = &batch->slots[index];
    return ntohs(slot->peer.ss_family == AF_INET ? ((const struct sockaddr_in *)&slot->peer)->sin_port
                                                 : ((const struct sockaddr_in6 *)&slot->peer)->sin6_port);
}

// Makes message `place` of what is sent the reply to message `index` of what was received: to its sender, from the address that
// it was sent to. `place` never exceeds `index`, and goes up with it.
static inline void cdatagram_reply(struct cdatagram_batch_memory *received, int index, struct cdatagram_header *replies, int place, struct iovec *vectors, uint8_t *octets, unsigned length) {
    vectors[place].iov_base = octets;
    vectors[place].iov_len = length;
    struct msghdr *header = &replies[place].header;
    *header = received->headers[index].header;
    header->msg_iov = &vectors[place];
    header->msg_iovlen = 1;
    header->msg_flags = 0;
    if (!header->msg_control || !header->msg_controllen) {
        header->msg_control = 0;
        header->msg_controllen = 0;
        return;
    }
    struct cmsghdr *control = CMSG_FIRSTHDR(header);
    if (control && control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) {
        // The kernel routes; only the source address is ours to say.
        struct cdatagram_info4 *info = (struct cdatagram_info4 *)CMSG_DATA(control);
        info->interface = 0;
    } else if (!control || control->cmsg_level != IPPROTO_IPV6) {
        header->msg_control = 0;
        header->msg_controllen = 0;
    }
}

static inline int cdatagram_send(int descriptor, struct cdatagram_header *replies, int first, int count) {
    return (int)syscall(SYS_sendmmsg, descriptor, replies + first, count, MSG_NOSIGNAL);
}

// Has packets tell the address they were sent to. `family` as above.
static inline int cdatagram_want_info(int descriptor, int family) {
    int yes = 1;
    return family == 4 ? setsockopt(descriptor, IPPROTO_IP, IP_PKTINFO, &yes, sizeof yes)
                       : setsockopt(descriptor, IPPROTO_IPV6, 49 /* IPV6_RECVPKTINFO */, &yes, sizeof yes);
}
