// The figures of trainings that were made for this page.
"use strict";

(() => {
    const { tour } = thalweg;
    const { figures, data } = tour;

    // A curve of a run, by `steps`, `epochs` or `seconds`; steps are made into the others by the run's own axis.
    const curve = (run, name, unit = "steps") => {
        const { axis, curves } = run.history;
        const found = curves.find((curve) => curve.name === name) ?? { x: [], mean: [] };
        const place = (step) => {
            const after = axis.steps.findIndex((steps) => steps >= step);
            const i = Math.max(after < 0 ? axis.steps.length - 1 : after, 1);
            const share = (step - axis.steps[i - 1]) / (axis.steps[i] - axis.steps[i - 1]);
            return axis[unit][i - 1] + share * (axis[unit][i] - axis[unit][i - 1]);
        };
        return { x: unit === "steps" ? found.x : found.x.map(place), y: found.mean };
    };
    const series = (runs, name, unit) => runs.map((run, i) => ({ name: run.label ?? run.name, colour: i, ...curve(run, name, unit) }));
    const commands = (runs) => runs.map((run) => run.command);

    // The test loss of every batch size by one unit.
    const byBatch = (title, unit, log) => (parent, caption) => tour.chart(parent, {
        title, caption, x: { label: unit, log }, y: { label: "test loss" },
        series: series(data.batches.runs.map((run) => ({ ...run, label: `batch ${run.name}` })), "test_loss", unit),
    });
    figures["batch-steps"] = byBatch("Test loss by steps", "steps", true);
    figures["batch-epochs"] = byBatch("Test loss by epochs", "epochs", true);
    figures["batch-seconds"] = byBatch("Test loss by seconds", "seconds", true);

    figures["batch-table"] = (parent, caption) => {
        const rows = data.batches.runs.map(({ name, lr, reached }) => [name, lr, reached?.steps ?? "–", reached?.epochs ?? "–", reached?.seconds ?? "–"]);
        const figure = thalweg.element("figure", {}, thalweg.element("h3", {}, `What it took to a test loss of ${data.batches.target}`));
        thalweg.table(figure, ["batch", "rate", "steps", "epochs", "seconds"], rows, "One training for every batch size");
        figure.append(thalweg.element("figcaption", {}, caption));
        parent.append(figure);
        tour.home(figure, commands(data.batches.runs));
    };

    const speed = data.speed;
    figures.throughput = (parent, caption) => tour.chart(parent, {
        title: "Samples a second by batch size", caption, x: { label: "samples a step", log: true }, y: { label: "samples a second", log: true },
        series: [{ name: "samples a second", x: speed.batch, y: speed.samples_per_second }],
    }, [speed.command]);
    figures.latency = (parent, caption) => tour.chart(parent, {
        title: "Milliseconds a step by batch size", caption, x: { label: "samples a step", log: true }, y: { label: "milliseconds a step", log: true },
        series: [{ name: "milliseconds a step", x: speed.batch, y: speed.milliseconds, colour: 1 }],
    }, [speed.command]);

    // The rate of some runs, and what the test loss made of it.
    const scheduled = (name, runs, titles, marks = []) => {
        figures[`${name}-rate`] = (parent, caption) => tour.chart(parent, {
            title: titles[0], caption, x: { label: "step" }, y: { label: "learning rate" }, series: series(runs, "lr"), marks,
        }, runs.map((run) => run.schedule));
        figures[`${name}-loss`] = (parent, caption) => tour.chart(parent, {
            title: titles[1], caption, x: { label: "step" }, y: { label: "test loss" }, series: series(runs, "test_loss"), marks,
        }, commands(runs));
    };
    scheduled("falling", data.falling.runs, ["Four rates", "What they do to the test loss"]);
    scheduled("cyclic", data.cyclic.runs, ["Two triangles", "The test loss under them"]);
    const { first } = data.restarts;
    const restarts = [first, 3 * first].map((x) => ({ x, kind: "restart", label: "the rate jumps back up" }));
    scheduled("restarts", [data.restarts], ["A cosine that begins anew", "The test loss under it"], restarts);

    const early = data.early;
    figures.early = (parent, caption) => {
        const end = early.end * early.per_epoch;
        const marks = [{ x: early.best.epoch, kind: "best", label: "best validation loss" }, { x: early.end, kind: "end", label: "ended early" }];
        const inEpochs = (name) => curve(early.whole, name, "epochs");
        const { x, y } = inEpochs("validation_loss");
        const until = x.filter((epoch) => epoch <= end / early.per_epoch).length;
        tour.chart(parent, {
            title: "A run that overfits", caption, x: { label: "epoch" }, y: { label: "loss" }, marks,
            series: [
                { name: "training", colour: 0, ...inEpochs("train_loss") },
                { name: "validation", colour: 1, dash: 0, x: x.slice(0, until), y: y.slice(0, until) },
                { name: "validation, had it gone on", colour: 1, dash: 2, x: x.slice(until - 1), y: y.slice(until - 1) },
            ],
        }, [early.stopped.command, early.whole.command]);
    };

    const plateau = data.plateau;
    const falls = plateau.falls.map((x) => ({ x, label: "↓" }));
    figures["plateau-rate"] = (parent, caption) => tour.chart(parent, {
        title: "A rate that falls when it must", caption, x: { label: "step" }, y: { label: "learning rate", log: true }, marks: falls,
        series: [{ name: "learning rate", ...curve(plateau, "lr") }],
    });
    figures["plateau-loss"] = (parent, caption) => tour.chart(parent, {
        title: "The loss that it listens to", caption, x: { label: "step" }, y: { label: "loss" }, marks: falls,
        series: [{ name: "training", ...curve(plateau, "train_loss") }, { name: "validation", ...curve(plateau, "validation_loss") }],
    }, [plateau.command]);
})();
