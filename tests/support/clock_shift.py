"""A wall clock that a test can set for one process: `LD_PRELOAD` of a few lines of C that add seconds to it.

The monotonic clock, and the times of files, stay true.
"""

import mmap
import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile const long *shift;
__attribute__((constructor)) static void start(void) {
  int file = open(getenv("CLOCK_SHIFT_FILE"), O_RDONLY);
  void *page = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
  if (page != MAP_FAILED) shift = page;
}
int clock_gettime(clockid_t id, struct timespec *at) {
  int failed = syscall(SYS_clock_gettime, id, at);
  if (!failed && shift && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += *shift;
  return failed;
}
int gettimeofday(struct timeval *at, void *zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec, at->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
"""


class ShiftedClock:
    """`environment` for a process whose wall clock `set` moves, in seconds from the true one."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "clock_shift"
        self.file.write_bytes(bytes(8))
        self.environment = {"LD_PRELOAD": str(_compile(folder)), "CLOCK_SHIFT_FILE": str(self.file)}

    def set(self, seconds: int) -> None:
        with self.file.open("r+b") as file, mmap.mmap(file.fileno(), 8) as page:
            page[:] = seconds.to_bytes(8, "little", signed=True)


def _compile(folder: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        require = os.environ.get("HEARTHWATCH_TEST_REQUIRE") == "all"
        (pytest.fail if require else pytest.skip)("no C compiler: apt-get install gcc libc6-dev")
    source, library = folder / "clock_shift.c", folder / "clock_shift.so"
    source.write_text(SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source], check=True)
    return library
