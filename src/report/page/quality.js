// What a run's predictions are worth: averages side by side, confusions, calibration, residuals, the worst samples, the first layer.
// The data are those of `report::quality`.
"use strict";

(() => {
    const { element, svg, number, percent } = thalweg;
    const PARTS = { train: "training", validation: "validation", test: "test", data: "given" };

    // A name that may run from right to left, beside other words.
    const bdi = (name) => element("bdi", {}, name);
    const isolated = (name) => `\u2068${name}\u2069`;
    const probability = (p) => element("span", { class: "whole" }, p < 0.0005 ? "< 0.1 %" : p > 0.9995 && p < 1 ? "> 99.9 %" : percent(p));
    const error = (value) => (typeof value === "number" ? value.toFixed(4) : "–");
    const counted = (n, noun) => `${number(n)} ${noun}${n === 1 ? "" : "s"}`;

    // The mean of a statistic, and the deviation where there are several replicas.
    const statistic = (value, show = number) => {
        if (!value) return "–";
        const shown = typeof value.mean === "number" ? show(value.mean) : value.mean;
        return value.replicas.length > 1 ? `${shown} ± ${typeof value.deviation === "number" ? show(value.deviation) : value.deviation}` : shown;
    };

    // The name of each class; its number where it has none.
    const className = (quality) => (c) => {
        const name = quality.classes[c] ?? "";
        return name.trim() === "" ? `class ${c}` : name;
    };

    const averages = (section, quality) => {
        const columns = quality.kind === "classes"
            ? [["loss", "loss"], ["accuracy", "accuracy", percent], ["top5_accuracy", "top-5 accuracy", percent], ["calibration_error", "calibration error", error]]
            : [["loss", "loss"], ["rmse", "RMSE"], ["mae", "MAE"], ["r2", "R²"]];
        const there = columns.filter(([key]) => quality.weights.some((set) => set[key]));
        const rows = quality.weights.map((set) => [set.name, ...there.map(([key, , show]) => statistic(set[key], show))]);
        const table = thalweg.table(section, ["weights", ...there.map(([, name]) => name)], rows,
            quality.replicas > 1 ? `Mean and deviation over ${quality.replicas} replicas` : "Every set of weights that the run left");
        table.querySelectorAll("tr > :not(:first-child)").forEach((cell) => cell.classList.add("number"));
    };

    const confusion = (parent, quality, set) => {
        const counts = set.scores.confusion;
        const name = className(quality);
        if (counts.length === 0) {
            parent.append(element("p", { class: "note" }, `The matrix of confusions is left out: it would have ${number(quality.class_count)} rows.`));
            return;
        }
        const totals = counts.map((row) => row.reduce((sum, count) => sum + count, 0));
        const share = (i, j) => (totals[i] > 0 ? counts[i][j] / totals[i] : 0);
        const names = counts.map((_, c) => name(c));
        thalweg.heatmap(parent, {
            title: "Confusion matrix", label: `Confusion matrix of the ${set.name} weights`, rows: names, columns: names,
            digits: String(Math.max(...counts.flat())).length,
            caption: "A row is a true class, a column a predicted one. Blue on the diagonal is right, orange is wrong; the deeper, the larger the share of the row.",
            // The root lets rare confusions be seen.
            cell: (i, j) => ({ share: Math.sqrt(share(i, j)), colour: i === j ? "--c0" : "--c1", text: counts[i][j] > 0 ? String(counts[i][j]) : "" }),
            lines: (i, j) => [["true ", bdi(names[i])], ["predicted ", bdi(names[j])], `${counts[i][j]} of ${totals[i]}: ${percent(share(i, j))}`],
            table: () => ({ header: ["true \\ predicted", ...names], rows: counts.map((row, c) => [bdi(names[c]), ...row]), about: "Samples of each class by what was predicted" }),
        });
    };

    const perClass = (parent, quality, set) => {
        const { per_class, macro_mean, weighted_mean } = set.scores;
        const name = className(quality);
        const row = (title, score) => [title, ...["precision", "recall", "f1"].map((key) => score[key].toFixed(3)), number(score.support)];
        const rows = per_class.map((score) => row(bdi(name(score.class)), score));
        rows.push(row(element("strong", {}, "macro mean"), macro_mean), row(element("strong", {}, "weighted mean"), weighted_mean));
        const holder = element("figure", {}, element("h3", {}, "Class by class"));
        const shown = per_class.length;
        const caption = shown < quality.class_count ? `The ${shown} of ${number(quality.class_count)} classes with the lowest F1` : null;
        const table = thalweg.table(holder, ["class", "precision", "recall", "F1", "samples"], rows, caption);
        table.parentElement.classList.add("tall");
        table.querySelectorAll("tr > :not(:first-child)").forEach((cell) => cell.classList.add("number"));
        holder.append(element("figcaption", {}, "Precision: of the predictions of the class, the share that is right. Recall: of the samples of the class, the "
            + "share that is found. F1: their harmonic mean. The macro mean counts every class alike, the weighted one every sample."));
        parent.append(holder);
    };

    const confused = (parent, quality, set) => {
        if (set.confused.length === 0) return;
        const name = className(quality);
        const rows = set.confused.map(({ label, prediction, count }) => [bdi(name(label)), bdi(name(prediction)), count]);
        const holder = element("figure", {}, element("h3", {}, "Most frequent confusions"));
        thalweg.table(holder, ["true", "predicted", "samples"], rows);
        parent.append(holder);
    };

    const reliability = (parent, quality, set) => {
        const bins = set.scores.calibration;
        if (!bins) return;
        const edge = (i) => i / bins.length;
        const told = (bin, i) => [`confidence ${percent(edge(i), 0)} to ${percent(edge(i + 1), 0)}`, counted(bin.count, "prediction"),
            `mean confidence ${percent(bin.confidence)}`, `right ${percent(bin.accuracy)}`];
        const filled = bins.map((bin, i) => ({ bin, i })).filter(({ bin }) => bin.count > 0);
        const table = () => ({
            header: ["confidence", "predictions", "mean confidence", "right"], about: "Predictions by confidence",
            rows: filled.map(({ bin, i }) => [`${percent(edge(i), 0)} to ${percent(edge(i + 1), 0)}`, bin.count, bin.confidence, bin.accuracy]),
        });
        const bar = (x, y, i, height) => svg("rect", { class: "mark", x: x(edge(i)) + 1, width: x(edge(i + 1)) - x(edge(i)) - 2, y: y(height), height: y(0) - y(height) });
        thalweg.plot(parent, {
            title: "Reliability", label: `Reliability diagram of the ${set.name} weights`, height: "square", table,
            x: { label: "confidence", low: 0, high: 1 }, y: { label: "share that is right", low: 0, high: 1 },
            caption: `Expected calibration error ${error(set.scores.calibration_error)}. A network that knows how sure it may be has bars that end on the diagonal; `
                + "a bar below it is of predictions made too surely. The orange line is how far a bar is off.",
            items: filled.map(({ bin, i }) => ({ x: (edge(i) + edge(i + 1)) / 2, y: bin.accuracy, lines: told(bin, i) })),
            draw: (layer, x, y) => {
                filled.forEach(({ bin, i }) => {
                    const at = x((edge(i) + edge(i + 1)) / 2);
                    layer.append(bar(x, y, i, bin.accuracy),
                        svg("line", { class: "gap", x1: at, x2: at, y1: y(bin.accuracy), y2: y(bin.confidence) }));
                });
                layer.append(svg("line", { class: "ideal", x1: x(0), y1: y(0), x2: x(1), y2: y(1) }));
            },
        });
        const most = Math.max(...bins.map((bin) => bin.count), 1);
        thalweg.plot(parent, {
            title: "How sure it is", label: `Predictions of the ${set.name} weights by confidence`, table,
            x: { label: "confidence", low: 0, high: 1 }, y: { label: "predictions", low: 0, high: most },
            caption: "How many predictions were made with which confidence, the probability of the predicted class.",
            items: filled.map(({ bin, i }) => ({ x: (edge(i) + edge(i + 1)) / 2, y: bin.count, lines: told(bin, i) })),
            draw: (layer, x, y) => layer.append(...filled.map(({ bin, i }) => bar(x, y, i, bin.count))),
        });
    };

    const residuals = (parent, quality, set) => set.per_target.forEach((target, j) => {
        const name = quality.targets[j];
        const { edges, counts } = target.residuals;
        const scores = `RMSE ${number(target.rmse)}, MAE ${number(target.mae)}, R² ${number(target.r2)}`;
        const points = target.points.target.map((y, i) => ({ x: y, y: target.points.prediction[i] }));
        if (points.length === 0) {
            parent.append(element("p", { class: "note" }, `Of ${name} no prediction is a number.`));
            return;
        }
        points.sort((a, b) => a.x - b.x);
        const all = points.flatMap(({ x, y }) => [x, y]);
        const [low, high] = padded(Math.min(...all), Math.max(...all));
        thalweg.plot(parent, {
            title: `Predicted against true: ${name}`, height: "square", isScatter: true,
            x: { label: "true", low, high }, y: { label: "predicted", low, high },
            caption: `${scores}. On the line a prediction is right.`,
            items: points.map(({ x, y }) => ({ x, y, lines: [`true ${number(x, 5)}`, `predicted ${number(y, 5)}`, `off by ${number(y - x)}`] })),
            table: () => ({ header: ["true", "predicted", "residual"], rows: points.slice(0, 400).map(({ x, y }) => [x, y, y - x]), about: counted(Math.min(points.length, 400), "prediction") }),
            draw: (layer, x, y) => layer.append(svg("line", { class: "ideal", x1: x(low), y1: y(low), x2: x(high), y2: y(high) }),
                ...points.map((point) => svg("circle", { class: "mark dot", cx: x(point.x), cy: y(point.y), r: points.length > 500 ? 2 : 3 }))),
        });
        const [left, right] = edges[0] === edges.at(-1) ? padded(edges[0], edges[0]) : [edges[0], edges.at(-1)];
        const bins = counts.map((count, i) => ({ count, from: edges[i], to: edges[i + 1] }));
        thalweg.plot(parent, {
            title: `Residuals: ${name}`, x: { label: "predicted − true", low: left, high: right }, y: { label: "predictions", low: 0, high: Math.max(...counts) },
            caption: "How far predictions are off, and how many are.",
            items: bins.map(({ count, from, to }) => ({ x: (from + to) / 2, y: count, lines: [`${number(from)} to ${number(to)}`, counted(count, "prediction")] })),
            table: () => ({ header: ["from", "to", "predictions"], rows: bins.map(({ count, from, to }) => [from, to, count]), about: "Residuals" }),
            draw: (layer, x, y) => layer.append(...bins.map(({ count, from, to }) => svg("rect", {
                class: "mark", x: x(from), width: Math.max(x(to) - x(from) - 1, 2), y: y(count), height: y(0) - y(count),
            }))),
        });
    });

    // Ends of an axis a little beyond what is shown on it.
    const padded = (low, high) => {
        const more = high > low ? 0.04 * (high - low) : Math.max(Math.abs(low) * 0.1, 1);
        return [low - more, high + more];
    };

    // What draws one picture of a sheet: each pixel as it is, however large it is shown.
    const pictures = (sheet) => {
        const image = new Image();
        image.src = sheet.png;
        return (i, label) => {
            const canvas = element("canvas", { class: "picture", width: sheet.width, height: sheet.height, role: "img", "aria-label": label });
            const [x, y] = [(i % sheet.columns) * sheet.width, Math.floor(i / sheet.columns) * sheet.height];
            image.decode().then(() => canvas.getContext("2d").drawImage(image, -x, -y));
            return canvas;
        };
    };

    // The prediction for a sample, in lines.
    const verdict = (quality, sample, prediction) => {
        if (quality.kind === "values") {
            const list = (values) => values.map((value) => number(value)).join(", ");
            return [["true ", list(sample.targets)], ["predicted ", list(prediction.prediction)], ["loss ", number(prediction.loss)]];
        }
        const name = className(quality);
        const sure = (value) => (value === undefined ? [] : [" ", probability(value)]);
        return [["true ", bdi(name(sample.label)), ...sure(prediction.probability)], ["predicted ", bdi(name(prediction.prediction)), ...sure(prediction.confidence)]];
    };

    const worst = (parent, quality, set) => {
        if (set.worst.length === 0) return;
        const figure = element("figure", { class: quality.columns?.length > 6 ? "across crowded" : "across" }, element("h3", {}, "Most wrong"));
        const draw = quality.worst_pictures && pictures(quality.worst_pictures);
        const words = (lines) => lines.map((line) => line.map((part) => (part.tagName === "BDI" ? isolated(part.textContent) : part.textContent ?? part)).join("")).join(", ");
        if (draw) {
            const cards = set.worst.map((prediction) => {
                const sample = quality.worst_samples[prediction.sample];
                const lines = verdict(quality, sample, prediction);
                return element("li", {}, draw(prediction.sample, `Sample ${sample.index}: ${words(lines)}`), lines.map((line) => element("div", {}, line)),
                    element("div", { class: "note" }, `sample ${sample.index}`));
            });
            figure.append(element("ul", { class: "cards" }, cards));
        } else {
            const rows = set.worst.map((prediction) => {
                const sample = quality.worst_samples[prediction.sample];
                const cells = sample.targets?.length === 1 ? [sample.targets[0], prediction.prediction[0]]
                    : verdict(quality, sample, prediction).slice(0, 2).map((line) => element("span", {}, line.slice(1)));
                return [sample.index, ...cells, prediction.loss,
                    ...sample.values.map((value) => (typeof value === "string" ? bdi(value) : value ?? "–"))];
            });
            const table = thalweg.table(figure, ["sample", "true", "predicted", "loss", ...quality.columns], rows);
            table.parentElement.classList.add("tall");
        }
        const more = quality.column_count > quality.columns?.length ? ` The first ${quality.columns.length} of ${quality.column_count} columns are shown.` : "";
        const how = quality.kind === "classes" && quality.loss === "cross_entropy" ? ", each class with its probability" : "";
        figure.append(element("figcaption", {}, `The samples of the highest loss, the highest first${how}. A sample's number is its place in its file.${more}`));
        parent.append(figure);
    };

    const filters = (parent, quality, set) => {
        const shown = set.filters;
        if (!shown) return;
        const unit = (i) => {
            if (!shown.is_output) return `unit ${shown.units[i]}`;
            return quality.kind === "classes" ? className(quality)(shown.units[i]) : quality.targets[shown.units[i]] ?? `target ${shown.units[i]}`;
        };
        const replica = quality.replicas > 1 ? " Of the first replica." : "";
        if (shown.png) {
            const draw = pictures(shown);
            const cards = shown.units.map((_, i) => element("li", {}, draw(i, `Weights of ${unit(i)}, norm ${number(shown.norms[i])}`), element("div", { class: "note" }, unit(i))));
            parent.append(element("figure", { class: "across" }, element("h3", {}, "First layer"), element("ul", { class: "cards small" }, cards),
                element("figcaption", {}, "What each unit of the first layer looks for: its weights as a picture, the units of the largest norms first. "
                    + `Middle grey is 0, white counts for the unit, black against it, up to its largest weight.${replica}`)));
            return;
        }
        const largest = Math.max(...shown.weights.flat().map((w) => Math.abs(w ?? 0)), Number.MIN_VALUE);
        const rows = shown.units.map((_, i) => unit(i));
        thalweg.heatmap(parent, {
            title: "First layer", label: `First layer of the ${set.name} weights`, rows, columns: shown.features, digits: 1,
            caption: `How much each unit of the first layer makes of each feature: the magnitude of its weight, blue where it counts for the unit, orange where against it.${replica}`,
            cell: (i, j) => ({ share: Math.abs(shown.weights[i][j] ?? 0) / largest, colour: shown.weights[i][j] < 0 ? "--c1" : "--c0", text: shown.weights[i][j] < 0 ? "−" : "+" }),
            lines: (i, j) => [rows[i], [bdi(shown.features[j])], `weight ${number(shown.weights[i][j])}`],
            table: () => ({ header: ["unit", ...shown.features], rows: shown.weights.map((row, i) => [rows[i], ...row]), about: "Weights of the first layer" }),
        });
    };

    const details = (parent, quality, set) => {
        if (set.not_finite > 0) {
            parent.append(element("p", {}, `Of ${counted(set.not_finite, "sample")} the prediction is no number; scores take it for the first class, or leave it out.`));
        }
        const grid = element("div", { class: "figures" });
        parent.append(grid);
        // What stands beside one figure, one below the other.
        const beside = (...draws) => {
            const stack = element("div", { class: "stack" });
            grid.append(stack);
            draws.forEach((draw) => draw(stack, quality, set));
        };
        if (quality.kind === "classes") {
            beside(confusion);
            beside(perClass, confused);
            reliability(grid, quality, set);
        } else {
            residuals(grid, quality, set);
        }
        [worst, filters].forEach((draw) => draw(grid, quality, set));
    };

    // Adds a section with all that `quality` tells, under one set of weights at a time.
    thalweg.quality = (quality, { title = "Predictions", id = "predictions" } = {}) => {
        const section = thalweg.section(title, id);
        const replicas = quality.replicas > 1 ? `, the predictions of all ${quality.replicas} replicas together` : "";
        section.append(element("p", {}, `What the run predicts for the ${counted(quality.samples, "sample")} of the ${PARTS[quality.part]} part${replicas}.`));
        averages(section, quality);
        const holder = element("div");
        const draw = (set) => {
            holder.replaceChildren(element("p", { class: "which" }, `Below: the ${set.name} weights.`));
            details(holder, quality, set);
        };
        if (quality.weights.length > 1) {
            const options = quality.weights.map((set, i) => element("option", { value: i }, set.name));
            const select = element("select", { "aria-label": "Weights", change: () => draw(quality.weights[select.value]) }, options);
            section.append(element("div", { class: "controls" }, element("label", {}, "Weights", select)));
        }
        section.append(holder);
        draw(quality.weights[0]);
        return section;
    };
})();
