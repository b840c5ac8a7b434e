"""Promises of cells on Bytewax's workers: any number of workers makes the events of one pipeline, whatever is killed; workers
move cells, never cameras; a cell's folder has its ids, its lock and its files."""

import shutil
import signal
import socket
import time
from contextlib import ExitStack

import pytest
from bytewax.recovery import init_db_dir

from hearthwatch.flows.graph import Graph
from hearthwatch.record import Record
from hearthwatch.record.cameras import merge_camera, read_settings
from hearthwatch.record.cells import Placement, find_cells, prepare_cell
from hearthwatch.record.content import content
from hearthwatch.schemas import Event, Stage, StageWorker
from hearthwatch.schemas.context import Context
from hearthwatch.schemas.errors import UserError
from hearthwatch.schemas.settings import SettingsError, load
from hearthwatch.sinks.redis import stream_of
from hearthwatch.sources.files import Files
from hearthwatch.stages.batch import Batch
from tests.support.null_detector import NullDetector
from tests.support.pipeline import SLOW, Nursery, Pipeline, name, picture, rules_and_options

T = 1_700_000_000
CAMERAS = ("door", "gate", "yard", "barn", "a", "b", "c", "d")
_, BATCH = rules_and_options(30, 10, 0.1)
PARTS = ("frames", "detections", "events", "feed")


class Cluster(Pipeline):
    """A pipeline of several cells, in one process or in several."""

    pids = ()

    def records(self):
        return [path for path in (self.path, *sorted(self.data.glob("cells/*/hearthwatch.db"))) if path.exists()]

    def rows(self, sql, *arguments):
        """One query on each cell."""
        whole, found = self.path, []
        for path in self.records():
            self.path = path
            found += super().rows(sql, *arguments)
        self.path = whole
        return found

    def quiet(self, files):
        total, waits = (sum(row[n] for row in self.rows(COUNT)) for n in (0, 1))
        open_events = sum(n for (n,) in self.rows("SELECT count(*) FROM events WHERE status = 'open'"))
        return total >= files and not waits and not open_events

    def start_workers(self, *arguments, **environment):
        """Start one process with these options."""
        self.errors.write_bytes(b"")
        self.pid = self._nursery.fork(
            ["flow", *arguments], self._environment | environment, str(self.folder), str(self.errors)
        )
        return self

    def start_processes(self, count, dying=None, die_at=None, **environment):
        """Start so many processes that are one cluster; one of them may end itself at a commit."""
        with ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
            for one in sockets:
                one.bind(("127.0.0.1", 0))
            hosts = ";".join(f"127.0.0.1:{one.getsockname()[1]}" for one in sockets)
        pids = []
        for n in range(count):
            more = {"DIE_AT": die_at} if n == dying else {}
            pids.append(self.start_workers("-i", str(n), "-a", hosts, **more, **environment).pid)
        self.pids = pids
        return self

    def end_processes(self, number=signal.SIGTERM):
        """Signal all of them; return their exit codes."""
        pids, self.pids = self.pids, ()
        for pid in pids:
            self.pid = pid
            self.signal(number)
        return [self.wait_for(pid) for pid in pids]

    def wait_for(self, pid):
        self.pid = pid
        return self.wait()


COUNT = "SELECT count(*), coalesce(sum(state = 'discovered'), 0) FROM frames"


def cluster(folder, nursery, cells=4):
    return Cluster(folder, batch=BATCH, nursery=nursery, HEARTHWATCH_CELLS=str(cells))


def upload(p, rounds):
    for n in rounds:
        for camera in CAMERAS:
            file = name(T + n * 20, camera)
            p.upload(camera, file, picture(file), mtime=T + n * 20)
    return p


def union(p):
    """What all cells hold, as one record would; what is in two cells is an error."""
    found = {part: {} for part in PARTS}
    for path in p.records():
        record = Record(path)
        one = content(record)
        record.close()
        for event in one.events.values():
            del event["incident_id"]  # incidents are of one cell
        for part in PARTS:
            rows = getattr(one, part)
            assert not rows.keys() & found[part].keys(), part
            found[part] |= rows
    return found


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as forks:
        yield forks


@pytest.fixture(scope="module")
def expected(nursery, tmp_path_factory):
    p = upload(Pipeline(tmp_path_factory.mktemp("one"), batch=BATCH, nursery=nursery), range(4)).run()
    return union_of_one(p)


def union_of_one(p):
    one = Cluster.__new__(Cluster)
    one.path, one.data = p.path, p.data
    return union(one)


