"""Facts of a graph stand once: every node, command and the API use the same record, folders, zone and judge."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bytewax.testing import TestingSource

from hearthwatch import ROOT
from hearthwatch.flows.graph import DEFAULT, Graph, GraphError, configured_graph
from hearthwatch.record import Record
from hearthwatch.schemas import Context, Detected, Frame, Sink, Source, Stage, Tick, Upload
from hearthwatch.schemas.settings import load, reload, variables
from hearthwatch.sinks.retention import Retention
from hearthwatch.stages.analyze import Nemotron
from hearthwatch.stages.batch import Batch
from tests.support.pipeline import Pipeline

FROZEN = Path(__file__).parents[1] / "project" / "frozen"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    for variable in variables():
        monkeypatch.delenv(variable.name, raising=False)
    reload()
    yield tmp_path
    reload()


def from_text(text: str) -> Graph:
    return Graph.from_toml(text + "\n")


def changed(node: str, line: str) -> str:
    """The built-in graph with one more line in a node."""
    return 'extends = "default"\n' + f"[{node}]\n{line}\n"


# -- options of 0.1 that repeat a fact


def test_a_record_path_that_differs_from_the_graphs_is_a_mistake_with_line_and_place() -> None:
    (line,) = from_text(changed("batch", 'record_path = "other/other.db"')).check()
    assert line == (
        "line 3: batch (batch): `record_path` = 'other/other.db', but the graph says 'data/hearthwatch.db': "
        'remove it, and write `database_url = "sqlite:///other/other.db"` in `[settings]` if every node should use it'
    )


def test_analysis_that_differs_from_the_settings_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMOTRON_URL", "http://localhost:1")
    (line,) = from_text(changed("batch", "analysis = false")).check()
    assert "`analysis` = False, but the graph says 'True'" in line
    assert '`nemotron_url = ""` in `[settings]`' in line


def test_a_fact_that_says_the_same_is_a_warning() -> None:
    graph = from_text(changed("batch", 'record_path = "./data/hearthwatch.db"'))
    assert graph.check() == []
    assert graph.warnings == ["line 3: batch (batch): remove `record_path`: the graph says so for every node"]


def test_a_plug_in_may_have_an_option_of_that_name() -> None:
    text = '[cam]\nuse = "tests.flows.test_context:OwnRecord"\nrecord_path = "mine.db"\n[files]\nuse = "files"\nfrom = "cam"\n'
    graph = from_text(text)
    assert graph.warnings == []
    assert graph.nodes["cam"].component == OwnRecord(record_path=Path("mine.db"))


class OwnRecord(Source):
    """Has a record of another kind."""

    emits = Upload

    record_path: Path
    """Where."""

    def build(self) -> Any:
        return TestingSource([])


# -- [settings]


def test_settings_of_the_flow_file_win_and_every_command_uses_them(folder: Path) -> None:
    """`why`, `verify`, `sql`, `prune`, API and page find the record where the pipeline writes it."""
    pipeline = Pipeline(folder / "p", options="boxes = 1")
    text = (pipeline.folder / "flow.toml").read_text()
    elsewhere = folder / "elsewhere"
    (pipeline.folder / "flow.toml").write_text(
        f'[settings]\ndata_dir = "{elsewhere}"\ntimezone = "Asia/Tokyo"\n'
        + text.replace(
            'use = "batch"', 'use = "batch"\nwindow_seconds = 10\nidle_timeout_seconds = 0.5\nlateness_seconds = 0.1'
        )
    )
    pipeline.path = elsewhere / "hearthwatch.db"
    pipeline.upload("front", "a.jpg").start().until(
        lambda: pipeline.rows("SELECT 1 FROM events WHERE status = 'closed'")
    )
    pipeline.stop()
    assert not (pipeline.data / "hearthwatch.db").exists()
    (event,) = (row[0] for row in pipeline.rows("SELECT id FROM events"))
    assert "(0.5 s after the last) begins the next event" in run(pipeline, "why", str(event))
    assert run(pipeline, "sql", "SELECT count(*) AS n FROM frames", "--csv").split() == ["n", "1"]
    run(pipeline, "verify")
    run(pipeline, "prune", "--dry-run")
    script = "from hearthwatch.schemas.settings import settings; print(settings().database_path)"  # what the API reads
    assert run(pipeline, script=script).strip() == str(elsewhere / "hearthwatch.db")


def run(pipeline: Pipeline, *arguments: str, script: str = "") -> str:
    command = [sys.executable, "-c", script] if script else [sys.executable, "-m", "hearthwatch.cli", *arguments]
    done = subprocess.run(
        command, cwd=pipeline.folder, env=pipeline._environment, text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_setting_by_its_name_in_the_environment_gets_that_of_a_flow_file() -> None:
    text = '[settings]\nHEARTHWATCH_DEVICE = "cpu"\n[cam]\nuse = "files"\n'
    assert from_text(text).check()[0] == "line 2: `HEARTHWATCH_DEVICE` is not a setting. Did you mean `device`?"


def test_what_is_wrong_in_settings_is_reported_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETENTION_DAYS", "3")
    text = """[settings]
