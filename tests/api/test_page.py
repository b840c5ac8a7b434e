"""The page, in a real browser, over the real API and a record that ledger, batching and verdicts have made.

Whatever a browser complains about on its console (a script error, a breach of the Content-Security-Policy) fails the test.
"""

import json
import re
import shutil
import sqlite3
import time
from collections import Counter
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest

from hearthwatch.api.security import lan_address
from hearthwatch.flows.graph import DEFAULT, Graph
from hearthwatch.record import now
from hearthwatch.record.events import delete_events
from hearthwatch.record.graph_description import store_description
from hearthwatch.record.pictures import keep_event
from hearthwatch.schemas.items import Tick
from tests.support.browser import CHROMIUM, needs_chromium, wait_for
from tests.support.drawn_house import ROOT, SLOW, Api, House, busy_house
from tests.support.ntfy_server import NtfyServer

pytestmark = [pytest.mark.slow, needs_chromium]

from playwright.sync_api import Error as BrowserError  # noqa: E402
from playwright.sync_api import expect, sync_playwright  # noqa: E402

QUIET = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync"
DESKTOP, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
EXPECTED = re.compile(
    r"Failed to load resource|net::ERR_|ERR_CONNECTION|An unknown error occurred when fetching the script|Cross-Origin-Opener-Policy header has been ignored"
)  # a server that is away is no fault of the page, nor that a LAN has no TLS


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
        for page in context.pages:
            with suppress(BrowserError):  # it is closed already
                page.unroute_all(behavior="ignoreErrors")  # a handler may still wait for its response
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
    shown = ":is(#inbox, #history) :is(.card, .empty, .first, .month), #detail .verdict"
    wait_for(page, "what => [...document.querySelectorAll(what)].some(e => e.checkVisibility())", shown)
    return page


def test_the_documented_keys_and_links_are_those_of_the_page():
    page, read = (ROOT / "docs" / "page.md").read_text(), lambda name: (ROOT / "api" / "static" / name).read_text()
    keys = re.search(r"const KEYS = \{(.*?)\n\};", read("keys.js"), re.DOTALL)[1]
    bound = set(re.findall(r'(?:^  |, )"?(\w+|[/?+=-])"?: (?:\(|[a-z])', keys, re.MULTILINE))
    told = {key.strip("`") for row in re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE) for key in row.split()}
    assert bound | {"Esc"} == {
        {"←": "ArrowLeft", "→": "ArrowRight", "↑": "ArrowUp", "↓": "ArrowDown"}.get(key, key) for key in told
    }
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


def test_an_event_that_is_loaded_again_does_not_take_the_keys_from_the_next_one(visit, place):
    here = place()
    page, order, held = ready(visit(here.url)), here.inbox(), []
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("#detail h2")).to_be_visible()
    page.route(
        "**/api/events/*", lambda route: held.append(route) if route.request.method == "GET" else route.continue_()
    )
    with page.expect_response("**/api/incidents?*"):  # what is shown is loaded again after a mark
        page.keyboard.press("r")
    page.wait_for_timeout(300)
    page.keyboard.press("r")  # the next one is on its way still
    for route in held:
        route.continue_()
    page.unroute_all()
    reviewed(page, 2)
    assert here.inbox() == order[2:]


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
    expect(page.get_by_role("button", name="Mark all low reviewed")).to_be_visible()
    page.keyboard.press("A")
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


def test_the_pictures_that_the_model_was_shown_are_shown_with_what_it_said_of_them(visit, place):
    here = place(llm=True)
    event = here.ids["event 4"]
    frames = [id for (id,) in here.rows("SELECT id FROM frames WHERE event_id = ? ORDER BY id", event)]
    regions = [(0, [0, 0, 640, 360], "the whole picture"), (1, [200, 80, 160, 160], "track 1, second 1, nearest")]
    analysis = {
        "shown": [
            {"picture": n, "frame_id": frames[0], "track": track, "region": region, "note": note, "source": "original", "bytes": 9}
            for n, (track, region, note) in enumerate(regions, 1)
        ],
        "tracks": {"1": {"sees": {"2": "object"}, "is": "object", "because": "a <b>covered</b> barbecue"}}, "acts": [{"act": "waits", "picture": 2}],
        "writing": "BBQ", "cue": "", "resident_likely": False,
    }  # fmt: skip
    here.house.analyzed(event, 20, "A covered barbecue.", picture_verdict="rejected", analysis=analysis)
    page = ready(visit(f"{here.url}/?event={event}"))
    section = page.locator("#detail .shown")
    expect(section.locator("p")).to_have_text("Rejected: they show nothing of what the boxes claim.")
    expect(section.locator("ol li")).to_have_count(2)
    expect(section.locator("ol li").nth(1)).to_contain_text("Object track 1, second 1, nearest")
    expect(section.locator("ul")).to_contain_text("Track 1: object. a <b>covered</b> barbecue")
    expect(section.locator("ul")).to_contain_text("Waits in picture 2")
    assert section.locator("svg").nth(1).get_attribute("viewBox") == "200 80 160 160"
    status = "image => fetch(image.href.baseVal).then(answer => answer.status)"
    assert section.locator("image").nth(1).evaluate(status) == 200


# -- looking back


def past_cards(page):
    return page.locator("#history .card").evaluate_all("all => all.map(li => +li.dataset.id.replace('i', ''))")


