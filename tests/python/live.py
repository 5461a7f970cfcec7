"""Watches a run in Chromium: live.py ARGUMENTS OF THALWEG. The run must go on until it is stopped.

Steps arrive; a page of another origin reads nothing and stops nothing; a name that was made to lead to this machine is refused; a page that
is opened late has everything; a lost connection comes back; the keyboard stops the run, and the page tells how it ended.
"""

import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

from playwright.sync_api import sync_playwright

from pages import check_page, pictures

# No answer takes so long, whatever else the machine does.
PATIENCE = 120_000

# A page of another origin, which knows the port and tries what a page can.
OTHER = """<!doctype html><title>other</title><script>
const port = new URLSearchParams(location.search).get("port");
const tries = {};
const here = (path) => `http://127.0.0.1:${port}${path}`;
const attempt = async (name, what) => { try { tries[name] = await what(); } catch (error) { tries[name] = "failed"; } };
const body = async (response) => (response.type === "opaque" ? "opaque" : `${response.status} ${await response.text()}`);
const framed = () => new Promise((done) => {
    const frame = document.createElement("iframe");
    frame.onload = () => { try { done(frame.contentDocument ? `read ${frame.contentDocument.body.innerHTML.length}` : "closed"); } catch { done("closed"); } };
    frame.src = here("/");
    document.body.append(frame);
});
const heard = () => new Promise((done) => {
    const source = new EventSource(here("/events"));
    source.addEventListener("state", (event) => done(`heard ${event.data.length}`));
    source.onerror = () => done("failed");
});
window.onload = async () => {
    await attempt("read", async () => body(await fetch(here("/"))));
    await attempt("read without CORS", async () => body(await fetch(here("/"), { mode: "no-cors" })));
    await attempt("stop", async () => body(await fetch(here("/stop"), { method: "POST" })));
    await attempt("stop without CORS", async () => body(await fetch(here("/stop"), { method: "POST", mode: "no-cors" })));
    await attempt("stop with a guess", async () => body(await fetch(here("/stop"), { method: "POST", headers: { Authorization: "Bearer 00" } })));
    await attempt("frame", framed);
    await attempt("events", heard);
    window.tries = tries;
};
</script><form id="form" method="post" target="_blank"></form>"""


class Other(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(OTHER.encode())

    def log_message(self, *_):
        pass


class Relay:
    """Passes a port of its own on to another one, until it is cut."""

    def __init__(self, port):
        self.to, self.open, self.listener = port, [], socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            near, _ = self.listener.accept()
            try:
                far = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                near.close()
                continue
            self.open += [near, far]
            for source, sink in [(near, far), (far, near)]:
                threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def pump(self, source, sink):
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        cut, self.open = self.open, []
        for end in cut:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def until(page, expression):
    """Waits until an expression is true in the page, which allows no script that is made of text."""
    end = time.monotonic() + PATIENCE / 1000
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


STEP = "Number((document.querySelector('[data-of=step]')?.textContent ?? '0').split(' ')[0].replaceAll(',', ''))"


def grows(page):
    """Waits until the page shows a later step than now; returns that."""
    until(page, f"{STEP} > {page.evaluate(STEP)}")
    return page.evaluate(STEP)


def points(page):
    return page.evaluate("Number(document.querySelector('figure.chart').dataset.points)")


def other_page_can_do_nothing(chromium, page, port):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # In the same browser, beside the page of the run.
    other = page.context.new_page()
    other.goto(f"http://127.0.0.1:{server.server_port}/?port={port}")
    until(other, "window.tries !== undefined")
    tries = other.evaluate("window.tries")
    for name in ("read", "stop", "stop with a guess", "events"):
        assert tries[name] == "failed", tries
    # Such requests may be sent, and are refused; the page cannot read even that.
    assert tries["read without CORS"] in ("opaque", "failed") and tries["stop without CORS"] in ("opaque", "failed"), tries
    assert tries["frame"] == "closed", tries
    # A form that is pointed at the run is a request of another origin as well.
    with page.context.expect_page() as opened:
        other.evaluate("(action) => { const form = document.getElementById('form'); form.action = action; form.submit(); }",
                       f"http://127.0.0.1:{port}/stop")
    opened.value.wait_for_load_state()
    assert "another Origin" in opened.value.content(), opened.value.content()
    opened.value.close()
    other.close()
    server.shutdown()
    grows(page)


def watch(playwright, address, run):
    # A name of somebody else's that leads to this machine.
    chromium = playwright.chromium.launch(executable_path=shutil.which("chromium"),
                                          args=["--no-sandbox", "--host-resolver-rules=MAP rebound.test 127.0.0.1"])
    port = int(address.split(":")[2].split("/")[0])
    relay = Relay(port)
    context = chromium.new_context()
    page = context.new_page()
    wrong, requests = [], []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    first = grows(page)
    assert grows(page) > first
    page.wait_for_selector("figure.chart canvas", timeout=PATIENCE)
    assert points(page) > 1
    assert page.get_attribute("#progress", "value") is not None and "%" in page.title(), page.title()
    foreign = [url for url in requests if not url.startswith((f"http://127.0.0.1:{port}/", "data:"))]
    assert wrong == [] and foreign == [], (wrong, foreign)

    rebound = chromium.new_page()
    assert rebound.goto(address.replace("127.0.0.1", "rebound.test")).status == 403
    assert rebound.goto(address.split("?")[0]).status == 403
    assert rebound.goto(address.replace("127.0.0.1", "localhost")).status == 200
    rebound.close()
    other_page_can_do_nothing(chromium, page, port)

    # Opened late, over a connection that is lost and comes back.
    late = chromium.new_page()
    late.goto(address.replace(f":{port}/", f":{relay.port}/"))
    now = grows(late)
    assert now >= first and points(late) > 1
    relay.cut()
    until(late, "document.querySelector('#status').textContent.startsWith('The connection is lost')")
    until(late, "document.querySelector('#status').textContent === 'Training.'")
    assert grows(late) > now

    found = check_page(chromium, address, is_live=True)
    assert found == [], "\n".join(found)
    pictures(chromium, address, "live", wait=3000)

    # By the keyboard alone.
    late.focus("#checkpoint")
    late.keyboard.press("Enter")
    late.wait_for_selector("[data-of=checkpoint]", timeout=PATIENCE)
    late.keyboard.press("Shift+Tab")
    assert late.evaluate("document.activeElement.id") == "stop"
    late.keyboard.press("Space")
    for shown in (late, page):
        shown.wait_for_selector("#ended", timeout=PATIENCE)
        assert shown.inner_text("#ended").startswith("Ended since it was asked to: "), shown.inner_text("#ended")
        assert "■ end" in shown.inner_text("figure.chart .marks")
        assert shown.inner_text("#status") == "Over." and shown.is_disabled("#stop") and shown.is_disabled("#checkpoint")
        assert "test" in shown.inner_text("#end table")
    assert run.wait(timeout=PATIENCE / 1000) == 0
    # What was shown stays, and nothing is asked for any more.
    requests.clear()
    page.wait_for_timeout(4000)
    assert points(page) > 1 and requests == [], requests
    assert wrong == [], wrong
    chromium.close()


def main():
    run = subprocess.Popen([os.environ["THALWEG"], *sys.argv[1:]], stdout=subprocess.PIPE, text=True)
    try:
        address = run.stdout.readline().removeprefix("page    ").strip()
        assert address.startswith("http://127.0.0.1:"), address
        with sync_playwright() as playwright:
            watch(playwright, address, run)
    finally:
        run.kill()
    print("all is as it should be")


if __name__ == "__main__":
    main()