retention_days = 0
data_dirr = "x"
redis_url = "redis://me:hunter2@localhost"
api_token = "hunter2"
nemotron_url = "${NOT_SET}"
[cam]
use = "tests.flows.test_context:OwnRecord"
record_path = "x"
[files]
use = "files"
from = "cam"
"""
    mistakes = from_text(text).check()
    assert mistakes[:5] == [
        "line 2: RETENTION_DAYS = 0: allowed: whole days, 1 to 36500",
        "line 3: `data_dirr` is not a setting. Did you mean `data_dir`?",
        "line 4: redis_url = redis://***@localhost: a flow file is no place for a secret: write ${VARIABLE}",
        "line 5: api_token = ***: a flow file is no place for a secret: write ${VARIABLE}",
        "line 6: ${NOT_SET} is not set: set NOT_SET in the environment or in .env",
    ]
    assert "hunter2" not in "\n".join(mistakes)


def test_an_empty_setting_of_the_flow_file_unsets_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEMOTRON_URL", "http://localhost:1")
    assert from_text('extends = "default"').context.analysis
    assert not from_text('extends = "default"\n[settings]\nnemotron_url = ""').context.analysis


def test_secrets_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_REDIS", "redis://me:hunter2@localhost:6379/0")
    graph = from_text('extends = "default"\n[settings]\nredis_url = "${MY_REDIS}"')
    assert graph.check() == []
    assert graph.nodes["redis"].component.url == "redis://me:hunter2@localhost:6379/0"  # type: ignore[union-attr]


def test_an_analyze_node_with_a_url_judges_without_the_setting() -> None:
    assert from_text(changed("analyze", 'url = "http://localhost:1"')).context.analysis
    assert not from_text('extends = "default"').context.analysis


# -- extends


def test_a_table_is_merged_key_by_key_into_the_built_in_node() -> None:
    graph = from_text(changed("batch", "window_seconds = 10"))
    assert list(graph.nodes) == list(Graph.from_toml(DEFAULT).nodes)
    batch = graph.first(Batch)
    assert batch and (batch.window_seconds, batch.idle_timeout_seconds) == (10, 30)


def test_none_removes_a_node_and_the_edges_out_of_it() -> None:
    graph = from_text('extends = "default"\n[gpu_stats]\nuse = "none"\n')
    assert graph.check() == []
    assert "gpu_stats" not in graph.nodes
    assert graph.nodes["sqlite"].after == ("batch", "analyze")


def test_another_component_in_a_built_in_place_keeps_the_edge_only() -> None:
    graph = from_text(changed("detect", 'use = "tests.flows.test_context:Nothing"'))
    assert graph.check() == []
    assert graph.nodes["detect"].after == ("files",)


class Nothing(Stage):
    """Sees nothing."""

    accepts = Frame
    emits = Detected

    def process(self, items: list[Any]) -> list[Any]:
        return [Detected(item, 1, 1, ()) for item in items]


def test_only_the_built_in_graph_can_be_extended() -> None:
    (line, *_) = from_text('extends = "mine"\n[files]\nuse = "files"\n').check()
    assert line == "line 1: `extends` = 'mine': there is only \"default\" to extend"


# -- nodes: a graph in several processes


def test_a_process_that_runs_some_nodes_builds_only_them() -> None:
    graph = from_text('extends = "default"\n[settings]\nnodes = ["files", "detect", "batch", "thumbnails"]')
    assert graph.check() == []
    assert graph.run_here == ("files", "detect", "batch", "thumbnails", "incident"), "older files do not name it"
    steps = {step.step_id for step in graph.build().substeps}
    assert steps == {f"hearthwatch.{name}" for name in ("0_sources", *graph.run_here)}
    rest = from_text(
        'extends = "default"\n[settings]\nnodes = ["analyze", "gpu_stats", "sqlite", "redis", "duckdb", "retention"]'
    )
    assert rest.check() == []
    rest.build()


def test_only_a_durable_edge_can_be_cut() -> None:
    mistakes = from_text('extends = "default"\n[settings]\nnodes = ["detect", "batch", "sqlite", "nonsens"]').check()
    assert "`nodes` names `nonsens`, which is no node" in mistakes
    assert any(
        "detect (rtdetr): `nodes` cuts the stream from `files`: run `files` where `detect` runs" in m for m in mistakes
    )
    assert any("sqlite (sqlite): `nodes` cuts the stream from `analyze`: run `analyze` where" in m for m in mistakes)
    assert not any("cuts the stream from `batch`" in m and "sqlite" in m for m in mistakes)


# -- edges


def test_the_built_in_graph_is_one_connected_picture() -> None:
    """As Bytewax draws it and as people think of it: no node stands apart."""
    from bytewax.visualize import to_rendered

    graph = Graph.from_toml(DEFAULT)
    assert groups({name: set(node.upstream()) for name, node in graph.nodes.items()}) - {frozenset({"gpu_stats"})} == {
        frozenset(graph.nodes)
    }
    steps = to_rendered(graph.build()).substeps
    ports = {port.port_id: step.step_id for step in steps for port in step.out_ports}
    reads = {
        step.step_id: {ports[p] for port in step.inp_ports for p in port.from_port_ids if p in ports} for step in steps
    }
    assert groups(reads) == {frozenset(reads)}


def groups(reads: dict[str, set[str]]) -> set[frozenset[str]]:
    """Sets of nodes that are connected."""
    found = [{name, *others} for name, others in reads.items()]
    merged: list[set[str]] = []
    for group in found:
        touching = [other for other in merged if other & group]
        merged = [other for other in merged if not other & group] + [group.union(*touching)]
    return {frozenset(group) for group in merged}


def test_a_judge_without_a_store_behind_it_is_refused() -> None:
    mistakes = from_text('extends = "default"\n[sqlite]\nfrom = ["batch", "gpu_stats"]').check()
    assert any("nothing stores its verdicts: add a `sqlite` node" in line for line in mistakes), mistakes


def test_mistakes_in_options_hide_no_mistake_in_edges() -> None:
    mistakes = from_text(changed("batch", 'window_secs = 3\nfrom = "files"')).check()
    assert any("`window_secs` is not an option of `batch`" in line for line in mistakes)
    assert any("`batch` accepts Detected, but `files` emits Frame" in line for line in mistakes), mistakes


def test_a_source_of_frames_is_refused() -> None:
    graph = Graph().add("cam", Frames()).add("detect", Nothing(), after="cam").add("batch", Batch(), after="detect")
    (line,) = graph.check()
    assert (
        line
        == "cam (Frames): Frames emits Frame, but only the ledger makes frames: emit Upload, and let `files` read it"
    )


class Frames(Source):
    """Would hand out frames that are in no ledger."""

    emits = Frame

    def build(self) -> Any:
        return TestingSource([])


# -- items


class Uploads(Source):
    """Announces pictures."""

    emits = Upload

    paths: tuple[str, ...]
    """Which."""

    def build(self) -> Any:
        return TestingSource([Upload("own", path, None) for path in self.paths])


class Pass(Stage):
    """Passes uploads on."""

    accepts = Upload
    emits = Upload

    def process(self, items: list[Upload]) -> list[Upload]:
        return items


def test_uploads_of_a_stage_reach_the_ledger(folder: Path) -> None:
    """Own source → own stage → `files`: 0.1 lost every one of these without a word."""
    from PIL import Image

    for n in range(3):
        Image.new("RGB", (32, 24), (n, n, n)).save(folder / f"{n}.jpg")
    paths = ", ".join(f'"{folder}/{n}.jpg"' for n in range(3))
    more = f'[cam]\nuse = "tests.flows.test_context:Uploads"\npaths = [{paths}]\n[pass]\nuse = "tests.flows.test_context:Pass"\nfrom = "cam"\n'
    pipeline = Pipeline(folder / "p", files='from = "pass"', more=more)
    pipeline.start().until(lambda: pipeline.states() == {"settled": 3}).stop()


# -- components are configuration


class Counting(Stage):
    """Counts in a private attribute, as plug-ins of 0.1 do."""

    accepts = Upload
    emits = Upload
    _seen: list[int]

    def model_post_init(self, context: Any) -> None:
        self._seen = []

    def process(self, items: list[Upload]) -> list[Upload]:
        self._seen.append(len(items))
        return items


def test_two_graphs_of_one_component_share_nothing(folder: Path) -> None:
    stage = Counting()
    context = Context(folder / "r.db", folder, folder)
    one, two = stage.build(context), stage.build(context)
    one.process([Upload("a", "b", None)])
    assert (one._seen, two._seen, stage._seen) == ([1], [], [])  # type: ignore[attr-defined]


def test_a_components_options_keep_no_live_object() -> None:
    """Of the built-in parts; what runs is a worker that `build` makes."""
    from hearthwatch.flows.registry import BUILT_IN
    from hearthwatch.flows.registry import load as load_component

    for names in BUILT_IN.values():
        for name in names:
            assert not load_component(name).__private_attributes__, name


# -- 0.1


def test_the_built_in_graph_of_0_1_loads_with_a_warning_for_each_old_line() -> None:
    old = Graph.from_toml(FROZEN / "default_0_1.toml")
    assert old.check() == []
    new = Graph.from_toml(DEFAULT)
    assert set(new.nodes) | {"samples"} == set(old.nodes)
    assert old.nodes["analyze"].after == ("batch",)
    assert {old.nodes[name].after for name in ("redis", "duckdb", "retention")} == {("sqlite",)}
    assert all(line.startswith(str(FROZEN / "default_0_1.toml:")) for line in old.warnings)
    assert any(':60: analyze: `from = "pending"` is `from = "batch"` now' in line for line in old.warnings)
    old.build()


def test_a_clock_of_0_1_still_drives_an_own_sink() -> None:
    text = (
        '[clock]\nuse = "clock"\ninterval_seconds = 7\n[own]\nuse = "tests.flows.test_context:Ticks"\nfrom = "clock"\n'
    )
    text += (
        '[batch]\nuse = "batch"\nfrom = "detect"\n[detect]\nuse = "rtdetr"\nfrom = "files"\n[files]\nuse = "files"\n'
    )
    graph = from_text(text + '[duckdb]\nuse = "duckdb"\nfrom = "clock"\n')
    assert graph.check() == []
    assert graph.nodes["own"].after == ("clock",)
    assert graph.nodes["duckdb"].after == ("batch",)
    assert graph.nodes["duckdb"].component.interval_seconds == 7  # type: ignore[union-attr]


class Ticks(Sink):
    """Is woken now and then."""

    accepts = Tick

    def build(self) -> Any:
        from bytewax.testing import TestingSink

        return TestingSink([])


def test_names_that_are_gone_load_with_a_warning() -> None:
    text = 'extends = "default"\n[detect]\nuse = "rtdetr-remote"\nurl = "http://localhost:1"\nfrom = "files"\n'
    text += '[ha]\nuse = "mqtt"\nurl = "mqtt://localhost"\nfrigate = "frigate"\nfrom = "feed"\n'
    graph = from_text(text)
    assert graph.check() == []
    assert graph.nodes["detect"].use == "rtdetr"
    assert graph.nodes["ha"].after == ("sqlite",)
    assert len(graph.warnings) == 3


def test_a_consumer_alone_in_a_file_of_0_1_reads_the_feed() -> None:
    graph = from_text('[bell]\nuse = "webhook"\nurl = "http://localhost:1"\nfrom = "feed"\n')
    assert graph.check() == []
    graph.build()


def test_the_settings_that_a_flow_file_names_are_those_of_the_whole_process(folder: Path) -> None:
    (folder / "flow.toml").write_text('[settings]\ndatabase_url = "sqlite:///here.db"\n')
    assert load(None, {"HEARTHWATCH_FLOW": "flow.toml"}).database_path == Path("here.db")


def test_a_node_that_is_added_later_counts_too() -> None:
    graph = from_text('[files]\nuse = "files"\n')
    assert not graph.context.analysis
    graph.add("analyze", Nemotron(url="http://localhost:1"))
    assert graph.context.analysis
    assert graph.context.timings is graph.context.timings


@pytest.mark.parametrize(("file", "says"), [("missing.toml", "cannot be read"), ("bad.toml", "is not TOML")])
def test_a_flow_file_that_cannot_be_read_ends_the_pipeline_in_words(folder: Path, file: str, says: str) -> None:
    (folder / "bad.toml").write_text("[files\n")
    done = subprocess.run(
        [sys.executable, "-m", "bytewax.run", "flow"], cwd=folder, text=True, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HEARTHWATCH_FLOW": file, "RETENTION_DAYS": "0"},
    )  # fmt: skip
    assert done.returncode == 2
    flow, days = sorted(done.stderr.splitlines(), key=lambda line: line.startswith("RETENTION"))
    assert file in flow and says in flow
    assert days.startswith("RETENTION_DAYS = 0: ")


def test_a_setting_that_is_wrong_is_reported_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("BATCH_WINDOW_SECONDS", "0"),
        ("HEARTHWATCH_DEVICE", "gpu"),
        ("HEARTHWATCH_NTFY_URL", "https://x"),
    ):
        monkeypatch.setenv(name, value)
    with pytest.raises(GraphError) as error:
        configured_graph()
    window, device, ntfy = error.value.mistakes
    assert window.startswith("BATCH_WINDOW_SECONDS = 0: ") and device.startswith("HEARTHWATCH_DEVICE = gpu: ")
    assert ntfy.startswith("HEARTHWATCH_NTFY_URL = ***: ")


def test_a_tree_that_is_the_data_dir_is_a_mistake(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOSCAM_BASE_PATH", str(folder / "data"))
    with pytest.raises(GraphError, match=r"FOSCAM_BASE_PATH = .*data is HEARTHWATCH_DATA_DIR, too"):
        configured_graph().build()


def test_a_flow_file_of_notepad_is_read(folder: Path) -> None:
    (folder / "flow.toml").write_bytes(b'\xef\xbb\xbfextends = "default"\r\n[batch]\r\nwindow_seconds = 5\r\n')
    graph = configured_graph(folder / "flow.toml")
    assert graph.nodes["batch"].component.window_seconds == 5  # type: ignore[union-attr]


def test_a_record_that_is_locked_or_on_a_full_disk_at_the_start_lets_the_supervisor_start_again(folder: Path) -> None:
    Record(folder / "home.db").close()
    other = sqlite3.connect(folder / "home.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    code = (
        "import hearthwatch.record.connection as record, hearthwatch.flows.runtime as runtime; record.BUSY_SECONDS_MAX = 0.1; "
        "runtime.prepare_process(False)\nwith runtime.exit_on_user_error(2): record.Record(record.Path('home.db'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, text=True, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    other.close()
    assert (done.returncode, "gave up after" in done.stderr) == (1, True), done.stderr  # 2 would be for good


def test_options_without_a_node_are_those_of_the_graphs_settings() -> None:
    graph = from_text('[settings]\nretention_days = 5\n[files]\nuse = "files"\n')
    assert graph.options_of(Retention).days == 5
