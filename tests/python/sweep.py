"""Uses the controls of a sweep's page, and prints what does not do what it should: sweep.py PAGE, of tests/program/sweep_report.rs"""

import sys

from playwright.sync_api import sync_playwright

from pages import address_of, browser, opened, pictures, settle


def column(page, title):
    """What stands in a column of the table, from top to bottom."""
    names = page.locator("#table th").all_inner_texts()
    i = next(i for i, name in enumerate(names) if name.startswith(title))
    return [row.split("\t")[i].removeprefix("★ ").removeprefix("best ").strip() for row in page.locator("#table tbody tr").all_inner_texts()]


def check_table(page, wrong):
    if page.locator("#table tr.best").count() != 1 or "0.1" not in page.locator("#table tr.best").inner_text().split("\t"):
        wrong.append("the best setting is not marked")
    for name, is_number in [("optimizer.lr", True), ("optimizer.name", False)]:
        button = page.locator("#table").get_by_role("button", name=name)
        button.click()
        up = column(page, name)
        button.click()
        down = column(page, name)
        key = float if is_number else str
        if [key(x) for x in up] != sorted(key(x) for x in up) or down != up[::-1]:
            wrong.append(f"{name} sorts as {up} and {down}")
    decays = page.locator("#table").get_by_role("button", name="optimizer.weight_decay")
    decays.click()
    numbers = [float(x.replace("−", "-")) for x in column(page, "optimizer.weight_decay")]
    if numbers != sorted(numbers):
        wrong.append(f"decays sort as text: {numbers}")


def check_pictures(page, wrong):
    figure = page.locator("#pictures figure")
    # 24 settings, 8 of which have failed in part.
    if figure.locator("path.mark.line").count() != 24 + 8 or figure.locator("path.failed").count() != 8:
        wrong.append("lines are missing")
    figure.locator(".plot").focus()
    for key, words in [("Home", ["rank 1,", "optimizer.lr 0.1"]), ("ArrowRight", ["rank 2,"]), ("End", ["rank 24,", "2 failed"])]:
        page.keyboard.press(key)
        settle(page)
        told = figure.locator(".tooltip").inner_text()
        if not all(word in told for word in words):
            wrong.append(f"{key} reads {told!r}")
    # The line that the pointer is on is the one that is read.
    d = figure.locator("path.mark.line").last.get_attribute("d")
    (x, y), (u, v) = [tuple(map(float, point.split(" "))) for point in d[1:].split("L")[:2]]
    box = figure.locator("svg").bounding_box()
    page.mouse.move(box["x"] + (x + u) / 2, box["y"] + (y + v) / 2)
    settle(page)
    if "rank" not in figure.locator(".tooltip").inner_text():
        wrong.append("hovering reads no setting")
    slices = page.locator("#slices figure")
    if slices.count() != 3 or slices.first.locator("circle.mark").count() != 56 or slices.first.locator("path.failed").count() != 16:
        wrong.append("dots are missing")


if __name__ == "__main__":
    with sync_playwright() as playwright:
        chromium = browser(playwright)
        address = address_of(sys.argv[1])
        page, wrong = opened(chromium, address, 1000, "light")
        check_table(page, wrong)
        check_pictures(page, wrong)
        pictures(chromium, address, "sweep", 500)
        chromium.close()
    print("\n".join(wrong))
