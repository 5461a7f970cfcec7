"""Uses the controls of a report and of a comparison, and prints what does not do what it should: report.py RUN.html BOTH.html"""

import sys

from playwright.sync_api import sync_playwright

from pages import address_of, browser, opened, settle


def tooltip(page, title, key):
    figure = page.locator("figure.chart", has=page.get_by_role("heading", name=title, exact=True))
    figure.locator(".plot").focus()
    page.keyboard.press(key)
    settle(page)
    return figure.locator(".tooltip").inner_text()


def check_run(page, wrong):
    document = page.evaluate("thalweg.data('runs')[0]")
    steps = document["history"]["axis"]["steps"][-1]
    last = tooltip(page, "Loss", "End")
    if f"steps {steps}" not in last.replace(",", ""):
        wrong.append(f"the last point of the loss reads {last!r}")
    for unit, word in [("epochs", "epochs 12"), ("samples", "samples 576"), ("seconds", "seconds of training")]:
        page.get_by_label("over", exact=True).select_option(unit)
        if word not in tooltip(page, "Loss", "End").replace(",", ""):
            wrong.append(f"over {unit} the last point reads {tooltip(page, 'Loss', 'End')!r}")
    page.get_by_label("over", exact=True).select_option("steps")
    rough = tooltip(page, "Loss", "Home")
    page.get_by_label("smoothing").fill("0.9")
    smooth = tooltip(page, "Loss", "End")
    if smooth == last:
        wrong.append(f"smoothing changes nothing: {rough!r} {smooth!r}")
    page.get_by_label("log y").check()
    page.get_by_label("log x").check()
    # A legend's button hides its curve.
    figure = page.locator("figure.chart", has=page.get_by_role("heading", name="Loss", exact=True))
    figure.get_by_role("button", name="test", exact=True).click()
    if "test" in [line.split(" ")[0] for line in tooltip(page, "Loss", "End").splitlines()]:
        wrong.append("a curve that was hidden is still read")
    figure.locator("summary").click()
    # The browser tells the page a little later that it is open; the table then comes whole.
    figure.locator("table.table tr").first.wait_for(state="attached")
    if figure.locator("table.table tr").count() < 50:
        wrong.append("the table of the data is short")
    for heading in ["Overview", "Curves", "Landscape", "Curvature", "Kernels", "Settings"]:
        if page.get_by_role("heading", name=heading, exact=True).count() != 1:
            wrong.append(f"no section {heading}")
    if page.locator("img.picture").count() != 1 or page.locator("canvas.surface").count() != 1:
        wrong.append("no landscape from above, or none that turns")


def check_comparison(page, wrong):
    for text in ["optimizer.name", "train.batch", "test accuracy"]:
        if page.get_by_role("cell", name=text, exact=True).count() < 1:
            wrong.append(f"{text} is not compared")
    page.get_by_role("spinbutton", name="accuracy").fill("0.05")
    rows = page.locator("#time tbody tr").all_inner_texts()
    if len(rows) != 2 or not all(row.split("\t")[1] == "1" for row in rows):
        wrong.append(f"an accuracy of 0.05 comes in the first epoch, found {rows}")
    page.get_by_label("curve", exact=True).select_option("train")
    if "r " not in tooltip(page, "Accuracy", "End"):
        wrong.append("the curves of both runs are not read by their names")


if __name__ == "__main__":
    with sync_playwright() as playwright:
        chromium = browser(playwright)
        wrong = []
        for path, check in zip(sys.argv[1:], [check_run, check_comparison]):
            page, faults = opened(chromium, address_of(path), 1000, "light")
            check(page, faults)
            wrong += faults
        chromium.close()
    print("\n".join(wrong))