def test_a_day_is_looked_back_at_by_hours_by_pictures_and_by_keys(visit, place):
    here, at = place(busy=False), lambda day, hour: datetime(2024, 5, day, hour, 30).astimezone()
    courier = here.house.judged("front_door", at(12, 10), 35, "A courier comes.")
    alone = [here.house.upload("front_door", at(12, 12) + timedelta(seconds=s), 9) for s in range(26)]
    shed, cat = here.house.judged("back_yard", at(12, 23), 71, "A person looks into the shed."), None
    here.house.record.transact(lambda: delete_events(here.house.record, [alone[0]], alone))
    cat = here.house.judged("back_yard", at(13, 2), 20, "A cat passes.")
    page = ready(visit(here.url))
    page.keyboard.press("p")
    expect(page.locator("#history .month")).to_be_visible()
    page.go_back()
    expect(page.locator("#inbox .card")).to_have_count(3)
    page = ready(visit(f"{here.url}/?past=2024-05"))
    expect(page.locator("#history .card")).to_have_count(3)
    day = page.get_by_role("link", name="Sunday 12 May: 2 incidents, 2 to review, 32 pictures")
    day.click()
    expect(page.locator("#history .card")).to_have_count(2)
    assert past_cards(page) == [shed, courier]
    page.locator("#history [name=from]").select_option("22")
    page.locator("#history [name=to]").select_option("6")
    expect(page).to_have_url(f"{here.url}/?past=2024-05-12&hours=22-06")
    wait_for(page, "id => document.querySelector('#history .card').dataset.id === 'i' + id", cat)
    assert past_cards(page) == [cat, shed], "22 to 6 is one night"
    for key in ("j", "Enter", "r"):
        page.keyboard.press(key)
    reviewed(page, 1)
    expect(page.locator("#detail h2")).to_have_text("A person looks into the shed.")
    expect(page.locator("#history .card").first).to_contain_text("reviewed ✓")
    assert in_both_themes(page, "a night") == []
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    for url in ("event=", "&hours=22-06$", "&hours=22-24$"):
        page.go_back()
        expect(page).to_have_url(re.compile(url))
    page.go_back()
    expect(page).to_have_url(f"{here.url}/?past=2024-05-12")
    page.get_by_role("button", name="Pictures", exact=True).click()
    door = page.get_by_label("Pictures of Front Door")
    expect(door.locator("header p")).to_have_text("29 pictures")
    expect(door.locator("li:not(.seen) a")).to_have_count(24)
    door.locator("li").last.scroll_into_view_if_needed()
    expect(door.locator("li a")).to_have_count(29)
    assert in_both_themes(page, "pictures of a day") == []
    page.set_viewport_size(PHONE)
    assert in_both_themes(page, "pictures of a day, phone") == []
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.set_viewport_size(DESKTOP)
    day.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("past=2024-05-11"))
    page.keyboard.press("p")
    expect(page.locator("#inbox")).to_be_visible()


def test_a_search_shows_what_it_understood_and_each_part_can_be_taken_off(visit, place):
    here, at = place(busy=False), lambda hour: datetime(2024, 5, 12, hour, 30).astimezone()
    courier = here.house.judged("front_door", at(10), 35, "A courier comes.")
    there = here.house.judged("back_yard", at(12), 71, "A courier looks into the shed.")
    page = ready(visit(here.url))
    page.keyboard.press("/")
    page.keyboard.type("couriers front door 2024-05-12")
    expect(page.locator("#history .card")).to_have_count(1)
    assert past_cards(page) == [courier]
    expect(page).to_have_url(f"{here.url}/?q=couriers+front+door+2024-05-12")
    expect(page.locator("#history .off li")).to_have_text(["Front Door ×", re.compile("^2024-05-12: Sunday")])
    assert in_both_themes(page, "found") == []
    page.get_by_role("button", name="Remove the filter front door").click()
    expect(page.locator("#history .card")).to_have_count(2)
    expect(page.locator("#history h2")).to_have_text("Found 2")
    assert past_cards(page) == [there, courier]
    page.set_viewport_size(PHONE)
    assert in_both_themes(page, "found, phone") == []
    page.get_by_role("link", name="A courier comes.").click()
    expect(page.locator("#detail h2")).to_have_text("A courier comes.")
    page.go_back()
    page.go_back()
    expect(page.locator("#history .card")).to_have_count(1)
    page.get_by_role("button", name="Close the search").click()
    expect(page.locator("#inbox .card")).to_have_count(2)
    page.goto(f"{here.url}/?q=courier+2024-05-13")
    expect(page.locator("#history .empty")).to_contain_text("take a filter off, or leave out a word")


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
    expect(card.locator("img")).to_have_attribute("src", gravest["thumbnail_url"].lstrip("/"))
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
    row = "9999, 'merged', 1, started_at, last_at, NULL, id, 1, 'low', '', NULL, '[]', '{}', 0, 0, 0, 0, NULL, 0, '{}'"
    here.house.record.execute(f"INSERT INTO incidents SELECT {row} FROM incidents")
    page = ready(visit(f"{here.url}/?incident=9999"))
    expect(page.locator("#inbox .inside .row")).to_have_count(5)
    expect(page).to_have_url(f"{here.url}/?incident={events[0]}")
    page = ready(visit(f"{here.url}/?incident=777"))
    expect(page.locator("#toast")).to_contain_text("Incident with id 777 not found.")
    expect(page).to_have_url(f"{here.url}/")
    assert len(cards(page)) == 1


# -- live


def test_the_last_page_of_the_inbox_is_within_what_the_api_gives(visit, place):
    here = place()
    page = visit("about:blank", PHONE)

    def grown(route):
        answer = route.fetch()
        if route.request.url.endswith("state.js"):  # as after 64 presses of the button
            return route.fulfill(body=answer.text().replace("? 40 : 15", "? 40 : 975"), response=answer)
        return route.fulfill(json=answer.json() | {"count": 2000})

    page.route(re.compile("/static/state.js|/api/incidents[?]"), grown)
    page.goto(here.url)
    with page.expect_request(re.compile("/api/incidents[?].*limit=1000")):
        page.get_by_role("button", name="Show 40 more").click()
    expect(page.locator("#inbox .card")).to_have_count(len(here.inbox()))


