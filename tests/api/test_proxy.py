"""Promise: behind a real proxy, under a sub-path and with TLS, the page works as it does alone."""

import ssl

import httpx
import pytest
from websockets.sync.client import connect

from tests.support.api_record import SECONDS_MAX, Home, serve, story
from tests.support.browser import CHROMIUM, needs_chromium, wait_for
from tests.support.ports import free_port
from tests.support.web_proxy import CERTIFICATES, Proxy

TOKEN = "correct-horse-battery"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = story(Home(tmp_path_factory.mktemp("proxied")))
    yield home
    home.close()


@pytest.fixture
def served(home):
    with serve(
        home.settings(
            HEARTHWATCH_API_TOKEN=TOKEN, HEARTHWATCH_API_FORWARDED="127.0.0.1",
            HEARTHWATCH_FRAME_ANCESTORS="self, https://127.0.0.1:*".replace(":*", f":{FRAME}"),
        )
    ) as served:  # fmt: skip
        yield served


FRAME = free_port()
ACTIVE = """navigator.serviceWorker.ready.then(({ active }) => active.state === "activated"
    || new Promise((done) => { active.onstatechange = () => active.state === "activated" && done(); }))"""


def client(url):
    context = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")
    return httpx.Client(base_url=url, verify=context, timeout=SECONDS_MAX, trust_env=False)


@pytest.mark.parametrize("program", ["nginx", "caddy"])
def test_behind_a_proxy_pictures_live_messages_and_a_secure_session_arrive(served, tmp_path, program):
    with Proxy(program, tmp_path / program, served.port) as proxy, client(proxy.url) as browser:
        assert browser.get("api/events").status_code == 401
        session = browser.post("api/session", json={"token": TOKEN})
        cookie = session.headers["set-cookie"]
        assert "Secure" in cookie and "SameSite=none" in cookie and "Partitioned" in cookie
        picture = browser.get("api/events").json()["events"][0]["thumbnail_url"]
        assert browser.get(picture.lstrip("/")).headers["content-type"] == "image/jpeg"
        with browser.stream("GET", "api/live") as live:
            assert any("event: status" in line for line in live.iter_lines()), "without a buffer that fills first"
        context = ssl.create_default_context(cafile=CERTIFICATES / "ca.pem")
        socket = proxy.url.replace("https", "wss") + "ws/events"
        with connect(socket, ssl=context, additional_headers={"authorization": f"Bearer {TOKEN}"}) as messages:
            messages.send("ping")
            assert messages.recv(timeout=SECONDS_MAX) == '{"type":"pong"}'


def test_only_a_listed_proxy_says_who_asks(home, served):
    lies = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https", "x-forwarded-host": "evil.example"}
    with serve(home.settings(HEARTHWATCH_API_FORWARDED="192.0.2.0/24")) as stranger, stranger.client() as direct:
        assert direct.get("/api/events", headers=lies).status_code == 200, "its own Host counts"
    with served.client() as direct:
        assert "Secure" not in direct.post("/api/session", json={"token": TOKEN}).headers["set-cookie"]
        assert "Secure" in direct.post("/api/session", json={"token": TOKEN}, headers=lies).headers["set-cookie"]


