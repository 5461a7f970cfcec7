// The figures in the weight space of networks that were trained for this page.
"use strict";

(() => {
    const { tour } = thalweg;
    const { figures, data } = tour;
    const { swa } = data;
    const around = ({ x, y }) => [[x[0], x.at(-1)], [y[0], y.at(-1)]];

    figures["swa-plane"] = (parent, caption) => {
        const { plane } = swa;
        const points = plane.marks.map(({ at, name }) => ({ at, label: name }));
        const [w1, w2, w3] = plane.marks.map(({ at }) => at);
        const drawn = tour.contour(parent, {
            title: "Test loss in the plane of three weights", caption, grid: plane, window: around(plane), most: 3 * plane.lowest.loss,
            labels: { x: "distance in weight space", y: "distance in weight space" },
            paths: [{ points: [w1, w2, w3], colour: 1 }], points: [...points, { at: plane.lowest.at, label: "lowest", kind: "minimum" }],
        });
        tour.home(drawn.figure, [swa.command, plane.command]);
    };

    figures["swa-table"] = (parent, caption) => {
        const figure = thalweg.element("figure", {}, thalweg.element("h3", {}, "Averaging weights, averaging predictions"));
        thalweg.table(figure, ["what is evaluated", "test loss", "test accuracy"], swa.rows.map(({ name, loss, accuracy }) => [name, loss, accuracy]), "The whole test part");
        figure.append(thalweg.element("figcaption", {}, caption));
        parent.append(figure);
        tour.home(figure, ["thalweg eval averaged"]);
    };

    figures.line = (parent, caption) => {
        const { line } = swa;
        const relative = (name, { y, last }) => ({ name, x: line.x, y: y.map((loss) => loss / last) });
        const marks = [{ x: 0, label: "last" }, { x: 1, label: "SWA" }];
        tour.chart(parent, {
            title: "From the last weights to their average", caption, x: { label: "share of the way" }, y: { label: "loss / loss of the last" }, marks,
            series: [relative("training", line.train), relative("test", line.test)],
        }, [swa.command, ...line.commands]);
    };

    // The loss around a trained network, from above and in space.
    for (const name of ["plain", "normed"]) {
        const { x, y, z, marks, train, command } = data[name];
        const words = name === "plain" ? "without normalisation" : "with batch normalisation";
        const most = data.normed.highest;
        figures[`${name}-contour`] = (parent, caption) => {
            const drawn = tour.contour(parent, {
                title: `Twelve layers ${words}`, caption, grid: { x, y, z }, window: around({ x, y }), most,
                labels: { x: "first direction", y: "second direction" }, points: [{ at: marks[0].at, label: "trained weights" }],
            });
            tour.home(drawn.figure, [train, command]);
        };
        figures[`${name}-surface`] = (parent, caption) => {
            const drawn = thalweg.surface(parent, {
                title: `The same ${words}, to turn`, caption, x, y, z, most, labels: { x: "first direction", y: "second direction", z: "loss" },
                points: [{ x: marks[0].at[0], y: marks[0].at[1], z: marks[0].loss, label: "trained weights" }],
            });
            tour.home(drawn.figure, [command]);
        };
    }
})();