def test_more_stays_shown_when_the_page_loads_everything_again_at_its_start(visit, place):
    here, held, asked = place(), {}, Counter()
    page = visit("about:blank", PHONE)

    def first_late_and_second_held(route):
        """The first list comes when the page, which has none yet, loads all again; then the cameras are held."""
        asked[what := re.search("cameras|incidents", route.request.url)[0]] += 1
        if (what, asked[what]) in (("incidents", 1), ("cameras", 2)):
            held[what] = route
            return
        route.fallback()

    page.route(re.compile("/api/(cameras|incidents)([?]|$)"), first_late_and_second_held)
    page.goto(here.url)
    while len(held) < 2:
        page.wait_for_timeout(20)
    held["incidents"].fulfill(json=held["incidents"].fetch().json() | {"count": 2000})
    with page.expect_request(re.compile("/api/incidents[?].*limit=55")):
        page.get_by_role("button", name="Show 40 more").click()
    with page.expect_request(re.compile("/api/incidents[?]")) as again:
        held["cameras"].fallback()
    assert "limit=55" in again.value.url


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


WHERE = """() => [document.querySelector('.shot img'), ...document.querySelectorAll('.shot .box')].map((e) => {
  const at = e.getBoundingClientRect();
  return [at.x, at.y, at.width, at.height];
})"""


def lie_as_wanted(picture, boxes, wanted, size):
    """Whether the picture has this size, scaled, and boxes lie in it as the record says."""
    left, top, across, down = picture
    scale = across / size[0]
    return (
        len(boxes) == len(wanted)
        and down == pytest.approx(size[1] * scale, rel=0.01, abs=0)
        and all(
            (bx - left, by - top, bw, bh) == pytest.approx((x * scale, y * scale, w * scale, h * scale), abs=1)
            for (bx, by, bw, bh), (x, y, w, h) in zip(boxes, wanted, strict=True)
        )
    )


def test_boxes_lie_where_the_record_says(visit, still):
    event = still.ids["event 8"]
    for viewport in (DESKTOP, PHONE):
        page = ready(visit(f"{still.url}/?event={event}", viewport))
        frames = still.rows("SELECT id, width, height FROM frames WHERE event_id = ? ORDER BY captured_at, id", event)
        assert len(frames) == 3
        for i, (frame, *size) in enumerate(frames):
            page.locator(".strip button").nth(i).click()
            expect(page.locator(".strip [aria-current]")).to_have_attribute("data-i", str(i))
            wanted = still.rows(
                "SELECT bbox_x, bbox_y, bbox_width, bbox_height FROM detections WHERE frame_id = ? ORDER BY id", frame
            )
            assert wanted
            deadline = time.monotonic() + SLOW
            while True:  # all measured at once, as the page may draw them again
                picture, *boxes = page.evaluate(WHERE)
                if lie_as_wanted(picture, boxes, wanted, size):
                    break
                assert time.monotonic() < deadline, (i, picture, boxes, wanted, size)
                page.wait_for_timeout(20)
        page.keyboard.press("b")
        expect(page.locator(".shot .boxes")).to_be_hidden()


LATE_LOADS = """window.addEventListener("load", (ev) => {
  if (!ev.target.dataset?.shot || !ev.isTrusted) return;
  ev.stopImmediatePropagation();
  setTimeout(() => ev.target.dispatchEvent(new Event("load")), 100);
}, true)"""  # the open picture hears that it is loaded after all others with its URL


def test_boxes_are_there_when_a_picture_was_asked_for_before_it_was_opened(visit, still):
    page, held, is_open = visit(still.url), [], []
    page.route(re.compile("/api/media/cameras/"), lambda route: route.continue_() if is_open else held.append(route))
    page.add_init_script(LATE_LOADS)
    page.goto(f"{still.url}/?event={still.ids['event 8']}")
    ready(page)
    expect(page.locator(".shot img")).to_be_attached()
    opened = int(page.locator(".strip [aria-current]").get_attribute("data-i"))
    other = opened + (1 if opened < 2 else -1)
    page.locator(".strip button").nth(other).click()
    expect(page.locator(".strip [aria-current]")).to_have_attribute("data-i", str(other))
    deadline = time.monotonic() + SLOW
    while len(held) < 2:  # the opened one, and its neighbour that the page asked for ahead
        assert time.monotonic() < deadline
        page.wait_for_timeout(20)
    is_open.append(True)
    for route in held:
        route.continue_()
    expect(page.locator(".shot .boxes")).to_be_visible()


def test_a_deleted_picture_comes_as_it_was_kept_else_as_its_thumbnail_and_boxes_lie_only_on_originals(visit, place):
    here = place(busy=False)
    event = here.house.judged("street", datetime.now(UTC) - timedelta(minutes=9), 40, "A person passes.")
    frames = [i for (i,) in here.rows("SELECT id FROM frames ORDER BY id")]
    keep_event(here.house.record, here.house.base, here.house.data, event, "evidence", lambda frame: None)
    shutil.rmtree(here.house.base / "Street")
    page = ready(visit(f"{here.url}/?event={event}"))
    shown, boxes, left = page.locator(".shot img"), page.locator(".shot .boxes"), page.locator(".left")
    for i in (0, 1):
        page.locator(".strip button").nth(i).click()
        expect(shown).to_have_attribute("src", re.compile(("cameras/street", "thumbnails")[i]))
        expect(boxes).to_have_count(1 - i)
        expect(left).to_have_count(i)
    expect(left).to_contain_text("thumbnail")
    shutil.rmtree(here.house.data / "thumbnails")
    shutil.rmtree(here.house.data / "pictures")
    page = ready(visit(f"{here.url}/?event={event}"))
    expect(page.locator(".shot .none")).to_have_text("This picture was deleted.")
    expect(boxes).to_have_count(0)
    assert len(frames) == 3