@needs_chromium
def test_in_a_browser_the_page_works_below_a_path_and_in_a_frame_of_a_listed_site(served, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    listed, foreign = FRAME, free_port()
    frame = (
        "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {c}/server.pem; ssl_certificate_key {c}/server.key;"
        " location / {{ default_type text/html; return 200 '<iframe width=1200 height=800 src=\"{url}\"></iframe>'; }} }}"
    )
    proxy = Proxy("nginx", tmp_path / "nginx", served.port, more="")
    more = "".join(frame.format(port=port, c=CERTIFICATES, url=proxy.url) for port in (listed, foreign))
    config = tmp_path / "nginx" / "nginx.conf"
    config.write_text(config.read_text().rstrip().removesuffix("}") + more + "}\n")
    with proxy, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        try:
            context = chromium.new_context(ignore_https_errors=True)
            context.set_default_timeout(SECONDS_MAX * 1000)
            expect.set_options(timeout=SECONDS_MAX * 1000)
            page = context.new_page()
            page.goto(proxy.url)
            sign_in(page)
            expect(page.locator("#cameras img").first).to_be_visible()
            seen = "[...document.querySelectorAll('#cameras img')].some((i) => i.src.includes('/hearthwatch/api/media') && i.naturalWidth > 1)"
            wait_for(page, seen)

            outside = context.new_page()
            outside.goto(f"https://127.0.0.1:{listed}/")
            inside = outside.frame_locator("iframe")
            sign_in(inside)
            expect(inside.locator("#cameras img").first).to_be_visible()

            refused = context.new_page()
            refused.goto(f"https://127.0.0.1:{foreign}/")
            assert refused.frame_locator("iframe").locator("#cameras img").count() == 0
        finally:
            chromium.close()


@needs_chromium
def test_in_home_assistants_ingress_the_page_works_with_the_token_that_the_proxy_sends(home, tmp_path):
    """nginx plays the ingress: a path below Home Assistant's, another `Host`, headers that it adds, and the page in a frame."""
    from playwright.sync_api import expect, sync_playwright

    path, outside = "/api/ingress/hearthwatch", free_port()
    with serve(
        home.settings(
            HEARTHWATCH_API_TOKEN=TOKEN, HEARTHWATCH_API_FORWARDED="127.0.0.1", HEARTHWATCH_FRAME_ANCESTORS="self"
        )
    ) as served:
        ingress = f"""server {{ listen 127.0.0.1:{outside};
            location = / {{ default_type text/html; return 200 '<iframe width=1200 height=800 src="{path}/"></iframe>'; }}
            location {path}/ {{ proxy_pass http://127.0.0.1:{served.port}/; proxy_http_version 1.1; proxy_buffering off;
                proxy_set_header Host 127.0.0.1:{served.port}; proxy_set_header X-Ingress-Path {path};
                proxy_set_header X-Forwarded-Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;
                proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header Authorization "Bearer {TOKEN}"; }} }}"""
        with Proxy("nginx", tmp_path / "nginx", served.port, ingress), sync_playwright() as playwright:
            chromium = playwright.chromium.launch(
                executable_path=CHROMIUM, args=["--headless", "--no-sandbox", "--disable-gpu"]
            )
            try:
                page = chromium.new_page()
                page.set_default_timeout(SECONDS_MAX * 1000)
                expect.set_options(timeout=SECONDS_MAX * 1000)
                page.goto(f"http://127.0.0.1:{outside}/")
                inside = page.frame_locator("iframe")
                expect(inside.locator("#cameras img").first).to_be_visible()
                assert not inside.locator("#token").is_visible(), "Home Assistant has signed in"
                frame = next(frame for frame in page.frames if path in frame.url)
                assert frame.evaluate(
                    "fetch('api/events', {method: 'PATCH', headers: {'content-type': 'application/json'}, "
                    "body: JSON.stringify({reviewed: true, ids: [1]})}).then((answer) => answer.status)"
                ) == 200  # fmt: skip
                assert frame.evaluate(
                    "new Promise((done) => { const live = new EventSource('api/live'); live.addEventListener('status', () => done(true)); })"
                )
            finally:
                chromium.close()


def sign_in(page):
    page.locator("#token input").fill(TOKEN)
    page.locator("#token button").first.click()


@needs_chromium
def test_an_installed_page_opens_without_its_server_and_says_that_there_is_no_connection(home, tmp_path):
    from playwright.sync_api import expect, sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--headless", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors"],
        )
        try:
            page = chromium.new_page()
            page.set_default_timeout(SECONDS_MAX * 1000)
            expect.set_options(timeout=SECONDS_MAX * 1000)
            complaints = []
            page.on("pageerror", lambda error: complaints.append(error.stack))
            with (
                serve(home.settings(HEARTHWATCH_API_FORWARDED="127.0.0.1")) as served,
                Proxy("nginx", tmp_path / "nginx", served.port) as proxy,
            ):
                page.goto(proxy.url)
                page.evaluate(ACTIVE)
                manifest = page.evaluate("fetch('static/manifest.webmanifest').then((r) => r.json())")
                assert {icon["sizes"] for icon in manifest["icons"]} == {"any", "192x192", "512x512"}
                assert page.evaluate("fetch('static/icon-192.png').then((r) => r.ok)")
            page.goto(f"{proxy.url}?reviewed=false")
            expect(page.locator("#banner")).to_contain_text("No connection. The server does not respond.")
            assert page.evaluate("caches.keys().then((keys) => Promise.all(keys.map((k) => caches.open(k).then((c) => c.keys())))).then((all) => all.flat().every((r) => !r.url.includes('/api/')))")  # fmt: skip
            assert not complaints
        finally:
            chromium.close()
