"""The page, in a real browser, over the real API and a record that ledger, batching and verdicts have made.

Whatever a browser complains about on its console (a script error, a breach of the Content-Security-Policy) fails the test.
"""

import json
import os
import re
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest

from hearthwatch.record import now
from hearthwatch.schemas.items import Tick
from tests.support.drawn_house import ROOT, SLOW, Api, House, busy_house

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MISSING = CHROMIUM is None and os.environ.get("HEARTHWATCH_TEST_REQUIRE") != "all"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(MISSING, reason="no Chromium: apt install chromium")]

from playwright.sync_api import expect, sync_playwright  # noqa: E402

QUIET = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
EXPECTED = re.compile(
    r"Failed to load resource|net::ERR_|ERR_CONNECTION"
)  # a server that is away is no fault of the page


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser):
    """Open a URL in a browser of its own; what its console says against us fails the test."""
    contexts, complaints = [], []

    def open_page(url, viewport=DESKTOP, scheme="dark", **options):
        context = browser.new_context(viewport=viewport, color_scheme=scheme, reduced_motion="reduce", **options)
        context.set_default_timeout(SLOW * 1000)
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console",
            lambda m: m.type in ("error", "warning") and not EXPECTED.search(m.text) and complaints.append(m.text),
        )
        page.on("pageerror", lambda error: complaints.append(error.stack))
        page.goto(url)
        return page

    expect.set_options(timeout=SLOW * 1000)
    yield open_page
    for context in contexts:
        context.close()
    assert not complaints


class Place:
    """A house, its API, and what stands where: `ids` by name."""

    def __init__(self, folder, *, busy=True, llm=False, **environment):
        self.house, self.ids = busy_house(folder, llm=llm) if busy else (House(folder), {})
        self.house.alive()
        self.api = Api(self.house, **environment).start()
        self.url = self.api.url

    def rows(self, sql, *args):
        with closing(sqlite3.connect(self.house.record.path)) as record:
            return record.execute(sql, args).fetchall()

    def inbox(self):
        """What waits for a person, as it should be ordered."""
        return [
            i
            for (i,) in self.rows("SELECT id FROM events WHERE NOT reviewed ORDER BY risk_score DESC, started_at DESC")
        ]

    def close(self):
        self.api.kill()
        self.house.close()


@pytest.fixture
def place(tmp_path):
    """Makes places that are cleared away afterwards."""
    made = []

    def make(name="house", **how):
        made.append(Place(tmp_path / name, **how))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture(scope="module")
def still(tmp_path_factory):
    """A place that tests only look at."""
    one = Place(tmp_path_factory.mktemp("still") / "house", llm=True)
    yield one
    one.close()


def cards(page):
    return page.locator("#inbox .card").evaluate_all("all => all.map(li => +li.dataset.id.slice(1))")


def ready(page):
    expect(page.locator("#status .live")).to_have_text("live")
    shown = "#inbox :is(.card, .empty, .first), #detail .verdict"
    wait_for(page, "what => [...document.querySelectorAll(what)].some(e => e.checkVisibility())", shown)
    return page


def wait_for(page, expression, *args):
    page.wait_for_function(expression, arg=args[0] if args else None, timeout=SLOW * 1000)


def test_the_documented_keys_and_links_are_those_of_the_page():
    page, read = (ROOT / "docs" / "page.md").read_text(), lambda name: (ROOT / "api" / "static" / name).read_text()
    keys = re.search(r"const KEYS = \{(.*?)\n\};", read("keys.js"), re.DOTALL)[1]
    bound = set(re.findall(r'(?:^  |, )"?(\w+|[/?])"?: (?:\(|[a-z])', keys, re.MULTILINE))
    told = {key.strip("`") for row in re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE) for key in row.split()}
    assert bound | {"Esc"} == {{"←": "ArrowLeft", "→": "ArrowRight"}.get(key, key) for key in told}
    links = json.loads(re.search(r"FILTERS = (\[.*?\])", read("url.js"))[1])
    assert not [name for name in links if f"`{name}" not in page]


def reviewed(page, n):
    """Wait until the server has so many marks: the page shows them before."""
    wait_for(page, "n => fetch('api/events?reviewed=true').then(a => a.json()).then(e => e.count === n)", n)


# -- triage


