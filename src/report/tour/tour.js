// Puts every figure where the text names it, fills numbers into the text, and lists the sections.
"use strict";

(() => {
    const { element, tour } = thalweg;
    document.querySelectorAll("[data-of]").forEach(tour.fill);
    const contents = element("ol");
    document.querySelector("nav").append(contents);
    document.querySelectorAll("main section").forEach((section) => {
        const heading = section.querySelector("h2");
        heading.id = `${section.id}-title`;
        section.setAttribute("aria-labelledby", heading.id);
        contents.append(element("li", {}, element("a", { href: `#${section.id}` }, heading.textContent)));
    });
    document.querySelectorAll("[data-figure]").forEach((holder) => {
        const caption = element("span", {}, ...holder.childNodes);
        holder.replaceWith(...draw(holder.dataset.figure, caption));
    });

    // The figures of a name, in the order in which they are drawn.
    function draw(name, caption) {
        const parent = element("div");
        document.body.append(parent);
        tour.figures[name](parent, caption);
        parent.remove();
        return parent.childNodes;
    }
})();
