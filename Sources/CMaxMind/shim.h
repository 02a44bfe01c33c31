#include <maxminddb.h>
#include <sys/syscall.h>
#include <unistd.h>

// Swift's Glibc module leaves memfd_create(2) out. The 1 is MFD_CLOEXEC.
static inline int cmaxmind_memory_file(void) { return (int)syscall(SYS_memfd_create, "postern-geo", 1u); }

// Swift takes a member named union for a keyword's; these read it.
static inline const char *cmaxmind_text(const MMDB_entry_data_s *data) { return data->utf8_string; }
static inline uint16_t cmaxmind_uint16(const MMDB_entry_data_s *data) { return data->uint16; }
static inline uint32_t cmaxmind_uint32(const MMDB_entry_data_s *data) { return data->uint32; }
static inline uint64_t cmaxmind_uint64(const MMDB_entry_data_s *data) { return data->uint64; }