def test_ten_events_are_triaged_by_the_keyboard_alone(visit, place):
    here = place()
    page, order = ready(visit(here.url)), here.inbox()
    assert cards(page) == order
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("#detail h2")).to_be_visible()
    for _ in range(10):  # as fast as fingers can: no mark may hit an event twice or be lost
        page.keyboard.press("r")
    expect(page.locator("#inbox .card")).to_have_count(len(order) - 10)
    reviewed(page, 10)
    assert here.inbox() == order[10:]
    expect(page.locator("#detail .nth")).to_have_text(f"1 of {len(order) - 10} to review")
    page.keyboard.press("u")
    expect(page.locator("#inbox .card")).to_have_count(len(order) - 9)
    expect(page.locator("#inbox .selected")).to_have_attribute("data-id", f"i{order[9]}")
    wait_for(page, "id => fetch('api/events/' + id).then(a => a.json()).then(e => !e.reviewed)", order[9])
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    reviewed(page, 9)
    assert sorted(here.inbox()) == sorted(order[9:])


def test_marks_count_even_if_the_tab_is_closed_right_after(visit, place):
    here = place()
    page, order = ready(visit(here.url)), here.inbox()
    for _ in range(3):
        page.keyboard.press("r")
    page.close(run_before_unload=False)
    page = ready(visit(here.url))
    reviewed(page, 3)
    assert here.inbox() == order[3:]


def test_all_low_ones_are_marked_at_once_and_that_can_be_undone(visit, place):
    here = place()
    page, order = ready(visit(here.url)), here.inbox()
    low = {i for (i,) in here.rows("SELECT id FROM events WHERE risk_level = 'low'")}
    page.get_by_role("button", name="Mark all low reviewed").click()
    expect(page.locator("#inbox .card")).to_have_count(len(order) - len(low))
    assert set(here.inbox()) == set(order) - low
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#inbox .card")).to_have_count(len(order))
    wait_for(page, "n => fetch('api/status').then(a => a.json()).then(s => s.to_review === n)", len(order))


def test_an_answer_from_before_a_mark_does_not_undo_it_on_the_screen(visit, place):
    here = place()
    page, order, held = ready(visit(here.url)), here.inbox(), []
    page.route("**/api/incidents?*", lambda route: route.continue_() if held else held.append((route, route.fetch())))
    here.house.judged("street", datetime.now(UTC) - timedelta(minutes=4), 1, "Somebody passes.")
    while not held:
        page.wait_for_timeout(50)
    page.keyboard.press("r")
    expect(page.locator(f"#inbox .row[data-id='i{order[0]}']")).to_be_visible()
    wait_for(page, "id => fetch('api/events/' + id).then(a => a.json()).then(e => e.reviewed)", order[0])
    page.evaluate(
        """id => { window.seen = []; const box = document.getElementById("inbox"); new MutationObserver(() =>
            seen.push([box.textContent.includes("As it was."), Boolean(box.querySelector(`.card[data-id="i${id}"]`))]))
            .observe(box, { subtree: true, childList: true, characterData: true }); }""",
        order[0],
    )
    route, answer = held[0]
    old = answer.json()
    old["incidents"][1]["summary"] = "As it was."
    route.fulfill(json=old)
    wait_for(page, "() => seen.some(([old]) => old)")
    assert not any(card for _, card in page.evaluate("seen"))


def test_a_note_is_kept_while_the_event_changes_under_it(visit, place):
    here = place(llm=True)
    page = ready(visit(f"{here.url}/?event={here.ids['event 4']}"))
    page.locator("#note").fill("Asked the neighb")
    here.house.analyzed(here.ids["event 4"], 71, "The model changes its mind.")
    expect(page.locator(".verdict h2")).to_have_text("The model changes its mind.")
    page.locator("#note").press_sequentially("ours.")
    page.keyboard.press("Enter")
    expect(page.locator("#toast")).to_contain_text("Note saved")
    assert here.rows("SELECT notes FROM events WHERE id = ?", here.ids["event 4"]) == [("Asked the neighbours.",)]


# -- incidents


def opened(page):
    """The events of the unfolded incident."""
    return page.locator("#inbox .inside .row").evaluate_all("all => all.map(li => +li.dataset.id)")