def zoomed(page):
    """How many times as large the picture is, and where its upper left corner lies, in pixels of the stage."""
    picture, stage = page.locator(".shot img").bounding_box(), page.locator(".shot").bounding_box()
    return picture["width"] / stage["width"], picture["x"] - stage["x"], picture["y"] - stage["y"]


def test_a_picture_is_zoomed_moved_and_downloaded_and_fills_the_screen(visit, still):
    page = ready(visit(f"{still.url}/?event={still.ids['event 8']}"))
    stage = page.locator(".shot").bounding_box()
    assert zoomed(page) == pytest.approx((1, 0, 0), abs=0.01)
    page.keyboard.press("+")
    assert zoomed(page) == pytest.approx((1.5, -stage["width"] / 4, -stage["height"] / 4), abs=0.5)
    for key in ("ArrowLeft", "ArrowLeft", "ArrowUp", "ArrowUp"):
        page.keyboard.press(key)
    assert zoomed(page) == pytest.approx((1.5, 0, 0), abs=0.5), "no further than its corner"
    drawn, box = page.locator(".shot img").bounding_box(), page.locator(".shot .box").first.bounding_box()
    (x, width), = still.rows(
        "SELECT bbox_x, f.width FROM detections d JOIN frames f ON f.id = d.frame_id WHERE f.event_id = ? ORDER BY f.captured_at, d.id LIMIT 1",
        still.ids["event 8"],
    )  # fmt: skip
    assert box["x"] - drawn["x"] == pytest.approx(x / width * drawn["width"], abs=1)
    page.keyboard.press("0")
    x, y = stage["x"] + stage["width"] / 4, stage["y"] + stage["height"] / 2
    page.mouse.move(x, y)
    page.mouse.wheel(0, -120)
    wait_for(page, "() => document.querySelector('.shot.zoomed')")
    z, left, _ = zoomed(page)
    assert z > 1.2 and (x - stage["x"] - left) / z == pytest.approx(stage["width"] / 4, abs=2), (
        "what is under the mouse stays"
    )
    page.mouse.down()
    page.mouse.move(x + 30, y)
    page.mouse.up()
    assert zoomed(page)[1] == pytest.approx(min(0, left + 30), abs=1)
    page.mouse.dblclick(x, y)
    assert zoomed(page)[0] == pytest.approx(1)
    with page.expect_download() as saved:
        page.keyboard.press("d")
    ((path,),) = still.rows(
        "SELECT path FROM frames WHERE event_id = ? ORDER BY captured_at LIMIT 1", still.ids["event 8"]
    )
    assert saved.value.path().read_bytes() == (still.house.base / path).read_bytes()
    assert re.fullmatch(r"front_door-.*\.jpg", saved.value.suggested_filename)
    page.keyboard.press("f")
    wait_for(page, "() => document.querySelector('.shot').getBoundingClientRect().width > 1000")
    assert axe(page, "full screen") == []
    page.keyboard.press("f")
    wait_for(page, "() => !document.fullscreenElement && !document.querySelector('.full')")


def test_an_events_pictures_play_in_their_own_time_or_faster_and_stop_where_one_wants(visit, still):
    page = ready(visit(f"{still.url}/?event={still.ids['event 8']}"))
    at = "() => document.querySelector('.strip [aria-current]').dataset.i === '%d'"
    page.locator(".strip button").first.click()
    page.get_by_role("button", name="Speed").click()
    page.evaluate(
        "() => { window.seen = []; new MutationObserver(() => seen.push(document.querySelector('#scrub').value))"
        ".observe(document.querySelector('#stage'), { subtree: true, childList: true, attributes: true }); }"
    )
    page.locator(".strip button").first.focus()
    page.keyboard.press("Space")
    wait_for(page, at % 2)
    expect(page.get_by_role("button", name="Play")).to_have_attribute("aria-pressed", "false")
    assert sorted(set(page.evaluate("seen"))) == ["0", "1", "2"]
    page.get_by_role("slider", name="Picture").focus()
    page.keyboard.press("ArrowLeft")
    wait_for(page, at % 1)
    expect(page.locator("#scrub")).to_have_attribute("aria-valuetext", "2 of 3, +1 s")
    page.keyboard.press("b")
    expect(page.locator(".shot .boxes")).to_be_hidden()


def test_a_card_plays_its_pictures_only_under_the_mouse_and_not_for_those_who_ask_for_calm(visit, still):
    page = ready(visit(still.url))
    asked = []
    page.on("request", lambda request: "api/events/" in request.url and asked.append(request.url))
    card = page.locator("#inbox .card").first
    shown = card.locator("img").get_attribute("src")
    card.hover()
    page.emulate_media(reduced_motion="no-preference")
    page.locator("#inbox .card").nth(1).hover()
    wait_for(page, "src => document.querySelectorAll('#inbox .card img')[1].getAttribute('src') !== src",
             page.locator("#inbox .card img").nth(1).get_attribute("src"))  # fmt: skip
    assert len(asked) == 1 and card.locator("img").get_attribute("src") == shown
    before = page.locator("#inbox .card").nth(1)
    page.mouse.move(700, 5)
    thumbnail = page.evaluate(
        "id => fetch(`api/incidents/${id}`).then(r => r.json())", before.get_attribute("data-id")[1:]
    )
    expect(before.locator("img")).to_have_attribute("src", thumbnail["thumbnail_url"].lstrip("/"))


def swipe(page, locator, dx):
    """A finger that moves over this by so many pixels."""
    box, devtools = locator.bounding_box(), page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + min(60, box["height"] / 2)
    for kind, points in (
        ("touchStart", [x]),
        *(("touchMove", [x + dx * n / 6]) for n in range(1, 7)),
        ("touchEnd", []),
    ):
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": at, "y": y} for at in points]})