@pytest.mark.slow
def test_one_two_four_workers_and_one_again_move_cells_and_make_the_events_of_one_pipeline(tmp_path, nursery, expected):
    p = cluster(tmp_path, nursery)
    for n, workers in enumerate((1, 2, 4, 1)):
        fewer = {"HEARTHWATCH_CELLS": "1"} if n == 3 else {}  # for new cameras: these stay in their cells
        upload(p, (n,)).start_workers("-w", str(workers), **fewer)
        if workers == 2:
            p.until(lambda: sum(n for (n,) in p.rows("SELECT count(*) FROM frames")) > len(CAMERAS)).kill()
        else:
            p.until_quiet().stop()
    assert union(p) == expected
    cells = [(path, Record(path)) for path in p.records()]
    assert len(cells) == 4
    for number, (path, record) in enumerate(cells):
        for table in ("frames", "events"):  # the first cell has the incidents of all
            ids = [id for (id,) in record.rows(f"SELECT id FROM {table}")]
            assert {id >> 36 for id in ids} <= {number}, (path, table)
        record.close()


@pytest.mark.slow
@pytest.mark.parametrize(("dying", "die_at"), [(0, "before:9"), (1, "after:4")])
def test_a_process_of_a_cluster_that_is_killed_at_a_commit_costs_nothing(tmp_path, nursery, expected, dying, die_at):
    p = upload(cluster(tmp_path, nursery, 2), range(4)).start_processes(2, dying, die_at)
    died = p.pids[dying]
    deadline = time.monotonic() + SLOW
    p.pid = died
    while not p.ended():
        assert time.monotonic() < deadline, p.said()
        time.sleep(0.01)
    p.end_processes(signal.SIGKILL)
    p.start_processes(2).until_quiet()
    assert p.end_processes() == [0, 0], p.said()
    assert union(p) == expected


@pytest.mark.slow
def test_a_recovery_store_of_several_cells_resumes_and_sinks_on_streams_miss_nothing(tmp_path, nursery, expected):
    lines = tmp_path / "lines"
    more = f'\n[own]\nuse = "tests.support.own_sink:Lines"\nfrom = "batch"\npath = "{lines}"\n'
    p = Cluster(tmp_path, batch=BATCH, nursery=nursery, more=more, HEARTHWATCH_CELLS="2")
    p.store.mkdir()
    init_db_dir(p.store, 1)
    options = "-w", "2", "-r", str(p.store), "-s", "1", "-b", "0"
    upload(p, (0, 1)).start_workers(*options)
    p.until(lambda: p.rows("SELECT 1 FROM events LIMIT 1")).kill()
    upload(p, (2, 3)).start_workers(*options).until_quiet().stop()
    assert union(p) == expected
    written = set(lines.read_text().split())
    assert written == {
        f"{id}.{revision}" for id, revision in p.rows("SELECT event_id, revision FROM feed WHERE kind = 'event'")
    }


@pytest.mark.slow
def test_bytewax_testing_with_two_processes_makes_the_events_of_one_pipeline(tmp_path, nursery):
    """The short version of `python tests/long/cells.py`, which kills processes in each way to run cells."""
    from tests.long import cells

    whole = cells.run_one(Pipeline(tmp_path / "one", batch=BATCH, nursery=nursery), rounds=25)
    two, found = cells.run(tmp_path / "two", nursery, "p2", kills=0, rounds=25, cells=2)
    assert cells.differences(found, whole) == [] and len(two.p.records()) == 2
    assert cells.count_spanning(found, 2) > 2, "incidents of cameras in both cells"