def test_an_incident_is_one_card_that_unfolds_into_its_events(visit, place):
    here = place(busy=False)
    events = here.house.visit()
    other = here.house.judged("back_yard", datetime.now(UTC) - timedelta(seconds=100), 40, "A cat passes.")
    page = ready(visit(here.url))
    assert cards(page) == [events[0], other]
    card = page.locator("#inbox .card").first
    expect(card.locator(".where")).to_have_text(
        re.compile(r"^Front Door, Back Yard, Street \d\d:\d\d–\d\d:\d\d 2\d min ago")
    )
    expect(card.locator("h3")).to_have_text("A person climbs the fence.")
    expect(card.locator(".chips")).to_contain_text("4 events")
    gravest = page.evaluate("id => fetch('api/events/' + id).then(a => a.json())", events[2])
    expect(card.locator("img")).to_have_attribute("src", gravest["thumbnail_url"])
    for key in ("j", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#inbox .inside .row")).to_have_count(4)
    assert opened(page) == events
    expect(card.locator("h3 a")).to_have_attribute("aria-expanded", "true")
    expect(page).to_have_url(f"{here.url}/?incident={events[0]}")
    assert in_both_themes(page, "unfolded") == []
    page.set_viewport_size(PHONE)
    assert in_both_themes(page, "unfolded, phone") == []
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.set_viewport_size(DESKTOP)
    for key in ("j", "j", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("#detail h2")).to_have_text("A person looks into the shed.")
    page.keyboard.press("j")
    expect(page.locator("#detail h2")).to_have_text("A person climbs the fence.")
    expect(page.locator("#inbox .selected")).to_have_attribute("data-id", str(events[2]))
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator("#inbox .inside")).to_have_count(0)
    page.get_by_role("link", name="A cat passes.").click()
    expect(page.locator("#detail h2")).to_have_text("A cat passes.")
    page.go_back()
    card.click()
    page.locator("#inbox .inside a").first.click()
    expect(page.locator("#detail h2")).to_have_text("A person walks to the door.")


def test_a_mark_of_an_incident_is_one_of_all_its_events_and_can_be_undone(visit, place):
    here = place(busy=False)
    events = here.house.visit()
    page = ready(visit(f"{here.url}/?incident={events[0]}"))
    expect(page.locator("#inbox .selected")).to_have_attribute("data-id", f"i{events[0]}")
    page.keyboard.press("r")
    expect(page.locator("#inbox .card")).to_have_count(0)
    expect(page.locator("#toast")).to_contain_text("4 events, 71 high")
    reviewed(page, 4)
    page.keyboard.press("u")
    expect(page.locator("#inbox .card")).to_have_count(1)
    reviewed(page, 0)
    page.locator("#inbox .inside a").first.click()
    for n in range(1, 4):  # one by one, on their pages
        page.keyboard.press("r")
        expect(page.locator("#detail h2")).to_have_text(
            here.rows("SELECT summary FROM events WHERE id = ?", events[n])[0][0]
        )
        assert here.inbox() and len(cards(page)) == 1
    page.keyboard.press("r")
    expect(page.locator("#inbox .card")).to_have_count(0)
    reviewed(page, 4)
    wait_for(page, "() => fetch('api/incidents?reviewed=true').then(a => a.json()).then(i => i.count === 1)")
    page.keyboard.press("u")
    reviewed(page, 3)
    page.keyboard.press("R")
    reviewed(page, 4)


def test_an_incident_grows_and_merges_on_the_screen(visit, place):
    here = place(busy=False)
    events, at = here.house.visit(300), datetime.now(UTC) - timedelta(seconds=180)
    page = ready(visit(f"{here.url}/?incident={events[0]}"))
    page.evaluate("window.loadedOnce = true")
    late = here.house.judged("front_door", at, 92, "A person is back.")
    expect(page.locator("#inbox .inside .row")).to_have_count(5)
    assert opened(page) == [*events, late]
    expect(page.locator("#inbox .card .risk b")).to_have_text("92")
    assert page.evaluate("loadedOnce")
    row = "9999, 'merged', 1, started_at, last_at, NULL, id, 1, 'low', '', NULL, '[]', '{}', 0, 0, 0, 0, NULL, 0"
    here.house.record.execute(f"INSERT INTO incidents SELECT {row} FROM incidents")
    page = ready(visit(f"{here.url}/?incident=9999"))
    expect(page.locator("#inbox .inside .row")).to_have_count(5)
    expect(page).to_have_url(f"{here.url}/?incident={events[0]}")
    page = ready(visit(f"{here.url}/?incident=777"))
    expect(page.locator("#toast")).to_contain_text("Incident with id 777 not found.")
    expect(page).to_have_url(f"{here.url}/")
    assert len(cards(page)) == 1


