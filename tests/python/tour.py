"""Looks at a tour: that every station has figures with marks, that sliders change them, and that the numbers in the text are those of the data.

tour.py PAGE SAID prints what is wrong, and writes to SAID as JSON every command that the page shows, in its order, and where its own
descents ended: { "commands": [line], "ends": [{ "commands": [line], "ends": [[x, y]] }] }.
"""

import json
import pathlib
import sys

from playwright.sync_api import sync_playwright

from pages import HAS_MARKS, address_of, browser, opened

STATIONS = [
    "bowl", "plane", "rate", "decay", "minima", "saddle", "batch", "throughput", "falling", "cyclic", "restarts", "early", "plateau", "swa",
    "flat", "optimizers", "landscape",
]


def commands(figure):
    return [line for line in figure.locator(".command").all_inner_texts() for line in line.split("\n") if line]


def check_stations(page, wrong):
    found = [section.get_attribute("id") for section in page.query_selector_all("main section")]
    if found != STATIONS + ["on"]:
        wrong.append(f"the stations are {found}")
    linked = [link.get_attribute("href") for link in page.query_selector_all("nav a")]
    if linked != [f"#{station}" for station in found]:
        wrong.append(f"the contents lead to {linked}")
    for station in STATIONS:
        figures = page.locator(f"#{station} figure")
        if figures.count() == 0 or page.locator(f"#{station} .command").count() == 0:
            wrong.append(f"{station}: no figure, or no command")
    for figure in page.locator("main figure").all():
        title = figure.locator("h3").inner_text()
        if not title or len(figure.locator("figcaption").inner_text()) < 15:
            wrong.append(f"{title!r}: no title or no caption")
        for canvas in figure.locator(".contour canvas").all():
            if canvas.evaluate(HAS_MARKS) < 8 or figure.locator(".contour .mark").count() == 0:
                wrong.append(f"{title}: a surface without heights or without marks")
        if figure.locator(".contour, .plot, canvas, table").count() == 0:
            wrong.append(f"{title}: nothing is drawn")


def check_numbers(page, wrong):
    """What is written in the text against the data, to the digits that are shown."""
    data = page.evaluate("thalweg.data('tour')")
    elements = page.query_selector_all("[data-of]")
    if len(elements) < 25:
        wrong.append(f"only {len(elements)} numbers in the text are those of the data")
    for element in elements:
        path, text = element.get_attribute("data-of"), element.inner_text()
        value = data
        for key in path.split("."):
            value = value[int(key) if isinstance(value, list) else key] if value is not None else None
        if value is None:
            is_right = text == "–" and data["quick"]
        elif isinstance(value, str):
            is_right = text == value
        else:
            is_right = abs(float(text.replace("−", "-").replace(",", "")) - value) <= 0.006 * abs(value)
        if not is_right:
            wrong.append(f"{path}: {text!r} is written for {value!r}")


def state(figure):
    """What a reader sees of a figure."""
    return figure.locator(".way .line, .said, .plot + .legend").evaluate_all("(all) => all.map((e) => e.getAttribute('d') ?? e.textContent).join('|')")


def ends(figure):
    text = figure.get_attribute("data-end")
    return [{"commands": commands(figure), "ends": json.loads(text)}] if text else []


def check_sliders(page, wrong):
    """Every slider changes what is seen, by the keyboard, and Reset brings it back. Returns where descents ended."""
    found = []
    figures = page.locator("main figure", has=page.locator(".controls"))
    if figures.count() < 10:
        wrong.append(f"only {figures.count()} figures have sliders")
    for figure in figures.all():
        title, first, line = figure.locator("h3").inner_text(), state(figure), commands(figure)
        found += ends(figure)
        for slider in figure.locator("input[type=range]").all():
            value = int(slider.input_value())
            key = "ArrowLeft" if value == int(slider.get_attribute("max")) else "ArrowRight"
            output = figure.locator(f"output[for={slider.get_attribute('id')}]")
            shown = output.inner_text()
            slider.focus()
            page.keyboard.press(key)
            if state(figure) == first or output.inner_text() == shown:
                wrong.append(f"{title}: {slider.get_attribute('id')} changes nothing")
            if figure.get_attribute("data-end") and commands(figure) == line:
                wrong.append(f"{title}: the command does not follow {slider.get_attribute('id')}")
            found += ends(figure)
            figure.get_by_role("button", name="Reset").click()
            if state(figure) != first or output.inner_text() != shown or commands(figure) != line:
                wrong.append(f"{title}: Reset does not bring back what was there")
    return found


if __name__ == "__main__":
    with sync_playwright() as playwright:
        chromium = browser(playwright)
        page, wrong = opened(chromium, address_of(sys.argv[1]), 1000, "light")
        check_stations(page, wrong)
        check_numbers(page, wrong)
        said = {"commands": commands(page.locator("main")), "ends": check_sliders(page, wrong)}
        chromium.close()
    pathlib.Path(sys.argv[2]).write_text(json.dumps(said))
    print("\n".join(wrong))
