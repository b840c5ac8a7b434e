"""Time the page in Debian's Chromium over many incidents and cameras: first paint, requests, scrolling, memory.

    scripts/bench page [--incidents 10000] [--cameras 64] [--rounds 5] [--keep FOLDER]

The record is that of `bench/api.py`, with incidents as the component `incident` makes them; no pipeline runs. First paint is when the first
card is drawn, from the navigation on. Scrolling: to the end of what the list loads, a screen at a time; a long frame is one of over 50 ms.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from playwright.sync_api import sync_playwright  # noqa: E402

from bench.api import fill, serving  # noqa: E402
from hearthwatch.record import Record, now  # noqa: E402
from tests.support.linking import link  # noqa: E402

SIZES = {"1440×900": {"width": 1440, "height": 900}, "390×844": {"width": 390, "height": 844}}
VIEWS = {
    "inbox": "",
    "inbox, 1,000 cards": "",
    "history of a day": "?past={day}",
    "pictures of a day": "?past={day}&show=pictures",
    "search": "?q=dog",
}
FRAMES = """() => { window.slow = []; new PerformanceObserver((all) => { for (const e of all.getEntries()) slow.push(e.duration); })
  .observe({ type: "longtask", buffered: true }); }"""
READY = ":is(#inbox, #history) :is(.card, .empty, .reel li)"
SCREENS = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--incidents", type=int, default=10_000)
    parser.add_argument("--cameras", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="folder of the record, made if it is empty")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = given.keep or Path(name)
        path = folder / "hearthwatch.db"
        if not path.exists():
            fill(path, given.incidents, given.cameras)
            record = Record(path)
            link(record, 0)
            record.execute(
                "INSERT OR REPLACE INTO heartbeat VALUES ('see', ?, ?, '{}')", os.getpid(), now() + 3600 * 10**6
            )
            record.close()
        record = Record(path)
        print(
            "{} incidents, {} cameras".format(
                *record.one("SELECT (SELECT count(*) FROM incidents WHERE status <> 'merged'), count(*) FROM cameras")
            )
        )
        record.close()
        with serving(folder) as (_, port), sync_playwright() as playwright:
            chromium = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--headless", "--no-sandbox", "--disable-gpu"]
            )
            print(
                "\n| page | size | first card, ms | all drawn, ms | longest task, ms | scrolling: slowest, long tasks | elements | MB |\n|---|---|---|---|---|---|---|---|"
            )
            for what, query in VIEWS.items():
                for size, viewport in SIZES.items():
                    url = f"http://127.0.0.1:{port}/{query.format(day=time.strftime('%Y-%m-%d'))}"
                    rounds = [visit(chromium, url, viewport, "1,000" in what) for _ in range(given.rounds)]
                    first, drawn, longest, slowest, n, elements, mb = (
                        statistics.median(r[i] for r in rounds) for i in range(7)
                    )
                    print(
                        f"| {what} | {size} | {first:.0f} | {drawn:.0f} | {longest:.0f} | {slowest:.0f} ms, {n:.0f} | {elements:,.0f} | {mb:.0f} |",
                        flush=True,
                    )


def visit(chromium, url, viewport, all_of_it):  # type: ignore[no-untyped-def]
    """Load the page, scroll; (first card, all drawn, longest task, slowest task of scrolling, its number over 50 ms, elements, MB)."""
    context = chromium.new_context(viewport=viewport)
    page = context.new_page()
    page.add_init_script(
        f"({FRAMES})(); addEventListener('DOMContentLoaded', () => {{ const o = new MutationObserver(() => {{ "
        f"if (!window.first && document.querySelector('{READY}')) window.first = performance.now(); }}); o.observe(document, {{ subtree: true, childList: true }}); }})"
    )
    page.goto(url)
    page.wait_for_function("() => window.first")
    page.wait_for_function(
        "() => document.querySelector('#heat table, #heat[hidden]') && document.querySelectorAll('#cameras li').length"
    )
    drawn = page.evaluate("performance.now()")
    if all_of_it:
        while (
            page.locator("[data-do=more-events]").count() and page.locator("#inbox .card, #inbox .row").count() < 1000
        ):
            n = page.locator("#inbox .card, #inbox .row").count()
            page.evaluate("document.querySelector('[data-do=more-events]').click()")
            page.wait_for_function("n => document.querySelectorAll('#inbox .card, #inbox .row').length > n", arg=n)
    longest = page.evaluate("Math.max(0, ...slow)")
    page.evaluate("slow.length = 0")
    page.mouse.move(200, 500)
    for _ in range(SCREENS):
        page.mouse.wheel(0, viewport["height"])
        page.wait_for_timeout(60)
    slow = page.evaluate("slow")
    elements = page.evaluate("document.querySelectorAll('*').length")
    mb = page.context.new_cdp_session(page).send("Runtime.getHeapUsage")["usedSize"] / 1e6
    first = page.evaluate("first")
    context.close()
    return first, drawn, longest, max(slow, default=0), len(slow), elements, mb


if __name__ == "__main__":
    main()
