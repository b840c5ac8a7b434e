/* Writes down, in order, what a process does to the files below a folder, and what of it was synced. LD_PRELOAD.
 *
 * JOURNAL_UNDER  the folder, absolute; nothing else is written down
 * JOURNAL_FILE   where to; it grows, so several processes one after the other make one journal
 *
 * An entry is written when its call has returned, and no two calls overlap: what stands before a sync was there when
 * the sync began. `tests/support/disk_model.py` reads it. Shared memory maps are not seen; of the files here only SQLite's `-shm`,
 * which no crash needs, is written by one. The environment is read at the first call that finds JOURNAL_UNDER in it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static char under[4096];
static size_t under_length;
static int journal = -1;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static int arm(void) {
    const char *folder;
    if (journal >= 0) return 1;
    if (!(folder = getenv("JOURNAL_UNDER"))) return 0;
    pthread_mutex_lock(&turn);
    if (journal < 0) {
        strncpy(under, folder, sizeof under - 1);
        under_length = strlen(under);
        int fd = syscall(SYS_openat, AT_FDCWD, getenv("JOURNAL_FILE"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        journal = syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900); /* out of the way of whoever closes small numbers */
        syscall(SYS_close, fd);
    }
    pthread_mutex_unlock(&turn);
    return 1;
}

static int inside(const char *path) {
    return !strncmp(path, under, under_length) && (path[under_length] == '/' || !path[under_length]);
}

/* The path behind a descriptor, if it is one of ours. */
static int of_fd(int fd, char *path) {
    if (!arm()) return 0;
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, 4095);
    if (length < 0) return 0;
    path[length] = 0;
    return inside(path);
}

/* The absolute path, if it is one of ours. */
static int of_path(int folder, const char *path, char *whole) {
    if (!path || !arm()) return 0;
    if (path[0] == '/') return strncpy(whole, path, 8000), inside(whole);
    if (folder == AT_FDCWD) {
        if (syscall(SYS_getcwd, whole, 4096) < 0) return 0;
    } else if (!of_fd(folder, whole)) {
        return 0;
    }
    strcat(whole, "/");
    strncat(whole, path, 4000);
    return inside(whole);
}

struct entry {
    uint32_t what, path_length, to_length, data_length;
    uint64_t inode, at;
};

static void note(char what, uint64_t inode, uint64_t at, const char *path, const char *to, const void *data, size_t size) {
    struct entry entry = {what, strlen(path), strlen(to), size, inode, at};
    struct iovec parts[] = {{&entry, sizeof entry}, {(void *)path, entry.path_length}, {(void *)to, entry.to_length}, {(void *)data, size}};
    size_t whole = sizeof entry + entry.path_length + entry.to_length + size;
    if (syscall(SYS_writev, journal, parts, 4) != (long)whole) syscall(SYS_exit_group, 99);
}

static uint64_t inode_of(int fd) {
    struct stat about;
    syscall(SYS_fstat, fd, &about);
    return about.st_ino;
}

/* One call and its entry; errno is the call's. */
#define TURN(call, entry) \
    pthread_mutex_lock(&turn); \
    long done = call; \
    int failed = errno; \
    if (done >= 0) { entry; } \
    pthread_mutex_unlock(&turn); \
    errno = failed; \
    return done;

static int opening(int folder, const char *path, int flags, mode_t mode) {
    char whole[8192];
    if (!(flags & (O_CREAT | O_TRUNC)) || !of_path(folder, path, whole))
        return syscall(SYS_openat, folder, path, flags, mode);
    struct stat about;
    pthread_mutex_lock(&turn);
    int was = !syscall(SYS_newfstatat, folder, path, &about, 0);
    int fd = syscall(SYS_openat, folder, path, flags, mode), failed = errno;
    if (fd >= 0 && !was) note('c', inode_of(fd), 0, whole, "", "", 0);
    if (fd >= 0 && was && flags & O_TRUNC) note('t', inode_of(fd), 0, whole, "", "", 0);
    pthread_mutex_unlock(&turn);
    errno = failed;
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }
#define OPEN(name) int name(const char *path, int flags, ...) { MODE(flags) return opening(AT_FDCWD, path, flags, mode); }
#define OPENAT(name) int name(int folder, const char *path, int flags, ...) { MODE(flags) return opening(folder, path, flags, mode); }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

