"""Promise: uploads and thumbnails are served inline and cached well, and no name leads out of their folders."""

import io
import json
import os
import shutil
import socket

import pytest
from PIL import Image

from hearthwatch.record.ledger import FoundFile
from hearthwatch.record.paths import picture_url
from hearthwatch.record.pictures import keep_event
from tests.support.api_record import SECONDS_MAX, Home, serve, story

SECRET = b"the secret that nobody may read"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    home = story(Home(folder))
    (folder / "secret.jpg").write_bytes(SECRET)
    (home.data / "token.jpg").write_bytes(SECRET)
    door = home.base / "Front Door"
    (door / "deep").mkdir()
    for name, content in {
        "a..b.jpg": b"two dots", "deep/c d#?.png": b"deep", "notes.txt": b"text", "noext": b"none", "clip.mp4": bytes(range(256)) * 40_000,
        ".jpg": b"dot", "back\\slash.jpg": b"backslash", "ünï.jpg": b"unicode", "x.jpg.exe": b"exe", "UP.JPG": b"upper",
    }.items():  # fmt: skip
        (door / name).write_bytes(content)
    (door / os.fsdecode(b"latin\xe9.jpg")).write_bytes(b"latin")
    (door / "two\nlines\n.jpg").write_bytes(b"line breaks")
    (door / "out.jpg").symlink_to(folder / "secret.jpg")
    (door / "outdir").symlink_to(folder)
    (door / "in.jpg").symlink_to(door / "a..b.jpg")
    (door / "dangling.jpg").symlink_to(door / "nothing.jpg")
    (door / "loop.jpg").symlink_to(door / "loop.jpg")
    os.mkfifo(door / "pipe.jpg")
    (home.base / "Driveway" / "other.jpg").write_bytes(SECRET)
    yield home
    home.close()


@pytest.fixture(scope="module")
def served(home):
    with serve(home.settings()) as served:
        yield served


@pytest.fixture(scope="module")
def api(served):
    with served.client() as client:
        yield client


def raw(served, target: bytes, *headers: bytes) -> tuple[int, bytes]:
    """A request exactly as it stands here; no client tidies it."""
    with socket.create_connection(("127.0.0.1", served.port), SECONDS_MAX) as connection:
        lines = [b"GET " + target + b" HTTP/1.1", b"Host: 127.0.0.1", b"Connection: close", *headers]
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


CAMERA = "/api/media/cameras/front_door/"


@pytest.mark.parametrize(
    ("name", "code", "content"),
    [
        ("a..b.jpg", 200, b"two dots"), ("deep/c%20d%23%3F.png", 200, b"deep"), ("%C3%BCn%C3%AF.jpg", 200, b"unicode"), ("in.jpg", 200, b"two dots"),
        (r"latin\xe9.jpg", 200, b"latin"), (r"back\\slash.jpg", 200, b"backslash"), ("UP.JPG", 200, b"upper"), ("x" * 4097, 414, None),
        ("x/" * 2048, 400, None), ("x/" * 2049, 414, None), ("../" * 1366, 414, None), ("../" * 1365, 403, None), ("../" * 2 + "secret.jpg", 403, None), ("..", 403, None),
        ("deep/../a..b.jpg", 403, None), ("/etc/passwd", 403, None), ("%2fetc%2fpasswd", 403, None), ("..%00.jpg", 400, None), ("a%00b.jpg", 400, None),
        ("../%00", 403, None), ("x" * 256 + ".jpg", 400, None), ("out.jpg", 403, None), ("outdir/secret.jpg", 403, None), ("outdir/nothing.jpg", 403, None),
        ("dangling.jpg", 404, None), ("loop.jpg", 404, None), ("nothing.jpg", 404, None), ("nothing.txt", 404, None), ("deep", 404, None),
        ("pipe.jpg", 404, None), ("notes.txt", 403, None), ("noext", 403, None), ("x.jpg.exe", 403, None),
    ],
)  # fmt: skip
def test_the_checks_come_in_the_order_of_the_contract(served, name, code, content):
    got, body = raw(served, (CAMERA + name).encode())
    assert got == code, body[:200]
    if code == 200:
        assert body == content
    else:
        assert set(json.loads(body)["detail"]) == {"error", "path"}


