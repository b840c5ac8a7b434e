/* Fails, or dies before, the n-th system call of a kind on anything below a folder. Loaded with LD_PRELOAD.
 *
 * FAIL_UNDER  the folder, absolute; everything elsewhere works
 * FAIL_CALL   open read write fsync truncate rename unlink stat scan, or any
 * FAIL_AT     the n-th such call, from 1; 0 only counts
 * FAIL_TIMES  how many in a row fail (1)
 * FAIL_ERRNO  the number that the call fails with; 0: the process ends there with exit code 9
 * FAIL_COUNT  a file of 8 bytes that holds the number of calls so far, for whoever watches
 *
 * The environment is read at the first call that finds FAIL_UNDER in it, so a process can arm itself after a fork.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS_MAX 65536
static unsigned char ours[FDS_MAX];
static char under[4096];
static size_t under_length;
static char kind[16];
static long at, times;
static int error_number;
static atomic_long *count;
static atomic_int armed;

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

static int arm(void) {
    if (armed) return armed == 2;
    const char *folder = getenv("FAIL_UNDER");
    if (!folder) return 0;
    int expected = 0;
    if (!atomic_compare_exchange_strong(&armed, &expected, 1)) return 0;
    strncpy(under, folder, sizeof under - 1);
    under_length = strlen(under);
    strncpy(kind, getenv("FAIL_CALL"), sizeof kind - 1);
    at = atol(getenv("FAIL_AT"));
    times = getenv("FAIL_TIMES") ? atol(getenv("FAIL_TIMES")) : 1;
    error_number = atoi(getenv("FAIL_ERRNO"));
    int fd = syscall(SYS_openat, AT_FDCWD, getenv("FAIL_COUNT"), O_RDWR);
    count = mmap(0, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    armed = 2;
    return 1;
}

static int path_is_ours(int folder, const char *path) {
    if (!arm() || !path) return 0;
    char whole[8192];
    if (path[0] != '/') {
        if (folder != AT_FDCWD) return folder >= 0 && folder < FDS_MAX && ours[folder];
        if (!getcwd(whole, 4096)) return 0;
        strcat(whole, "/");
        strncat(whole, path, 4000);
        path = whole;
    }
    return !strncmp(path, under, under_length) && (path[under_length] == '/' || !path[under_length]);
}

static int fd_is_ours(int fd) { return arm() && fd >= 0 && fd < FDS_MAX && ours[fd]; }

/* Whether this call is to fail; errno is set then. */
static int fails(const char *what) {
    if (strcmp(kind, "any") && strcmp(kind, what)) return 0;
    long n = atomic_fetch_add(count, 1) + 1;
    if (!at || n < at || n >= at + times) return 0;
    if (!error_number) syscall(SYS_exit_group, 9);
    errno = error_number;
    return 1;
}

static int opened(int fd, int is_ours) {
    if (fd >= 0 && fd < FDS_MAX) ours[fd] = is_ours;
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        MODE(flags) \
        int mine = path_is_ours(AT_FDCWD, path); \
        if (mine && fails("open")) return -1; \
        return opened(((int (*)(const char *, int, ...))next(#name))(path, flags, mode), mine); \
    }
#define OPENAT(name) \
    int name(int folder, const char *path, int flags, ...) { \
        MODE(flags) \
        int mine = path_is_ours(folder, path); \
        if (mine && fails("open")) return -1; \
        return opened(((int (*)(int, const char *, int, ...))next(#name))(folder, path, flags, mode), mine); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

#define ON_FD(type, name, what, parameters, arguments) \
    type name parameters { \
        if (fd_is_ours(fd) && fails(what)) return -1; \
        return ((type (*) parameters)next(#name)) arguments; \
    }
ON_FD(ssize_t, read, "read", (int fd, void *data, size_t size), (fd, data, size))
ON_FD(ssize_t, pread, "read", (int fd, void *data, size_t size, off_t from), (fd, data, size, from))
ON_FD(ssize_t, pread64, "read", (int fd, void *data, size_t size, off64_t from), (fd, data, size, from))
ON_FD(ssize_t, readv, "read", (int fd, const struct iovec *parts, int n), (fd, parts, n))
ON_FD(ssize_t, write, "write", (int fd, const void *data, size_t size), (fd, data, size))
ON_FD(ssize_t, pwrite, "write", (int fd, const void *data, size_t size, off_t from), (fd, data, size, from))
ON_FD(ssize_t, pwrite64, "write", (int fd, const void *data, size_t size, off64_t from), (fd, data, size, from))
ON_FD(ssize_t, writev, "write", (int fd, const struct iovec *parts, int n), (fd, parts, n))
ON_FD(int, fsync, "fsync", (int fd), (fd))
ON_FD(int, fdatasync, "fsync", (int fd), (fd))
ON_FD(int, ftruncate, "truncate", (int fd, off_t size), (fd, size))
ON_FD(int, ftruncate64, "truncate", (int fd, off64_t size), (fd, size))
ON_FD(int, fstat, "stat", (int fd, struct stat *about), (fd, about))
ON_FD(int, fstat64, "stat", (int fd, struct stat64 *about), (fd, about))

int close(int fd) {
    if (fd >= 0 && fd < FDS_MAX) ours[fd] = 0;
    return ((int (*)(int))next("close"))(fd);
}

int dup(int fd) { return opened(((int (*)(int))next("dup"))(fd), fd_is_ours(fd)); }

#define ON_PATH(type, failure, name, what, folder, parameters, arguments) \
    type name parameters { \
        if (path_is_ours(folder, path) && fails(what)) return failure; \
        return ((type (*) parameters)next(#name)) arguments; \
    }
ON_PATH(int, -1, rename, "rename", AT_FDCWD, (const char *path, const char *to), (path, to))
ON_PATH(int, -1, renameat, "rename", a, (int a, const char *path, int b, const char *to), (a, path, b, to))
ON_PATH(int, -1, unlink, "unlink", AT_FDCWD, (const char *path), (path))
ON_PATH(int, -1, unlinkat, "unlink", a, (int a, const char *path, int flags), (a, path, flags))
ON_PATH(int, -1, mkdir, "open", AT_FDCWD, (const char *path, mode_t mode), (path, mode))
ON_PATH(int, -1, stat, "stat", AT_FDCWD, (const char *path, struct stat *about), (path, about))
ON_PATH(int, -1, stat64, "stat", AT_FDCWD, (const char *path, struct stat64 *about), (path, about))
ON_PATH(int, -1, lstat, "stat", AT_FDCWD, (const char *path, struct stat *about), (path, about))
ON_PATH(int, -1, lstat64, "stat", AT_FDCWD, (const char *path, struct stat64 *about), (path, about))
ON_PATH(int, -1, fstatat, "stat", a, (int a, const char *path, struct stat *about, int f), (a, path, about, f))
ON_PATH(int, -1, fstatat64, "stat", a, (int a, const char *path, struct stat64 *about, int f), (a, path, about, f))
ON_PATH(DIR *, 0, opendir, "scan", AT_FDCWD, (const char *path), (path))

DIR *fdopendir(int fd) {
    if (fd_is_ours(fd) && fails("scan")) return 0;
    return ((DIR * (*)(int)) next("fdopendir"))(fd);
}
