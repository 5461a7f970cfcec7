// What every page has: reading its data, building elements, sections, tables, and writing numbers.
"use strict";

const thalweg = {};

// The data of this id, which the page carries.
thalweg.data = (id) => {
    const holder = document.getElementById(id);
    return holder ? JSON.parse(holder.textContent) : null;
};

// An element with attributes and children; text is text, never HTML. `class`, `for` and the like are attributes, functions listen.
thalweg.element = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (value === null || value === undefined || value === false) continue;
        if (typeof value === "function") element.addEventListener(name, value);
        else element.setAttribute(name, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
};

// The same in SVG.
thalweg.svg = (tag, attributes = {}, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.flat());
    return element;
};

// A section with a heading, at the end of the page and in its list of sections.
thalweg.section = (title, id) => {
    const section = thalweg.element("section", { id, "aria-labelledby": `${id}-title` },
        thalweg.element("h2", { id: `${id}-title` }, title));
    document.querySelector("main").append(section);
    document.querySelector("nav").append(thalweg.element("a", { href: `#${id}` }, title));
    return section;
};

// A number as it is read: four digits, in powers of ten where it is far from 1; "–" where there is none.
thalweg.number = (value, digits = 4) => {
    if (value === null || value === undefined || Number.isNaN(value)) return "–";
    if (typeof value !== "number") return String(value);
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
    if (Number.isInteger(value) && size < 1e9) return value.toLocaleString("en-US").replace("-", "−");
    const text = size >= 1e6 || size < 1e-3 ? value.toExponential(digits - 2) : String(Number(value.toPrecision(digits)));
    return text.replace("e+", "e").replaceAll("-", "−");
};

thalweg.percent = (value, digits = 1) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(digits)} %`);

// A table that scrolls in itself where it is too wide. A cell is text, a number or an element.
thalweg.table = (parent, header, rows, caption) => {
    const { element } = thalweg;
    const isNumber = header.map((_, i) => rows.some((row) => typeof row[i] === "number") && rows.every((row) => typeof row[i] === "number" || row[i] === "–"));
    const cell = (tag, value, i, scope) => element(tag, { scope, class: isNumber[i] ? "number" : null }, typeof value === "number" ? thalweg.number(value) : value ?? "");
    const head = header.map((name, i) => cell("th", name, i, "col"));
    const body = rows.map((row) => element("tr", {}, row.map((value, i) => cell("td", value, i))));
    const table = element("table", { class: "table" }, caption ? element("caption", {}, caption) : null,
        element("thead", {}, element("tr", {}, head)), element("tbody", {}, body));
    const label = caption ?? header.filter((name) => name !== "").join(", ");
    parent.append(element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${label}` }, table));
    return table;
};

// Headers that sort the rows of a table: numbers and text upwards, what is empty last, and the other way round the second time.
//   body      the table's tbody
//   columns   each { name, value(item), isNumber }
//   rows      each { item, row }
// Returns the `headers`, and `sort(column, isDescending)`.
thalweg.sortable = (body, columns, rows) => {
    const { element } = thalweg;
    const collator = new Intl.Collator(undefined, { numeric: true });
    const isEmpty = (value) => value === undefined || value === null;
    const sort = (column, isDescending) => {
        rows.sort((a, b) => {
            const [x, y] = [column.value(a.item), column.value(b.item)];
            if (isEmpty(x) || isEmpty(y)) return isEmpty(x) - isEmpty(y);
            const order = typeof x === "number" && typeof y === "number" ? x - y : collator.compare(x, y);
            return isDescending ? -order : order;
        });
        body.replaceChildren(...rows.map(({ row }) => row));
        headers.forEach((header, i) => {
            if (columns[i] === column) header.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
            else header.removeAttribute("aria-sort");
        });
    };
    const headers = columns.map((column) => {
        const header = element("th", { scope: "col", class: column.isNumber ? "number" : null });
        header.append(element("button", { type: "button", click: () => sort(column, header.getAttribute("aria-sort") === "ascending") }, column.name));
        return header;
    });
    return { headers, sort };
};

// The colour of a CSS variable as it is now.
thalweg.colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Calls `draw` now and whenever colours change: with the theme, and before and after printing.
thalweg.onTheme = (draw) => {
    for (const query of ["(prefers-color-scheme: dark)", "print"]) matchMedia(query).addEventListener("change", draw);
    window.addEventListener("beforeprint", draw);
    window.addEventListener("afterprint", draw);
};
