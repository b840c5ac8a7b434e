"""Promise: nothing that comes from outside ends a process, takes long or takes much memory. 500 cases of `scripts/fuzz`.

And some hundred bad files, with bad names, through a whole pipeline: each is settled or quarantined with its reason.
"""

import os
import random

import pytest

from hearthwatch.record.paths import escape
from hearthwatch.sources.tree import is_picture_path
from tests.fuzz.names import part
from tests.fuzz.pictures import Pictures
from tests.fuzz.run import KINDS, SHARES, keep, run
from tests.support.invariants import check
from tests.support.pipeline import Nursery, Pipeline

pytestmark = pytest.mark.slow

SEED = int(os.environ.get("HEARTHWATCH_TEST_SEED", "1"))
CASES = 500
FILES = 200


@pytest.mark.parametrize("kind", KINDS)
def test_cases_from_outside_are_accepted_or_refused_with_a_reason(kind, tmp_path, capsys):
    tally = run(kind, SEED, range(CASES * SHARES[kind] // 100), tmp_path)
    if tally.failures:
        keep(tally, SEED, tmp_path)
    assert not tally.failures, capsys.readouterr().out
    assert tally.accepted and tally.refused, "a fuzzer that is always right has not tried"


def test_a_pipeline_settles_or_quarantines_every_bad_file(tmp_path):
    rnd, pictures = random.Random(SEED), Pictures(tmp_path)
    with Nursery() as nursery:
        p = Pipeline(
            tmp_path / "p", files="sweep_seconds = 0.2\nsettle_seconds = 0.05\nstill_seconds = 0.1", nursery=nursery
        )
        names = set()
        while len(names) < FILES:
            name = b"cam%d/" % rnd.randrange(3) + part(rnd, rnd.choice([b".jpg", b".png", b".JPEG"]))
            names.update({name} if is_picture_path(name) else ())
        for name in sorted(names):
            whole = os.path.join(os.fsencode(p.base), name)
            os.makedirs(os.path.dirname(whole), exist_ok=True)
            with open(whole, "wb") as file:
                file.write(small(pictures, rnd))
            when = 1_700_000_000 + rnd.randrange(10_000)
            os.utime(whole, (when, when))
        p.run(files=FILES)
    record = p.record
    check(record)
    states = dict(record.rows("SELECT state, count(*) FROM frames GROUP BY 1"))
    assert sum(states.values()) == FILES and states["settled"] > 20 and states["quarantined"] > 20
    assert {path for (path,) in record.rows("SELECT path FROM frames")} == {escape(name) for name in names}
    assert record.one(
        "SELECT count(*) FROM frames WHERE state = 'quarantined' AND (error IS NULL OR error_stage IS NULL)"
    ) == (0,)
    record.close()


def small(pictures, rnd):
    """A picture case of a few hundred kilobytes at most: the large ones are the other test's."""
    while len(data := pictures.make(rnd)) > 300_000:
        pass
    return data
