// The report of one run, or of several beside each other.
"use strict";

(() => {
    const { element, section, table, number, percent, shown } = thalweg;

    const spread = (entry) => {
        if (!entry || typeof entry.mean !== "number") return entry?.mean ?? "–";
        if (!(entry.replicas?.length > 1)) return entry.mean;
        // As many decimals as the deviation needs for two digits, four at least.
        const decimals = Math.min(Math.max(4, 1 - Math.floor(Math.log10(entry.deviation || 1))), 8);
        return `${entry.mean.toFixed(decimals)} ± ${entry.deviation.toFixed(decimals)}`;
    };

    // The parts of a summary that were evaluated, in its order: train, test, swa_test, ...
    const evaluated = (summary) => Object.keys(summary ?? {}).filter((key) => key.endsWith("_loss")).map((key) => key.slice(0, -5));

    const setting = (run, key) => run.settings.find((row) => row.key === key)?.value;

    const facts = (run) => {
        const summary = run.summary ?? {};
        const model = [run.model?.widths?.join("-"), setting(run, "model.activation"), run.model?.parameters ? `${number(run.model.parameters)} parameters` : null];
        return [
            ["data", run.data ?? setting(run, "data.source")],
            ["model", model.filter((part) => part).join(", ")],
            ["optimizer", `${setting(run, "optimizer.name")}, rate ${setting(run, "optimizer.lr")}, schedule ${setting(run, "schedule.name")}`],
            ["batch", `${number(setting(run, "train.batch"))} samples, ${number(setting(run, "train.replicas"))} replica(s)`],
            ["end", run.history.ended ?? "not yet"],
            ["steps", summary.steps ? `${number(summary.steps)} in ${number(summary.seconds)} s, ${number(Math.round(summary.samples_per_second))} samples/s${summary.of_limit ? `, ${percent(summary.of_limit, 0)} of the device's limit` : ""}` : `${number(run.history.curves[0]?.x.at(-1) ?? 0)}`],
            ["device", summary.device ?? setting(run, "train.device")],
            ["machine", run.machine],
        ].filter(([, value]) => value);
    };

    const overview = (run) => {
        const here = section("Overview", "overview");
        here.append(...(run.warnings ?? []).map((text) => element("p", { class: "note" }, `Note: ${text}`)));
        table(here, ["", "value"], facts(run).map(([name, value]) => [name, String(value)]), "The run");
        const parts = evaluated(run.summary);
        if (parts.length > 0) {
            const isClassification = run.summary[`${parts[0]}_accuracy`] !== undefined;
            const rows = parts.map((part) => [thalweg.part(`${part}_loss`) + (part === "train" ? " (running mean of the last epoch)" : ""), spread(run.summary[`${part}_loss`]), ...(isClassification ? [spread(run.summary[`${part}_accuracy`])] : [])]);
            table(here, ["part", "loss", ...(isClassification ? ["accuracy"] : [])], rows, "Averages and last weights side by side");
        }
    };

    const profile = (run) => {
        if (!run.profile) return;
        const here = section("Kernels", "kernels");
        if (run.profile.missing) {
            here.append(element("p", { class: "note" }, run.profile.missing));
            return;
        }
        const all = run.profile.kernels.reduce((sum, kernel) => sum + kernel.seconds, 0);
        here.append(element("p", {}, `The share of a step that each kernel takes on ${run.profile.device}, dispatch by dispatch.`));
        const bar = (share) => {
            const inner = element("span", { class: "bar" });
            inner.style.width = `${Math.max(100 * share, 0.5)}%`;
            return element("span", { class: "bars", role: "img", "aria-label": percent(share) }, inner);
        };
        const rows = run.profile.kernels.map((kernel) => [kernel.name, `${(1e6 * kernel.seconds).toFixed(1)}`, percent(kernel.seconds / all), bar(kernel.seconds / all)]);
        table(here, ["kernel", "µs", "share", ""], rows, `One step: ${number(1e6 * all)} µs`);
    };

    const single = (run) => {
        overview(run);
        const curves = thalweg.curves(section("Curves", "curves"), [run]);
        if (run.quality && thalweg.quality) thalweg.quality(run.quality);
        thalweg.shape(run);
        profile(run);
        thalweg.settings(run.settings);
        return curves;
    };

    // The settings in which runs differ, a row each.
    const differences = (here, runs) => {
        const keys = [...new Set(runs.flatMap((run) => run.settings.map((row) => row.key)))];
        const rows = keys.map((key) => [key, ...runs.map((run) => shown(setting(run, key)))]).filter((row) => new Set(row.slice(1)).size > 1);
        if (rows.length === 0) here.append(element("p", {}, "The runs have the same settings."));
        else table(here, ["setting", ...runs.map((run) => run.name)], rows, "Settings that differ");
    };

    const results = (here, runs) => {
        const parts = [...new Set(runs.flatMap((run) => evaluated(run.summary)))];
        const rows = parts.flatMap((part) => ["loss", "accuracy"].filter((what) => runs.some((run) => run.summary?.[`${part}_${what}`]))
            .map((what) => [`${thalweg.part(`${part}_loss`)} ${what}`, ...runs.map((run) => spread(run.summary?.[`${part}_${what}`]))]));
        rows.push(["seconds", ...runs.map((run) => run.summary?.seconds ?? "–")], ["samples/s", ...runs.map((run) => (run.summary ? Math.round(run.summary.samples_per_second) : "–"))]);
        rows.push(["end", ...runs.map((run) => run.history.ended ?? "not yet")], ["device", ...runs.map((run) => run.summary?.device ?? "–")]);
        table(here, ["", ...runs.map((run) => run.name)], rows, "Results");
    };

    // The accuracy by which runs are compared: of the test part, else of validation, else of training.
    const accuracies = (run) => ["test_accuracy", "validation_accuracy", "train_accuracy"].map((name) => run.history.curves.find((curve) => curve.name === name)).find((curve) => curve);

    // Where a run's accuracy first reaches a target: in epochs, seconds and steps.
    const reached = (run, target) => {
        const curve = accuracies(run);
        const i = curve?.mean.findIndex((value) => value !== null && value >= target) ?? -1;
        if (i < 0) return ["–", "–", "–"];
        const at = (unit) => thalweg.along(run.history, unit)(curve.x[i]);
        return [at("epochs"), at("seconds"), curve.x[i]];
    };

    const timeToAccuracy = (runs) => {
        const best = runs.map((run) => Math.max(...(accuracies(run)?.mean ?? []).filter((value) => value !== null)));
        const all = best.filter(Number.isFinite);
        if (all.length === 0) return;
        const here = section("Time to an accuracy", "time");
        const first = Math.floor(1000 * Math.min(...all)) / 1000;
        const holder = element("div");
        const input = element("input", { type: "number", min: "0", max: "1", step: "0.001", value: String(first), input: () => show() });
        const show = () => {
            holder.replaceChildren();
            table(holder, ["run", "epochs", "seconds", "steps"], runs.map((run) => [run.name, ...reached(run, Number(input.value))]), `Until an accuracy of ${input.value}, measured at evaluations`);
        };
        here.append(element("div", { class: "controls" }, element("label", {}, "accuracy", input)), holder);
        show();
    };

    const several = (runs) => {
        const here = section("Comparison", "comparison");
        results(here, runs);
        differences(here, runs);
        const curves = thalweg.curves(section("Curves", "curves"), runs);
        timeToAccuracy(runs);
        return curves;
    };

    // Draws the report of `runs`, documents as `thalweg report --json` writes them; returns { update(runs) } for their curves.
    thalweg.report = (runs) => (runs.length === 1 ? single(runs[0]) : several(runs));
})();