def traversals():
    """Ways out that have worked somewhere."""
    dots = (
        "..",
        "%2e%2e",
        "%2E.",
        "%252e%252e",
        "..%00",
        "%c0%ae%c0%ae",
        "%u002e%u002e",
        "%ef%bc%8e%ef%bc%8e",
        "....",
        r"\x2e\x2e",
        "..;",
        "%e2%80%a5",
    )
    slashes = ("/", "%2f", "%252f", "%5c", "\\", "%c0%af")
    for dot in dots:
        for slash in slashes:
            yield CAMERA + f"{dot}{slash}{dot}{slash}secret.jpg"
            yield CAMERA + f"deep/{dot}{slash}{dot}{slash}{dot}{slash}secret.jpg"
            yield f"/api/media/thumbnails/{dot}{slash}token.jpg"
            yield f"/api/media/cameras/{dot}{slash}secret.jpg"
            yield f"/static/{dot}{slash}{dot}{slash}secret.jpg"
    yield from (
        CAMERA + path
        for path in (
            "C:\\secret.jpg",
            "file:///etc/passwd",
            "//etc/passwd",
            "~root/.jpg",
            "outdir%2fsecret.jpg",
            "./out.jpg",
            "deep/./../out.jpg",
        )
    )
    yield from (
        "/api/media/cameras/driveway%2f..%2ffront_door/other.jpg",
        "/api/media/cameras/%2e/secret.jpg",
        "/api/media/cameras/nobody/secret.jpg",
    )
    yield from (f"/api/media/cameras/{'../' * n}secret.jpg" for n in range(1, 9))


def test_no_spelling_leads_out(served):
    tried = list(traversals())
    assert len(tried) > 300
    for target in tried:
        code, body = raw(served, target.encode("utf-8", "surrogateescape"))
        assert SECRET not in body and b"root:" not in body, target
        assert code in (400, 403, 404, 414, 422), (code, target)


def test_another_cameras_folder_is_outside(api, home):
    (home.base / "Front Door" / "sibling.jpg").symlink_to(home.base / "Driveway" / "other.jpg")
    assert api.get(CAMERA + "sibling.jpg").status_code == 403