# -- live


def test_a_live_event_appears_without_reload_and_nothing_flickers(visit, place):
    here = place(llm=True)
    page, at = ready(visit(here.url)), datetime.now(UTC) - timedelta(seconds=20)
    first = page.locator("#inbox .card img").first.element_handle()
    page.evaluate("window.loadedOnce = true")
    new = here.house.judged("street", at, 91, "Two people climb over the gate.", closed=False)
    expect(page.locator("#inbox .card h3").first).to_have_text("Two people climb over the gate.")
    card = page.locator(f"#inbox .card[data-id='i{new}']")
    expect(card.locator(".risk b")).to_have_text("~91")
    expect(card).to_contain_text("provisional, by rules")
    expect(page.locator("#status .bad")).to_have_text(re.compile("Critical at Street"))
    here.house.batching.write([Tick(at + timedelta(minutes=3))])
    here.house.analyzed(new, 34, "Two neighbours come home over the gate.")
    expect(card.locator(".risk b")).to_have_text("34")
    expect(page.locator("#status .bad")).to_have_text(re.compile("High at Back Yard", re.I))
    assert page.evaluate("window.loadedOnce")
    assert first.evaluate("img => img.isConnected && img.complete")


def test_a_server_that_goes_away_is_told_and_one_that_comes_back_is_noticed(visit, place):
    here = place()
    page = ready(visit(here.url))
    here.api.kill()
    expect(page.locator("#banner")).to_contain_text("Not live. The server does not respond.")
    expect(page.locator("body")).to_have_class(re.compile("stale"))
    expect(page.locator("#status .live")).to_contain_text("old")
    assert page.title().startswith("(stale)")
    here.house.judged("street", datetime.now(UTC) - timedelta(minutes=4), 58, "Seen while nobody could look.")
    here.api.start()
    expect(page.locator("#inbox .card h3", has_text="Seen while nobody could look.")).to_be_visible()
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("#status .live")).to_have_text("live")


def test_alive_is_what_the_pipeline_says_and_not_the_web_server(visit, place):
    here = place()
    here.house.close()
    page = visit(here.url)
    with closing(sqlite3.connect(here.house.record.path)) as record, record:
        record.execute("UPDATE heartbeat SET at = at - 240000000")
    expect(page.locator("#banner")).to_contain_text("The pipeline sends no heartbeat.")
    expect(page.locator("#status .live")).to_have_text("4 min old")
    expect(page.locator("#inbox .card").first).to_be_visible()


# -- what is shown


def test_boxes_lie_where_the_record_says(visit, still):
    event = still.ids["event 8"]
    for viewport in (DESKTOP, PHONE):
        page = ready(visit(f"{still.url}/?event={event}", viewport))
        frames = still.rows("SELECT id, width, height FROM frames WHERE event_id = ? ORDER BY captured_at, id", event)
        assert len(frames) == 3
        for i, (frame, width, height) in enumerate(frames):
            page.locator(".strip button").nth(i).click()
            expect(page.locator(".strip [aria-current]")).to_have_attribute("data-i", str(i))
            wait_for(
                page,
                "() => { const i = document.querySelector('.shot img'); return i.complete && i.naturalWidth > 0; }",
            )
            picture = page.locator(".shot img").bounding_box()
            assert picture["width"] / picture["height"] == pytest.approx(width / height, rel=0.01)
            scale = picture["width"] / width
            wanted = still.rows(
                "SELECT bbox_x, bbox_y, bbox_width, bbox_height FROM detections WHERE frame_id = ? ORDER BY id", frame
            )
            drawn = [box.bounding_box() for box in page.locator(".shot .box").all()]
            assert len(drawn) == len(wanted) > 0
            for box, (x, y, w, h) in zip(drawn, wanted, strict=True):
                seen = (box["x"] - picture["x"], box["y"] - picture["y"], box["width"], box["height"])
                assert seen == pytest.approx((x * scale, y * scale, w * scale, h * scale), abs=1)
        page.keyboard.press("b")
        expect(page.locator(".shot .boxes")).to_be_hidden()