def pinch(page, locator, first, last):
    """Two fingers on this, so many pixels apart at first and at last."""
    box, devtools = locator.bounding_box(), page.context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for kind, apart in (
        ("touchStart", first),
        *(("touchMove", first + (last - first) * n / 6) for n in range(1, 7)),
        ("touchEnd", None),
    ):
        points = [{"x": x + side * apart / 2, "y": y, "id": side} for side in (-1, 1)] if apart else []
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_a_finger_turns_pictures_and_marks_cards_and_undo_lies_above_the_buttons(visit, place):
    here = place()
    page = ready(visit(here.url, PHONE, has_touch=True))
    first = page.locator("#inbox .card").first
    key = first.get_attribute("data-id")
    swipe(page, first, 40)
    swipe(page, first, -150)
    expect(page.locator(f'#inbox .card[data-id="{key}"]')).to_have_count(0)
    page.get_by_role("button", name="Undo").click()  # a tap while the page still moves would stop that
    expect(page.locator(f'#inbox .card[data-id="{key}"]')).to_have_count(1)
    page.goto(f"{here.url}/?event={here.ids['event 8']}")
    at = "i => document.querySelector('.strip [aria-current]')?.dataset.i === i"
    wait_for(page, at, "0")
    swipe(page, page.locator(".shot"), -120)
    wait_for(page, at, "1")
    swipe(page, page.locator(".shot"), 120)
    wait_for(page, at, "0")
    pinch(page, page.locator(".shot"), 60, 150)
    zoomed_in = "() => new DOMMatrix(getComputedStyle(document.querySelector('#stage .zoom')).transform).a > 2.2"
    wait_for(page, zoomed_in)
    swipe(page, page.locator(".shot"), -120)
    assert page.evaluate(f"({zoomed_in})()") and page.evaluate(f"({at})('0')"), (
        "a finger moves the picture that is zoomed"
    )
    pinch(page, page.locator(".shot"), 150, 40)
    wait_for(page, "() => !document.querySelector('.shot.zoomed')")
    page.get_by_role("button", name="Mark reviewed").click()
    toast, acts = page.locator("#toast"), page.locator("#detail .acts")
    expect(toast).to_be_visible()
    wait_for(
        page,
        "() => document.querySelector('#toast').getBoundingClientRect().bottom <= document.querySelector('#detail .acts').getBoundingClientRect().top",
    )
    small = (
        "all => all.map(b => b.getBoundingClientRect()).filter(r => r.width && (r.width < 24 || r.height < %d)).length"
    )
    assert acts.locator("button").evaluate_all(small % 44) == 0
    assert page.locator("#detail :is(button, a, input)").evaluate_all(small % 24) == 0


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
    expect(page.locator("#history .card h3")).to_have_text(words)
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
    expect(page.locator("#history .card")).to_have_count(1)
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
    page = ready(visit(here.url))
    page.get_by_role("link", name="Set up Front Door").click()
    plan, dialog = page.locator("#plan"), page.locator("#zones")
    wait_for(page, "() => document.querySelector('#plan img')?.naturalWidth > 0")
    page.reload()
    expect(plan).to_be_visible()
    wait_for(page, "() => document.querySelector('#plan img')?.naturalWidth > 0")
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
    dialog.get_by_role("button", name="Edit lawn").click()
    dialog.locator(".corner").first.hover()
    page.mouse.down()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.up()
    plan.click(position={"x": 0.3 * box["width"], "y": 0.55 * box["height"]})  # near the first edge
    expect(dialog.locator(".corner")).to_have_count(4)
    dialog.locator(".corner").nth(3).focus()
    for key in (
        "ArrowUp",
        "Shift+ArrowUp",
        "Enter",
        "Delete",
    ):  # the corner that Enter adds is the one that Delete removes
        page.keyboard.press(key)
    dialog.get_by_role("button", name="Save zone").click()
    expect(dialog.get_by_role("status")).to_contain_text("Saved: lawn <b>.")
    shape = ((0.2, 0.5), (0.3, 0.55), (0.5, 0.6), (0.5, 0.876))
    assert zones_of(here)[0]["points"] == [[pytest.approx(v, abs=0.01) for v in p] for p in shape]
    change = dialog.get_by_role("button", name="What would change")
    expect(change).to_be_disabled()
    plan.focus()
    for key in ("Enter", *["ArrowLeft"] * 20, "Enter", *["ArrowDown"] * 20, "Enter", *["ArrowRight"] * 20, "Enter"):
        page.keyboard.press(key)  # where people stood
    dialog.get_by_label("Kind").select_option("ignore")
    change.press("Enter")
    differences = dialog.get_by_role("region", name="What would change")
    expect(differences).to_contain_text(
        re.compile(r"In the last 7 days this would have changed 6 incidents to 0 .*: 6 events with another level\.")
    )
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
    page.go_back()
    expect(dialog).to_be_visible()
    page = ready(visit(here.url, PHONE, has_touch=True))
    page.get_by_role("link", name="Set up").tap()
    expect(page.locator("#zones li")).to_have_count(3)
    box = page.locator("#plan").bounding_box()
    for x, y in ((0.1, 0.1), (0.3, 0.1), (0.3, 0.3)):
        page.locator("#plan").tap(position={"x": x * box["width"], "y": y * box["height"]})
    page.get_by_role("button", name="What would change").tap()
    expect(page.locator("#zones section")).to_contain_text("last 7 days")  # what would change depends on the hour
    assert in_both_themes(page, "zones, phone") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    here.api.kill()
    for button in ("What would change", "Add zone"):
        page.get_by_role("button", name=button).tap()
        expect(page.locator("#zones [role=status]")).to_have_text(re.compile("^The server does not respond. *$"))
    assert len(zones_of(here)) == 3


