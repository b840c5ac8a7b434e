"""A place where a disk can be full, slow or read-only and inotify scarce, and from which nothing escapes.

On Linux the whole run moves into namespaces of its own (`unshare`: user, mounts, processes), where it may mount a small
disk and lower limits without being root and without touching the machine; whatever is left when it ends dies with it.
Where that is not allowed, what needs it is left out, and the report says so.
"""

import os
import shutil
import signal
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

from tests.support.clock_shift import ShiftedClock
from tests.support.shims import compiled

UNSHARE = ["unshare", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
INSIDE = "HEARTHWATCH_TEST_PLACE"
DISK_MEGABYTES = 1024  # of memory, as far as it is used
LIMITS = {"max_inotify_instances": 0, "max_inotify_watches": 3}


def enter():
    """Run this program again inside, and end with it; returns whether it is inside, False if there is no way in."""
    if INSIDE in os.environ or not shutil.which("unshare") or not _allowed():
        return os.environ.pop(INSIDE, None) is not None
    inside = subprocess.Popen([*UNSHARE, sys.executable, *sys.argv], env={**os.environ, INSIDE: "1"})
    signal.signal(signal.SIGTERM, lambda *_: inside.kill())  # and everything in there with it
    signal.signal(signal.SIGINT, lambda *_: None)  # the terminal tells those inside, who clean up
    sys.exit(inside.wait())


def _allowed():
    return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


class Place:
    """The disk below `folder` and what can happen to it. `inside`: whether it is ours to break."""

    def __init__(self, folder, inside):
        self.folder, self.inside = folder, inside
        folder.mkdir(parents=True)
        if inside:
            mount("-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m", "torture", folder)
        self._pace = folder.with_name("pace")
        self._pace.write_bytes(bytes(4))
        self.library, self.clock = compiled("slow", folder.parent), None
        os.environ["SLOW_FILE"] = str(self._pace)
        if self.library:
            self.clock = ShiftedClock(folder.parent)
            os.environ["CLOCK_SHIFT_FILE"] = self.clock.environment["CLOCK_SHIFT_FILE"]
            self.library = f"{self.library}:{self.clock.environment['LD_PRELOAD']}"

    def leave(self):
        """Let go of the disk, so that its folder can be removed."""
        if self.inside:
            subprocess.run(["umount", "--lazy", self.folder], check=True)

    @contextmanager
    def slow(self, seconds):
        """Each sync takes so long."""
        self._pace.open("r+b").write(struct.pack("I", round(seconds * 1e6)))
        try:
            yield
        finally:
            self._pace.open("r+b").write(bytes(4))

    @contextmanager
    def clock_set(self, seconds):
        """The pipeline's clock is set by so much, and back at the end."""
        self.clock.set(seconds)
        try:
            yield
        finally:
            self.clock.set(0)

    @contextmanager
    def full(self):
        """No room for another page."""
        while not self._shrunk():  # somebody wrote meanwhile
            pass
        try:
            yield
        finally:
            mount("-o", f"remount,size={DISK_MEGABYTES}m", self.folder)

    def _shrunk(self):
        at = os.statvfs(self.folder)
        size = f"remount,size={(at.f_blocks - at.f_bfree) * at.f_frsize}"
        return subprocess.run(["mount", "-o", size, self.folder], capture_output=True).returncode == 0

    @contextmanager
    def read_only(self, folder):
        """As a mount that the kernel made read-only after an error."""
        folder.mkdir(parents=True, exist_ok=True)
        mount("--bind", folder, folder)
        try:
            mount("-o", "remount,bind,ro", folder)
            yield
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)

    @contextmanager
    def limited(self, limit):
        """As if others had taken all that the kernel gives to one user."""
        sysctl = Path("/proc/sys/user") / limit
        before = sysctl.read_text()
        sysctl.write_text(str(LIMITS[limit]))
        try:
            yield
        finally:
            sysctl.write_text(before)


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)
