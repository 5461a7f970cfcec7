// The runs of a folder as a list: to search, to sort, and to choose some that are compared.
"use strict";

(() => {
    const { element, number } = thalweg;
    const main = document.querySelector("main");
    const { runs, notes } = thalweg.data("folder");
    const token = new URLSearchParams(location.search).get("token");
    const AVERAGES = [["", "last"], ["swa_", "SWA"], ["ema_", "EMA"], ["snapshots_", "snapshots"], ["best_", "best"]];

    const report = (names) => {
        const query = new URLSearchParams({ token });
        names.forEach((name) => query.append("run", name));
        return `report?${query}`;
    };

    const ended = (run) => (run.problem ? "cannot be read" : run.ended ? run.ended.replaceAll("_", " ") : "not over");
    // `2026-11-28 05:50`, in the time of the reader.
    const moment = (seconds) => {
        const date = new Date(1000 * seconds), two = (n) => String(n).padStart(2, "0");
        return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
    };
    // A source without the folders of its files.
    const source = (data) => element("span", { title: data }, data.replaceAll(/[^:,=]*[/\\]/g, ""));
    const name = (run) => (run.problem
        ? [run.name, element("div", { class: "note" }, run.problem)] : element("a", { href: report([run.name]) }, run.name));
    const epochs = (run) => (run.planned && String(run.epochs) !== run.planned ? `${run.epochs} of ${run.planned}` : run.epochs);

    // Columns: what stands in the header, the value that sorts, and what is shown of it; a column that no run fills is left out.
    const scores = ["accuracy", "loss"].flatMap((kind) => AVERAGES.map(([prefix, name]) => ({
        name: `${kind}, ${name}`, value: (run) => run.results?.[prefix + kind], isNumber: true,
    })));
    const columns = [
        { name: "run", value: (run) => run.name, show: name },
        { name: "written", value: (run) => run.when, show: (run) => moment(run.when) },
        { name: "ended", value: ended },
        ...scores,
        { name: "epochs", value: (run) => run.epochs, show: epochs, isNumber: true },
        { name: "seconds", value: (run) => run.seconds, show: (run) => number(run.seconds, 3), isNumber: true },
        { name: "optimizer", value: (run) => run.optimizer },
        { name: "rate", value: (run) => run.lr, isNumber: true },
        { name: "schedule", value: (run) => run.schedule },
        { name: "hidden layers", value: (run) => run.model },
        { name: "data", value: (run) => run.data, show: (run) => source(run.data) },
    ].filter((column) => runs.some((run) => column.value(run) !== undefined && column.value(run) !== null));

    const chosen = new Set();
    const rows = runs.map((run) => {
        const cells = columns.map((column) => {
            const value = column.value(run);
            const isEmpty = value === undefined || value === null;
            const shown = isEmpty ? "" : column.show ? column.show(run) : column.isNumber ? number(value) : value;
            return element("td", { class: column.isNumber ? "number" : null }, shown);
        });
        const box = element("input", {
            type: "checkbox", "aria-label": `Compare ${run.name}`, disabled: Boolean(run.problem),
            change: () => { if (box.checked) chosen.add(run.name); else chosen.delete(run.name); count(); },
        });
        const row = element("tr", {}, element("td", {}, box), cells);
        return { item: run, row, text: row.textContent.toLowerCase() };
    });

    const compare = element("button", { id: "compare", type: "button", class: "primary", click: () => { location.href = report([...chosen]); } });
    const found = element("span", { id: "found", role: "status" });
    const count = () => {
        compare.textContent = chosen.size === 0 ? "Compare" : `Compare ${chosen.size}`;
        compare.disabled = chosen.size === 0;
    };

    const search = element("input", { id: "search", type: "search", input: () => filter() });
    const filter = () => {
        const words = search.value.toLowerCase().split(/\s+/);
        let shown = 0;
        for (const { row, text } of rows) {
            row.hidden = !words.every((word) => text.includes(word));
            shown += row.hidden ? 0 : 1;
        }
        found.textContent = `${number(shown)} of ${number(rows.length)} runs`;
    };

    const body = element("tbody");
    const { headers, sort } = thalweg.sortable(body, columns, rows);
    const head = element("tr", {}, element("th", { scope: "col" }, element("span", { class: "hidden" }, "compare")), headers);
    const table = element("table", { class: "table", id: "runs" }, element("thead", {}, head), body);
    main.append(
        ...notes.map((note) => element("p", { class: "note" }, note)),
        element("div", { class: "controls" }, element("label", {}, "Search", search), compare, found),
        runs.length > 0 ? element("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Runs" }, table) : element("p", {}, "No runs are here."),
        element("p", { class: "note" }, "Accuracies and losses are of the test part, or of the validation part where there is no other. Loading this page anew looks at the folder again."),
    );
    count();
    filter();
    const newest = columns.find((column) => column.name === "written");
    if (newest) sort(newest, true);
})();