def test_a_picture_is_inline_and_is_not_sent_twice(api):
    first = api.get(CAMERA + "a..b.jpg")
    assert first.headers["content-type"] == "image/jpeg" and first.headers["content-disposition"] == "inline"
    etag = first.headers["etag"]
    for given in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        again = api.get(CAMERA + "a..b.jpg", headers={"if-none-match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert api.get(CAMERA + "a..b.jpg", headers={"if-none-match": '"x"'}).status_code == 200
    head = api.head(CAMERA + "a..b.jpg")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "8")


def test_a_name_may_hold_line_breaks(api):
    assert api.get(CAMERA + "two%0Alines%0A.jpg").content == b"line breaks"
    for url in (CAMERA + "no%0Afile.jpg", "/api/media/thumbnails/no%0Afile%0A"):
        missing = api.get(url)
        assert missing.status_code == 404 and set(missing.json()["detail"]) == {"error", "path"}


@pytest.mark.parametrize(
    ("span", "code", "start", "end"),
    [
        ("bytes=0-9", 206, 0, 10), ("bytes=100-", 206, 100, None), ("bytes=-5", 206, -5, None), ("bytes=0-", 200, 0, None), ("bytes=5-2", 200, 0, None),
        ("bytes=0-99999999999", 200, 0, None), ("pages=1-2", 200, 0, None), ("bytes=0-1,5-6", 200, 0, None), ("bytes=99999999-", 416, 0, 0), ("bytes=-0", 416, 0, 0),
    ],
)  # fmt: skip
def test_a_video_is_played_from_anywhere(api, span, code, start, end):
    whole = bytes(range(256)) * 40_000
    part = api.get(CAMERA + "clip.mp4", headers={"range": span})
    assert part.status_code == code
    assert part.content == (whole[start:end] if code != 416 else b"")
    if code == 206:
        assert part.headers["content-range"].endswith(f"/{len(whole)}") and part.headers["accept-ranges"] == "bytes"


def test_a_stale_part_is_not_mixed_with_a_new_file(api):
    assert api.get(CAMERA + "clip.mp4", headers={"range": "bytes=0-9", "if-range": '"old"'}).status_code == 200


def test_thumbnails_are_kept_for_ever_and_redrawn_when_missing_or_torn(api, home):
    url = api.get("/api/events/1").json()["thumbnail_url"]
    first = api.get(url)
    assert first.status_code == 200 and "immutable" in first.headers["cache-control"]
    path = home.data / url.removeprefix("/api/media/")
    path.write_bytes(first.content[:100])  # a power cut
    assert api.get(url).content == first.content
    path.unlink()
    assert api.get("/api/media/thumbnails/512_thumb.jpg").content == first.content
    image = api.get("/api/detections/512/image")
    assert image.content == first.content and image.headers["cache-control"] == "public, max-age=3600"
    for missing in (
        "/api/media/thumbnails/999_thumb.jpg",
        "/api/media/thumbnails/2026-01-01/1_thumb.jpg",
        "/api/detections/1/image",
        "/api/detections/9999999999999999999/image",
    ):
        assert api.get(missing).status_code == 404, missing


def test_a_picture_that_another_one_replaced_is_not_passed_off_as_it(tmp_path):
    home = Home(tmp_path)
    frame = home.picture("Door", 100, "person", name="same.jpg")
    with serve(home.settings()) as served, served.client() as client:
        url = client.get(f"/api/events/{frame}").json()["frames"][0]["image_url"]
        assert "immutable" in client.get(url).headers["cache-control"]
        (home.base / "Door" / "same.jpg").write_bytes(b"another")
        assert client.get(url).status_code == 404 and client.get(url.partition("?")[0]).content == b"another"
        detection = client.get("/api/detections").json()["detections"][0]["id"]
        assert "replaced by a newer upload" in client.get(f"/api/detections/{detection}/image").json()["detail"]
        (home.base / "Door" / "same.jpg").unlink()
        assert client.get("/api/cameras/door/snapshot").status_code == 404
    home.close()


def test_a_picture_that_is_gone_comes_as_it_was_kept_and_a_camera_shows_its_thumbnail_at_last(tmp_path):
    """Upload, then kept original, then thumbnail; a file with the same time and size and another content is none of them."""
    home = Home(tmp_path)
    frame = home.picture("Door", 100, "person", name="same.jpg")
    upload = home.base / "Door" / "same.jpg"
    picture, times = upload.read_bytes(), upload.stat().st_mtime_ns
    with serve(home.settings()) as served, served.client() as client:
        url = client.get(f"/api/events/{frame}").json()["frames"][0]["image_url"]
        thumbnail = client.get(client.get("/api/events").json()["events"][0]["thumbnail_url"]).content
        keep_event(home.record, home.base, home.data, frame, "evidence", lambda frame: None)
        upload.write_bytes(picture[:-9] + b"another" + picture[-2:])
        os.utime(upload, ns=(times, times))
        assert client.get(url).content == client.get(f"/api/media/frames/{frame}").content == picture
        upload.unlink()
        for way in (url, url.partition("?")[0], f"/api/media/frames/{frame}", "/api/cameras/door/snapshot"):
            assert client.get(way).content == picture, way
        (home.data / "thumbnails").rename(home.data / "drawn")
        assert client.get("/api/detections/512/image").content == thumbnail, "drawn again from the kept original"
        shutil.rmtree(home.data / "pictures")
        assert [client.get(way).status_code for way in (url, f"/api/media/frames/{frame}", "/api/media/frames/99")] == [
            404
        ] * 3
        with Image.open(io.BytesIO(client.get("/api/cameras/door/snapshot").content)) as shown:
            assert shown.size == (320, 240)
    home.close()


def test_nothing_stays_open(api):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    for _ in range(20):
        api.get(CAMERA + "a..b.jpg")
        api.get(CAMERA + "clip.mp4")
        api.get(CAMERA + "notes.txt")
        api.get(CAMERA + "clip.mp4", headers={"range": "bytes=99999999-"})
    assert descriptors() <= before + 10


@pytest.mark.parametrize(
    ("camera", "folder", "path"),
    [
        ("door_deep", "Front Door/deep", "Front Door/deep/CAM1_1.jpg"),
        ("cam1", ".", "CAM1_2.jpg"),
        ("front_cam2", "Front Door", "Front Door/x/CAM2.jpg.1"),
    ],
)
def test_a_camera_that_a_pattern_names_has_its_pictures_served(api, home, camera, folder, path):
    file = home.base / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"\xff\xd8" + path.encode())
    found = FoundFile(camera, folder, path, file.stat().st_mtime_ns, file.stat().st_size, 1, 1, name=camera)
    home.ledger.discover([found], 1)
    url = picture_url(camera, folder, 1, path, found.mtime_ns, found.size)
    answer = api.get(url)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (
        200,
        file.read_bytes(),
        "image/jpeg",
    )
