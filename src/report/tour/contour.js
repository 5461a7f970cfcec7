// A surface from above: the lower the bluer, with lines of equal height, and over it ways and points in SVG.
"use strict";

(() => {
    const { element, svg, tour } = thalweg;
    const BANDS = 14;
    const MARGIN = { left: 38, right: 10, top: 8, bottom: 32 };
    const MOST = 460;
    let pictures = 0;

    const channels = (name) => {
        const hex = thalweg.colour(name);
        return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    };
    const mix = (a, b, share) => a.map((from, k) => from + (b[k] - from) * share);

    // The heights of a grid between its nodes.
    const interpolated = ({ x, y, z }) => {
        const place = (nodes, c) => {
            const at = ((c - nodes[0]) / (nodes.at(-1) - nodes[0])) * (nodes.length - 1);
            const i = Math.min(Math.max(Math.floor(at), 0), nodes.length - 2);
            return [i, at - i];
        };
        return ([a, b]) => {
            const [j, u] = place(x, a), [i, v] = place(y, b);
            const corners = [z[i][j], z[i][j + 1], z[i + 1][j], z[i + 1][j + 1]];
            if (corners.some((corner) => corner === null)) return NaN;
            return (corners[0] * (1 - u) + corners[1] * u) * (1 - v) + (corners[2] * (1 - u) + corners[3] * u) * v;
        };
    };

    // From a height to [0, 1]: finer steps near the bottom, where the way ends.
    const levelOf = (heights, most) => {
        const finite = heights.filter(Number.isFinite);
        const low = finite.reduce((a, b) => Math.min(a, b), Infinity);
        const high = Math.min(most ?? Infinity, finite.reduce((a, b) => Math.max(a, b), -Infinity));
        const soft = (high - low) / 40 || 1;
        return (height) => Math.min(Math.log1p((height - low) / soft) / Math.log1p((high - low) / soft), 1);
    };

    // Paints the heights into a canvas of `size` points a side, with a colour of its own for every region where there are some.
    const paint = (canvas, spec, value, size) => {
        const [[left, right], [bottom, top]] = spec.window;
        canvas.width = canvas.height = size;
        const at = (k) => {
            const i = Math.floor(k / size), j = k % size;
            return [left + ((right - left) * (j + 0.5)) / size, top - ((top - bottom) * (i + 0.5)) / size];
        };
        const heights = Array.from({ length: size * size }, (_, k) => value(at(k)));
        const level = levelOf(heights, spec.most);
        const bands = heights.map((height) => (Number.isFinite(height) ? Math.floor(level(height) * BANDS) : BANDS));
        const paper = channels("--paper"), water = channels("--c0"), line = channels("--faint");
        const regions = spec.regions ? ["--c0", "--c1", "--c2", "--c3", "--c5", "--c6"].map(channels) : [];
        const image = canvas.getContext("2d").createImageData(size, size);
        bands.forEach((band, k) => {
            const share = 0.62 * (1 - Math.min(band, BANDS) / BANDS) ** 1.2;
            let colour = mix(paper, water, share + 0.03);
            if (spec.regions) {
                const region = spec.regions(at(k));
                colour = region < 0 ? paper : mix(paper, regions[region % regions.length], 0.2 + 0.45 * (1 - band / BANDS));
            }
            const isEdge = (k % size > 0 && bands[k - 1] !== band) || (k >= size && bands[k - size] !== band);
            if (isEdge) colour = mix(colour, line, 0.45);
            image.data.set([...colour, 255], 4 * k);
        });
        canvas.getContext("2d").putImageData(image, 0, 0);
    };

    const ticks = ([low, high]) => {
        const raw = (high - low) / 4, size = 10 ** Math.floor(Math.log10(raw));
        const step = [1, 2, 5, 10].map((k) => k * size).find((step) => step >= raw);
        const first = Math.ceil(low / step);
        return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
    };

    const SYMBOLS = { minimum: "M-5,0H5M0,-5V5", saddle: "M0,-5L5,0L0,5L-5,0Z" };

    // Draws the surface of `spec` at the end of `parent`:
    //   title, caption       text above, and a node below
    //   window               [[left, right], [bottom, top]]
    //   value or grid        heights: a function of [x, y], or { x, y, z }; most: the highest that is told apart
    //   regions              a function of [x, y] to a number, for a colour of its own, or below 0 for none
    //   labels               { x, y }
    //   paths                { name, points: [[x, y]], colour, dots }
    //   points               { at: [x, y], label, kind: minimum, saddle or none }
    // Returns { figure, update({ paths, points }) }.
    tour.contour = (parent, spec) => {
        const value = spec.value ?? interpolated(spec.grid);
        const canvas = element("canvas", { "aria-hidden": "true" });
        const overlay = svg("svg", { role: "img" });
        const plot = element("div", { class: "contour" }, canvas, overlay);
        const key = element("div", { class: "key-of-paths" });
        const caption = element("figcaption", {}, spec.caption ?? "");
        const figure = element("figure", {}, element("h3", {}, spec.title ?? ""), plot, key, caption);
        parent.append(figure);
        const clip = `clip-${++pictures}`;
        let side = 0, shown = { paths: spec.paths ?? [], points: spec.points ?? [] };

        const place = ([x, y]) => {
            const [[left, right], [bottom, top]] = spec.window;
            const bounded = (c) => Math.min(Math.max(c, -1e5), 1e5);
            return [bounded(MARGIN.left + ((x - left) / (right - left)) * side), bounded(MARGIN.top + ((top - y) / (top - bottom)) * side)];
        };
        const frame = () => {
            const across = ticks(spec.window[0]).map((x) => {
                const [px] = place([x, spec.window[1][0]]);
                return svg("text", { x: px, y: MARGIN.top + side + 15, "text-anchor": "middle" }, thalweg.number(x, 3));
            });
            const up = ticks(spec.window[1]).map((y) => {
                const [, py] = place([spec.window[0][0], y]);
                return svg("text", { x: MARGIN.left - 5, y: py + 4, "text-anchor": "end" }, thalweg.number(y, 3));
            });
            const names = [
                svg("text", { x: MARGIN.left + side / 2, y: MARGIN.top + side + 29, "text-anchor": "middle" }, spec.labels?.x ?? "x"),
                svg("text", { transform: `translate(9,${MARGIN.top + side / 2}) rotate(-90)`, "text-anchor": "middle" }, spec.labels?.y ?? "y"),
            ];
            return svg("g", { class: "axes" }, ...across, ...up, ...names);
        };
        const way = ({ points, colour = 1, dots }) => {
            const places = points.map(place);
            const line = places.map((p, i) => `${i ? "L" : "M"}${p[0].toFixed(2)},${p[1].toFixed(2)}`).join("");
            const steps = dots ? places.map((p) => svg("circle", { cx: p[0].toFixed(2), cy: p[1].toFixed(2), r: 2.4 })) : [];
            return svg("g", { class: `way colour-${colour}` }, svg("path", { class: "case", d: line }), svg("path", { class: "line", d: line }), ...steps);
        };
        const mark = ({ at, label = "", kind }) => {
            const [x, y] = place(at);
            const isInside = x >= MARGIN.left && x <= MARGIN.left + side && y >= MARGIN.top && y <= MARGIN.top + side;
            if (!isInside) return svg("g");
            const shape = kind ? svg("path", { d: SYMBOLS[kind], class: kind }) : svg("circle", { r: 5 });
            const isRight = x > MARGIN.left + side * 0.8;
            const text = svg("text", { x: isRight ? -9 : 9, y: -7, "text-anchor": isRight ? "end" : "start" }, label);
            return svg("g", { class: "mark", transform: `translate(${x.toFixed(2)},${y.toFixed(2)})` }, shape, text);
        };
        const draw = () => {
            const { paths, points } = shown;
            const area = svg("clipPath", { id: clip }, svg("rect", { x: MARGIN.left, y: MARGIN.top, width: side, height: side }));
            const border = svg("rect", { class: "border", x: MARGIN.left, y: MARGIN.top, width: side, height: side });
            const ways = svg("g", { "clip-path": `url(#${clip})` }, ...paths.map(way));
            overlay.replaceChildren(area, frame(), border, ways, ...points.map(mark));
            const named = paths.filter((path) => path.name);
            key.replaceChildren(...named.map((path) => element("span", {}, svg("svg", { width: 26, height: 10, class: `way colour-${path.colour ?? 1}` },
                svg("path", { class: "line", d: "M1,5H25" })), ` ${path.name}`)));
            const ends = paths.map((path) => `${path.name ?? "a way"} to ${path.points.at(-1).map((c) => thalweg.number(c, 3)).join(", ")}`);
            overlay.setAttribute("aria-label", `${spec.title ?? "Surface"}, seen from above${ends.length ? `: ${ends.join("; ")}` : ""}`);
        };
        const size = () => {
            side = Math.max(Math.min(plot.clientWidth, MOST) - MARGIN.left - MARGIN.right, 120);
            const [width, height] = [side + MARGIN.left + MARGIN.right, side + MARGIN.top + MARGIN.bottom];
            Object.assign(canvas.style, { left: `${MARGIN.left}px`, top: `${MARGIN.top}px`, width: `${side}px`, height: `${side}px` });
            for (const [name, length] of [["width", width], ["height", height]]) overlay.setAttribute(name, length);
            draw();
        };
        const repaint = () => paint(canvas, spec, value, 360);
        repaint();
        size();
        new ResizeObserver(size).observe(plot);
        thalweg.onTheme(repaint);
        return {
            figure,
            update: (next) => {
                shown = { ...shown, ...next };
                draw();
            },
        };
    };
})();