def test_the_first_camera_is_recognised_set_up_and_its_notifier_tested(visit, place, monkeypatch):
    with NtfyServer() as ntfy:
        monkeypatch.setenv("HEARTHWATCH_NTFY_URL", f"{ntfy.url}/mine")
        here = place(busy=False)
        store_description(here.house.record, Graph.from_toml(DEFAULT).describe())
        page = visit(here.url)
        expect(page.locator("#inbox .recipe")).to_contain_text(re.compile(r"Server\s*(\d+\.){3}\d+|Server\s*[\w-]+"))
        shown = [line for text in page.locator("#inbox details code").all_text_contents() for line in text.split("\n")]
        recipe = (ROOT / "docs" / "uploads.md").read_text() + (ROOT / "deploy" / "vsftpd.conf").read_text()
        assert [line for line in shown if line.replace(str(here.house.base), "/export/foscam") not in recipe] == []
        here.house.judged("front_door", datetime.now(UTC) - timedelta(minutes=5), 40, "A courier.")
        here.house.record.execute("UPDATE cameras SET clock_offset_ms = 125000")
        page.get_by_role("link", name="Set up Front Door").click()
        fields = page.locator("#setup .fields")
        expect(fields).to_contain_text("2 min slow. Events and alerts allow for it.")
        fields.get_by_label("Name").fill("Porch <i>")
        fields.get_by_label("Name").press("Enter")
        expect(page.locator("#setup h2")).to_have_text("Porch <i>")
        fields.get_by_label("Notify").select_option("critical")
        expect(page.locator("#toast")).to_have_text("Saved: notifications.")
        assert here.rows("SELECT name, notify_level FROM cameras") == [("Porch <i>", "critical")]
        page.keyboard.press("Escape")  # leaves the field; a key of the inbox does nothing on this page
        page.keyboard.press("r")
        page.keyboard.press("Escape")
        expect(page.locator("#setup")).to_be_hidden()
        reviewed(page, 0)
        expect(page.locator("#inbox .card h3")).to_have_text("A courier.")
        page.keyboard.press("r")
        reviewed(page, 1)
        page.get_by_role("link", name="Settings").click()
        expect(page.locator("#setup")).to_contain_text("***")
        assert ntfy.url not in page.locator("#setup .settings").first.inner_text()
        expect(page.locator("#setup .settings dd code").first).to_be_visible()
        assert "`" not in page.locator("#setup").inner_text()
        page.get_by_role("button", name="Send a test").click()
        expect(page.locator("#setup .notifiers [role=status]")).to_have_text(re.compile("^ntfy: .* took it$"))
        assert [note["title"] for note in ntfy.messages.values()] and in_both_themes(page, "settings") == []
        ntfy.topic = "another"
        page.get_by_role("button", name="Send a test").click()
        expect(page.locator("#setup .notifiers .warn")).to_contain_text("refused")
        here.house.upload("back_yard", datetime.now(UTC) - timedelta(minutes=4), 9)
        page.goto(f"{here.url}/?camera=back_yard&health")
        expect(page.locator("#health .ledger")).to_be_visible()
        page.keyboard.press("Escape")
        page.get_by_label("It is").select_option("front_door")
        assert in_both_themes(page, "camera") == []
        page.get_by_role("button", name="Merge into Porch <i>").click()
        expect(page.locator("#setup h2")).to_have_text("Porch <i>")
        assert here.rows("SELECT id FROM cameras") == [("front_door",)]


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
    for size, state, shown in (  # others are tested where they are used
        (PHONE, "?settings=1", "#setup .settings"),
        (PHONE, "?add=1", "#setup .recipe"),
        (DESKTOP, "?q=story+today+nothing", "#history .empty"),
        (DESKTOP, f"?event={still.ids['event 6']}&past={datetime.now():%Y-%m}", "#stage .box"),
    ):
        page.set_viewport_size(size)
        page.goto(f"{still.url}/{state}")
        expect(page.locator(shown).first).to_be_visible()
        found += in_both_themes(page, f"{state}, {size['width']}")
    page.keyboard.press("+")
    page.keyboard.press("f")
    expect(page.locator("#stage.full")).to_be_visible()
    found += in_both_themes(page, "zoomed, full screen")
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
    answers = page.get_by_role("group", name="Your answer", exact=True)
    answers.get_by_role("button", name="Fine").click()
    expect(page.locator("#toast")).to_contain_text(
        "Answered: fine. Such events get −6 from now on: person at Front Door,"
    )
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
    expect(page.get_by_role("group", name="Your answer", exact=True).locator("[aria-pressed=true]")).to_have_text(
        "Nothing there"
    )
    page.get_by_role("button", name="Inbox").click()
    page.get_by_role("button", name="Learned").click()
    expect(page.locator("#learned li")).to_have_count(1)
    assert in_both_themes(page, "learned, phone") == []
    page.locator("#learned").get_by_role("button", name="Revoke").click()
    expect(page.locator("#learned")).to_contain_text("Nothing yet.")
    assert here.rows("SELECT count(*) FROM feedback WHERE revoked_at IS NULL") == [(0,)]


