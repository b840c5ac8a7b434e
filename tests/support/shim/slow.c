/* A disk that takes its time: each fsync and write of this process takes as long as a shared file says.
 * Loaded with LD_PRELOAD. SLOW_FILE: 4 bytes, microseconds; whoever writes there slows every process that has it loaded.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static volatile unsigned *microseconds;

__attribute__((constructor)) static void look(void) {
    const char *file = getenv("SLOW_FILE");
    int fd = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *page = mmap(0, sizeof *microseconds, PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED) microseconds = page;
    close(fd);
}

static void take_time(unsigned share) {
    unsigned us = microseconds ? *microseconds / share : 0;
    if (us) nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000L}, 0);
}

#define SLOW(share, type, name, parameters, arguments) \
    type name parameters { \
        take_time(share); \
        return ((type (*) parameters)dlsym(RTLD_NEXT, #name)) arguments; \
    }
SLOW(1, int, fsync, (int fd), (fd))
SLOW(1, int, fdatasync, (int fd), (fd))
SLOW(20, ssize_t, pwrite, (int fd, const void *data, size_t size, off_t from), (fd, data, size, from))
SLOW(20, ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t from), (fd, data, size, from))
