// The page of a run while it goes on: its state, told by the server as it changes, and two buttons.
"use strict";

(() => {
    const { element, number, table } = thalweg;
    const main = document.querySelector("main");
    // Drawing takes at most a fiftieth of the time, since the run may need the same processor.
    const REST = 50;

    const status = element("p", { id: "status", role: "status" }, "Waiting for the run.");
    const progress = element("progress", { id: "progress", max: "1", value: "0", "aria-label": "Share of the run's steps" });
    const numbers = element("dl", { id: "numbers", class: "numbers" });
    const answer = element("p", { id: "answer", class: "note", role: "status" });

    // Asks the run for something, with the token that this page's address bears.
    const ask = async (path, button) => {
        button.disabled = true;
        try {
            const token = new URLSearchParams(location.search).get("token");
            const reply = await fetch(path, { method: "POST", headers: { Authorization: `Bearer ${token}` } });
            const text = await reply.text();
            answer.textContent = reply.ok ? `Asked: ${text}` : `Refused: ${text}`;
        } catch {
            answer.textContent = "The run could not be reached.";
        }
        button.disabled = over || (button === stop && isStopping);
    };
    const stop = element("button", { id: "stop", type: "button", click: () => ask("stop", stop) }, "Stop the run");
    const checkpoint = element("button", { id: "checkpoint", type: "button", click: () => ask("checkpoint", checkpoint) }, "Write a checkpoint");
    main.append(status, progress, numbers, element("div", { class: "controls" }, stop, checkpoint), answer);

    const end = element("section", { id: "end", "aria-labelledby": "end-title", hidden: true });
    main.append(end);
    const facts = element("div", { id: "facts" });
    main.append(facts);

    let over = false, isStopping = false, curves = null, section = null;

    const duration = (seconds) => {
        if (seconds === null) return "–";
        const [h, m, s] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
        return h > 0 ? `${h} h ${m} min` : m > 0 ? `${m} min ${s} s` : `${s} s`;
    };

    // What changes with every step, in words.
    const tell = ({ now, asked, end: ended }) => {
        isStopping = asked;
        const share = now.steps > 0 ? now.step / now.steps : 0;
        progress.value = share;
        const shown = [
            ["epoch", now.epochs > 0 ? `${number(now.epoch + 1)} of ${number(now.epochs)}` : null], ["step", `${number(now.step)} of ${number(now.steps)}`],
            ["loss", now.loss === null ? null : number(now.loss)], ["accuracy", now.accuracy === null ? null : number(now.accuracy)],
            ["learning rate", now.lr === null ? null : number(now.lr)],
            ["samples/s", now.samples_per_second === null ? null : number(Math.round(now.samples_per_second))],
            ["left", ended || now.seconds_left === null ? null : duration(now.seconds_left)],
            ["checkpoint", now.checkpoint === null ? null : `after step ${number(now.checkpoint)}`],
        ].filter(([, value]) => value !== null);
        numbers.replaceChildren(...shown.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", { "data-of": name }, value))));
        const state = ended ? "Over" : asked ? "Stopping" : now.step > 0 ? "Training" : "Starting";
        // Only a change is read out.
        if (status.textContent !== `${state}.`) status.textContent = `${state}.`;
        document.title = `${state === "Training" ? `${Math.floor(100 * share)} %` : state} – thalweg`;
        stop.disabled = asked || Boolean(ended);
    };

    const finish = ({ text, table: rows }) => {
        over = true;
        source?.close();
        stop.disabled = checkpoint.disabled = true;
        end.hidden = false;
        end.replaceChildren(element("h2", { id: "end-title" }, "The end"), element("p", { id: "ended" }, text));
        if (rows.length > 1) table(end, rows[0], rows.slice(1).map((row) => row.map((cell) => (/^[0-9.]+$/.test(cell) ? Number(cell) : cell))), "Last evaluation");
        end.append(element("p", { class: "note" }, "The server has ended with the run; this page stays as it is until it is closed or loaded anew. thalweg report writes one that lasts."));
    };

    const draw = ({ now, history }) => {
        if (facts.childElementCount === 0 && now.facts.length > 0) table(facts, ["", "value"], now.facts, "What is trained");
        section ??= thalweg.section("Curves", "curves");
        const runs = [{ name: "run", history }];
        if (curves) curves.update(runs);
        else if (history.curves.length > 0) curves = thalweg.curves(section, runs);
    };

    // Draws the newest state when the time for that has come.
    let newest = null, timer = null, next = 0;
    const drawNewest = () => {
        clearTimeout(timer);
        timer = null;
        const began = performance.now();
        draw(newest);
        next = performance.now() + REST * (performance.now() - began);
    };
    const hear = (state) => {
        newest = state;
        tell(state);
        if (state.end) {
            finish(state.end);
            drawNewest();
        } else timer ??= setTimeout(drawNewest, Math.max(0, next - performance.now()));
    };

    // The browser connects anew by itself; a page that nobody sees listens to nothing.
    let source = null;
    const listen = () => {
        source = new EventSource(`events${location.search}`);
        source.addEventListener("state", (event) => hear(JSON.parse(event.data)));
        source.addEventListener("error", () => {
            status.textContent = source.readyState === EventSource.CLOSED
                ? "Nothing is told here any more: the run that this page showed is over."
                : "The connection is lost: trying again. The run may be over, or its machine out of reach.";
        });
    };
    document.addEventListener("visibilitychange", () => {
        if (over) return;
        source?.close();
        if (!document.hidden) listen();
    });
    if (!document.hidden) listen();
})();
