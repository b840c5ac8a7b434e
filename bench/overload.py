"""Upload three times more pictures than the detector can process: what is lost, what grows, delays, health.

    scripts/bench overload [--minutes 10] [--times 3] [--detector-ms 20] [--csv FILE]

The built-in graph, but for a detector that takes a fixed time per picture, and the API beside it. The sustainable rate is
measured first. Then five cameras upload `times` as much, one of them two thirds of it; half-way the pipeline is killed
with -9 and started again 20 s later, without a recovery store. Afterwards the backlog drains, and every file is accounted
for. A camera's lag is the age of its pictures in the second in which they are decided.
"""

import argparse
import csv
import os
import statistics
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from tests.support.uploads import Home, Uploads, upload, vitals  # noqa: E402

SHARES = {"flood": 2 / 3, "busy": 1 / 6, "usual": 1 / 10, "calm": 1 / 20, "rare": 1 / 60}  # of the pictures
CALIBRATION = 1500  # backlog at the start, to measure what the detector sustains
DEAD_SECONDS = 20  # longer than health needs to report it
LOOK_SECONDS = 1.0
QUIET_SECONDS_MAX = 300  # for the last events to close, after everything is decided


class Sample:
    """One second. `lag`: per camera, the age of the pictures decided in it."""

    def __init__(self, home, second, sent, before):
        self.second, self.sent, self.at = second, sent, time.time()
        self.decided = home.decided()
        self.rss = None if home.pid is None else vitals(home.pid).rss_mb
        self.api_rss = vitals(home.api.pid).rss_mb
        first = before.decided if before else self.decided
        self.lag = {camera: self.at - arrived / 1e6 for camera, arrived in home.rows(NEWLY, first, self.decided)}
        self.health = home.ask("/api/system/health")
        self.pipeline = self.health["services"]["pipeline"]
        self.status = home.ask("/api/status")
        self.waiting = sent - self.decided


NEWLY = "SELECT camera_id, avg(arrived_at) FROM frames WHERE id > ? AND id <= ? GROUP BY camera_id"


class Watch:
    """Samples every second, from the first upload on."""

    def __init__(self, home, uploads):
        self.home, self.uploads, self.samples, self.began = home, uploads, [], time.monotonic()

    def until(self, enough):
        """Sample until `enough`."""
        while True:
            due = time.monotonic() + LOOK_SECONDS
            sent, before = self.uploads.total() + CALIBRATION, self.samples[-1] if self.samples else None
            self.samples.append(Sample(self.home, time.monotonic() - self.began, sent, before))
            if enough(self.samples[-1]):
                return
            assert self.home.pid is None or not self.home.ended(), self.home.said()
            time.sleep(max(0.0, due - time.monotonic()))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--times", type=float, default=3, help="of the sustainable rate")
    parser.add_argument("--detector-ms", type=float, default=20, help="what the detector takes per picture")
    parser.add_argument("--csv", type=Path, help="where every second is written, too")
    parser.add_argument("--folder", type=Path, help="where tree and record are made")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overload_", dir=given.folder) as folder:
        home = Home(folder, f"slow_seconds = {given.detector_ms / 1000}")
        try:
            run(home, given)
        finally:
            home.close()


def run(home, given):
    for n in range(CALIBRATION):
        (home.base / "usual").mkdir(exist_ok=True)
        upload(home.base, "usual", f"first{n}-slow.jpg")
    home.start().serve()
    sustained = calibrate(home)
    rate = given.times * sustained
    print(
        f"{os.cpu_count()} CPUs, Python {sys.version.split()[0]}; a detector that takes {given.detector_ms:g} ms: {sustained:.1f} pictures/s "
        f"are sustained, {rate:.0f}/s come for {given.minutes:g} minutes\n",
        flush=True,
    )
    rates = {camera: share * rate for camera, share in SHARES.items()}
    uploads = Uploads(home.base, rates, lambda camera, n: f"{n:07}-slow.jpg")
    watch = overload(home, uploads, given.minutes * 60)
    drained = time.monotonic()
    watch.until(lambda sample: sample.waiting == 0)
    drained = time.monotonic() - drained
    home.until(lambda: home.rows("SELECT 1 FROM events WHERE status = 'open'") == [], QUIET_SECONDS_MAX)
    home.stop()
    if given.csv:
        write(given.csv, watch.samples)
    report(home, uploads, watch.samples, drained)


