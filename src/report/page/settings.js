// Settings beside their defaults.
"use strict";

(() => {
    const { element, section, table } = thalweg;

    // The value of a setting as text.
    thalweg.shown = (value) => (value === null || value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value));

    // Adds a section with `settings`, each with its `key`, `value`, `default`, and whether it `differs`.
    thalweg.settings = (settings) => {
        const here = section("Settings", "settings");
        const rows = (all) => all.map((row) => [row.key, thalweg.shown(row.value), thalweg.shown(row.default)]);
        const differing = settings.filter((row) => row.differs);
        here.append(element("p", {}, differing.length > 0 ? "What differs from the defaults:" : "Everything is at its default."));
        if (differing.length > 0) table(here, ["setting", "value", "default"], rows(differing), "Settings that differ");
        const details = element("details", {}, element("summary", {}, "All settings"));
        here.append(details);
        table(details, ["setting", "value", "default"], rows(settings), "All settings");
    };
})();
