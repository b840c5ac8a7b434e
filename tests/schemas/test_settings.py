"""Settings promise: environment before `.env` before default, all mistakes at once, and no secret in any message."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from hearthwatch.schemas import settings as module
from hearthwatch.schemas.settings import (
    Settings,
    SettingsError,
    from_settings,
    in_force,
    load,
    lookup,
    reload,
    settings,
    values,
    variables,
    warnings,
)

ROOT = Path(__file__).parents[2]
SEED = (
    "FOSCAM_BASE_PATH DATABASE_URL REDIS_URL RTDETR_URL NEMOTRON_URL DETECTION_CONFIDENCE_THRESHOLD "
    "BATCH_WINDOW_SECONDS BATCH_IDLE_TIMEOUT_SECONDS RETENTION_DAYS DEBUG"
).split()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder of one's own, without the settings of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)
    for variable in variables():
        monkeypatch.delenv(variable.name, raising=False)
    reload()
    yield tmp_path
    reload()


def mistakes(**environ: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(None, environ)
    assert str(caught.value) == "\n".join(caught.value.mistakes)
    return caught.value.mistakes


def test_without_any_variable_everything_has_its_documented_default():
    given = load(None, {})
    assert (given.foscam_base_path, given.database_path) == (Path("/export/foscam"), Path("data/hearthwatch.db"))
    assert (given.redis_url, given.rtdetr_url, given.nemotron_url) == (None, None, None)
    assert (given.detection_confidence_threshold, given.batch_window_seconds) == (0.5, 90)
    assert (given.batch_idle_timeout_seconds, given.retention_days, given.debug) == (30, 30, False)
    assert given.hearthwatch_object_types[0] == "person" and len(given.hearthwatch_object_types) == 15
    assert given.hearthwatch_detect_batch_max is None


def test_the_environment_beats_the_file_even_with_an_empty_value(folder):
    (folder / ".env").write_text("BATCH_WINDOW_SECONDS=60\nRETENTION_DAYS=7\nDEBUG=yes\nREDIS_URL=redis://here:1/0\n")
    given = load(environ={"BATCH_WINDOW_SECONDS": "45", "RETENTION_DAYS": "", "debug": " off "})
    assert (given.batch_window_seconds, given.retention_days, given.debug) == (45, 30, False)
    assert given.redis_url == "redis://here:1/0"
    assert load(environ={}).retention_days == 7


def test_every_mistake_is_told_at_once_with_its_value_and_what_is_allowed():
    wrong = {
        "DATABASE_URL": "postgresql://host/db",
        "NEMOTRON_URL": "localhost:8002",
        "DETECTION_CONFIDENCE_THRESHOLD": "1.5",
        "BATCH_WINDOW_SECONDS": "0",
        "BATCH_IDLE_TIMEOUT_SECONDS": "soon",
        "RETENTION_DAYS": "2.5",
        "DEBUG": "maybe",
        "HEARTHWATCH_DEVICE": "gpu",
        "HEARTHWATCH_DETECT_BATCH_MAX": "0",
        "HEARTHWATCH_OBJECT_TYPES": " , ",
        "HEARTHWATCH_CAPTURE_TIME": "ctime",
        "HEARTHWATCH_TIMEZONE": "Europe/Berlni",
    }
    lines = mistakes(**wrong)
    assert len(lines) == len(wrong)
    allowed = {variable.name: variable.allowed for variable in variables()}
    for line, (name, value) in zip(lines, wrong.items(), strict=True):
        assert line.startswith(f"{name} = {value.strip()}: ") and line.endswith(f"allowed: {allowed[name]}")
    assert "Did you mean `Europe/Berlin`?" in lines[-1]


@pytest.mark.parametrize("value", ["50.1", "50.1;8.7", "50,1,8,7", "91,0", "0,-181", "nan,0", "50.1 N,8.7 E", ","])
def test_a_location_is_two_numbers_in_range(value):
    (line,) = mistakes(HEARTHWATCH_LOCATION=value)
    assert "decimal degrees" in line and ("latitude" in line)
    assert load(environ={"HEARTHWATCH_LOCATION": " -33.87, 151.2 "}).hearthwatch_location == (-33.87, 151.2)
    assert load(environ={}).hearthwatch_location is None


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "0", "1e300"])
def test_seconds_are_a_number_one_can_count_to(value):
    assert len(mistakes(BATCH_WINDOW_SECONDS=value)) == 1


SECRETS = st.text(st.characters(codec="ascii", min_codepoint=33, exclude_characters="@"), min_size=1).map(
    "s3cr3t".__add__
)


@given(st.sampled_from(["DATABASE_URL", "REDIS_URL", "RTDETR_URL", "NEMOTRON_URL"]), SECRETS)
def test_no_mistake_shows_a_password(name, password):
    for url in (f"gopher://user:{password}@host/0", f"http://:{password}@", f"user:{password}@host:99999"):
        assert "s3cr3t" not in "".join(mistakes(**{name: url.replace("http:", "ftp:")}))


def test_a_password_hides_in_queries_and_in_print_too():
    assert "s3cr3t" not in mistakes(REDIS_URL="redi://host/0?password=s3cr3t&db=1")[0]
    assert "s3cr3t" not in repr(load(None, {"REDIS_URL": "redis://:s3cr3t@host:6379/0"}))
    assert module.masked("HEARTHWATCH_API_TOKEN", "s3cr3t") == "***"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///home.db", "home.db"),
        ("sqlite+aiosqlite:///./x/home.db", "x/home.db"),
        ("sqlite:////srv/home.db", "/srv/home.db"),
    ],
)
def test_the_record_is_found_as_sqlalchemy_would_find_it(url, path):
    assert load(None, {"DATABASE_URL": url}).database_path == Path(path)


@pytest.mark.parametrize(
    "url",
    ["mysql://h/db", "home.db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite://host/db", "sqlite:///a?x=1"],
)
def test_what_is_no_file_on_disk_cannot_be_the_record(url):
    assert "sqlite:///relative" in mistakes(DATABASE_URL=url)[0]


def test_the_data_dir_moves_the_record(folder):
    assert load(None, {"HEARTHWATCH_DATA_DIR": "/srv/hw"}).database_path == Path("/srv/hw/hearthwatch.db")


def test_a_data_dir_below_the_tree_holds_no_uploads(folder):
    def ignored(path, tree="up", data="up/hw/data"):
        rules = load(None, {"FOSCAM_BASE_PATH": tree, "HEARTHWATCH_DATA_DIR": data}).path_rules
        return rules.ignored_by(path)

    assert ignored(b"hw/data") == ignored(b"hw/data/thumbnails/2026-11-28/5_thumb.jpg") == "data dir"
    for camera in (b"hw", b"hw/1.jpg", b"hw/data2/1.jpg", b"front/hw/data/1.jpg"):
        assert ignored(camera) is None
    assert ignored(b"data/1.jpg", data="data") is None and ignored(b"up/1.jpg", tree="data/up", data="data") is None


@pytest.mark.parametrize("path", ["file", "file/data"])
def test_a_data_dir_in_the_place_of_a_file_is_a_mistake(folder, path):
    (folder / "file").write_text("")
    (line,) = mistakes(HEARTHWATCH_DATA_DIR=path)
    assert line == f"HEARTHWATCH_DATA_DIR = {path}: file is a file; allowed: a folder"


def test_a_cell_inside_of_another_is_a_mistake():
    (line,) = mistakes(HEARTHWATCH_CELLS="a=/srv/up; b = /srv/up/north")
    assert "/srv/up/north lies in /srv/up, so its pictures would be processed twice" in line
    assert load(None, {"HEARTHWATCH_CELLS": "a=/srv/up;b=/srv/upper;c=/srv/up"}).hearthwatch_cells


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("north=/a;North Wing=/b", "`North Wing` cannot be a cell's name: use a-z, 0-9, _ and -"),
        ("north=/a; north=/b", "two cells have the name `north`"),
        ("north=/a;south=", "the cell `south` has no folder"),
    ],
)
def test_a_wrong_cell_is_named(cells, reason):
    (line,) = mistakes(HEARTHWATCH_CELLS=cells)
    assert f" = {cells}: {reason}; allowed: " in line


def test_an_address_may_stand_in_brackets_as_in_urls():
    assert load(None, {"HEARTHWATCH_API_HOST": "[::1]"}).hearthwatch_api_host == "::1"


def test_labels_are_a_list_with_commas():
    types = load(None, {"HEARTHWATCH_OBJECT_TYPES": "Person, cat,,person "}).hearthwatch_object_types
    assert types == ("person", "cat")
    assert load(None, {"HEARTHWATCH_OBJECT_TYPES": "*"}).hearthwatch_object_types == ("*",)


def test_a_flow_file_can_name_any_variable(folder, monkeypatch):
    (folder / ".env").write_text("MY_HOOK=https://hook\nRETENTION_DAYS=7\n")
    monkeypatch.setenv("MY_TOPIC", "door")
    assert [lookup(name) for name in ("MY_HOOK", "MY_TOPIC", "RETENTION_DAYS")] == ["https://hook", "door", "7"]
    assert [lookup(name) for name in ("BATCH_WINDOW_SECONDS", "DEBUG")] == ["90", "false"]
    assert [lookup(name) for name in ("REDIS_URL", "NOBODY_SET_THIS")] == [None, None]
    monkeypatch.setenv("HEARTHWATCH_DATA_DIR", "/srv/hw")
    assert lookup("DATABASE_URL") == "sqlite:////srv/hw/hearthwatch.db"


def test_what_a_default_says_as_text_is_what_it_is(folder):
    """`${VAR}` of an unset variable gives the very value that the setting has."""
    plain = load(None, {})
    spelled = load(None, {item.name: text for item in variables() if (text := lookup(item.name)) is not None})
    assert spelled.database_path == plain.database_path
    assert spelled.model_dump(exclude={"database_url"}) == plain.model_dump(exclude={"database_url"})


def test_a_slip_of_the_pen_is_a_warning_not_an_error(folder, monkeypatch):
    (folder / ".env").write_text("BATCH_WINDOW_SECOND=60\nHEARTHWATCH_DEVISE=cpu\nMY_HOOK=x\n")
    monkeypatch.setenv("HEARTHWATCH_XYZZY", "1")
    monkeypatch.setenv("HEARTHWATCH_TEST_REQUIRE", "all")
    assert settings().batch_window_seconds == 90
    assert warnings() == [
        "BATCH_WINDOW_SECOND is not a setting. Did you mean `BATCH_WINDOW_SECONDS`?",
        "HEARTHWATCH_DEVISE is not a setting. Did you mean `HEARTHWATCH_DEVICE`?",
        "HEARTHWATCH_XYZZY is not a setting",
    ]


def test_a_file_that_cannot_be_read_is_a_mistake_too(folder):
    (folder / ".env").write_bytes(b"DEBUG=\xff\n")
    with pytest.raises(SettingsError, match=r"^\.env cannot be read"):
        load()


def test_a_setting_without_an_equals_sign_is_a_mistake(folder):
    (folder / ".env").write_text("HEARTHWATCH_API_TOKEN s3cr3t\n")
    with pytest.raises(SettingsError) as error:
        load(environ={})
    assert error.value.mistakes == [
        ".env:1: HEARTHWATCH_API_TOKEN: its value cannot be read: write HEARTHWATCH_API_TOKEN=VALUE"
    ]


@pytest.mark.parametrize("line", ['export REDIS_URL="redis://:s3cr3t@here/0', "RETENTION_DAYS='7' days"])
def test_a_line_whose_quote_is_odd_is_a_mistake_and_no_unset_variable(folder, line):
    (folder / ".env").write_text(f"# mine\n{line}\n")
    with pytest.raises(
        SettingsError, match=r"\.env:2: (REDIS_URL|RETENTION_DAYS): its value cannot be read: close"
    ) as error:
        load(environ={})
    assert "s3cr3t" not in str(error.value)
    (folder / ".env").write_text(
        'RETENTION_DAYS="7" # a week\nset -a\nMINE=\'x\n'
    )  # what no setting needs is no matter
    assert load(environ={}).retention_days == 7


def test_an_option_follows_its_setting(folder, monkeypatch):
    class Batch(BaseModel):
        window_seconds: float = from_settings("batch_window_seconds")

    assert Batch().window_seconds == 90
    monkeypatch.setenv("BATCH_WINDOW_SECONDS", "45")
    reload()
    assert (Batch().window_seconds, Batch(window_seconds=1).window_seconds) == (45, 1)
    with pytest.raises(AttributeError, match="batch_window_seconds"):
        from_settings("batch_window_second")


def test_chosen_settings_beat_file_and_environment(folder, monkeypatch):
    """The demo brings its own settings and must not touch those of the house it is shown in."""
    (folder / ".env").write_text("RETENTION_DAYS=7\n")
    monkeypatch.setenv("DEBUG", "true")
    with in_force(load(None, {"HEARTHWATCH_DATA_DIR": "demo-data"})):
        assert (settings().retention_days, settings().debug) == (30, False)
        assert (lookup("RETENTION_DAYS"), lookup("HEARTHWATCH_DATA_DIR")) == ("30", "demo-data")
    assert (settings().retention_days, settings().debug) == (7, True)


def test_the_example_file_is_made_from_the_settings_and_changes_nothing():
    made = subprocess.run(
        [sys.executable, "-m", "hearthwatch.schemas.settings"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert (ROOT / ".env.example").read_text() == made, "run: python -m hearthwatch.schemas.settings > .env.example"
    assert load(ROOT / ".env.example", {}).model_dump() == load(None, {}).model_dump()
    names = [line.partition("=")[0] for line in made.splitlines() if line and not line.startswith("#")]
    assert names[:10] == SEED and names == [name.upper() for name in Settings.model_fields]


def test_every_setting_says_what_it_means_and_what_is_allowed():
    assert all(variable.meaning and variable.allowed for variable in variables())


def test_settings_load_without_the_heavy_libraries():
    code = "import hearthwatch.schemas.settings, sys; print({'torch', 'transformers', 'bytewax', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True).stdout == "set()\n"


def test_a_home_folder_that_nobody_has_is_a_mistake_like_any_other():
    line, other = mistakes(FOSCAM_BASE_PATH="~nobody_here/uploads", DATABASE_URL="sqlite:///~nobody_here/r.db")
    assert line == "FOSCAM_BASE_PATH = ~nobody_here/uploads: there is no home folder `~nobody_here`; allowed: a folder"
    assert other.startswith("DATABASE_URL = ")


def test_bytes_that_are_no_text_are_named_in_ascii():
    (line,) = mistakes(RETENTION_DAYS="3", HEARTHWATCH_NEMOTRON_MODEL="caf\udce9")
    assert line.startswith("HEARTHWATCH_NEMOTRON_MODEL = 'caf\\udce9': it is not valid UTF-8; allowed: ")


def test_a_password_in_the_wrong_variable_is_masked_all_the_same():
    (line,) = mistakes(RETENTION_DAYS="redis://:hunter2@there")
    assert "hunter2" not in line and "there" in line
    for name in ("HEARTHWATCH_QUIET_HOURS", "HEARTHWATCH_TIME_FORMAT", "HEARTHWATCH_FLOW", "HEARTHWATCH_CORS_ORIGINS"):
        (line,) = mistakes(**{name: "http://user:hunter2@there"})
        assert "hunter2" not in line and "there" in line, name


def test_each_value_names_what_sets_it_and_shows_no_secret(folder, monkeypatch):
    Path("flow.toml").write_text("[settings]\nretention_days = 5\n")
    monkeypatch.setenv("DEBUG", "true")
    env = "HEARTHWATCH_FLOW=flow.toml\nDEBUG=false\nRETENTION_DAYS=9\nHEARTHWATCH_LOCATION=50.1,8.7\nREDIS_URL=redis://me:pw@host\n"
    Path(".env").write_text(env + "HEARTHWATCH_API_TOKEN=abcdefghijklmnopq\n")
    found = {row.name: (row.value, row.source) for row in values(load())}
    assert [name for name, (_, source) in found.items() if source == "default"] and len(found) == len(variables())
    assert {name: row for name, row in found.items() if row[1] != "default"} == {
        "DEBUG": ("true", "environment"), "RETENTION_DAYS": ("5", "flow.toml:2"), "HEARTHWATCH_FLOW": ("flow.toml", ".env"),
        "HEARTHWATCH_LOCATION": ("***", ".env"), "REDIS_URL": ("redis://***@host", ".env"), "HEARTHWATCH_API_TOKEN": ("***", ".env"),
    }  # fmt: skip
    assert found["FOSCAM_BASE_PATH"] == ("/export/foscam", "default")
