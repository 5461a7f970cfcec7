// A matrix as colours, with its numbers where they fit, read by pointer and by arrow keys.
"use strict";

(() => {
    const { svg, cut } = thalweg;
    // A cell's side in pixels: the least, the largest, and the least beside which a name is written.
    const [LEAST, MOST, NAMED] = [3, 46, 11];
    const LETTER = 6.6;
    // The strongest colour behind a number that stays readable, in percent.
    const BEHIND = 45;

    const longest = (names) => Math.max(...names.map((name) => [...name].length));

    // Where everything lies in so many pixels of width.
    const measure = ({ rows, columns, digits }, width) => {
        const left = Math.min(longest(rows) * LETTER + 12, 0.3 * width, 150);
        const cell = Math.max(Math.min(Math.floor((width - left) / columns.length), MOST), LEAST);
        const isNamed = cell >= NAMED;
        const isUpright = isNamed && longest(columns) * LETTER > cell;
        const top = isNamed ? (isUpright ? Math.min(longest(columns) * LETTER + 10, 110) : 20) : 6;
        const size = Math.min(12, (cell - 3) / (0.62 * digits));
        return { left: isNamed ? left : 6, top, cell, isNamed, isUpright, size: size >= 8 ? size : 0 };
    };

    const names = (spec, { left, top, cell, isUpright }) => {
        const centre = (i) => (i + 0.5) * cell;
        const row = (name, i) => svg("text", { class: "axis", x: left - 6, y: top + centre(i) + 4, "text-anchor": "end" }, cut(name, left - 6));
        const column = (name, j) => (isUpright
            ? svg("text", { class: "axis", transform: `translate(${left + centre(j) + 4} ${top - 6}) rotate(-90)` }, cut(name, top - 6))
            : svg("text", { class: "axis", x: left + centre(j), y: top - 6, "text-anchor": "middle" }, name));
        return [...spec.rows.map(row), ...spec.columns.map(column)];
    };

    // Draws a matrix of `spec` at the end of `parent`:
    //   title, label, caption, table   see `thalweg.figure`
    //   rows, columns   the names
    //   digits          the most characters of a number
    //   cell(i, j)      { share, colour, text }: how strong, 0 to 1, in which colour of the page
    //   lines(i, j)     what is told of a cell
    thalweg.heatmap = (parent, spec) => {
        const [height, width] = [spec.rows.length, spec.columns.length];
        const plot = thalweg.figure(parent, { ...spec, points: height * width });
        plot.classList.add("wide");
        const state = { at: null, cursor: null };
        thalweg.onWidth(plot, (room) => {
            const at = measure(spec, room);
            const [x, y] = [(j) => at.left + j * at.cell, (i) => at.top + i * at.cell];
            const frame = svg("svg", { width: x(width) + 2, height: y(height) + 2, "aria-hidden": "true" });
            plot.querySelector("svg")?.remove();
            plot.prepend(frame);
            if (at.isNamed) frame.append(...names(spec, at));
            const strongest = at.size > 0 ? BEHIND : 100;
            for (let i = 0; i < height; i++) {
                for (let j = 0; j < width; j++) {
                    const { share, colour, text } = spec.cell(i, j);
                    if (!(share > 0)) continue;
                    const cell = svg("rect", { class: "mark", x: x(j), y: y(i), width: at.cell, height: at.cell });
                    cell.style.fill = `color-mix(in srgb, var(${colour}) ${(share * strongest).toFixed(1)}%, var(--paper))`;
                    frame.append(cell);
                    if (at.size > 0) {
                        const middle = { x: x(j + 0.5), y: y(i + 0.5) + at.size * 0.36, "text-anchor": "middle" };
                        frame.append(svg("text", { class: "count", "font-size": at.size, "data-behind": getComputedStyle(cell).fill, ...middle }, text));
                    }
                }
            }
            frame.append(svg("rect", { class: "border", x: at.left, y: at.top, width: width * at.cell, height: height * at.cell }));
            state.cursor = svg("rect", { class: "cursor", width: at.cell, height: at.cell, visibility: "hidden" });
            frame.append(state.cursor);
            state.at = at;
        });
        const place = ([i, j]) => ({ x: state.at.left + (j + 0.5) * state.at.cell, y: state.at.top + (i + 0.5) * state.at.cell });
        const find = (x, y) => {
            const [i, j] = [Math.floor((y - state.at.top) / state.at.cell), Math.floor((x - state.at.left) / state.at.cell)];
            return i >= 0 && i < height && j >= 0 && j < width ? [i, j] : null;
        };
        const step = (key, now) => {
            const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[key];
            if (key === "Home") return [0, 0];
            if (key === "End") return [height - 1, width - 1];
            if (!by) return undefined;
            if (!now) return [0, 0];
            return [Math.min(Math.max(now[0] + by[0], 0), height - 1), Math.min(Math.max(now[1] + by[1], 0), width - 1)];
        };
        const mark = (cell) => {
            state.cursor.setAttribute("visibility", cell ? "visible" : "hidden");
            if (!cell) return;
            state.cursor.setAttribute("x", state.at.left + cell[1] * state.at.cell);
            state.cursor.setAttribute("y", state.at.top + cell[0] * state.at.cell);
        };
        thalweg.reader(plot, { find, step, place, mark, lines: ([i, j]) => spec.lines(i, j) });
    };
})();