@pytest.mark.slow
def test_a_cell_whose_folder_and_tree_are_copied_to_another_host_continues_there(tmp_path, nursery, expected):
    from tests.long import cells

    trees = {side: tmp_path / f"here/{side}" for side in ("north", "south")}
    sides = {camera: ("north", "south")[n % 2] for n, camera in enumerate(CAMERAS)}

    def both(p, rounds):
        for n in rounds:
            for camera in CAMERAS:
                p.base, file = trees[sides[camera]], name(T + n * 20, camera)
                p.upload(camera, file, picture(file), mtime=T + n * 20)

    here = Cluster(
        tmp_path / "h", batch=BATCH, nursery=nursery, HEARTHWATCH_CELLS=f"north={trees['north']};south={trees['south']}"
    )
    both(here, (0, 1))
    here.start_workers("-w", "2").until(lambda: len(here.rows("SELECT 1 FROM events")) > len(CAMERAS) // 2).kill()
    there = Cluster(tmp_path / "t", batch=BATCH, nursery=nursery, HEARTHWATCH_CELLS=f"south={tmp_path / 'there'}")
    shutil.copytree(here.data / "cells/south", there.data / "cells/south")
    shutil.move(here.data / "cells/south", tmp_path / "gone")
    shutil.copytree(trees["south"], tmp_path / "there")
    shutil.move(trees["south"], tmp_path / "gone")
    trees["south"], files = tmp_path / "there", len(CAMERAS) * 4 // 2
    both(here, (2, 3))
    here.start_workers(HEARTHWATCH_CELLS=f"north={trees['north']}").until(lambda: here.quiet(files)).stop()
    there.start_workers().until(lambda: there.quiet(files)).stop()
    assert not there.path.exists(), "there is no cell 0"
    north, south = (union(p) for p in (here, there))
    assert all(north[part] and south[part] and not north[part].keys() & south[part].keys() for part in PARTS)
    found = {part: north[part] | south[part] for part in PARTS}
    assert cells.differences(without_revisions(found), without_revisions(expected)) == []


def without_revisions(found):
    """A record that lies in another file continues above what it may have given, so its revisions have other numbers."""
    drop = lambda row: {name: value for name, value in row.items() if name != "revision"}  # noqa: E731
    events = {key: drop(row) for key, row in found["events"].items()}
    return found | {"events": events, "feed": {key: [*map(drop, messages)] for key, messages in found["feed"].items()}}


@pytest.mark.slow
def test_a_folder_that_is_merged_into_a_camera_of_another_cell_stays_with_its_cell_and_each_picture_is_taken_in_once(
    tmp_path, nursery
):
    p = upload(cluster(tmp_path, nursery, 2), (0,)).start_workers("-w", "2").until_quiet()
    records = [Record(path) for path in p.records()]
    here, there = (record.one("SELECT min(id) FROM cameras")[0] for record in records)
    assert merge_camera(records[1], there, here, read_settings(records[0], here))
    upload(p, (1,)).until_quiet().kill()
    upload(p, (2,)).start_workers("-w", "2").until_quiet().stop()
    for number, record in enumerate(records):
        folders = dict(
            record.rows("SELECT camera_id, count(DISTINCT substr(path, 1, instr(path, '/'))) FROM frames GROUP BY 1")
        )
        assert folders[here] == 1 and there not in folders, number
        record.close()
    paths = p.rows("SELECT path FROM frames")
    assert len(paths) == len(set(paths)) == 3 * len(CAMERAS)


@pytest.mark.slow
def test_a_second_pipeline_on_the_same_cells_is_refused(tmp_path, nursery):
    p = upload(cluster(tmp_path, nursery, 2), (0,)).start_workers("-w", "2").until_quiet()
    first = p.pid
    assert p.start_workers("-w", "2").wait() == 2 and "another pipeline" in p.said(), p.said()
    p.pid = first
    p.stop()


def context(tmp_path, cells="1"):
    return Context(tmp_path / "hearthwatch.db", tmp_path, tmp_path / "uploads", wanted_cells=cells)


def cells_of(c):
    return find_cells(c.wanted_cells, c.record_path, c.data_dir, c.base_path)


def test_a_cell_is_a_folder_with_its_number_and_its_ids(tmp_path):
    cells = cells_of(context(tmp_path, "3"))
    assert [cell.record_path for cell in cells] == [
        tmp_path / "hearthwatch.db", tmp_path / "cells/1/hearthwatch.db", tmp_path / "cells/2/hearthwatch.db",
    ]  # fmt: skip
    assert not list(tmp_path.iterdir()), "nothing is made by asking"
    for cell in cells:
        prepare_cell(cell)
        prepare_cell(cell)
    assert (tmp_path / "cells/2/cell").read_text() == "2\n"
    record = Record(cells[2].record_path)
    record.execute(
        "INSERT INTO frames(uid, path, mtime_ns, size, captured_at, arrived_at, discovered_at) VALUES ('u','p',1,1,1,1,1)"
    )
    assert record.one("SELECT id FROM frames") == ((2 << 36) + 1,)
    (tmp_path / "cells/2/cell").write_text("7")
    with pytest.raises(UserError, match="ids of cell 2, but it is cell 7"):
        prepare_cell(cells_of(context(tmp_path, "3"))[2])


def test_cells_with_trees_keep_their_numbers_when_the_list_changes_and_on_another_host(tmp_path):
    def numbers(data, cells):
        return {c.name: (c.number, c.data_dir.name, c.base_path.name) for c in cells_of(context(data, cells))}

    here, there = tmp_path / "here", tmp_path / "there"
    for cell in cells_of(context(here, "a=/x;b=/y;c=/z")):
        prepare_cell(cell)
    assert numbers(here, "a=/x;c=/z;b=/y") == {"a": (0, "here", "x"), "c": (2, "c", "z"), "b": (1, "b", "y")}
    assert numbers(here, "a=/x;d=/w;b=/y;c=/z")["d"] == (3, "d", "w"), "a number is given once"
    own = {"a": (0, "here", "x"), "b": (1, "b", "y"), "c": (2, "c", "z")}
    assert numbers(here, "b=/y;c=/z;a=/x") == own, "the first one keeps its record, wherever it stands"
    assert numbers(here, "d=/w;c=/z;b=/y;a=/x") == own | {"d": (3, "d", "w")}
    with pytest.raises(UserError, match=r"cells/c is a cell, but HEARTHWATCH_CELLS=a=/x;b=/y"):
        numbers(here, "a=/x;b=/y")
    with pytest.raises(UserError, match=r"hearthwatch.db is that of the cell a, but .* add `a=FOLDER`"):
        numbers(here, "b=/y;c=/z")
    there.mkdir()
    (here / "cells").rename(there / "cells")
    (there / "cells/b").rename(tmp_path / "b")
    assert numbers(there, "c=/z") == {"c": (2, "c", "z")}, "moved to another host, it continues there"
    assert numbers(there, "c=/z;e=/v")["e"] == (1, "e", "v"), "the data dir has no cell 0"
    (there / "cells/d").mkdir()
    (there / "cells/d/cell").write_text("2")
    with pytest.raises(UserError, match=r"cells c and d have the same number"):
        numbers(there, "c=/z;d=/w")


def test_a_changed_number_of_cells_places_only_new_cameras(tmp_path):
    def owners(wanted, cameras):
        c = context(tmp_path, wanted)
        cells = cells_of(c)
        places = [Placement(cell, cells, wanted) for cell in cells]
        found = [[place.cell.number for place in places if place.is_mine(camera)] for camera in cameras]
        assert all(len(one) == 1 for one in found), "each picture is of one cell"
        return [one[0] for one in found]

    cameras = [f"cam{n}" for n in range(40)]
    for cell in cells_of(context(tmp_path, "2")):
        prepare_cell(cell)
    before = owners("2", cameras)
    assert set(before) == {0, 1}
    for cell in cells_of(context(tmp_path, "2")):
        record = Record(cell.record_path)
        for camera, owner in zip(cameras, before, strict=True):
            if owner == cell.number:
                record.execute(
                    "INSERT INTO cameras(id, name, folder_path, status, created_at) VALUES (?1, ?1, ?1, 'online', 0)",
                    camera,
                )
        record.close()
    assert owners("4", cameras) == before and owners("1", cameras) == before
    new = [f"new{n}" for n in range(40)]
    assert set(owners("4", new)) == {0, 1, 2, 3} and set(owners("1", new)) == {0}
    assert owners("4", [""]) == [0], "a file of no camera"


def test_wrong_cells_are_refused_in_words():
    for wrong in ("0", "256", "a", "a=", "a=/x;a=/y", "A B=/x"):
        with pytest.raises(SettingsError, match=r"HEARTHWATCH_CELLS.*a number of cells, 1 to 255, or name=folder"):
            load(None, {"HEARTHWATCH_CELLS": wrong})
    assert load(None, {"HEARTHWATCH_CELLS": "north=/a;south=/b"}).hearthwatch_cells == "north=/a;south=/b"


class OwnSteps(Stage, StageWorker):
    accepts = Event
    emits = Event

    def attach(self, step_id, up):
        return up


def test_own_steps_that_could_move_items_to_another_worker_are_refused_with_several_cells(tmp_path):
    def graph(cells):
        return (
            Graph(context(tmp_path, cells)).add("files", Files()).add("detect", NullDetector(), "files")
            .add("batch", Batch(), "detect").add("own", OwnSteps(), "batch")
        )  # fmt: skip

    assert graph("1").build()
    with pytest.raises(UserError, match="`own` adds Bytewax steps with `attach`"):
        graph("2").build()


def test_each_cell_has_its_stream(tmp_path):
    cells = cells_of(context(tmp_path, "2"))
    assert [stream_of("events", cell) for cell in (None, *cells)] == ["events", "events", "events:1"]
