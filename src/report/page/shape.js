// The shape of the loss where a run ended: its landscape, and its curvature.
"use strict";

(() => {
    const { element, section, table, number } = thalweg;

    const line = (here, found) => {
        const marks = found.points.map((point) => ({ x: point.at[0], kind: "point", label: point.name }));
        const series = [{ name: "loss", x: found.x, y: found.loss[0] }];
        thalweg.chart(here, { title: "Loss along the line", x: { label: "along the line" }, y: { label: "loss" }, series, marks });
        if (found.accuracy) {
            const accuracies = [{ name: "accuracy", x: found.x, y: found.accuracy[0] }];
            thalweg.chart(here, { title: "Accuracy along the line", x: { label: "along the line" }, y: { label: "accuracy" }, series: accuracies, marks });
        }
    };

    // The highest loss that is drawn: landscapes rise without end, and what is far above the middle hides what is below.
    const ceiling = (rows) => {
        const all = rows.flat().filter((value) => value !== null).sort((a, b) => a - b);
        const middle = all[Math.floor(all.length / 2)], low = all[0];
        return Math.min(all.at(-1), low + 4 * (middle - low || 1));
    };

    const nearest = (values, at) => values.reduce((best, value, i) => (Math.abs(value - at) < Math.abs(values[best] - at) ? i : best), 0);

    const plane = (here, found) => {
        const height = (x, y) => found.loss[nearest(found.y, y)][nearest(found.x, x)];
        if (found.picture) {
            here.append(element("figure", {}, element("h3", {}, "From above"),
                element("img", { class: "picture", src: found.picture, alt: "Contours of the loss over the plane, with the points that are named in the table" })));
        }
        const points = found.points.map((point) => ({ x: point.at[0], y: point.at[1], z: point.loss, label: point.name }));
        const path = found.path?.map(([x, y]) => [x, y, height(x, y)]);
        const most = ceiling(found.loss);
        thalweg.surface(here, {
            title: "Turning", caption: `Heights are the loss, drawn up to ${number(most)}.`, x: found.x, y: found.y, z: found.loss,
            labels: { x: "x", y: "y", z: "loss" }, points, path, most,
        });
    };

    const landscape = (found) => {
        const here = section("Landscape", "landscape");
        const grid = element("div", { class: "figures" });
        here.append(grid);
        if (found.y) plane(grid, found);
        else line(grid, found);
        const hasAccuracy = found.points.some((point) => point.accuracy !== undefined);
        const rows = found.points.map((point) => [point.name, point.loss, ...(hasAccuracy ? [point.accuracy] : [])]);
        table(here, ["weights", "loss", ...(hasAccuracy ? ["accuracy"] : [])], rows, "The points that are marked, over the samples of the landscape");
    };

    const curvature = (found) => {
        const here = section("Curvature", "curvature");
        const names = Object.keys(found.weights);
        const list = (values) => values?.slice(0, 3).map((value) => number(value, 3)).join(", ") ?? "–";
        const rows = names.map((name) => {
            const one = found.weights[name];
            return [name, one.loss, list(one.eigenvalues), one.smallest ?? "–", one.trace ? `${number(one.trace.mean)} ± ${number(one.trace.error, 2)}` : "–"];
        });
        table(here, ["weights", "loss", "largest eigenvalues", "smallest", "trace"], rows, "Of the Hessian of the loss");
        if (!found.density) return;
        const series = names.filter((name) => found.density[name]).map((name) => ({ name, x: found.density.eigenvalue, y: found.density[name].map((value) => Math.max(value, 1e-6)) }));
        thalweg.chart(here, { title: "Density of eigenvalues", caption: "How many eigenvalues are how large; all but a few are near 0.", x: { label: "eigenvalue" }, y: { label: "density", log: true }, series });
    };

    thalweg.shape = (run) => {
        if (run.landscape) landscape(run.landscape);
        if (run.curvature) curvature(run.curvature);
    };
})();
