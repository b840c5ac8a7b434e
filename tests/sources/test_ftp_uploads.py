"""Promise: with `deploy/vsftpd.conf` cameras upload in the odd ways that they have, each picture gets its row once, and an
account can do nothing but upload into its own folder."""

import ftplib
import json
import os
import subprocess
import time
from contextlib import contextmanager
from io import BytesIO

import pytest

from hearthwatch.record import Record
from hearthwatch.record.ledger import Ledger
from hearthwatch.record.read.status import describe_notes
from hearthwatch.sources.discovery import Discovery, Intervals
from hearthwatch.sources.intake import CaptureClock
from tests.support.ftp_server import PASSWORD, FtpServer, find_program
from tests.support.pipeline import picture

SECONDS_MAX = 30.0
PACE = Intervals(
    sweep_seconds=0.1, settle_seconds=5, still_seconds=3600
)  # a half picture waits for its rest; one whose end was not seen, in a folder that is not watched yet, is taken when still


@pytest.fixture
def server():
    with FtpServer("front_door", "yard") as server:
        yield server


@contextmanager
def connected(server, camera="front_door", secure=False):
    ftp = ftplib.FTP_TLS() if secure else ftplib.FTP()
    ftp.connect("127.0.0.1", server.port, SECONDS_MAX)
    ftp.login(camera, PASSWORD)
    if secure:
        ftp.prot_p()
    with ftp:
        yield ftp


@contextmanager
def discovery(server):
    """Discovery runs inside; what it yields reads the paths of the ledger."""
    record = Record(server.folder / "hearthwatch.db")
    thread = Discovery(os.fsencode(server.base), Ledger(Record(record.path)), PACE, CaptureClock("mtime"))
    thread.portion = 500  # no source sets it here
    thread.start()
    try:
        yield record
    finally:
        thread.stop()
        record.close()
    assert thread.failure is None


def until(condition, what=""):
    deadline = time.monotonic() + SECONDS_MAX
    while not (result := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.005)
    return result


def taken(record):
    return sorted(path for (path,) in record.rows("SELECT path FROM frames"))


def store(ftp, name, data=None, command="STOR"):
    ftp.storbinary(f"{command} {name}", BytesIO(picture(name) if data is None else data))


def test_every_way_of_uploading_gives_one_row_for_each_picture(server):
    url, whole = f"ftp://front_door:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{server.port}", picture("appended")
    with discovery(server) as record:
        with connected(server) as ftp:
            store(ftp, "snap.tmp", picture("renamed"))  # a name for the upload, then its own
            ftp.rename("snap.tmp", "MDAlarm_20261122-081530.jpg")
            for folder in ("2026", "11", "22"):  # folder by folder
                ftp.mkd(folder)
                ftp.cwd(folder)
            store(ftp, "Front_00_20261122081530.jpg")
            ftp.cwd("/")
            ftp.mkd("motion 1")
            store(ftp, "motion 1/2026-11-22 08.15.30.jpg")
            store(ftp, "half.jpg", whole[:500])
            ftp.set_pasv(False)  # the camera listens
            store(ftp, "active.jpg")
        with connected(server) as ftp:  # the connection was lost: the rest is appended
            store(ftp, "half.jpg", whole[500:], "APPE")
        with connected(server, "yard", secure=True) as ftp:
            store(ftp, "one_name.jpg", picture("first"))
            until(lambda: "yard/one_name.jpg" in taken(record))
            store(ftp, "one_name.jpg", picture("second"))  # the same name, again and again
        source = server.folder / "source.jpg"
        source.write_bytes(picture("curl"))
        subprocess.run(
            ["curl", "-sSfk", "--noproxy", "*", "--ssl-reqd", "--ftp-create-dirs", "-T", source, f"{url}/001/jpg/08.15.30%5BM%5D.jpg"],
            check=True, timeout=SECONDS_MAX,
        )  # fmt: skip
        (server.folder / "lftp.jpg").write_bytes(picture("lftp"))
        commands = f"set ssl:verify-certificate no; mkdir -p -f a/b; cd a/b; put {server.folder}/lftp.jpg; cd /; mput -O a {source}"
        subprocess.run(
            [find_program("lftp"), "-u", f"front_door,{PASSWORD}", "-p", str(server.port), "-e", f"{commands}; bye", "127.0.0.1"],
            check=True, timeout=SECONDS_MAX, env=os.environ | {"LFTP_HOME": str(server.folder)},
        )  # fmt: skip
        expected = [
            "front_door/001/jpg/08.15.30[M].jpg",
            "front_door/2026/11/22/Front_00_20261122081530.jpg",
            "front_door/MDAlarm_20261122-081530.jpg",
            "front_door/a/b/lftp.jpg",
            "front_door/a/source.jpg",
            "front_door/active.jpg",
            "front_door/half.jpg",
            "front_door/motion 1/2026-11-22 08.15.30.jpg",
            "yard/one_name.jpg",
            "yard/one_name.jpg",
        ]
        until(lambda: set(taken(record)) >= set(expected) and taken(record).count("yard/one_name.jpg") == 2)
        by_lftp = (
            "front_door/a/b/lftp.jpg",
            "front_door/a/source.jpg",
        )  # it sets their times afterwards: a second row, perhaps
        assert [path for path in taken(record) if path not in by_lftp] == [
            path for path in expected if path not in by_lftp
        ]
        assert record.rows("SELECT path, error FROM frames WHERE state = 'quarantined'") == []


def test_clips_beside_the_pictures_are_counted_and_left_alone(server):
    with discovery(server) as record:
        with connected(server) as ftp:
            store(ftp, "20261122_081530.mp4", b"\0\0\0\x18ftypmp42")
            store(ftp, "20261122_081530.avi", b"RIFF")
            store(ftp, "20261122_081530.jpg")

        def notes():
            found = record.one("SELECT value FROM meta WHERE key = 'discovery'")
            return describe_notes(json.loads(found[0])) if found else []

        until(lambda: any("files that are no pictures" in note for note in notes()))
        (note,) = notes()
        assert note.startswith("2 files that are no pictures left alone (") and ".mp4 1" in note and ".avi 1" in note
        assert taken(record) == ["front_door/20261122_081530.jpg"]
    assert (server.base / "front_door/20261122_081530.mp4").exists()


def test_an_account_can_upload_into_its_folder_and_nothing_else(server):
    with connected(server, "yard") as ftp:
        store(ftp, "hers.jpg")
    with connected(server) as ftp:
        store(ftp, "his.jpg")
        for command in ("LIST", "NLST", "RETR his.jpg", "DELE his.jpg", "RMD /"):
            with pytest.raises(ftplib.error_perm, match="550"):
                ftp.sendcmd(command)
        ftp.cwd("..")
        assert ftp.pwd() == "/"
        with pytest.raises(ftplib.error_perm, match="550"):
            ftp.cwd(f"{server.base}/yard")
    with ftplib.FTP() as ftp, pytest.raises(ftplib.error_perm, match="530"):
        ftp.connect("127.0.0.1", server.port, SECONDS_MAX)
        ftp.login("root", PASSWORD)
    assert (server.base / "front_door/his.jpg").stat().st_mode & 0o777 == 0o640


def test_a_camera_whose_space_is_used_up_is_refused_and_the_others_are_not():
    with FtpServer("front_door", "yard", full="yard") as server:
        with pytest.raises(ftplib.all_errors), connected(server, "yard") as ftp:  # also at its end, if it hung up
            store(ftp, "big.jpg", b"\xff\xd8" + bytes(200_000))
        with connected(server) as ftp:
            store(ftp, "fits.jpg")
