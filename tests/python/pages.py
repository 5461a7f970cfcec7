"""Opens pages in Chromium without a window and prints what is wrong with them, of what holds of every page: pages.py PAGE-OR-ADDRESS ...

No error in the console, no request but for the page itself, marks in every chart, a tooltip with values under the pointer and under
the arrow keys, every control within reach of the keyboard, nothing wider than a phone, text that contrasts by 4.5 with what is behind it
in both themes, and a printout on white.
"""

import os
import pathlib
import shutil
import sys

from playwright.sync_api import sync_playwright

# Every element that shows text, with its colours as they come out, and whether it reaches beyond the window without scrolling in itself.
LOOK = """() => {
    const shade = (text) => {
        const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
        context.fillStyle = text;
        context.fillRect(0, 0, 1, 1);
        return Array.from(context.getImageData(0, 0, 1, 1).data);
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = shade(getComputedStyle(at).backgroundColor);
            if (colour[3] === 255) return colour;
        }
        return shade("Canvas");
    };
    const light = ([r, g, b]) => {
        const part = (c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
        return 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
    };
    const scrolls = (element) => {
        for (let at = element; at; at = at.parentElement) {
            if (["auto", "scroll", "hidden"].includes(getComputedStyle(at).overflowX) && at !== document.body && at !== document.documentElement) return true;
        }
        return false;
    };
    const pale = [], wide = [];
    for (const element of document.querySelectorAll("body *")) {
        const box = element.getBoundingClientRect();
        if (box.width === 0 || box.height === 0 || element.closest("script, style, .hidden")) continue;
        if (box.right > innerWidth + 1 && !scrolls(element)) wide.push(`${element.tagName}.${element.getAttribute("class")} ends at ${box.right}`);
        const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== "");
        if (!hasText || element.closest("button:disabled")) continue;
        const style = getComputedStyle(element);
        if (style.visibility === "hidden") continue;
        const isSvg = element instanceof SVGElement;
        const [ink, paper] = [light(shade(isSvg ? style.fill : style.color)), light(element.dataset.behind ? shade(element.dataset.behind) : behind(element))];
        const contrast = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
        if (contrast < 4.5) pale.push(`${element.tagName}.${element.getAttribute("class")} "${element.textContent.trim().slice(0, 40)}": ${contrast.toFixed(2)}`);
    }
    return { pale, wide, width: document.documentElement.scrollWidth };
}"""

# Whether a canvas shows more than one colour where its lines are.
HAS_MARKS = """(canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Set();
    for (let i = 0; i < data.length; i += 4) if (data[i + 3] > 128) colours.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
    return colours.size;
}"""

CONTROLS = "a[href], button:not(:disabled), input:not(:disabled), select:not(:disabled), summary, [tabindex='0']"


def browser(playwright):
    return playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"], timeout=180_000)


