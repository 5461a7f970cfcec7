// Line charts, drawn by uPlot: legend, tooltip by mouse and by keyboard, marks, and a table of the data.
"use strict";

(() => {
    const { element, number } = thalweg;
    const DASHES = [[], [9, 4], [2, 3], [9, 3, 2, 3], [14, 4], [5, 5], [2, 6], [14, 3, 2, 3, 2, 3]];
    const MARKS = { swa: "◦", snapshot: "▫", restart: "↻", best: "★", recovered: "⚠", end: "■" };
    const MOST_ROWS = 400;
    const HEIGHT = 260;

    // The series on one axis: uPlot wants the x of all in one list, and a value or nothing for each.
    const align = (series) => {
        const tables = [];
        series.forEach((s) => {
            tables.push([s.x, s.y]);
            if (s.low && s.high) tables.push([s.x, s.low, s.high]);
        });
        if (tables.length === 0) return [[]];
        // A null that a series has is a gap in it; an x that it lacks is none.
        return uPlot.join(tables, tables.map((table) => table.map(() => 2)));
    };

    // What uPlot is told of the series: each line, and after it the two edges of its band.
    const describe = (series) => {
        const described = [{}];
        const bands = [];
        series.forEach((s, i) => {
            const colour = () => thalweg.colour(`--c${(s.colour ?? i) % 8}`);
            described.push({
                label: s.name, stroke: colour, width: s.width ?? 2, dash: DASHES[(s.dash ?? s.colour ?? i) % 8], spanGaps: false,
                points: s.points ? { show: true, size: 7 } : {}, paths: s.points ? () => null : undefined,
            });
            if (s.low && s.high) {
                const at = described.length;
                for (const edge of ["low", "high"]) {
                    described.push({ label: `${s.name} ${edge}`, stroke: colour, dash: [], width: 0.5, points: { show: false }, isEdge: true });
                }
                bands.push({ series: [at + 1, at], fill: () => `color-mix(in srgb, ${colour()} 22%, transparent)` });
            }
        });
        return { described, bands };
    };

    // The lines of a logarithmic grid: within a decade at every digit, else at 1, 2 and 5, or of many powers of ten at every so many.
    const logarithmic = (u, i, low, high) => {
        const [first, last] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
        const stride = Math.ceil((last - first) / 8);
        const digits = last - first > 3 ? [1] : last - first > 1 ? [1, 2, 5] : [1, 2, 3, 4, 5, 6, 7, 8, 9];
        const powers = Array.from({ length: last - first + 1 }, (_, k) => first + k).filter((power) => power % stride === 0);
        const lines = powers.flatMap((power) => digits.map((digit) => Number(`${digit}e${power}`)));
        return lines.filter((line) => line >= low && line <= high);
    };

    const axis = (spec, isLog) => ({
        ...(isLog ? { splits: logarithmic, filter: (_, splits) => splits } : {}),
        label: spec.label, labelSize: 22, labelFont: "13px system-ui, sans-serif", font: "12px system-ui, sans-serif", labelGap: 0,
        stroke: () => thalweg.colour("--faint"), grid: { stroke: () => thalweg.colour("--line"), width: 1 },
        ticks: { stroke: () => thalweg.colour("--line"), width: 1 },
        values: (_, splits) => splits.map((value) => (value === null ? "" : number(value, 3))),
    });

    // A scale is logarithmic where that is asked for and every number is positive.
    const scale = (spec, values) => {
        const isLog = spec.log && values.every((value) => !(value <= 0));
        if (!isLog) return { time: false, distr: 1 };
        return { time: false, distr: 3, range: (_, low, high) => [low / 1.15, high * 1.15] };
    };

    const drawMarks = (u, marks) => {
        const { ctx, bbox } = u;
        ctx.save();
        ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
        ctx.textAlign = "center";
        for (const mark of marks) {
            const x = u.valToPos(mark.x, "x", true);
            if (!(x >= bbox.left && x <= bbox.left + bbox.width)) continue;
            ctx.strokeStyle = ctx.fillStyle = thalweg.colour("--faint");
            ctx.globalAlpha = mark.kind === "swa" || mark.kind === "snapshot" ? 0.35 : 0.8;
            ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
            ctx.beginPath();
            ctx.moveTo(x, bbox.top);
            ctx.lineTo(x, bbox.top + bbox.height);
            ctx.stroke();
            ctx.globalAlpha = 1;
            ctx.fillText(MARKS[mark.kind] ?? mark.label ?? "", x, bbox.top - 3 * devicePixelRatio);
        }
        ctx.restore();
    };

    // The tooltip: every series at the cursor, followed by the marks near it; arrow keys move the cursor.
    const reading = (chart) => {
        const tooltip = element("div", { class: "tooltip", role: "status", "aria-live": "polite" });
        const show = (u) => {
            const i = u.cursor.idx;
            if (i === null || i === undefined || u.cursor.left < 0) {
                tooltip.style.display = "none";
                return;
            }
            const x = u.data[0][i];
            const lines = [element("div", {}, `${chart.spec.x?.label ?? "x"} ${number(x)}`)];
            u.series.forEach((s, k) => {
                if (k === 0 || s.isEdge || !s.show) return;
                const value = nearest(u.data[k], i);
                if (value === undefined) return;
                lines.push(element("div", {}, line(s), `${s.label} ${number(value)}`));
            });
            const reach = (u.scales.x.max - u.scales.x.min) / 100;
            const near = (chart.spec.marks ?? []).filter((mark) => Math.abs(mark.x - x) <= reach).slice(0, 4);
            near.forEach((mark) => lines.push(element("div", { class: "note" }, `${MARKS[mark.kind] ?? ""} ${mark.label ?? ""}`)));
            tooltip.replaceChildren(...lines);
            tooltip.style.display = "block";
            const left = u.valToPos(x, "x") + u.over.offsetLeft;
            const isRight = left > u.root.clientWidth / 2;
            tooltip.style.left = isRight ? "auto" : `${left + 12}px`;
            tooltip.style.right = isRight ? `${Math.max(u.root.clientWidth - left + 12, 0)}px` : "auto";
            tooltip.style.top = `${u.over.offsetTop + 8}px`;
        };
        const keys = (event) => {
            const u = chart.u;
            const last = u.data[0].length - 1;
            const now = u.cursor.idx ?? -1;
            const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -Math.ceil(last / 10), PageDown: Math.ceil(last / 10) };
            let to = null;
            if (event.key in steps) to = Math.min(Math.max(now + steps[event.key], 0), last);
            else if (event.key === "Home") to = 0;
            else if (event.key === "End") to = last;
            else if (event.key === "Escape") {
                u.setCursor({ left: -10, top: -10 });
                return;
            } else return;
            event.preventDefault();
            if (last >= 0) u.setCursor({ left: u.valToPos(u.data[0][to], "x"), top: u.over.clientHeight / 2 });
        };
        return { tooltip, show, keys };
    };

    // The value of a series at an x, or the one before it that it has; nothing before its first.
    const nearest = (values, i) => {
        for (let k = i; k >= 0; k--) if (values[k] !== undefined) return values[k];
        return undefined;
    };

    // A piece of a series' line.
    const line = (s) => {
        const key = element("span", { class: "key" });
        key.style.borderTopColor = s.stroke();
        key.style.borderTopStyle = s.dash.length === 0 ? "solid" : s.dash[0] < 3 ? "dotted" : "dashed";
        return key;
    };

    // The entries of the legend, each a button that shows and hides its series; the edges of bands go with their line.
    const entries = (u, described) => {
        const entry = (s, k) => element("button", {
            type: "button", "aria-pressed": String(s.show !== false),
            click: (event) => {
                const isShown = !u.series[k].show;
                for (let i = k; i === k || described[i]?.isEdge; i++) u.setSeries(i, { show: isShown });
                event.currentTarget.setAttribute("aria-pressed", String(isShown));
            },
        }, line(s), s.label);
        return described.map((s, k) => (k === 0 || s.isEdge ? null : entry(s, k))).filter((found) => found);
    };

    const dataTable = (chart) => {
        const details = element("details", {}, element("summary", {}, "Data"));
        details.addEventListener("toggle", () => {
            if (!details.open) return;
            details.querySelector(".scroll")?.remove();
            const kept = chart.u.series.map((s, k) => k).filter((k) => k === 0 || !chart.u.series[k].isEdge);
            const header = kept.map((k) => (k === 0 ? chart.spec.x?.label ?? "x" : chart.u.series[k].label));
            const n = chart.u.data[0].length;
            const stride = Math.max(1, Math.ceil(n / MOST_ROWS));
            const rows = [];
            for (let i = 0; i < n; i += 1) {
                if (i % stride === 0 || i === n - 1) rows.push(kept.map((k) => chart.u.data[k][i] ?? "–"));
            }
            const what = stride > 1 ? `every ${stride}th of ${n} points` : `${n} points`;
            thalweg.table(details, header, rows, `${chart.spec.title ?? "Data"}: ${what}`);
        });
        return details;
    };

    // Draws a chart of `spec` at the end of `parent`:
    //   title, caption   text above and below
    //   x, y             { label, log }
    //   series           { name, x, y, low, high, colour, dash, width, points }; null in y is a gap; low and high make a band; `points` draws no line
    //   marks            { x, kind, label }
    // Returns { figure, update(spec) }.
    thalweg.chart = (parent, spec) => {
        const title = element("h3", {}, spec.title ?? "");
        const plot = element("div", { class: "plot", tabindex: "0", role: "group", "aria-roledescription": "chart" });
        const marks = element("div", { class: "marks" });
        const caption = element("figcaption", {}, spec.caption ?? "");
        const legend = element("div", { class: "legend" });
        const figure = element("figure", { class: "chart" }, title, plot, legend, marks, caption);
        parent.append(figure);
        const chart = { spec, u: null };
        const { tooltip, show, keys } = reading(chart);
        plot.addEventListener("keydown", keys);
        plot.addEventListener("blur", () => chart.u?.setCursor({ left: -10, top: -10 }));
        figure.insertBefore(dataTable(chart), caption);

        // What the marks are that are there.
        const explain = () => {
            const kinds = [...new Set((chart.spec.marks ?? []).map((mark) => mark.kind))].filter((kind) => MARKS[kind]);
            const names = { swa: "SWA sample", snapshot: "snapshot", restart: "restart", best: "best", recovered: "device lost", end: "end" };
            marks.replaceChildren(...kinds.map((kind) => element("span", {}, `${MARKS[kind]} ${names[kind]}`)));
        };
        const build = () => {
            const hidden = new Set(chart.u?.series.filter((s, k) => k > 0 && !s.show).map((s) => s.label));
            chart.u?.destroy();
            const { described, bands } = describe(chart.spec.series);
            described.forEach((s) => { if (hidden.has(s.label)) s.show = false; });
            const data = align(chart.spec.series);
            const values = data.slice(1).flatMap((column) => Array.from(column).filter((v) => v !== null && v !== undefined));
            const scales = { x: scale(chart.spec.x ?? {}, data[0]), y: scale(chart.spec.y ?? {}, values) };
            const options = {
                width: Math.max(plot.clientWidth, 200), height: HEIGHT, series: described, bands,
                scales,
                axes: [{ ...axis(chart.spec.x ?? {}, scales.x.distr === 3), size: 38 }, { ...axis(chart.spec.y ?? {}, scales.y.distr === 3), size: (u, shown) => 16 + 7 * Math.max(4, ...(shown ?? []).map((text) => text.length)) }],
                padding: [16, 12, 0, 0], cursor: { drag: { x: true, y: false }, points: { size: 6 } },
                legend: { show: false },
                hooks: { draw: [(u) => drawMarks(u, chart.spec.marks ?? [])], setCursor: [show] },
            };
            chart.u = new uPlot(options, data, plot);
            legend.replaceChildren(...entries(chart.u, described));
            chart.u.root.append(tooltip);
            plot.setAttribute("aria-label", `${chart.spec.title ?? "Chart"}: ${chart.spec.series.map((s) => s.name).join(", ")}; arrow keys read values`);
            explain();
            figure.dataset.points = String(data[0].length);
        };
        const update = (next) => {
            const isSame = next.series.length === chart.spec.series.length && chart.u
                && next.series.every((s, i) => s.name === chart.spec.series[i].name && !!s.low === !!chart.spec.series[i].low)
                && next.x?.log === chart.spec.x?.log && next.y?.log === chart.spec.y?.log && next.x?.label === chart.spec.x?.label
                && next.y?.label === chart.spec.y?.label && !next.y?.log;
            chart.spec = next;
            if (!isSame) {
                build();
                return;
            }
            const data = align(next.series);
            chart.u.setData(data);
            explain();
            figure.dataset.points = String(data[0].length);
        };
        build();
        new ResizeObserver(() => {
            const width = plot.clientWidth;
            if (width > 0 && Math.abs(width - chart.u.width) > 1) chart.u.setSize({ width, height: HEIGHT });
        }).observe(plot);
        thalweg.onTheme(() => build());
        return { figure, update };
    };
})();
