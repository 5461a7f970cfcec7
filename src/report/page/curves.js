// The curves of one run or of several, with one set of controls for all of them.
"use strict";

(() => {
    const { element } = thalweg;
    const UNITS = { steps: "steps", epochs: "epochs", samples: "samples", seconds: "seconds of training" };
    const CHARTS = [
        { id: "loss", title: "Loss", label: "loss", ends: "loss" },
        { id: "accuracy", title: "Accuracy", label: "accuracy", ends: "accuracy" },
        { id: "lr", title: "Learning rate", label: "learning rate", only: "lr" },
        { id: "momentum", title: "Momentum", label: "momentum", only: "momentum", isDull: (curve) => curve.mean.every((value) => value === 0) },
        { id: "grad_norm", title: "Gradient norm", label: "norm", only: "grad_norm" },
        { id: "curvature", title: "Largest eigenvalue of the Hessian", label: "eigenvalue", only: "curvature" },
        { id: "pace", title: "Throughput", label: "samples/s", only: "samples_per_second" },
    ];

    // `swa_test_loss` as it is read beside its chart's title: `SWA test`.
    thalweg.part = (name) => {
        if (name === "loss" || name === "accuracy") return "train, each step";
        const words = name.replace(/_(loss|accuracy)$/, "").split("_");
        return words.map((word) => ({ swa: "SWA", ema: "EMA" }[word] ?? word)).join(" ").replace("samples per second", "samples/s");
    };

    // A step in another unit, linear between the moments that the run's axis knows.
    thalweg.along = (history, unit) => {
        const { steps } = history.axis, values = history.axis[unit];
        return (step) => {
            let low = 0, high = steps.length - 1;
            if (high < 1) return unit === "steps" ? step : 0;
            while (high - low > 1) {
                const middle = (low + high) >> 1;
                if (steps[middle] <= step) low = middle;
                else high = middle;
            }
            const width = steps[high] - steps[low];
            return width > 0 ? values[low] + (values[high] - values[low]) * (step - steps[low]) / width : values[high];
        };
    };

    // An exponential mean that weighs the first values as the later ones; gaps stay gaps.
    const smooth = (values, share) => {
        let sum = 0, weight = 0;
        return values?.map((value) => {
            if (value === null) return null;
            sum = share * sum + (1 - share) * value;
            weight = share * weight + (1 - share);
            return sum / weight;
        });
    };

    // The eigenvalue at which plain gradient descent with momentum μ is at the edge of stability: 2 (1 + μ) / lr.
    const edge = (run) => {
        const rule = run.settings?.find((row) => row.key === "optimizer.name")?.value;
        const isPlain = rule === "sgd" && !run.settings.some((row) => row.key.startsWith("optimizer.sam"));
        const curve = (name) => run.history.curves.find((found) => found.name === name);
        const lr = curve("lr"), momentum = curve("momentum");
        if (!isPlain || !lr || !curve("curvature")) return null;
        const at = new Map(momentum?.x.map((x, i) => [x, momentum.mean[i]]));
        return { name: "edge of stability", x: lr.x, mean: lr.mean.map((value, i) => (value > 0 ? 2 * (1 + (at.get(lr.x[i]) ?? 0)) / value : null)) };
    };

    const chosen = (chart, run, part) => {
        const curves = run.history.curves.filter((curve) => (chart.only ? curve.name === chart.only : curve.name.endsWith(chart.ends)));
        if (chart.isDull && curves.every(chart.isDull)) return [];
        if (chart.id === "curvature") return [...curves, edge(run)].filter((curve) => curve);
        return part && !chart.only ? curves.filter((curve) => thalweg.part(curve.name) === part) : curves;
    };

    const specOf = (chart, runs, state) => {
        const several = runs.length > 1;
        const series = [];
        runs.forEach((run, r) => {
            const to = thalweg.along(run.history, state.unit);
            const curves = chosen(chart, run, several ? state.part : null);
            // What scatters from step to step stays behind what it scatters about.
            const isNoisy = (curve) => !several && curves.length > 1 && ["loss", "accuracy"].includes(curve.name);
            curves.filter(isNoisy).concat(curves.filter((curve) => !isNoisy(curve))).forEach((curve, c, all) => {
                const place = several ? r : isNoisy(curve) ? 7 : c - all.filter(isNoisy).length;
                const name = several ? run.name + (chart.id === "curvature" && c > 0 ? ` · ${curve.name}` : "") : curve.name === "edge of stability" ? curve.name : chart.only ? chart.label : thalweg.part(curve.name);
                series.push({
                    name, width: isNoisy(curve) ? 1 : 2, x: curve.x.map(to), y: smooth(curve.mean, state.smoothing), low: smooth(curve.low, state.smoothing),
                    high: smooth(curve.high, state.smoothing), colour: place, dash: isNoisy(curve) ? 0 : several ? r + 4 * c : place,
                });
            });
        });
        series.forEach(distinct);
        const marks = several ? [] : runs[0].history.marks.map((mark) => ({ x: thalweg.along(runs[0].history, state.unit)(mark.step), kind: mark.kind, label: mark.text }));
        return { title: chart.title, x: { label: UNITS[state.unit], log: state.logX }, y: { label: chart.label, log: state.logY }, series, marks };
    };

    // uPlot wants each x once.
    const distinct = (s) => {
        const kept = s.x.map((x, i) => i === s.x.length - 1 || x < s.x[i + 1]);
        for (const key of ["x", "y", "low", "high"]) if (s[key]) s[key] = s[key].filter((_, i) => kept[i]);
    };

    const controls = (state, parts, changed) => {
        const option = (value, text) => element("option", { value, selected: value === state.unit || value === state.part }, text);
        const select = (label, key, options) => element("label", {}, label,
            element("select", { "aria-label": label, change: (event) => { state[key] = event.target.value; changed(); } }, options));
        const check = (label, key) => element("label", {},
            element("input", { type: "checkbox", change: (event) => { state[key] = event.target.checked; changed(); } }), label);
        const shown = element("output", {}, "0");
        const smoothing = element("label", {}, "smoothing", element("input", {
            type: "range", min: "0", max: "0.99", step: "0.01", value: "0",
            input: (event) => { state.smoothing = Number(event.target.value); shown.textContent = event.target.value; changed(); },
        }), shown);
        return element("div", { class: "controls" }, select("over", "unit", Object.entries(UNITS).map(([unit, text]) => option(unit, text))),
            parts.length > 0 ? select("curve", "part", parts.map((part) => option(part, part))) : null,
            check("log x", "logX"), check("log y", "logY"), smoothing);
    };

    // The parts that several runs have in common, the one that is asked for first at the front: test, else validation, else train.
    const partsOf = (runs) => {
        if (runs.length < 2) return [];
        const all = new Set(runs.flatMap((run) => run.history.curves.filter((curve) => /(loss|accuracy)$/.test(curve.name)).map((curve) => thalweg.part(curve.name))));
        const first = ["test", "validation", "train"].find((part) => all.has(part));
        return [...all].sort((a, b) => (b === first) - (a === first));
    };

    // Draws the curves of `runs` ({ name, history, settings }) into `section`; returns { update(runs) }.
    thalweg.curves = (section, runs) => {
        const parts = partsOf(runs);
        const state = { unit: "steps", part: parts[0], smoothing: 0, logX: false, logY: false };
        const grid = element("div", { class: "figures" });
        const drawn = new Map();
        let now = runs;
        const changed = () => {
            for (const chart of CHARTS) {
                const spec = specOf(chart, now, state);
                if (spec.series.length === 0 && !drawn.has(chart.id)) continue;
                if (drawn.has(chart.id)) drawn.get(chart.id).update(spec);
                else drawn.set(chart.id, thalweg.chart(grid, spec));
            }
        };
        section.append(controls(state, parts, changed), grid);
        changed();
        return { update: (next) => { now = next; changed(); } };
    };
})();