def opened(chromium, address, width, scheme, is_live=False):
    """The page, and a list of what went wrong with it, which grows."""
    page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    # A machine that does other things at the same time is slow, not wrong.
    page.set_default_timeout(180_000)
    wrong = []
    page.on("console", lambda message: wrong.append(f"console: {message.text}") if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    asked = lambda request: request.url.split("#")[0] != address and not request.url.startswith("data:")
    page.on("request", lambda request: wrong.append(f"request: {request.url[:200]}") if asked(request) and not is_live else None)
    page.goto(address)
    page.wait_for_timeout(300)
    return page, wrong


def has_marks(figure):
    """Whether something is drawn in a chart, on its canvas, or in a diagram in SVG."""
    if int(figure.get_attribute("data-points") or 0) == 0:
        return False
    canvas = figure.query_selector("canvas")
    return canvas.evaluate(HAS_MARKS) >= 3 if canvas else len(figure.query_selector_all("svg .mark")) > 0


def settle(page):
    """Waits until what was asked for is drawn, however long a frame takes."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def check_charts(page, wrong):
    for figure in page.query_selector_all("figure.chart, figure.diagram"):
        title = figure.query_selector("h3").inner_text()
        if not has_marks(figure):
            wrong.append(f"{title}: a chart without marks")
            continue
        figure.scroll_into_view_if_needed()
        plot, tooltip = figure.query_selector(".plot"), figure.query_selector(".tooltip")
        over = (figure.query_selector(".u-over") or figure.query_selector("svg")).bounding_box()
        page.mouse.move(over["x"] + over["width"] * 0.6, over["y"] + over["height"] * 0.5)
        settle(page)
        if not any(c.isdigit() for c in tooltip.inner_text()):
            wrong.append(f"{title}: hovering shows no value")
        page.mouse.move(2, 2)
        plot.focus()
        page.keyboard.press("Home")
        settle(page)
        first = tooltip.inner_text()
        page.keyboard.press("End")
        settle(page)
        last = tooltip.inner_text()
        if not any(c.isdigit() for c in first) or (first == last and int(figure.get_attribute("data-points")) > 1):
            wrong.append(f"{title}: arrow keys read no values: {first!r}, {last!r}")
    for canvas in page.query_selector_all("canvas.surface"):
        before = canvas.evaluate("(canvas) => canvas.toDataURL()")
        if canvas.evaluate(HAS_MARKS) < 3:
            wrong.append("a surface without marks")
        canvas.focus()
        page.keyboard.press("ArrowLeft")
        if canvas.evaluate("(canvas) => canvas.toDataURL()") == before:
            wrong.append("a surface that arrow keys do not turn")


def check_keyboard(page, wrong):
    """Tab comes to every control that is shown."""
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = false; })")
    controls = [control for control in page.query_selector_all(CONTROLS) if control.is_visible()]
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0); window.reached = new Set()")
    for _ in range(len(controls) + 20):
        page.keyboard.press("Tab")
        page.evaluate("window.reached.add(document.activeElement)")
    for control in controls:
        # Of radio buttons one is a stop.
        if not control.evaluate("(element) => window.reached.has(element) || element.type === 'radio'"):
            wrong.append(f"Tab does not come to {control.evaluate('(element) => element.outerHTML.slice(0, 120)')}")


def check_page(chromium, address, is_live=False):
    """What is wrong with the page at an address; an empty list if nothing is."""
    found = []
    for width, scheme in [(360, "dark"), (1280, "light")]:
        page, wrong = opened(chromium, address, width, scheme, is_live)
        look = page.evaluate(LOOK)
        wrong += [f"pale: {text}" for text in look["pale"][:10]] + [f"wide: {text}" for text in look["wide"][:10]]
        if look["width"] > width:
            wrong.append(f"the page is {look['width']} px wide")
        if not page.query_selector("h1").inner_text() or not page.title():
            wrong.append("no title")
        for image in page.query_selector_all("img"):
            if not image.get_attribute("alt") or not image.evaluate("(image) => image.complete && image.naturalWidth > 0"):
                wrong.append(f"an image that is not there or has no text: {image.get_attribute('alt')}")
        check_charts(page, wrong)
        check_keyboard(page, wrong)
        page.emulate_media(media="print")
        page.wait_for_timeout(200)
        printed = page.evaluate(LOOK)
        wrong += [f"pale on paper: {text}" for text in printed["pale"][:10]]
        found += [f"{width} px, {scheme}: {text}" for text in wrong]
        page.close()
    return found


def pictures(chromium, address, what, wait=0):
    """The page after so many milliseconds, for a person to look at, where THALWEG_PICTURES names a folder."""
    folder = os.environ.get("THALWEG_PICTURES")
    if not folder:
        return
    for name, width, scheme in [("phone-dark", 360, "dark"), ("desk-light", 1280, "light")]:
        page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.goto(address)
        page.wait_for_timeout(wait)
        page.screenshot(path=pathlib.Path(folder) / f"{what}-{name}.png", full_page=True)
        page.close()


def address_of(text):
    return text if "://" in text else pathlib.Path(text).resolve().as_uri()


if __name__ == "__main__":
    with sync_playwright() as playwright:
        chromium = browser(playwright)
        wrong = [f"{page}: {text}" for page in sys.argv[1:] for text in check_page(chromium, address_of(page))]
        chromium.close()
    print("\n".join(wrong))
