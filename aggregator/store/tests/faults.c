/* Lets calls on labstat.db fail, for tests: loaded with LD_PRELOAD, told by the file that
 * LABSTAT_FAULTS names: "NUMBER CALL ERRNO SKIP ONCE". A new number begins a new fault. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static int fault(const char *call, int fd) {
    static int number = -1, seen, fired;
    char link[64], path[1024], text[128], wanted[32];
    int code, skip, once, now;
    const char *control = getenv("LABSTAT_FAULTS");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    if (control == NULL || len <= 0) return 0;
    path[len] = 0;
    if (strstr(path, "labstat.db") == NULL) return 0;
    int file = syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    len = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    if (len <= 0) return 0;
    text[len] = 0;
    if (sscanf(text, "%d %31s %d %d %d", &now, wanted, &code, &skip, &once) != 5) return 0;
    if (now != number) { number = now; seen = 0; fired = 0; }
    if (strcmp(wanted, call) != 0) return 0;
    if (seen++ < skip || (once && fired)) return 0;
    fired = 1;
    return code;
}

#define FAIL(call, fd) do { int code = fault(call, fd); if (code) { errno = code; return -1; } } while (0)

ssize_t write(int fd, const void *b, size_t n) { FAIL("write", fd); return syscall(SYS_write, fd, b, n); }
ssize_t read(int fd, void *b, size_t n) { FAIL("read", fd); return syscall(SYS_read, fd, b, n); }
ssize_t pwrite64(int fd, const void *b, size_t n, off64_t o) { FAIL("write", fd); return syscall(SYS_pwrite64, fd, b, n, o); }
ssize_t pread64(int fd, void *b, size_t n, off64_t o) { FAIL("read", fd); return syscall(SYS_pread64, fd, b, n, o); }
ssize_t pwrite(int fd, const void *b, size_t n, off_t o) { FAIL("write", fd); return syscall(SYS_pwrite64, fd, b, n, o); }
ssize_t pread(int fd, void *b, size_t n, off_t o) { FAIL("read", fd); return syscall(SYS_pread64, fd, b, n, o); }
int fsync(int fd) { FAIL("sync", fd); return syscall(SYS_fsync, fd); }
int fdatasync(int fd) { FAIL("sync", fd); return syscall(SYS_fdatasync, fd); }
int ftruncate64(int fd, off64_t n) { FAIL("truncate", fd); return syscall(SYS_ftruncate, fd, n); }
int ftruncate(int fd, off_t n) { FAIL("truncate", fd); return syscall(SYS_ftruncate, fd, n); }
