"""Promise: `hearthwatch retry` takes quarantined pictures in again, once, and says which it cannot take and why."""

import pytest
import typer

from hearthwatch.cli.retry import retry
from hearthwatch.record.ledger import FoundFile
from hearthwatch.schemas import DeadLetter
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import reload
from tests.support.data_dir import START, House
from tests.support.pipeline import picture


@pytest.fixture
def house(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FOSCAM_BASE_PATH", str(tmp_path / "uploads"))
    monkeypatch.setenv("HEARTHWATCH_DATA_DIR", str(tmp_path / "data"))
    reload()
    house = House(tmp_path)
    house.spoil("front", 0).spoil("front", 1).spoil("gate", 2)
    yield house
    house.close()
    reload()


def call(capsys, code=0, camera=None, reason=None, since=None) -> str:
    try:
        retry(camera, reason, since)
    except typer.Exit as ended:
        assert ended.exit_code == code
    else:
        assert code == 0
    return capsys.readouterr().out


def states(house):
    return house.record.rows("SELECT camera_id, attempt, state FROM frames ORDER BY id")


def test_all_are_taken_in_again_and_none_twice(house, capsys):
    said = call(capsys)
    assert said.startswith("3 of 3 quarantined pictures are taken in again\nno pipeline is running")
    assert states(house)[3:] == [("front", 2, "discovered"), ("front", 2, "discovered"), ("gate", 2, "discovered")]
    assert call(capsys) == "0 of 3 quarantined pictures are taken in again, 3 were before\n"
    assert house.record.counters()["discovered"] == 3


def test_options_choose_by_camera_reason_and_time(house, capsys):
    assert call(capsys, camera="gate").startswith("1 of 1 ")
    assert call(capsys, reason="no such reason").startswith("0 of 0 ")
    assert call(capsys, reason="decode: not a").startswith("2 of 3 ")
    with pytest.raises(UserError, match="--since tomorrow: write"):
        call(capsys, since="tomorrow")
    assert call(capsys, since="2999-01-01").startswith("0 of 0 ")
    with pytest.raises(UserError, match="no such camera; there are front, gate"):
        call(capsys, camera="back")


def test_a_file_that_is_gone_cannot_be_taken_in(house, capsys):
    next((house.base / "gate").iterdir()).unlink()
    assert "1 cannot be: the file is gone" in call(capsys, code=1)
    assert len(states(house)) == 5


def test_a_picture_that_had_no_camera_gets_one_when_the_settings_say_so(house, capsys, monkeypatch):
    (house.base / "CAM1_1.jpg").write_bytes(picture())
    stat = (house.base / "CAM1_1.jpg").stat()
    refused = DeadLetter("files", "not in a camera folder")
    house.ledger.discover(
        [FoundFile(None, None, "CAM1_1.jpg", stat.st_mtime_ns, stat.st_size, 0, START, refused)], START
    )
    assert "1 cannot be: not in a camera folder" in call(capsys, code=1, reason="camera folder")
    monkeypatch.setenv("HEARTHWATCH_CAMERA", "{n1}")
    reload()
    assert call(capsys, reason="camera folder").startswith("1 of 1 ")
    assert states(house)[-1] == ("cam1", 2, "discovered")
    assert house.record.one("SELECT name, folder_path FROM cameras WHERE id = 'cam1'") == ("CAM1", ".")
