#include <stddef.h>
#include <sys/xattr.h>

// Whether a file has an access control list beside its permissions (acl(5)). Swift's Glibc module leaves extended attributes out.
static inline int cattributes_has_acl(const char *path) { return getxattr(path, "system.posix_acl_access", NULL, 0) > 0; }
