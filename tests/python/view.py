"""Looks at the runs of a folder in Chromium: view.py FOLDER, with the runs that `tests/program/view.rs` puts there."""

import os
import subprocess
import sys

from playwright.sync_api import sync_playwright

from pages import browser, check_page, pictures

PATIENCE = 120_000


def names(page):
    """The names of the runs that are shown, in their order."""
    return page.evaluate("[...document.querySelectorAll('#runs tbody tr')].filter((row) => !row.hidden).map((row) => row.cells[1].firstChild.textContent)")


def look(chromium, address):
    page = chromium.new_page()
    wrong = []
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(address)
    assert "Runs in all" in page.title(), page.title()
    everything = names(page)
    assert len(everything) == 7 and any(name.startswith("<img") for name in everything), everything
    assert "link is a link, which is not followed" in page.inner_text("main")

    page.fill("#search", "ADAMW a")
    assert "deep/er/b" not in names(page) and "a" in names(page), names(page)
    page.fill("#search", "sgd")
    assert names(page) == ["deep/er/b"] and page.inner_text("#found") == "1 of 7 runs", names(page)
    page.fill("#search", "")

    page.click("th button:text-is('rate')")
    assert page.get_attribute("th[aria-sort]", "aria-sort") == "ascending"
    # What has no rate is last, both ways.
    assert names(page)[3] == "deep/er/b" and set(names(page)[4:]) == {"altered", "torn", "lured"}, names(page)
    page.focus("th button:text-is('rate')")
    page.keyboard.press("Enter")
    assert names(page)[0] == "deep/er/b" and set(names(page)[4:]) == {"altered", "torn", "lured"}, names(page)
    broken = page.locator("#runs tbody tr", has_text="cannot be read")
    assert broken.count() == 3 and broken.locator("input:disabled").count() == 3

    # By the keyboard alone.
    assert page.is_disabled("#compare")
    for name in ("Compare a", "Compare deep/er/b"):
        page.get_by_label(name, exact=True).focus()
        page.keyboard.press("Space")
    assert page.inner_text("#compare") == "Compare 2"
    page.focus("#compare")
    page.keyboard.press("Enter")
    page.wait_for_selector("figure.chart canvas", timeout=PATIENCE)
    assert page.title() == "2 runs", page.title()
    assert {"a", "b"} <= set(page.inner_text("#comparison").split()), page.inner_text("#comparison")
    report = page.url
    page.click("nav a:text-is('All runs')")
    page.wait_for_selector("#runs")

    # A name is text, in the list and in the report.
    page.click("#runs a:has-text('<img')")
    page.wait_for_selector("figure.chart canvas", timeout=PATIENCE)
    assert page.title().startswith("Run <img"), page.title()
    assert wrong == [], wrong
    for each in (address, report):
        found = check_page(chromium, each, is_live=True)
        assert found == [], "\n".join(found)


def main():
    view = subprocess.Popen([os.environ["THALWEG"], "view", sys.argv[1], "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        address = view.stdout.readline().removeprefix("page    ").strip()
        with sync_playwright() as playwright:
            chromium = browser(playwright)
            pictures(chromium, address, "view")
            look(chromium, address)
            chromium.close()
    finally:
        view.kill()
    print("all is as it should be")


if __name__ == "__main__":
    main()
