// A surface over a plane, turned by pointer or arrow keys: faces are painted from the farthest to the nearest, so that it needs
// nothing but a canvas, prints, and works where there is no graphics card.
"use strict";

(() => {
    const { element, number } = thalweg;
    // From the lowest to the highest; each step is lighter than the one before, so that it reads in grey.
    const STOPS = [[20, 60, 120], [30, 100, 160], [70, 145, 190], [130, 185, 205], [190, 215, 215], [235, 240, 225]];

    const shade = (t) => {
        const at = Math.min(Math.max(t, 0), 1) * (STOPS.length - 1);
        const i = Math.min(Math.floor(at), STOPS.length - 2);
        return STOPS[i].map((low, k) => low + (STOPS[i + 1][k] - low) * (at - i));
    };

    // The heights in [0, 1]; logarithms where that is asked for and they are positive.
    const heights = (spec) => {
        const finite = spec.z.flat().filter((z) => z !== null && Number.isFinite(z));
        const isLog = spec.log && finite.every((z) => z > 0);
        const level = (z) => (isLog ? Math.log(z) : z);
        const low = level(spec.least ?? Math.min(...finite)), high = level(spec.most ?? Math.max(...finite));
        return (z) => (z === null || !Number.isFinite(z) ? null : Math.min((level(z) - low) / (high - low || 1), 1));
    };

    // From the unit cube to the picture: turned about the upright axis, then tilted, then seen from a distance.
    const camera = (view, width, height) => {
        const [cy, sy, cp, sp] = [Math.cos(view.yaw), Math.sin(view.yaw), Math.cos(view.pitch), Math.sin(view.pitch)];
        return ([x, y, z]) => {
            const [u, v, w] = [x - 0.5, y - 0.5, (z - 0.4) * 0.65];
            const across = u * cy - v * sy, along = u * sy + v * cy;
            const depth = along * cp - w * sp, up = along * sp + w * cp;
            const size = 2.6 / (2.6 + depth) * 0.56 * Math.min(width, 1.45 * height) * view.zoom;
            return [width / 2 + across * size, 0.46 * height - up * size, depth];
        };
    };

    const faces = (spec, height) => {
        const [nx, ny] = [spec.x.length, spec.y.length];
        const found = [];
        for (let i = 0; i + 1 < ny; i++) {
            for (let j = 0; j + 1 < nx; j++) {
                const corners = [[i, j], [i, j + 1], [i + 1, j + 1], [i + 1, j]].map(([a, b]) => [b / (nx - 1), a / (ny - 1), height(spec.z[a][b])]);
                if (corners.some((corner) => corner[2] === null) || corners.every((corner) => corner[2] >= 1)) continue;
                const dx = corners[1][2] - corners[0][2], dy = corners[3][2] - corners[0][2];
                const light = 1 / Math.hypot(1, dx * (nx - 1) * 0.5 - 0.3, dy * (ny - 1) * 0.5 - 0.3);
                found.push({ corners, height: corners.reduce((sum, c) => sum + c[2], 0) / 4, light: 0.72 + 0.28 * light });
            }
        }
        return found;
    };

    // Draws the surface of `spec` at the end of `parent`:
    //   title, caption  text above and below
    //   x, y, z         coordinates, and z[i][j] at y[i], x[j]; null where it is not finite
    //   labels          { x, y, z }
    //   path            points [x, y, z] on the surface, joined; `shadow` draws them on the ground too
    //   points          { x, y, z, label }
    //   log, most       heights as logarithms, and the highest that is drawn
    //   least           the height of the ground, where it is not the lowest
    thalweg.surface = (parent, spec) => {
        const canvas = element("canvas", { class: "surface", tabindex: "0", role: "img" });
        const figure = element("figure", { class: "surface" }, element("h3", {}, spec.title ?? ""), canvas,
            element("figcaption", {}, spec.caption ?? "", " ", element("span", { class: "note" }, "Drag it, or use the arrow keys, to turn it; + and − to come nearer.")));
        parent.append(figure);
        const first = { yaw: 0.6, pitch: 0.6, zoom: 1 };
        const view = { ...first };
        const height = heights(spec);
        const all = faces(spec, height);
        const [x0, x1, y0, y1] = [spec.x[0], spec.x.at(-1), spec.y[0], spec.y.at(-1)];
        const unit = (p) => [(p[0] - x0) / (x1 - x0), (p[1] - y0) / (y1 - y0), p[2] === undefined ? 0 : height(p[2]) ?? 1];
        const low = Math.min(...spec.z.flat().filter((z) => z !== null)), high = Math.max(...spec.z.flat().filter((z) => z !== null));
        canvas.setAttribute("aria-label", `${spec.title ?? "Surface"}: ${spec.labels?.z ?? "height"} from ${number(low)} to ${number(spec.most ?? high)} over ${spec.labels?.x ?? "x"} and ${spec.labels?.y ?? "y"}`);

        const draw = () => {
            const context = canvas.getContext("2d");
            const ratio = Math.min(devicePixelRatio || 1, 2);
            const width = canvas.clientWidth || 600, height = Math.round(Math.max(0.62 * width, 260));
            canvas.style.height = `${height}px`;
            [canvas.width, canvas.height] = [width * ratio, height * ratio];
            context.scale(ratio, ratio);
            const project = camera(view, width, height);
            const trace = (points) => {
                context.beginPath();
                points.forEach((p, i) => (i ? context.lineTo(p[0], p[1]) : context.moveTo(p[0], p[1])));
            };
            ground(context, project, spec, trace, width, height);
            const painted = all.map((face) => {
                const points = face.corners.map(project);
                return { face, points, depth: points.reduce((sum, p) => sum + p[2], 0) / 4 };
            });
            painted.sort((a, b) => b.depth - a.depth);
            for (const { face, points } of painted) {
                const [r, g, b] = shade(face.height).map((c) => Math.round(c * face.light));
                trace(points);
                context.closePath();
                context.fillStyle = context.strokeStyle = `rgb(${r},${g},${b})`;
                context.lineWidth = 0.6;
                context.fill();
                context.stroke();
            }
            const line = (points, colour, width, dash = []) => {
                trace(points.map(project));
                context.setLineDash(dash);
                Object.assign(context, { strokeStyle: colour, lineWidth: width, lineJoin: "round" });
                context.stroke();
                context.setLineDash([]);
            };
            if (spec.path?.length) {
                const on = spec.path.map((p) => { const u = unit(p); return [u[0], u[1], u[2] + 0.01]; });
                if (spec.shadow) line(spec.path.map((p) => [...unit(p).slice(0, 2), 0]), thalweg.colour("--c2"), 2.5, [6, 4]);
                line(on, "#ffffff", 5);
                line(on, "#d55e00", 2.5);
            }
            context.font = "13px system-ui, sans-serif";
            for (const point of spec.points ?? []) {
                const u = unit([point.x, point.y, point.z]);
                const [px, py] = project([u[0], u[1], u[2] + 0.015]);
                context.beginPath();
                context.arc(px, py, 5, 0, 2 * Math.PI);
                Object.assign(context, { fillStyle: "#ffffff", strokeStyle: "#000000", lineWidth: 2 });
                context.fill();
                context.stroke();
                Object.assign(context, { strokeStyle: thalweg.colour("--paper"), fillStyle: thalweg.colour("--ink"), lineWidth: 3 });
                context.textAlign = px > width * 0.75 ? "right" : "left";
                const x = px + (context.textAlign === "right" ? -9 : 9);
                context.strokeText(point.label ?? "", x, py - 7);
                context.fillText(point.label ?? "", x, py - 7);
            }
        };

        const turn = (yaw, pitch, zoom = 1) => {
            view.yaw += yaw;
            view.pitch = Math.min(Math.max(view.pitch + pitch, 0.05), 1.5);
            view.zoom = Math.min(Math.max(view.zoom * zoom, 0.5), 3);
            draw();
        };
        canvas.addEventListener("keydown", (event) => {
            const turns = { ArrowLeft: [0.1, 0], ArrowRight: [-0.1, 0], ArrowUp: [0, 0.08], ArrowDown: [0, -0.08], "+": [0, 0, 1.1], "=": [0, 0, 1.1], "-": [0, 0, 1 / 1.1] };
            if (event.key === "Home") Object.assign(view, first);
            else if (!(event.key in turns)) return;
            event.preventDefault();
            turn(...(turns[event.key] ?? [0, 0]));
        });
        canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
        canvas.addEventListener("pointermove", (event) => {
            if (canvas.hasPointerCapture(event.pointerId)) turn(-event.movementX * 0.01, event.movementY * 0.008);
        });
        thalweg.onTheme(draw);
        let drawn = 0;
        new ResizeObserver(() => {
            if (canvas.clientWidth !== drawn) draw();
            drawn = canvas.clientWidth;
        }).observe(canvas);
        draw();
        return { figure, draw, view };
    };

    // The ground, with the axes' names and ends.
    const ground = (context, project, spec, trace, width, height) => {
        const corners = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]].map(project);
        trace([...corners, corners[0]]);
        Object.assign(context, { strokeStyle: thalweg.colour("--faint"), fillStyle: thalweg.colour("--ink"), lineWidth: 1, font: "13px system-ui, sans-serif" });
        context.stroke();
        const name = (text, at, end) => {
            const [x, y] = project(at);
            context.textAlign = end ?? "center";
            context.fillText(text, Math.min(Math.max(x, 4), width - 4), Math.min(y + 16, height - 4));
        };
        name(spec.labels?.x ?? "", [0.5, -0.08, 0]);
        name(spec.labels?.y ?? "", [1.08, 0.5, 0], "left");
        const top = project([0, 1, 1]), bottom = project([0, 1, 0]);
        trace([bottom, top]);
        context.stroke();
        context.textAlign = "center";
        context.fillText(spec.labels?.z ?? "", Math.max(top[0], 60), Math.max(top[1] - 8, 14));
    };
})();