def test_the_detail_tells_how_the_verdict_came_about(visit, still):
    page = ready(visit(f"{still.url}/?event={still.ids['event 6']}"))
    detail = page.locator("#detail")
    expect(detail.locator(".verdict h2")).to_have_text("The model tells story 6.")
    expect(detail.locator(".scores li")).to_have_text([re.compile("66 rules"), re.compile("66 language model")])
    expect(detail.locator(".path li")).to_have_count(5)
    expect(detail.locator(".why")).to_contain_text("The model says")
    expect(detail.locator(".meta")).to_contain_text("nano")
    page.keyboard.press("ArrowRight")
    expect(detail.locator("figcaption")).to_have_text(re.compile("Frame . of 3"))


def test_words_are_never_taken_for_html(visit, place):
    here = place(busy=False)
    words = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"
    here.house.judged("street", datetime.now(UTC) - timedelta(minutes=9), 40, words)
    with closing(sqlite3.connect(here.house.record.path)) as record, record:
        record.execute("UPDATE detections SET attributes = ?", (json.dumps({"colour": "red", "plate": words}),))
    page = ready(visit(f"{here.url}/?event=1&q=%3Cb%3E"))
    expect(page.locator(".shot .box span").first).to_have_text(
        re.compile(rf"^\w+ 0\.\d\d · colour red · plate {re.escape(words)}$")
    )
    expect(page.locator(".card h3")).to_have_text(words)
    expect(page.locator(".verdict h2")).to_have_text(words)
    assert page.locator("b", has_text=re.compile("^bold$")).count() == 0


# -- the URL


def test_filters_survive_reload_and_the_back_button(visit, still):
    page = ready(visit(still.url))
    everything = len(cards(page))
    page.keyboard.press("f")
    page.get_by_role("button", name=re.compile("^Medium")).click()
    expect(page).to_have_url(re.compile(r"\?risk_level=medium$"))
    wait_for(page, "n => document.querySelectorAll('#inbox .card').length < n", everything)
    page.locator("select[name=camera_id]").select_option("front_door")
    expect(page).to_have_url(re.compile("camera_id=front_door"))
    want = [i for (i,) in still.rows(
        "SELECT id FROM events WHERE risk_level = 'medium' AND camera_id = 'front_door' ORDER BY risk_score DESC, started_at DESC"
    )]  # fmt: skip
    wait_for(page, "n => document.querySelectorAll('#inbox .card').length === n", len(want))
    assert cards(page) == want
    page.reload()
    expect(page.locator("#inbox .card")).to_have_count(len(want))
    assert cards(page) == want
    expect(page.locator("select[name=camera_id]")).to_have_value("front_door")
    page.go_back()
    expect(page).to_have_url(re.compile(r"\?risk_level=medium$"))
    wait_for(page, "n => document.querySelectorAll('#inbox .card').length > n", len(want))
    expect(page.locator("select[name=camera_id]")).to_have_value("")
    page.go_back()
    expect(page.locator("#inbox .card")).to_have_count(everything)
    page.keyboard.press("/")
    page.keyboard.type("story 6")
    expect(page.locator("#inbox .card")).to_have_count(1)
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.locator("#inbox .card")).to_have_count(everything)


def test_a_square_of_the_heat_strip_asks_for_its_hour(visit, still):
    page = ready(visit(still.url))
    square = page.locator("#heat td button[data-level=high]")
    said = square.get_attribute("aria-label")
    assert "1 event, highest 66 high" in said
    square.click()
    expect(page.locator("#inbox .card h3")).to_have_text(["The model tells story 6."])
    expect(page.locator("#heat td [aria-pressed=true]")).to_have_attribute("aria-label", said)
    page.get_by_role("button", name="7 days").click()
    expect(page).to_have_url(re.compile("span=7d"))
    expect(page.locator("#heat tr").first.locator("td")).to_have_count(28)


# -- who may look


def test_the_token_is_asked_for_once(visit, place):
    here = place(HEARTHWATCH_API_TOKEN="a-long-word")
    page = visit(here.url)
    page.get_by_label("Token").fill("another-word")
    page.keyboard.press("Enter")
    expect(page.locator("#token-wrong")).to_have_text("The token is wrong.")
    page.wait_for_timeout(1000)  # a person types more slowly, and the next attempt of an address has to wait
    page.get_by_label("Token").fill("a-long-word")
    page.keyboard.press("Enter")
    ready(page)
    page.reload()
    ready(page)
    expect(page.locator("#token")).to_be_hidden()


