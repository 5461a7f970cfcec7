// The figures on surfaces of two weights; each is called with the element it stands in and its caption.
"use strict";

(() => {
    const { figures, data } = thalweg.tour;
    const { tour } = thalweg;
    const range = (low, high, step) => Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) => Number((low + i * step).toFixed(6)));

    const rates = [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 1, 1.1, 1.3, 1.5, 1.7, 1.8, 1.9, 1.95, 2, 2.05, 2.1];
    const rate = (values) => ({ key: "lr", label: "learning rate", values });
    const noise = (values) => ({ key: "noise", label: "noise", values });
    const momentum = (values) => ({ key: "momentum", label: "momentum", values });
    const seed = { key: "seed", label: "draw of the noise", values: range(0, data.draws.noise.length - 1, 1), format: (value) => String(value + 1) };
    const start = (low, high, step) => ["x", "y"].map((key) => ({ key, label: `start, ${key}`, values: range(low, high, step) }));

    figures.bowl = (parent, caption) => tour.widget(parent, {
        surface: "bowl", title: "Down a bowl, from A to B", caption, plan: { steps: 30 },
        sliders: [{ key: "steps", label: "steps", values: [1, 2, 3, 5, 10, 20, 30, 50] }, rate([0.05, 0.1, 0.2, 0.3, 0.5, 0.7])],
        curve: "The height after every step, on a logarithmic scale: every step takes the same share of what is left, so the line is straight.",
    });

    // The heights of a surface over a window.
    const grid = (surface, window, nodes) => {
        const along = ([low, high]) => Array.from({ length: nodes }, (_, i) => low + ((high - low) * i) / (nodes - 1));
        const [x, y] = window.map(along);
        return { x, y, z: y.map((b) => x.map((a) => surface.value([a, b]))) };
    };

    figures.plane = (parent, caption) => {
        const surface = tour.surface("saddle");
        const plan = { steps: 60, lr: 0.1, start: [-1.8, 0.2] };
        const { points } = tour.descend(surface, plan);
        const drawn = thalweg.surface(parent, {
            ...grid(surface, [[-2, 2], [-1.6, 1.6]], 41), title: "One descent, drawn twice", caption, labels: { x: "x", y: "y", z: "height" },
            path: points.map(({ w, value }) => [...w, value]), shadow: true, least: -1.2,
            points: [{ ...named(points[0], "A") }, { ...named(points.at(-1), "B") }],
        });
        Object.assign(drawn.view, { yaw: -0.5, pitch: 0.75 });
        drawn.draw();
        tour.home(drawn.figure, [tour.descendCommand(surface, plan)]);
    };
    const named = ({ w, value }, label) => ({ x: w[0], y: w[1], z: value, label });

    figures.rate = (parent, caption) => tour.widget(parent, {
        surface: "bowl", title: "A step too small, right, too large", caption, plan: { steps: 30, lr: 1.8 }, sliders: [rate(rates)],
        curve: "The height after every step. Falling lines arrive, level ones never do, and rising ones leave.",
    });

    figures.rates = (parent, caption) => {
        const surface = tour.surface("bowl");
        const all = [0.02, 0.2, 1, 1.8, 2.05];
        const series = all.map((lr) => {
            const { points } = tour.descend(surface, { steps: 40, lr });
            return { name: `rate ${lr}`, x: points.map((_, step) => step), y: points.map(({ value }) => Math.max(value, 1e-8)) };
        });
        tour.chart(parent, { title: "Five rates in the same bowl", caption, x: { label: "step" }, y: { label: "height", log: true }, series },
            all.map((lr) => tour.descendCommand(surface, { steps: 40, lr })));
    };

    figures.decay = (parent, caption) => tour.widget(parent, {
        surface: "bowl", title: "A noisy descent whose rate decays", caption, plan: { steps: 200, lr: 0.3, noise: 1, gamma: 0.98, seed: 0 },
        sliders: [{ key: "gamma", label: "kept of the rate each step", values: [1, 0.995, 0.99, 0.98, 0.97, 0.95, 0.9] }, rate([0.05, 0.1, 0.2, 0.3, 0.5]), noise([0, 0.5, 1, 2]), seed],
        curve: "The height after every step. At a constant rate (1.0 kept) it stops falling where the noise lifts it as much as the slope lowers it.",
    });

    // Where the descent from a place of a grid comes to.
    const basinsOf = (name) => {
        const { nodes, ends } = data.basins[name];
        const [[left, right], [bottom, top]] = data.surfaces[name].window;
        const cell = (c, low, high) => Math.min(Math.max(Math.floor(((c - low) / (high - low)) * nodes), 0), nodes - 1);
        return ([x, y]) => ends[cell(y, bottom, top) * nodes + cell(x, left, right)];
    };

    figures.basins = (parent, caption) => tour.widget(parent, {
        surface: "himmelblau", title: "Which start leads to which minimum", caption, regions: basinsOf("himmelblau"), plan: { steps: 100 },
        sliders: start(-5, 5, 0.5), curve: "The height after every step, from this start.",
    });

    figures.local = (parent, caption) => tour.widget(parent, {
        surface: "rastrigin", title: "A surface full of local minima", caption, regions: basinsOf("rastrigin"), plan: { steps: 100, momentum: 0, x: -1.7, y: 2.3 },
        sliders: [...start(-3, 3, 0.1), momentum([0, 0.5, 0.8, 0.9, 0.95])],
        curve: "The height after every step. It comes to rest at the height of the minimum that caught it.",
    });

    figures.saddle = (parent, caption) => tour.widget(parent, {
        surface: "saddle", title: "A saddle, and how noise leaves it", caption, plan: { steps: 120, noise: 0.02, seed: 0 },
        sliders: [noise([0, 0.001, 0.005, 0.02, 0.05, 0.1, 0.3]), seed],
        curve: "The height after every step: the level stretch is the time on the saddle. Without noise it never ends.",
    });

    figures.examples = (parent, caption) => tour.widget(parent, {
        surface: "regression", title: "All examples a step, some, or one", caption, plan: { steps: 120, batch: 1, lr: 0.1 },
        sliders: [{ key: "batch", label: "examples a step", values: [1, 2, 4, 11] }, rate([0.02, 0.05, 0.1, 0.2, 0.4])],
        curve: "The height over all eleven examples after every step.",
    });

    figures.wells = (parent, caption) => tour.widget(parent, {
        surface: "wells", title: "A rate too large for a sharp minimum", caption, plan: { steps: 60, lr: 0.1 },
        sliders: [rate([0.05, 0.1, 0.2, 0.3, 0.35, 0.38, 0.4, 0.45, 0.5, 0.55, 0.6, 0.7]), noise([0, 0.2, 0.5, 1])],
        curve: "The height after every step: falling where it comes to rest, level where it bounces.",
    });

    // Two minima seen from the side, and the test loss as the same curve moved sideways.
    figures.shift = (parent, caption) => {
        const surface = tour.surface("wells");
        const x = range(-1.8, 1.36, 0.02);
        const at = (c) => surface.value([c, 0]);
        const spec = (shift) => ({
            title: "A flat and a sharp minimum, and a shift", caption, x: { label: "weight" }, y: { label: "loss" },
            series: [
                { name: "training", x, y: x.map(at), colour: 0 },
                { name: "test", x, y: x.map((c) => at(c - shift)), colour: 1 },
                { name: "at the flat minimum", x: [-1], y: [at(-1 - shift)], colour: 2, points: true },
                { name: "at the sharp minimum", x: [1], y: [at(1 - shift)], colour: 3, points: true },
            ],
        });
        const chart = thalweg.chart(parent, spec(0.3));
        const said = thalweg.element("p", { class: "said", "aria-live": "polite" });
        const tell = (shift) => {
            chart.update(spec(shift));
            said.textContent = `Moved by ${thalweg.number(shift)}: the test loss is ${thalweg.number(at(-1 - shift), 3)} at the flat minimum and ${thalweg.number(at(1 - shift), 3)} at the sharp one.`;
        };
        const slider = tour.slider("test surface moved by", range(-0.5, 0.5, 0.05), 0.3, tell);
        const reset = thalweg.element("button", { type: "button", click: () => { slider.set(0.3); tell(0.3); } }, "Reset");
        const holder = thalweg.element("div", { class: "controls" }, slider.element, reset);
        const figcaption = chart.figure.querySelector("figcaption");
        chart.figure.insertBefore(said, figcaption);
        chart.figure.insertBefore(holder, figcaption);
        tour.home(chart.figure, ["thalweg descend --surface wells --start -1.4,0.8", "thalweg descend --surface wells"]);
        tell(0.3);
    };

    figures.optimizers = (parent, caption) => tour.widget(parent, {
        surface: "valley", title: "Four rules in one narrow valley", caption, plan: { steps: 100, momentum: 0.9, scale: 1 },
        plans: [
            { name: "gradient descent", optimizer: "sgd" }, { name: "momentum", optimizer: "sgd" },
            { name: "RMSprop", optimizer: "rmsprop" }, { name: "Adam", optimizer: "adam" },
        ],
        over: (own, { momentum, scale }) => ({
            lr: Number(({ "gradient descent": 0.018, momentum: 0.018, RMSprop: 0.03, Adam: 0.1 }[own.name] * scale).toPrecision(3)),
            momentum: own.name === "momentum" ? momentum : 0,
        }),
        sliders: [momentum([0, 0.5, 0.7, 0.8, 0.9, 0.95]), { key: "scale", label: "rates times", values: [0.1, 0.25, 0.5, 0.75, 1, 1.1, 1.25] }],
        curve: "The height after every step, of all four.",
    });
})();