static void note_parts(int fd, const char *path, uint64_t at, const struct iovec *parts, int n, size_t written) {
    for (int i = 0; i < n && written; i++) {
        size_t size = parts[i].iov_len < written ? parts[i].iov_len : written;
        note('w', inode_of(fd), at, path, "", parts[i].iov_base, size);
        at += size, written -= size;
    }
}

#define WRITE(name, parameters, call, part_list, n, from) \
    ssize_t name parameters { \
        char path[4096]; \
        if (!of_fd(fd, path)) return call; \
        TURN(call, note_parts(fd, path, from, part_list, n, done)) \
    }
#define HERE (syscall(SYS_lseek, fd, 0, SEEK_CUR) - done)
#define ONE &(struct iovec){(void *)data, size}
WRITE(write, (int fd, const void *data, size_t size), syscall(SYS_write, fd, data, size), ONE, 1, HERE)
WRITE(writev, (int fd, const struct iovec *parts, int n), syscall(SYS_writev, fd, parts, n), parts, n, HERE)
WRITE(pwrite, (int fd, const void *data, size_t size, off_t at), syscall(SYS_pwrite64, fd, data, size, at), ONE, 1, at)
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t at), syscall(SYS_pwrite64, fd, data, size, at), ONE, 1, at)
WRITE(pwritev, (int fd, const struct iovec *parts, int n, off_t at), syscall(SYS_pwritev, fd, parts, n, at, 0), parts, n, at)

#define ON_FD(name, parameters, call, entry) \
    int name parameters { \
        char path[4096]; \
        if (!of_fd(fd, path)) return call; \
        TURN(call, entry) \
    }
ON_FD(ftruncate, (int fd, off_t size), syscall(SYS_ftruncate, fd, size), note('t', inode_of(fd), size, path, "", "", 0))
ON_FD(ftruncate64, (int fd, off64_t size), syscall(SYS_ftruncate, fd, size), note('t', inode_of(fd), size, path, "", "", 0))
ON_FD(fsync, (int fd), syscall(SYS_fsync, fd), note('s', inode_of(fd), 0, path, "", "", 0))
ON_FD(fdatasync, (int fd), syscall(SYS_fdatasync, fd), note('s', inode_of(fd), 0, path, "", "", 0))

#define ON_PATH(name, folder, parameters, call, entry) \
    int name parameters { \
        char whole[8192]; \
        if (!of_path(folder, path, whole)) return call; \
        TURN(call, entry) \
    }
#define GONE note('u', 0, 0, whole, "", "", 0)
ON_PATH(unlink, AT_FDCWD, (const char *path), syscall(SYS_unlink, path), GONE)
ON_PATH(rmdir, AT_FDCWD, (const char *path), syscall(SYS_rmdir, path), GONE)
ON_PATH(unlinkat, dir, (int dir, const char *path, int flags), syscall(SYS_unlinkat, dir, path, flags), GONE)
ON_PATH(mkdir, AT_FDCWD, (const char *path, mode_t mode), syscall(SYS_mkdir, path, mode), note('m', 0, 0, whole, "", "", 0))

static int renaming(int a, const char *path, int b, const char *to) {
    char whole[8192], whole_to[8192];
    if (!of_path(a, path, whole) | !of_path(b, to, whole_to)) return syscall(SYS_renameat, a, path, b, to);
    TURN(syscall(SYS_renameat, a, path, b, to), note('r', 0, 0, whole, whole_to, "", 0))
}
int rename(const char *path, const char *to) { return renaming(AT_FDCWD, path, AT_FDCWD, to); }
int renameat(int a, const char *path, int b, const char *to) { return renaming(a, path, b, to); }