# -- on a phone, for everybody


@pytest.mark.parametrize("view", ["", "?event=EVENT", "?incident=EVENT", "?health", "?q=nothing+at+all", "?span=7d"])
def test_a_phone_never_scrolls_sideways(visit, still, view):
    page = ready(visit(f"{still.url}/{view.replace('EVENT', str(still.ids['event 6']))}", PHONE, has_touch=True))
    if view == "":
        page.get_by_role("button", name="Filters").tap()
    if view == "?health":
        expect(page.locator("#health .ledger")).to_be_visible()
    wide = page.evaluate("[document.documentElement.scrollWidth, document.querySelector('#health').scrollWidth]")
    assert max(wide) <= PHONE["width"]


def axe(page, state, rules=None):
    """What axe-core finds wrong; the page stays as it is."""
    if not page.evaluate("'axe' in window"):
        page.evaluate((files("axe_playwright_python") / "axe.min.js").read_text())
    only = {"runOnly": {"type": "rule", "values": rules} if rules else {"type": "tag", "values": RULES}}
    found = page.evaluate("only => axe.run(document, { ...only, resultTypes: ['violations'] })", only)["violations"]
    return [f"{state}: {v['id']}: {n['target']} {n['failureSummary']}" for v in found for n in v["nodes"]]


def in_both_themes(page, state):
    found = axe(page, f"{state}, dark")
    page.emulate_media(color_scheme="light")
    found += axe(page, f"{state}, light", ["color-contrast"])
    page.emulate_media(color_scheme="dark")
    return found


def test_the_first_line_says_the_worst_problem_and_leads_to_health(visit, place):
    here = place(busy=False)
    here.house.upload("front_door", datetime.now(UTC) - timedelta(minutes=151), 9)
    page = ready(visit(here.url, PHONE))
    expect(page.locator("#status .head")).to_have_text("All well")
    columns = "kind, subject, state, severity, message, since, changed_at, revision"
    for kind, severity, message in (
        ("uploads_missing", "error", "the upload tree is missing"),
        ("quarantine", "warning", "28 of 29 pictures of Front Door could not be used"),
        ("camera_clock", "info", "front_door's clock is 90 s slow"),
    ):
        sql = f"INSERT INTO conditions({columns}) VALUES (?,'x','on',?,?,?,?,1)"
        row = (kind, severity, message, now(), now())
        here.house.record.transact(lambda sql=sql, row=row: here.house.record.execute(sql, *row))
    expect(page.locator("#status .problem")).to_have_text("2 problems: the upload tree is missing")
    assert page.locator("#status .head").count() == 0, "nothing says that all is well"
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.locator("#status .problem a").click()
    expect(page.locator("#health .conditions li")).to_have_text(
        [re.compile("^the upload tree is missing for"), re.compile("^28 of 29"), re.compile("^front_door's clock")]
    )
    expect(page.locator("#health .plain").first.locator("tr th").last).to_have_text("Front Door")
    assert page.evaluate("document.querySelector('#health').scrollWidth") <= PHONE["width"]
    assert in_both_themes(page, "problems") == []
    here.house.record.transact(lambda: here.house.record.execute("UPDATE conditions SET state = 'off'"))
    expect(page.locator("#health")).to_contain_text("All is well.")
    page.keyboard.press("Escape")
    expect(page.locator("#status .head")).to_have_text("All well")


def zones_of(here, camera="front_door"):
    return json.loads(here.rows("SELECT zones FROM cameras WHERE id = ?", camera)[0][0] or "[]")