def calibrate(home):
    """Measure pictures/s with a full backlog."""
    home.until_decided(CALIBRATION * 0.1, 120)
    began, first = time.monotonic(), home.decided()
    home.until_decided(CALIBRATION * 0.9, 600)
    rate = (home.decided() - first) / (time.monotonic() - began)
    home.until_decided(CALIBRATION, 600)
    return rate


def overload(home, uploads, seconds):
    """Overload it; killed half-way, started again. Return a sample for every second."""
    uploads.start()
    watch = Watch(home, uploads)
    watch.until(lambda sample: sample.second > seconds / 2)
    home.kill()
    watch.until(lambda sample: sample.second > seconds / 2 + DEAD_SECONDS)
    home.start()
    watch.until(lambda sample: sample.second > seconds)
    uploads.stop()
    return watch


def write(path, samples):
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        cameras = list(SHARES)
        out.writerow(
            ["second", "sent", "decided", "waiting", "health", "backlog", "oldest_s", "rss_mb", "api_rss_mb", *cameras]
        )
        for sample in samples:
            details = sample.pipeline["details"]
            shown = sample.health["status"], details.get("backlog"), details.get("oldest_unprocessed_seconds")
            lags = [round(sample.lag[camera], 1) if camera in sample.lag else "" for camera in cameras]
            out.writerow(
                [
                    round(sample.second, 1),
                    sample.sent,
                    sample.decided,
                    sample.waiting,
                    *shown,
                    sample.rss,
                    sample.api_rss,
                    *lags,
                ]
            )


def report(home, uploads, samples, drained):
    every = max(1, len(samples) // 16)
    print(
        "| second | uploaded | decided | wait | health | it says | page: backlog | oldest, s | pipeline MB | API MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for sample in samples[::every] + samples[-1:]:
        oldest = sample.pipeline["details"].get("oldest_unprocessed_seconds")
        rss = "–" if sample.rss is None else f"{sample.rss:.0f}"
        print(
            f"| {sample.second:.0f} | {sample.sent:,} | {sample.decided:,} | {sample.waiting:,} | {sample.health['status']} | {sample.pipeline['message']} "
            f"| {sample.status['backlog']:,} | {'–' if oldest is None else f'{oldest:.0f}'} | {rss} | {sample.api_rss:.0f} |"
        )
    print("\n| camera | pictures/s | uploaded | lag p50, s | lag max, s |\n|---|---|---|---|---|")
    for camera, rate in uploads.rates.items():
        lags = [sample.lag[camera] for sample in samples if camera in sample.lag]
        print(f"| {camera} | {rate:.1f} | {uploads.sent[camera]:,} | {statistics.median(lags):.0f} | {max(lags):.0f} |")
    apart = [max(sample.lag.values()) - min(sample.lag.values()) for sample in samples if len(sample.lag) > 1]
    print(f"\nat most {max(apart):.1f} s (p50 {statistics.median(apart):.1f}) between two cameras in the same second")
    missing, doubled = home.lost()
    states, uploaded = home.states(), sum(uploads.sent.values()) + CALIBRATION
    print(
        f"{uploaded:,} uploaded, {sum(states.values()):,} in the ledger ({', '.join(f'{n:,} {state}' for state, n in states.items())}), "
        f"{len(missing)} lost, {len(doubled)} doubled; drained after {drained:.0f} s; the uploader was {uploads.late:.1f} s late at most"
    )
    print(f"hearthwatch verify: exit {home.verify()}; {datetime.now():%Y-%m-%d}")
    assert not missing and not doubled and states == {"settled": uploaded}


if __name__ == "__main__":
    main()
