"""Reads what reports show of predictions, and prints what is not as their data say: quality.py CLASSES.html PICTURES.html VALUES.html"""

import sys

from playwright.sync_api import sync_playwright

from pages import address_of, browser, opened, settle


def figure_of(page, title):
    return page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))


def read(page, title, *keys):
    """The tooltip of a figure after these keys."""
    figure = figure_of(page, title)
    figure.locator(".plot").focus()
    for key in keys:
        page.keyboard.press(key)
    settle(page)
    return figure.locator(".tooltip").inner_text()


def written(page, number, digits=4):
    return page.evaluate("([number, digits]) => thalweg.number(number, digits)", [number, digits])


def check_classes(page, quality, wrong):
    """A table of samples, under the first set of weights and, by the switch, under another."""
    names = [quality["classes"][str(c)] for c in range(quality["class_count"])]
    for place, weights in enumerate(quality["weights"]):
        page.get_by_label("Weights", exact=True).select_option(str(place))
        counts = weights["scores"]["confusion"]
        figure = figure_of(page, "Confusion matrix")
        shown = [int(text) for text in figure.locator("svg .count").all_text_contents()]
        if shown != [count for row in counts for count in row if count > 0]:
            wrong.append(f"{weights['name']}: the matrix shows {shown}, not {counts}")
        told = read(page, "Confusion matrix", "Home", "ArrowRight", "ArrowDown", "ArrowDown")
        if told.splitlines()[:2] != [f"true {names[2]}", f"predicted {names[1]}"] or f"{counts[2][1]} of {sum(counts[2])}" not in told:
            wrong.append(f"{weights['name']}: the keyboard reads {told!r}")
        figure.locator("summary").click()
        figure.locator("tbody tr").first.wait_for()
        rows = [row.locator("td").all_inner_texts() for row in figure.locator("tbody tr").all()]
        if rows != [[names[c], *map(str, row)] for c, row in enumerate(counts)]:
            wrong.append(f"{weights['name']}: the table shows {rows}")
        told = read(page, "Reliability", "End")
        last = [bin for bin in weights["scores"]["calibration"] if bin["count"] > 0][-1]
        if f"right {100 * last['accuracy']:.1f} %" not in told or f"{last['count']} prediction" not in told:
            wrong.append(f"{weights['name']}: the last bin reads {told!r}")
        if page.get_by_text(f"Below: the {weights['name']} weights.").count() != 1:
            wrong.append(f"{weights['name']} is not named")
        rows = figure_of(page, "Most wrong").locator("tbody tr").all()
        want = [quality["worst_samples"][one["sample"]]["index"] for one in weights["worst"]]
        if [int(row.locator("td").first.inner_text()) for row in rows] != want:
            wrong.append(f"{weights['name']}: other samples are the worst")
        filters = weights["filters"]
        if filters and f"weight {written(page, filters['weights'][-1][-1])}" not in read(page, "First layer", "End"):
            wrong.append(f"{weights['name']}: the last weight reads {read(page, 'First layer', 'End')!r}")


def check_pictures(page, quality, wrong):
    """Pictures are drawn, and say what they are."""
    for title, count in [("Most wrong", len(quality["weights"][0]["worst"])), ("First layer", len(quality["weights"][0]["filters"]["units"]))]:
        pictures = figure_of(page, title).locator("canvas.picture")
        colours = "(canvas) => new Set(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size"
        if pictures.count() != count or any(picture.evaluate(colours) < 3 for picture in pictures.all()):
            wrong.append(f"{title}: {pictures.count()} pictures, not {count}, or empty ones")
        if not all(picture.get_attribute("aria-label") for picture in pictures.all()):
            wrong.append(f"{title}: pictures without words")
    first = quality["weights"][0]["worst"][0]
    sample = quality["worst_samples"][first["sample"]]
    label = figure_of(page, "Most wrong").locator("canvas").first.get_attribute("aria-label")
    for word in [f"Sample {sample['index']}:", f"class {sample['label']}", f"class {first['prediction']}"]:
        if word.replace("class ", "") not in label:
            wrong.append(f"the worst sample is called {label!r}, without {word}")


def check_values(page, quality, wrong):
    for name, target in zip(quality["targets"], quality["weights"][0]["per_target"]):
        dots = figure_of(page, f"Predicted against true: {name}").locator("svg .dot").count()
        if dots != len(target["points"]["target"]):
            wrong.append(f"{name}: {dots} dots")
        least = min(target["points"]["target"])
        if f"true {written(page, least, 5)}" not in read(page, f"Predicted against true: {name}", "Home"):
            wrong.append(f"{name}: the least target reads {read(page, f'Predicted against true: {name}', 'Home')!r}, not {least}")
        counts = target["residuals"]["counts"]
        if f"{counts[-1]} prediction" not in read(page, f"Residuals: {name}", "End"):
            wrong.append(f"{name}: the last residuals read {read(page, f'Residuals: {name}', 'End')!r}")


if __name__ == "__main__":
    with sync_playwright() as playwright:
        chromium = browser(playwright)
        found = []
        for address, check in zip(sys.argv[1:], [check_classes, check_pictures, check_values]):
            page, wrong = opened(chromium, address_of(address), 1280, "light")
            check(page, page.evaluate("thalweg.data('runs')[0].quality"), wrong)
            found += [f"{address}: {text}" for text in wrong]
        chromium.close()
    print("\n".join(found))
