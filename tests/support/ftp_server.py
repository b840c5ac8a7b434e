"""A real vsftpd on loopback, set up by the commands of docs/uploads.md in a mount namespace with a separate /etc."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.support.ports import SECONDS_MAX, free_port, wait_until_open

ROOT = Path(__file__).parents[2]
PASSWORD = "a long password"
ONCE, EACH = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/uploads.md").read_text(), re.M | re.S)[:2]
SCRIPT = """set -e
mount --make-rprivate /
mount -t tmpfs tmpfs {folder}/etc
cp -a /etc/. {folder}/etc/
mount --bind {folder}/etc /etc
getent group hearthwatch >/dev/null || groupadd hearthwatch
umask 022
{commands}
printf '\\nlisten_port={port}\\nlisten_address=127.0.0.1\\nsecure_chroot_dir={folder}/empty\\n' >> /etc/vsftpd.conf
exec {program} /etc/vsftpd.conf
"""


class FtpServer:
    """`base` is the upload tree; `cameras` have an account and a folder there each."""

    def __init__(self, *cameras: str, full: str = ""):
        """`full`: a camera whose folder takes 64 kB and no more, as one whose quota is used up."""
        if os.geteuid() != 0:
            pytest.skip("vsftpd needs root")
        program = find_program("vsftpd", "unshare")
        self.folder = Path(tempfile.mkdtemp(prefix="hearthwatch-ftp-"))
        self.folder.chmod(0o755)  # cameras are users of theirs
        self.base, self.port = self.folder / "uploads", free_port()
        for name in ("etc", "empty"):
            (self.folder / name).mkdir()
        commands = "\n".join([ONCE, *(EACH.replace("front_door", camera) for camera in cameras)])
        for given, here in (
            (r"apt install .*", "true"),
            (r"systemctl restart vsftpd", "true"),
            (r"passwd (\w+)", rf"echo '\1:{PASSWORD}' | chpasswd"),
            (r"rsa:2048", "rsa:2048 -batch"),
            (r"deploy/", f"{ROOT}/deploy/"),
            (r"/export/foscam", str(self.base)),
        ):
            commands, count = re.subn(given, here, commands)
            assert count, given
        if full:
            commands += f"mount -t tmpfs -o size=64k,mode=777 tmpfs {self.base}/{full}\n"
        self.script = SCRIPT.format(folder=self.folder, commands=commands, port=self.port, program=program)

    def __enter__(self):
        self.output = (self.folder / "output").open("w+")
        self.process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", self.script], stdout=self.output, stderr=self.output
        )
        wait_until_open(self.port, self.process, (self.folder / "output").read_text)
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(SECONDS_MAX)
        self.output.close()
        shutil.rmtree(self.folder)


def find_program(*names: str) -> str:
    """Return the path of the first program; skip, or fail in continuous integration, if one of them is missing."""
    found = [shutil.which(name) or shutil.which(name, path="/usr/sbin") for name in names]
    if missing := [name for name, path in zip(names, found, strict=True) if path is None]:
        required = os.environ.get("HEARTHWATCH_TEST_REQUIRE") == "all"
        (pytest.fail if required else pytest.skip)(f"apt install {' '.join(missing)}")
    return str(found[0])
