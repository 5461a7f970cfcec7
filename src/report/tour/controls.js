// What a reader turns, and what a figure says: sliders, the line for home, numbers in the text.
"use strict";

(() => {
    const { element, tour } = thalweg;
    let sliders = 0;

    // A slider over a list of values; `told` hears the value whenever it changes. Returns { element, set(value) }.
    tour.slider = (label, values, value, told, format = String) => {
        const id = `slider-${++sliders}`;
        const output = element("output", { for: id }, format(value));
        const input = element("input", { type: "range", id, min: 0, max: values.length - 1, step: 1, value: values.indexOf(value) });
        const show = () => {
            const now = values[Number(input.value)];
            output.textContent = format(now);
            input.setAttribute("aria-valuetext", format(now));
            return now;
        };
        input.addEventListener("input", () => told(show()));
        show();
        const set = (next) => {
            input.value = values.indexOf(next);
            show();
        };
        return { element: element("label", { class: "slider" }, element("span", {}, label), input, output), set };
    };

    // The lines that make the same at home, at the end of a figure. Returns a function that changes them.
    tour.home = (figure, lines) => {
        const code = element("code", { class: "command" });
        figure.append(element("div", { class: "home" }, element("span", {}, "The same at home"), element("pre", {}, code)));
        // Lines break between words alone, not after the dashes of a flag.
        const words = (line) => line.split(" ").flatMap((word) => [element("span", {}, word), " "]).slice(0, -1);
        const update = (lines) => code.replaceChildren(...lines.map((line) => element("span", {}, ...words(line), "\n")));
        update(lines);
        return update;
    };

    // A chart with the lines that make it at home.
    tour.chart = (parent, spec, lines) => {
        const chart = thalweg.chart(parent, spec);
        if (lines?.length) tour.home(chart.figure, lines);
        return chart;
    };

    // What stands in the page's data at a path as `early.best.epoch`.
    tour.at = (path) => path.split(".").reduce((value, key) => value?.[key], tour.data);

    // Writes the number, or the words, that an element names into it.
    tour.fill = (holder) => {
        const value = tour.at(holder.dataset.of);
        holder.value = value ?? "";
        const text = { percent: (v) => thalweg.percent(v), digits3: (v) => thalweg.number(v, 3) }[holder.dataset.as];
        holder.textContent = text ? text(value) : thalweg.number(value);
    };
})();