def test_zones_are_drawn_and_tried_with_the_mouse_the_keyboard_and_a_finger(visit, place):
    here = place(busy=False)
    start = datetime.now(UTC) - timedelta(hours=5)
    for n in range(6):  # people who come out of a door
        here.house.judged("front_door", start + timedelta(minutes=10 * n), 20, "Something.")
    here.house.record.execute(
        "UPDATE detections SET object_type = 'person', bbox_x = 250 + 12 * ((frame_id - 1) % 3), bbox_y = 120, "
        "bbox_width = 40, bbox_height = 100"
    )
    here.house.record.execute("""UPDATE events SET objects = '{"person": 1}'""")
    page = ready(visit(f"{here.url}/?camera_id=front_door"))
    page.get_by_role("button", name="Zones").click()
    plan, dialog = page.locator("#plan"), page.locator("#zones")
    wait_for(page, "() => document.querySelector('#plan img').naturalWidth > 0")
    expect(dialog.locator("select[name=camera]")).to_have_value("front_door")
    box = plan.bounding_box()
    for x, y in ((0.1, 0.6), (0.5, 0.6), (0.5, 0.9)):
        expect(dialog.get_by_role("button", name="Add zone")).to_be_disabled()
        plan.click(position={"x": x * box["width"], "y": y * box["height"]})
    dialog.get_by_label("Kind").select_option("private")
    dialog.get_by_label("Name").fill("lawn <b>")
    assert in_both_themes(page, "zones") == []
    dialog.get_by_role("button", name="Add zone").click()
    expect(dialog.locator("li").first).to_contain_text("lawn <b>")
    (lawn,) = zones_of(here)
    assert (lawn["name"], lawn["kind"]) == ("lawn <b>", "private")
    assert lawn["points"] == [[pytest.approx(v, abs=0.01) for v in p] for p in ((0.1, 0.6), (0.5, 0.6), (0.5, 0.9))]
    plan.focus()
    for key in ("Enter", "ArrowRight", "Enter", "Enter", "Backspace", "ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    dialog.get_by_label("Kind").select_option("window")
    dialog.get_by_role("button", name="Add zone").click()
    expect(dialog.locator("li:not(.idea)")).to_have_count(2)
    assert zones_of(here)[1] == {
        "name": "window", "kind": "window", "points": [[0.5, 0.5], [0.52, 0.5], [0.52, 0.54]]
    }  # fmt: skip
    expect(dialog.locator("li.idea")).to_contain_text("6 people were first seen here")
    dialog.get_by_role("button", name="Use").click()
    dialog.get_by_role("button", name="Add zone").click()
    expect(dialog.locator("li.idea")).to_have_count(0)
    assert [zone["kind"] for zone in zones_of(here)] == ["private", "window", "own_door"]
    dialog.get_by_role("button", name="Delete lawn").click()
    expect(dialog.locator("li")).to_have_count(2)
    dialog.get_by_role("button", name="Undo").click()
    expect(dialog.locator("li")).to_have_count(3)
    change = dialog.get_by_role("button", name="What would change")
    expect(change).to_be_disabled()
    plan.focus()
    for key in ("Enter", *["ArrowLeft"] * 20, "Enter", *["ArrowDown"] * 20, "Enter", *["ArrowRight"] * 20, "Enter"):
        page.keyboard.press(key)  # where people stood
    dialog.get_by_label("Kind").select_option("ignore")
    change.press("Enter")
    differences = dialog.get_by_role("region", name="What would change")
    expect(differences).to_contain_text("Of the last 7 days, 6 events would have another level.")
    expect(differences.locator("li")).to_have_count(6)
    expect(differences.locator("li").first).to_contain_text("in ignored zone ignored (3 boxes)")
    expect(differences.locator("li").first).to_contain_text(re.compile("(Low|Medium|High) → No event"))
    assert len(zones_of(here)) == 3, "nothing is saved"
    assert in_both_themes(page, "zones, what would change") == []
    with page.context.expect_page() as event:
        differences.get_by_role("link").first.click()
    expect(event.value.locator("#detail .verdict")).to_be_visible()
    event.value.close()
    dialog.get_by_label("Kind").select_option("public")
    expect(differences).to_have_count(0)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page = ready(visit(here.url, PHONE, has_touch=True))
    page.get_by_role("button", name="Zones").tap()
    expect(page.locator("#zones li")).to_have_count(3)
    box = page.locator("#plan").bounding_box()
    for x, y in ((0.1, 0.1), (0.3, 0.1), (0.3, 0.3)):
        page.locator("#plan").tap(position={"x": x * box["width"], "y": y * box["height"]})
    page.get_by_role("button", name="What would change").tap()
    expect(page.locator("#zones section")).to_contain_text("last 7 days")  # what would change depends on the hour
    assert in_both_themes(page, "zones, phone") == []
    assert page.evaluate("document.querySelector('#zones').scrollWidth") <= PHONE["width"]
    here.api.kill()
    for button in ("What would change", "Add zone"):
        page.get_by_role("button", name=button).tap()
        expect(page.locator("#zones [role=status]")).to_have_text(re.compile("^The server does not respond. *$"))
    assert len(zones_of(here)) == 3


def test_axe_finds_no_violation_in_any_state(visit, place, still):
    first, quiet = place("first", busy=False), place("quiet")
    quiet.house.record.transact(lambda: quiet.house.record.execute("UPDATE events SET reviewed = 1"))
    found = []
    page = ready(visit(still.url))
    found += in_both_themes(page, "alert")
    page.keyboard.press("h")
    expect(page.locator("#health .ledger")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("files to detect; .*batch to analyze .durable."))).to_be_visible()
    found += in_both_themes(page, "health")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    found += in_both_themes(page, "help")
    page.goto(f"{still.url}/?event={still.ids['event 4']}")
    expect(page.locator("#detail .verdict")).to_be_visible()
    found += in_both_themes(page, "detail, provisional")
    page.goto(f"{still.url}/?risk_level=critical&span=7d")
    expect(page.locator("#inbox .empty")).to_be_visible()
    found += in_both_themes(page, "no match")
    found += in_both_themes(ready(visit(quiet.url)), "empty")
    found += in_both_themes(ready(visit(still.url, PHONE)), "phone")
    found += in_both_themes(ready(visit(f"{still.url}/?incident={still.ids['event 6']}")), "incident")
    found += in_both_themes(ready(visit(f"{still.url}/?event={still.ids['event 6']}", PHONE)), "phone, detail")
    page = visit(first.url)
    expect(page.locator("#inbox .first")).to_be_visible()
    found += in_both_themes(page, "first run")
    page = ready(visit(quiet.url))
    quiet.api.kill()
    expect(page.locator("#banner")).to_be_visible()
    found += in_both_themes(page, "offline")
    page = visit("about:blank")
    page.route(
        "**/api/**", lambda route: route.fulfill(status=503, body=json.dumps({"detail": "the record is locked"}))
    )
    page.goto(still.url)
    expect(page.locator("#banner")).to_contain_text("No connection. The record is locked.")
    found += in_both_themes(page, "error")
    page.route("**/api/**", lambda route: route.fulfill(status=401, body="{}"))
    page.reload()
    expect(page.locator("#token")).to_be_visible()
    found += in_both_themes(page, "token")
    assert not found, "\n".join(found)