def test_a_card_is_answered_and_what_was_learned_is_taken_back(visit, place):
    here = place()
    page, order = ready(visit(here.url)), here.inbox()
    card = page.locator(f"#inbox .card[data-id=i{order[1]}]")
    card.hover()
    card.get_by_role("button", name="Fine").click()
    expect(page.locator("#toast")).to_contain_text(
        re.compile("Answered: fine. Such events get −6 from now on: person at ")
    )
    assert here.rows("SELECT event_id, answer FROM feedback WHERE revoked_at IS NULL") == [(order[1], "fine")]
    page.keyboard.press("u")
    expect(card).to_be_visible()
    wait_for(page, "() => fetch('api/feedback').then(a => a.json()).then(f => !f.feedback.length)")
    reviewed(page, 0)
    card.hover()
    card.get_by_role("button", name="Fine").click()
    expect(page.locator("#toast")).to_contain_text("Answered: fine.")
    page.keyboard.press("l")
    page.locator("#learned").get_by_role("button", name="Revoke").click()
    expect(page.locator("#learned")).to_contain_text("Nothing yet.")
    assert page.locator("#toast").is_hidden(), "it says what is not so any more"
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    reviewed(page, 0)
    page.locator("#filters [name=camera_id]").select_option("street")
    expect(page.locator("#inbox .card")).to_have_count(3)
    page.get_by_role("button", name="Mark these 3 reviewed").click()
    expect(page.locator("#inbox .card")).to_have_count(0)
    assert len(here.rows("SELECT id FROM events WHERE reviewed AND camera_id = 'street'")) == 3
    page.get_by_role("button", name="Undo").click()
    reviewed(page, 0)
    waits = json.dumps({"waiting": 3120, "oldest_waiting": now() - 3 * 3600 * 1_000_000})
    here.house.record.execute("INSERT OR REPLACE INTO meta VALUES ('discovery', ?)", waits)
    words = re.compile(
        "importing: events (of (last night|today|yesterday)|from .* on) are being judged, 3.120 pictures left"
    )
    expect(page.locator("#status")).to_contain_text(words)


def test_marks_made_while_the_server_is_away_are_sent_when_it_is_back(visit, place):
    here = place()
    page, order = ready(visit(here.url)), here.inbox()
    here.api.kill()
    page.keyboard.press("r")
    expect(page.locator("#toast")).to_contain_text("Marks are kept in this browser and sent when it does.")
    card = page.locator(f"#inbox .card[data-id=i{order[1]}]")
    card.hover()
    card.get_by_role("button", name="Right").click()
    expect(card).to_have_count(0)
    wait_for(page, "() => JSON.parse(localStorage.getItem('hearthwatch.marks')).length === 2")
    here.api.start()
    expect(page.locator("#toast")).to_contain_text("2 marks that waited were sent.")
    reviewed(page, 2)
    assert here.rows("SELECT event_id, answer FROM feedback") == [(order[1], "right")]
    assert sorted(here.inbox()) == sorted(order[2:])
    page.keyboard.press("h")
    expect(page.locator("#health .ledger")).to_be_visible()
    page.go_back()
    expect(page.locator("#health")).to_be_hidden()
    page.go_forward()
    expect(page.locator("#health .ledger")).to_be_visible()


def test_a_camera_is_added_recognised_by_its_first_picture_and_deleted(visit, place):
    here = place(busy=False)
    here.house.judged("street", datetime.now(UTC) - timedelta(minutes=9), 40, "A courier.")
    page = ready(visit(f"{here.url}/?camera_id=back_yard"))
    page.get_by_role("link", name="Add a camera").click()
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    expect(page.locator("#setup")).to_be_hidden()
    page.get_by_role("link", name="Add a camera").click()
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    page.keyboard.type("Garden")
    page.get_by_label("Folder").fill("Back Yard")
    page.keyboard.press("Enter")
    expect(page.locator("#setup h2")).to_have_text("Garden")
    expect(page.locator("#setup .recipe")).to_contain_text("(its own folder is Back Yard)")
    assert here.rows("SELECT id, name, folder_path FROM cameras WHERE last_seen_at IS NULL") == [
        ("back_yard", "Garden", "Back Yard")
    ]
    assert in_both_themes(page, "a camera without a picture") == []
    here.house.judged("back_yard", datetime.now(UTC) - timedelta(minutes=4), 20, "A cat.")
    expect(page.locator("#plan img")).to_be_visible()
    page.get_by_text("Delete this camera").click()
    expect(page.locator("#setup details p")).to_contain_text("Uploads stay on disk and are not processed again")
    page.reload()  # one event more than when the page was opened
    page.get_by_text("Delete this camera").click()
    assert in_both_themes(page, "delete a camera") == []
    page.get_by_role("button", name="Delete Garden and 1 event").click()
    expect(page.locator("#toast")).to_have_text("Garden is deleted.")
    expect(page.locator("#setup")).to_be_hidden()
    assert here.rows("SELECT id FROM cameras") == here.rows("SELECT camera_id FROM events") == [("street",)]
    assert len(list((here.house.base / "Back Yard").iterdir())) == 3 and "camera_id" not in page.url


# -- ten tasks, counted


class Hand:
    """Do what a person does and count it: a letter is a key; a choice in a list is two clicks, and so is a double click."""

    def __init__(self, page):
        self.page, self.done = page, Counter()

    def click(self, *what, times=1, **how):
        for each in what:
            self.done["click"] += times
            each.click(click_count=times, **how)

    def choose(self, what, value):
        self.done["click"] += 2
        what.select_option(value)

    def key(self, *names):
        for name in names:
            self.done["key"] += 1
            self.page.keyboard.press(name)

    def swipe(self, what):
        self.done["swipe"] += 1
        swipe(self.page, what, -150)

    def count(self):
        done, self.done = self.done, Counter()
        return ", ".join(f"{n} {what}{'s' * (n != 1)}" for what, n in sorted(done.items()))


