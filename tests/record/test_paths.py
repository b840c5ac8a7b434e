"""Camera ids as the contract spells them, and paths that come back byte for byte."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hearthwatch.record.paths import camera_id, escape, unescape


@pytest.mark.parametrize(
    ("folder", "expected"),
    [
        ("Front-Door Camera", "front_door_camera"),
        ("camera#1", "camera1"),
        ("front_door", "front_door"),
        ("  Back -- Yard  ", "back_yard"),
        ("_garage_", "garage"),
        ("FI9900P_C4D6553C9F5B", "fi9900p_c4d6553c9f5b"),
        ("Küche", "küche"),
        ("Ku\u0308che", "küche"),
        ("前門", "前門"),
        ("cam.v2 (old)", "camv2_old"),
        ("a/b", "ab"),
        ("...", ""),
        ("---", ""),
    ],
)
def test_a_folder_names_its_camera(folder, expected):
    assert camera_id(folder) == expected


@given(st.text())
def test_a_camera_id_names_itself(folder):
    assert camera_id(camera_id(folder)) == camera_id(folder)


@given(st.text())
def test_a_camera_id_is_safe_in_a_path_and_in_a_url(folder):
    found = camera_id(folder)
    assert not set(found) & set("/\\.%?#&\0 -") and "__" not in found and found == found.strip("_")


@given(st.binary())
@example(b"caf\xe9.jpg")
@example(b"a\\xe9.jpg")
@example(b"\\\\x41")
@example("\x85\u0080ü\ud7ff".encode())
def test_any_path_comes_back_byte_for_byte(raw):
    text = escape(raw)
    assert unescape(text) == raw
    text.encode("utf-8")  # no lone surrogates: fit for JSON and SQLite
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in text)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"front door/2026/a.jpg", "front door/2026/a.jpg"),
        ("Küche/ü.jpg".encode(), "Küche/ü.jpg"),
        (b"caf\xe9.jpg", r"caf\xe9.jpg"),
        (b"a\nb.jpg", r"a\x0ab.jpg"),
        (b"a\\b.jpg", r"a\\b.jpg"),
    ],
)
def test_only_odd_bytes_are_escaped(raw, text):
    assert escape(raw) == text