def test_nothing_moves_for_those_who_ask_for_calm(visit, still):
    page = ready(visit(still.url))
    assert page.evaluate("document.getAnimations().length") == 0


def test_an_answer_is_given_below_an_event_and_what_was_learned_is_revoked(visit, place):
    here = place(busy=False)
    start = datetime.now(UTC) - timedelta(hours=5)
    event = here.house.judged("front_door", start, 70, "1 person at the front door.")
    page = ready(visit(f"{here.url}/?event={event}"))
    answers = page.get_by_role("group", name="Your answer")
    answers.get_by_role("button", name="Fine").click()
    expect(page.locator("#toast")).to_contain_text("Answered: fine. Such events get −6 from now on.")
    expect(answers.get_by_role("button", name="Fine")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#detail .acts .main")).to_contain_text("Reviewed")
    reviewed(page, 1)
    answers.get_by_role("button", name="Nothing there").click()
    expect(answers.locator("[aria-pressed=true]")).to_have_text("Nothing there")
    expect(page.locator("#toast")).to_contain_text("Answered: nothing there.")
    assert here.rows("SELECT answer, revoked_at IS NULL FROM feedback ORDER BY id") == [
        ("fine", 0),
        ("nothing_there", 1),
    ]
    page.keyboard.press("l")
    expect(page.locator("#learned li")).to_contain_text("Front Door")
    assert in_both_themes(page, "learned") == []
    page.keyboard.press("Escape")
    page = ready(visit(f"{here.url}/?event={event}", PHONE))
    expect(page.get_by_role("group", name="Your answer").locator("[aria-pressed=true]")).to_have_text("Nothing there")
    page.get_by_role("button", name="Inbox").click()
    page.get_by_role("button", name="Learned").click()
    expect(page.locator("#learned li")).to_have_count(1)
    assert in_both_themes(page, "learned, phone") == []
    page.locator("#learned").get_by_role("button", name="Revoke").click()
    expect(page.locator("#learned")).to_contain_text("Nothing yet.")
    assert here.rows("SELECT count(*) FROM feedback WHERE revoked_at IS NULL") == [(0,)]