def test_ten_tasks_take_the_clicks_and_keys_that_the_manual_says(visit, place):
    here = place(busy=False, HEARTHWATCH_API_HOST="0.0.0.0", HEARTHWATCH_API_TOKEN="sixteen-letters-")
    house, address, took = here.house, f"http://{lan_address()}:{here.api.port}", {}
    night = (datetime.now().astimezone() - timedelta(days=1)).replace(hour=23, minute=30)
    last_night = house.judged("front_door", night, 45, "A person at the door at night.", seconds=(9,))
    noon = house.judged("driveway", night.replace(hour=12), 12, "A car.", seconds=(9,))
    for n in range(11):
        cameras = ("front_door", "back_yard")
        house.judged(
            cameras[n % 2], datetime.now(UTC) - timedelta(minutes=7 * n + 5), 60 - n, f"Story {n}.", seconds=(9, 11)
        )
    house.record.execute("""UPDATE events SET objects = '{"person": 1}' WHERE camera_id <> 'driveway'""")

    page = visit(address, PHONE, has_touch=True)
    hand = Hand(page)
    expect(page.get_by_label("Token")).to_be_focused()
    hand.key(*"sixteen-letters-", "Enter")
    ready(page)
    took["sign in from a phone on the LAN"] = hand.count()
    for n in range(10):
        expect(page.locator("#inbox .card")).to_have_count(13 - n)
        hand.swipe(page.locator("#inbox .card").first)
    reviewed(page, 10)
    took["mark ten, phone"] = hand.count()

    def again(query=""):
        here.house.record.execute("UPDATE events SET reviewed = 0")
        page.goto(f"{address}/{query}")
        ready(page)

    page = visit(address, storage_state=page.context.storage_state())
    hand = Hand(page)
    again()
    hand.key(*"r" * 10)
    reviewed(page, 10)
    took["mark ten, keys"] = hand.count()
    again()
    for n in range(10):
        expect(page.locator("#inbox .card")).to_have_count(13 - n)
        hand.click(page.locator("#inbox .card .tick").first)
    reviewed(page, 10)
    took["mark ten, mouse"] = hand.count()
    again()
    hand.click(page.locator("#inbox .card a").first)
    expect(page.locator("#stage .box").first).to_be_visible()
    hand.key("Space")
    wait_for(page, "() => document.querySelector('#stage output').textContent.startsWith('2/2')")
    took["what moved in one event"] = hand.count()
    again()
    hand.click(page.locator("#cameras li", has_text="Driveway").locator("a").first)
    hand.choose(page.get_by_label("Day"), label_of_yesterday(page))
    wait_for(
        page,
        f"() => document.querySelectorAll('#inbox .card').length === 1 && document.querySelector('#inbox .card[data-id=i{noon}]')",
    )
    took["yesterday on one camera"] = hand.count()
    again()
    hand.key("/", *"person front door last night")
    expect(page.locator("#history .card")).to_have_attribute("data-id", f"{last_night}")
    took["a person at the front door last night, by words"] = hand.count()
    again()
    hand.key("p")
    expect(page.locator("#history .month")).to_be_visible()
    if night.month != datetime.now().month:
        page.get_by_role("button", name="Previous month").click()  # not counted: on the first of a month it is one more
    hand.click(
        page.locator(f"#history [data-key='{night:%Y-%m-%d}']"), page.get_by_role("button", name="Night", exact=True)
    )
    hand.choose(page.get_by_label("Object"), "person")
    hand.click(page.locator("#cameras li", has_text="Front Door").locator("a").first)
    wait_for(
        page,
        f"() => document.querySelectorAll('#history .card').length === 1 && document.querySelector('#history .card[data-id=i{last_night}]')",
    )
    took["a person at the front door last night, by filters"] = hand.count()
    again()
    hand.click(page.get_by_role("link", name="Set up Front Door"))
    wait_for(page, "() => document.querySelector('#plan img')?.naturalWidth > 0")
    box = page.locator("#plan").bounding_box()
    for x, y in ((0.1, 0.6), (0.5, 0.6), (0.5, 0.9), (0.1, 0.9)):
        hand.click(page.locator("#plan"), position={"x": x * box["width"], "y": y * box["height"]})
    hand.choose(page.get_by_label("Kind"), "private")
    hand.click(page.get_by_role("button", name="What would change"))
    expect(page.locator("#zones section")).to_contain_text("last 7 days")
    hand.click(page.get_by_role("button", name="Add zone"))
    expect(page.locator("#zones li").first).to_contain_text("private")
    took["draw a zone, with a preview"] = hand.count()
    again()
    hand.click(page.get_by_role("link", name="Add a camera"))
    expect(page.get_by_label("Name", exact=True)).to_be_focused()
    hand.key(*"Porch", "Enter")
    expect(page.locator("#setup h2")).to_have_text("Porch")
    took["add a camera"] = hand.count()
    again()
    hand.click(page.get_by_role("link", name="Set up Back Yard"))
    hand.choose(page.get_by_label("Notify"), "critical")
    expect(page.locator("#toast")).to_have_text("Saved: notifications.")
    took["silence a barbecue"] = hand.count()
    again()
    hand.click(page.locator("#inbox .card a").first)
    expect(page.locator("#stage .box").first).to_be_visible()
    hand.click(page.locator(".shot"), times=2, position={"x": 200, "y": 150})
    assert page.locator("#stage .zoom img").get_attribute("src").startswith("api/media/cameras/")
    assert "scale(2.5" in page.locator("#stage .zoom").get_attribute("style")
    took["read a plate in the original"] = hand.count()
    again()
    first = page.locator("#inbox .card").first
    first.hover()
    hand.click(first.get_by_role("button", name="Fine"))
    expect(page.locator("#toast")).to_contain_text("Answered: fine.")
    hand.key("u")
    wait_for(page, "() => fetch('api/feedback').then(a => a.json()).then(f => !f.feedback.length)")
    took["answer “fine” and revoke it"] = hand.count()

    table = (ROOT / "docs" / "page.md").read_text().partition("## Ten tasks")[2].partition("\n## ")[0]
    assert dict(re.findall(r"^\| ([^|]+?) \| (\d[^|]+?) \|", table, re.MULTILINE)) == took


def label_of_yesterday(page):
    return page.get_by_label("Day").locator("option").nth(2).get_attribute("value")
