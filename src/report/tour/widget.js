// A descent that its reader turns: the surface from above with the way down, the height after every step, and sliders.
"use strict";

(() => {
    const { element, number, tour } = thalweg;

    // Where a descent has come to, in a sentence.
    const sentence = (surface, { points, finite }, name) => {
        const { w, value } = points.at(-1);
        const steps = points.length - 1;
        const count = `${steps} ${steps === 1 ? "step" : "steps"}`;
        if (!finite) return `${name ? `${name}: after` : "After"} ${count} the numbers are too large to go on.`;
        if (name) return `${name}: height ${number(value, 3)} after ${count}.`;
        return `After ${count} at (${number(w[0], 3)}, ${number(w[1], 3)}), height ${number(value, 3)}, ${number(tour.distance(surface, w), 3)} from the lowest point.`;
    };

    // A curve of heights above the lowest; a logarithm has no place for 0.
    const curve = (surface, name, { points }, colour) => ({
        name, colour, dash: colour - 1, x: points.map((_, step) => step), y: points.map(({ value }) => Math.min(Math.max(value - surface.lowest, 1e-8), 1e8)),
    });

    // Draws the descent of `spec` at the end of `parent`:
    //   surface      its name
    //   plan         what `tour.descend` takes
    //   plans        instead of one: { name, ... } of several, each over what they have in common
    //   sliders      { key, label, values, format }: each sets a key of the plan; `x` and `y` set the start
    //   title, caption, curve     texts; `curve` is the caption of the heights
    //   regions      as a contour's
    tour.widget = (parent, spec) => {
        const surface = tour.surface(spec.surface);
        const first = { steps: 50, lr: surface.lr, x: surface.start[0], y: surface.start[1], ...spec.plan };
        let turned = { ...first };
        const plans = () => {
            const common = { ...turned, start: [turned.x, turned.y] };
            return (spec.plans ?? [{}]).map((own) => ({ ...common, ...own, ...spec.over?.(own, turned) }));
        };
        const minima = surface.minima.map((at) => ({ at, kind: "minimum" }));
        const saddles = surface.saddles.map((at) => ({ at, kind: "saddle" }));
        const contour = tour.contour(parent, {
            title: spec.title, caption: spec.caption, window: surface.window, value: surface.value, regions: spec.regions,
            most: spec.most,
        });
        const said = element("p", { class: "said", "aria-live": "polite" });
        const controls = element("div", { class: "controls" });
        contour.figure.insertBefore(controls, contour.figure.querySelector("figcaption"));
        contour.figure.insertBefore(said, controls);
        const update = tour.home(contour.figure, []);
        let chart = null;

        const draw = () => {
            const all = plans();
            const ways = all.map((plan) => tour.descend(surface, plan));
            const paths = ways.map(({ points }, i) => ({
                name: all[i].name, colour: i + 1, dots: points.length <= 81 && ways.length === 1, points: points.map(({ w }) => w),
            }));
            const isOne = ways.length === 1;
            const ends = isOne ? [{ at: ways[0].points[0].w, label: "A" }, { at: ways[0].points.at(-1).w, label: "B" }] : [{ at: ways[0].points[0].w, label: "A" }];
            contour.update({ paths, points: [...minima, ...saddles, ...ends] });
            said.replaceChildren(...ways.map((way, i) => element("span", {}, sentence(surface, way, all[i].name), " ")));
            update(all.map((plan) => tour.descendCommand(surface, plan)));
            contour.figure.dataset.end = JSON.stringify(ways.map(({ points }) => points.at(-1).w));
            const series = ways.map((way, i) => curve(surface, all[i].name ?? "height", way, i + 1));
            const chartSpec = { title: spec.curveTitle ?? "Height above the lowest point", caption: spec.curve, x: { label: "step" }, y: { label: "height", log: true }, series };
            if (chart) chart.update(chartSpec);
            else if (spec.curve) chart = thalweg.chart(parent, chartSpec);
        };
        const sliders = (spec.sliders ?? []).map(({ key, label, values, format }) => ({
            key, ...tour.slider(label, values, first[key], (value) => { turned[key] = value; draw(); }, format),
        }));
        const reset = element("button", { type: "button", click: () => {
            turned = { ...first };
            sliders.forEach((slider) => slider.set(first[slider.key]));
            draw();
        } }, "Reset");
        if (sliders.length) controls.append(...sliders.map((slider) => slider.element), reset);
        draw();
        return contour;
    };
})();
