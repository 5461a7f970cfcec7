// Plots in SVG, for what is no line over steps: axes, what is drawn between them, and a reading by pointer and by arrow keys.
"use strict";

(() => {
    const { element, svg, number } = thalweg;
    // The width of a letter of an axis, in pixels.
    const LETTER = 6.6;
    const MARGIN = { left: 56, right: 14, top: 10, bottom: 42 };

    // Makes a plot readable: pointing at an item, or going to it by keys, shows a tooltip.
    //   find(x, y)       the item at a place of the plot, or null
    //   step(key, item)  the item that a key leads to from an item or from null; undefined where the key is none
    //   place(item)      { x, y }, where its tooltip is
    //   lines(item)      the lines of its tooltip, each text or a list of text and elements
    //   mark(item)       shows which item is read; null for none
    thalweg.reader = (plot, { find, step, place, lines, mark }) => {
        const tooltip = element("div", { class: "tooltip", role: "status", "aria-live": "polite" });
        plot.append(tooltip);
        let now = null;
        const show = (item) => {
            now = item;
            mark(item);
            tooltip.style.display = item === null ? "none" : "block";
            if (item === null) return;
            tooltip.replaceChildren(...lines(item).map((line) => element("div", {}, line)));
            const { x, y } = place(item);
            const isRight = x > plot.clientWidth / 2;
            tooltip.style.left = isRight ? "auto" : `${x + 12}px`;
            tooltip.style.right = isRight ? `${plot.clientWidth - x + 12}px` : "auto";
            tooltip.style.top = `${y + 12}px`;
        };
        const point = (event) => {
            const box = plot.getBoundingClientRect();
            show(find(event.clientX - box.left + plot.scrollLeft, event.clientY - box.top));
        };
        plot.addEventListener("pointermove", point);
        plot.addEventListener("pointerdown", point);
        plot.addEventListener("pointerleave", () => show(null));
        plot.addEventListener("blur", () => show(null));
        plot.addEventListener("keydown", (event) => {
            const to = event.key === "Escape" ? null : step(event.key, now);
            if (to === undefined) return;
            event.preventDefault();
            show(to);
        });
    };

    // What the arrow keys, Page Up, Page Down, Home and End lead to among so many items, for `thalweg.reader`.
    thalweg.stepper = (count) => (key, now) => {
        const [last, far] = [count - 1, Math.ceil(count / 10)];
        const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -far, PageDown: far }[key];
        if (last < 0) return undefined;
        if (by !== undefined) return Math.min(Math.max((now ?? -1) + by, 0), last);
        return { Home: 0, End: last }[key];
    };

    // A name in so many pixels, cut short where it is longer.
    thalweg.cut = (name, room) => {
        const letters = [...name];
        const most = Math.max(Math.floor(room / LETTER), 2);
        return letters.length <= most ? name : `${letters.slice(0, most - 1).join("")}…`;
    };

    // A figure with a title, a plot that takes the keyboard, a table of its data that is made when it is opened, and a caption.
    thalweg.figure = (parent, { title, label, caption, table, points }) => {
        const plot = element("div", { class: "plot", tabindex: "0", role: "group", "aria-roledescription": "chart",
            "aria-label": `${label ?? title}; arrow keys read values` });
        const details = element("details", {}, element("summary", {}, "Data"));
        details.addEventListener("toggle", () => {
            if (!details.open || details.querySelector(".scroll")) return;
            const { header, rows, about } = table();
            thalweg.table(details, header, rows, about);
        });
        parent.append(element("figure", { class: "diagram", "data-points": String(points) }, element("h3", {}, title), plot, details,
            element("figcaption", {}, caption)));
        return plot;
    };

    // Calls `draw(width)` now, whenever the plot's width changes, and with the theme.
    thalweg.onWidth = (plot, draw) => {
        let last = 0;
        const check = () => {
            if (plot.clientWidth === 0 || plot.clientWidth === last) return;
            last = plot.clientWidth;
            draw(last);
        };
        check();
        new ResizeObserver(check).observe(plot);
        thalweg.onTheme(() => last > 0 && draw(last));
    };

    // Round numbers from `low` to `high`, about `count` of them.
    const ticks = (low, high, count) => {
        const rough = (high - low) / count;
        const power = 10 ** Math.floor(Math.log10(rough));
        const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough * 0.8) ?? 10);
        const first = Math.ceil(low / step - 1e-9);
        const last = Math.floor(high / step + 1e-9);
        // Divided where the step is below 1, so that 0.3 is no 0.30000000000000004.
        return Array.from({ length: last - first + 1 }, (_, i) => (step < 1 ? (first + i) / Math.round(1 / step) : (first + i) * step));
    };

    const axes = (frame, spec, { x, y, width, height }) => {
        const line = (x1, y1, x2, y2) => svg("line", { x1, y1, x2, y2, class: "grid" });
        const text = (at, words) => svg("text", { class: "axis", ...at }, words);
        const bottom = height - MARGIN.bottom;
        const labelled = (axis, count) => axis.ticks ?? ticks(axis.low, axis.high, count).map((at) => ({ at, label: number(at, 3) }));
        let taken = -Infinity;
        for (const { at, label } of labelled(spec.x, width / 90)) {
            frame.append(line(x(at), MARGIN.top, x(at), bottom));
            const half = (LETTER * label.length) / 2;
            if (x(at) - half < taken) continue;
            taken = x(at) + half + LETTER;
            frame.append(text({ x: x(at), y: bottom + 16, "text-anchor": "middle" }, label));
        }
        for (const { at, label } of labelled(spec.y, height / 55)) {
            frame.append(line(MARGIN.left, y(at), width - MARGIN.right, y(at)), text({ x: MARGIN.left - 6, y: y(at) + 4, "text-anchor": "end" }, label));
        }
        const middle = (MARGIN.top + bottom) / 2;
        frame.append(text({ x: (MARGIN.left + width - MARGIN.right) / 2, y: height - 6, "text-anchor": "middle" }, spec.x.label),
            text({ transform: `translate(12 ${middle}) rotate(-90)`, "text-anchor": "middle" }, spec.y.label));
    };

    // Draws a plot of `spec` at the end of `parent`:
    //   title, label, caption, table, points   see `thalweg.figure`
    //   x, y         { label, low, high }, the ends of the axes, and where they are no round numbers `ticks`, each { at, label }
    //   height       in pixels; as high as wide, up to 420, for "square"
    //   draw(layer, x, y)   draws into the layer; x and y turn values into places
    //   items        what is read, { x, y, lines }, ordered by x; by the nearest x, or with `isScatter` by the nearest place
    thalweg.plot = (parent, spec) => {
        const plot = thalweg.figure(parent, { ...spec, points: spec.items.length });
        const state = { x: null, y: null, cursor: null };
        thalweg.onWidth(plot, (width) => {
            const height = spec.height === "square" ? Math.min(width, 420) : spec.height ?? 260;
            const across = spec.height === "square" ? Math.min(width, 440) : width;
            const scale = (low, high, from, to) => (value) => from + ((value - low) / (high - low)) * (to - from);
            state.x = scale(spec.x.low, spec.x.high, MARGIN.left, across - MARGIN.right);
            state.y = scale(spec.y.low, spec.y.high, height - MARGIN.bottom, MARGIN.top);
            const frame = svg("svg", { width: across, height, "aria-hidden": "true" });
            axes(frame, spec, { ...state, width: across, height });
            const layer = svg("g");
            state.cursor = svg("circle", { r: 6, class: "cursor", visibility: "hidden" });
            frame.append(layer, state.cursor);
            spec.draw(layer, state.x, state.y);
            plot.querySelector("svg")?.remove();
            plot.prepend(frame);
        });
        const { items } = spec;
        const place = (i) => ({ x: state.x(items[i].x), y: state.y(items[i].y) });
        const find = (x, y) => {
            let [best, least] = [null, Infinity];
            items.forEach((_, i) => {
                const at = place(i);
                const distance = spec.isScatter ? Math.hypot(at.x - x, at.y - y) : Math.abs(at.x - x);
                if (distance < least) [best, least] = [i, distance];
            });
            return best;
        };
        const mark = (i) => {
            state.cursor.setAttribute("visibility", i === null ? "hidden" : "visible");
            if (i === null) return;
            state.cursor.setAttribute("cx", place(i).x);
            state.cursor.setAttribute("cy", place(i).y);
        };
        thalweg.reader(plot, { find, step: thalweg.stepper(items.length), place, mark, lines: (i) => items[i].lines });
    };
})();
