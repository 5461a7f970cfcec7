// A sweep: its settings as a table, as lines across their axes, and one by one. The data are those of `report::sweep`.
"use strict";

(() => {
    const { element, section, svg, number } = thalweg;
    const sweep = thalweg.data("sweep");
    const { groups } = sweep;
    // Where the axes lie in the picture of all settings, in pixels.
    const [LEFT, RIGHT, TOP, BOTTOM, FAILED, HEIGHT] = [78, 76, 30, 330, 366, 380];
    const APART = 120;

    const plural = (n, noun) => `${number(n)} ${noun}${n === 1 ? "" : "s"}`;
    // A metric in four decimals, or a deviation as the mean beside it, so that a column lines up.
    const fixed = (x, mean = x) => {
        if (x === null) return "–";
        const isPlain = mean === 0 || (Math.abs(mean) >= 1e-3 && Math.abs(mean) < 1e4);
        return isPlain && (x === 0 || Math.abs(x) >= 5e-5) ? x.toFixed(4).replace("-", "−") : number(x);
    };
    const spread = (group) => (group.mean === null ? "–" : `${fixed(group.mean)}${group.deviation === null ? "" : ` ± ${fixed(group.deviation, group.mean)}`}`);
    const words = (group) => sweep.names.map((name, i) => `${name} ${group.labels[i]}`);
    // The worst are pale, but not too pale to be seen.
    const shade = (share) => `color-mix(in srgb, var(--c0) ${(40 + 60 * (share ?? 0)).toFixed(1)}%, var(--paper))`;
    const isSeeded = groups.some((group) => group.seeds > 1);

    const overview = () => {
        const here = section("Overview", "overview");
        here.append(...sweep.notes.map((text) => element("p", { class: "note" }, `Note: ${text}`)));
        if (sweep.metric.startsWith("test")) {
            here.append(element("p", { class: "note" }, "Note: no part was held out for validation, so that the settings are judged by the test part, which then is no test of the best any more. data.validation holds one out."));
        }
        const best = groups[0];
        const facts = [
            ["members", `${number(sweep.members)} of ${plural(sweep.tried, "setting")}${sweep.failed > 0 ? `, ${number(sweep.failed)} of which failed` : ""}`],
            ["judged by", `${sweep.metric}, the ${sweep.is_accuracy ? "highest" : "lowest"} mean over the seeds; settings of which a seed failed come last`],
            ["best", best && best.mean !== null ? [words(best).join(", "), best.labels.length > 0 ? ": " : "", spread(best)].join("") : "none yet"],
            ["its members", best ? best.members : "none yet"],
        ];
        thalweg.table(here, ["", "value"], facts, "The sweep");
    };

    const table = () => {
        const here = section("Ranking", "table");
        const any = (key) => groups.some((group) => group[key] !== null);
        const ranks = new Map(groups.map((group, i) => [group, i + 1]));
        const columns = [
            { name: "rank", value: (group) => ranks.get(group), isNumber: true },
            { name: "members", value: (group) => group.members },
            ...sweep.names.map((name, i) => ({
                name, value: (group) => (typeof group.values[i] === "number" ? group.values[i] : group.labels[i]), show: (group) => group.labels[i],
                isNumber: groups.every((group) => typeof group.values[i] === "number"),
            })),
            ...(isSeeded ? [{ name: "seeds", value: (group) => group.seeds, isNumber: true }] : []),
            ...(sweep.failed > 0 ? [{ name: "failed", value: (group) => group.failed, isNumber: true }] : []),
            { name: sweep.metric, value: (group) => group.mean, show: (group) => fixed(group.mean), isNumber: true },
            ...(any("deviation") ? [{ name: "deviation", value: (group) => group.deviation, show: (group) => fixed(group.deviation, group.mean), isNumber: true }, { name: "95 % ±", value: (group) => group.interval, show: (group) => fixed(group.interval, group.mean), isNumber: true }] : []),
            ...(any("test") ? [{ name: sweep.metric.replace("validation", "test"), value: (group) => group.test, show: (group) => fixed(group.test), isNumber: true }] : []),
        ];
        const rows = groups.map((item, i) => {
            const cells = columns.map((column) => element("td", { class: column.isNumber ? "number" : null }, column.show ? column.show(item) : column.isNumber ? number(column.value(item)) : column.value(item)));
            if (i === 0) cells[0].prepend("★ ", element("span", { class: "hidden" }, "best "));
            return { item, row: element("tr", { class: i === 0 ? "best" : null }, cells) };
        });
        const body = element("tbody");
        const { headers, sort } = thalweg.sortable(body, columns, rows);
        here.append(element("div", { class: "scroll bounded crowded", tabindex: "0", role: "region", "aria-label": "Table: settings by rank" },
            element("table", { class: "table" }, element("thead", {}, element("tr", {}, headers)), body)));
        here.append(element("p", { class: "note" }, "A header sorts. The interval is that of the mean over the seeds, by Student's t."));
        sort(columns[0], false);
    };

    // The picture of all settings, for so many pixels: where axes lie, and the line of a setting.
    const measure = (room, count) => {
        const width = Math.max(room, LEFT + RIGHT + APART * (count - 1));
        const x = (i) => LEFT + ((width - LEFT - RIGHT) * i) / (count - 1);
        const y = (at) => BOTTOM - at * (BOTTOM - TOP);
        const ends = (group) => [...group.places.map(y), group.at === null ? FAILED : y(group.at)];
        const line = (ys) => ys.map((value, i) => `${i === 0 ? "M" : "L"}${x(i).toFixed(1)} ${value.toFixed(1)}`).join("");
        return { width, x, y, ends, line };
    };

    const drawAxis = (frame, axis, x, y, room, isLast) => {
        frame.append(svg("line", { class: "upright", x1: x, x2: x, y1: TOP, y2: BOTTOM }));
        const title = thalweg.cut(`${axis.name}${axis.is_log ? " (log)" : ""}`, room);
        frame.append(svg("text", { class: "axis halo", x, y: TOP - 12, "text-anchor": "middle" }, title));
        const side = isLast ? { x: x + 8, "text-anchor": "start" } : { x: x - 8, "text-anchor": "end" };
        for (const { at, label } of axis.ticks) {
            frame.append(svg("line", { class: "upright", x1: x - 4, x2: x + 4, y1: y(at), y2: y(at) }),
                svg("text", { class: "axis halo", y: y(at) + 4, ...side }, thalweg.cut(label, isLast ? RIGHT - 10 : room - 40)));
        }
        if (isLast && sweep.failed > 0) frame.append(svg("text", { class: "axis halo", y: FAILED + 4, ...side }, "failed"));
    };

    const drawGroup = (layer, group, i, { ends, line }) => {
        if (group.failed > 0) layer.append(svg("path", { class: "failed line mark", d: line([...ends(group).slice(0, -1), FAILED]) }));
        if (group.at === null) return;
        const path = svg("path", { class: "mark line", d: line(ends(group)), "stroke-width": i === 0 ? 3.5 : 1.5 });
        path.style.stroke = i === 0 ? "var(--c1)" : shade(group.share);
        layer.append(path);
    };

    // Every setting as a line across the axes.
    const parallel = (parent) => {
        const axes = [...sweep.axes, sweep.value];
        const plot = thalweg.figure(parent, {
            title: "All settings", label: `Every setting as a line across its axes to the ${sweep.metric}`, points: groups.length,
            caption: `A line is a setting, and ends at the mean of its seeds. The deeper its blue, the better; the best is orange${sweep.failed > 0 ? "; a dashed line is of seeds that failed" : ""}.`,
            table: () => ({ header: ["members", ...sweep.names, sweep.metric, "failed"], rows: groups.map((group) => [group.members, ...group.labels, group.mean ?? "–", group.failed]), about: "Settings, best first" }),
        });
        plot.classList.add("wide");
        const state = { at: null, cursor: null };
        thalweg.onWidth(plot, (room) => {
            const at = measure(room, axes.length);
            const frame = svg("svg", { width: at.width, height: HEIGHT, "aria-hidden": "true" });
            const layer = svg("g");
            groups.map((group, i) => [group, i]).reverse().forEach(([group, i]) => drawGroup(layer, group, i, at));
            frame.append(layer);
            axes.forEach((axis, i) => drawAxis(frame, axis, at.x(i), at.y, at.x(1) - at.x(0), i === axes.length - 1));
            state.cursor = svg("path", { class: "cursor", visibility: "hidden" });
            frame.append(state.cursor);
            plot.querySelector("svg")?.remove();
            plot.prepend(frame);
            state.at = at;
        });
        // The setting whose line is nearest above or below a place.
        const find = (x, y) => {
            const gap = state.at.x(1) - state.at.x(0);
            const t = Math.min(Math.max((x - LEFT) / gap, 0), axes.length - 1);
            const i = Math.min(Math.floor(t), axes.length - 2);
            const distance = (group) => {
                const ends = state.at.ends(group);
                return Math.abs(ends[i] + (t - i) * (ends[i + 1] - ends[i]) - y);
            };
            const distances = groups.map(distance);
            return distances.indexOf(Math.min(...distances));
        };
        const mark = (i) => {
            state.cursor.setAttribute("visibility", i === null ? "hidden" : "visible");
            if (i !== null) state.cursor.setAttribute("d", state.at.line(state.at.ends(groups[i])));
        };
        const place = (i) => ({ x: state.at.x(axes.length - 2), y: state.at.ends(groups[i]).at(-2) });
        const lines = (i) => [`rank ${i + 1}, members ${groups[i].members}`, ...words(groups[i]), `${sweep.metric} ${spread(groups[i])}`,
            ...(groups[i].failed > 0 ? [`${groups[i].failed} failed`] : [])];
        thalweg.reader(plot, { find, step: thalweg.stepper(groups.length), place, mark, lines });
    };

    // The metric by one setting.
    const slice = (parent, axis, a) => {
        const name = sweep.names[axis.column];
        const items = groups.flatMap((group) => group.points.map((point) => ({
            x: group.places[a], y: point.at ?? 0, group, point,
            lines: [`${name} ${group.labels[axis.column]}`, point.at === null ? `failed: ${point.ended}` : `${sweep.metric} ${number(point.value)}`, `member ${point.member}, seed ${point.seed}`],
        }))).sort((one, other) => one.x - other.x || one.point.member - other.point.member);
        thalweg.plot(parent, {
            title: name, label: `${sweep.metric} by ${name}`, isScatter: true, height: 240, items,
            x: { label: axis.is_log ? "logarithmic" : "", low: -0.08, high: 1.08, ticks: axis.ticks }, y: { label: sweep.metric, low: 0, high: 1, ticks: sweep.value.ticks },
            table: () => ({
                header: [name, sweep.metric, "member", "seed"], about: `${sweep.metric} by ${name}`,
                rows: items.map(({ group, point }) => [group.labels[axis.column], point.at === null ? point.ended : point.value, point.member, point.seed]),
            }),
            draw: (layer, x, y) => {
                for (const line of sweep.joins[a]) {
                    const points = line.map((g) => `${x(groups[g].places[a])},${y(groups[g].at)}`).join(" ");
                    layer.append(svg("polyline", { class: "grid mark line", points }));
                }
                for (const item of [...items].reverse()) {
                    const at = { x: x(item.x), y: y(item.y) };
                    if (item.point.at === null) {
                        layer.append(svg("path", { class: "failed mark", d: `M${at.x - 4} ${at.y - 4}l8 8m0 -8l-8 8` }));
                        continue;
                    }
                    const dot = svg("circle", { class: "mark", cx: at.x, cy: at.y, r: 3.5 });
                    dot.style.fill = item.group === groups[0] ? "var(--c1)" : shade(item.group.share);
                    layer.append(dot);
                }
            },
        });
    };

    const pictures = () => {
        if (!sweep.value || sweep.axes.length === 0) return;
        parallel(section("Side by side", "pictures"));
        const here = section("Setting by setting", "slices");
        here.append(element("p", {}, `A dot is a member, deeper blue the better its setting${sweep.failed > 0 ? ", a cross one that failed" : ""}; orange is the best setting. A line joins the means of settings that differ in nothing else.`));
        const grid = element("div", { class: "figures small" });
        here.append(grid);
        sweep.axes.forEach((axis, a) => slice(grid, axis, a));
    };

    overview();
    if (groups.length > 0) {
        table();
        pictures();
    }
    thalweg.settings(sweep.settings);
})();
