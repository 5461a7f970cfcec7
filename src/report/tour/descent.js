// Gradient descent on surfaces of two parameters, by the formulas of `thalweg descend`; a test compares the two.
"use strict";

thalweg.tour = { data: thalweg.data("tour"), figures: {} };

(() => {
    const { tour } = thalweg;
    const { draws, surfaces } = tour.data;

    // How far the line of w is above example i, and the example's t.
    const residual = (i, [x, y]) => {
        const [t, s] = draws.examples[i];
        return [x + y * t - s, t];
    };
    const exampleGradient = (i, w) => {
        const [r, t] = residual(i, w);
        return [r, r * t];
    };
    const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
    const meanGradient = (examples, w) => {
        const gradients = examples.map((i) => exampleGradient(i, w));
        return [0, 1].map((axis) => mean(gradients.map((g) => g[axis])));
    };
    const everyExample = draws.examples.map((_, i) => i);

    const FORMULAS = {
        bowl: { value: ([x, y]) => (x * x + y * y) / 2, gradient: ([x, y]) => [x, y] },
        valley: { value: ([x, y]) => (x * x + 100 * y * y) / 2, gradient: ([x, y]) => [x, 100 * y] },
        rosenbrock: {
            value: ([x, y]) => (1 - x) ** 2 + 100 * (y - x * x) ** 2,
            gradient: ([x, y]) => [-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)],
        },
        saddle: {
            value: ([x, y]) => (x * x) / 2 + (y * y - 1) ** 2 / 4,
            gradient: ([x, y]) => [x, y * (y * y - 1)],
        },
        himmelblau: {
            value: ([x, y]) => (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2,
            gradient: ([x, y]) => {
                const a = x * x + y - 11, b = x + y * y - 7;
                return [4 * x * a + 2 * b, 2 * a + 4 * y * b];
            },
        },
        rastrigin: {
            value: (w) => 20 + w.reduce((sum, c) => sum + c * c - 10 * Math.cos(2 * Math.PI * c), 0),
            gradient: (w) => w.map((c) => 2 * c + 20 * Math.PI * Math.sin(2 * Math.PI * c)),
        },
        wells: {
            value: ([x, y]) => ((x * x - 1) ** 2 * ((x + 1.3) ** 2 + 0.2)) / 8 + (y * y) / 2,
            gradient: ([x, y]) => {
                const q = x * x - 1, sharpness = (x + 1.3) ** 2 + 0.2;
                return [(q * (4 * x * sharpness + 2 * q * (x + 1.3))) / 8, y];
            },
        },
        regression: {
            value: (w) => mean(everyExample.map((i) => residual(i, w)[0] ** 2 / 2)),
            gradient: (w) => meanGradient(everyExample, w),
        },
    };

    // The surface of this name: what the page's data say of it, with its value and gradient.
    tour.surface = (name) => ({ name, ...surfaces[name], ...FORMULAS[name] });

    // The distance to the nearest of the lowest points.
    tour.distance = (surface, [x, y]) => Math.min(...surface.minima.map(([a, b]) => Math.hypot(x - a, y - b)));

    // The rules: each changes a weight by its gradient g, with a state of its own; t counts updates from 1.
    const RULES = {
        sgd: (s, g, { lr, momentum = 0 }) => {
            s.v = momentum * (s.v ?? 0) + g;
            return -lr * s.v;
        },
        rmsprop: (s, g, { lr, momentum = 0, alpha = 0.99 }) => {
            s.v = alpha * (s.v ?? 0) + (1 - alpha) * g * g;
            s.b = momentum * (s.b ?? 0) + g / (Math.sqrt(s.v) + 1e-8);
            return -lr * s.b;
        },
        adam: (s, g, { lr, betas = [0.9, 0.999] }, t) => {
            s.m = betas[0] * (s.m ?? 0) + (1 - betas[0]) * g;
            s.v = betas[1] * (s.v ?? 0) + (1 - betas[1]) * g * g;
            const divisor = Math.sqrt(s.v) / Math.sqrt(1 - betas[1] ** t) + 1e-8;
            return ((-lr / (1 - betas[0] ** t)) * s.m) / divisor;
        },
    };

    // The gradient that a step sees: of all examples or of the batch whose turn it is, with noise where there is some.
    const seenGradient = (surface, { batch, noise = 0, seed = 0 }, step, w) => {
        let g = surface.gradient(w);
        if (batch && batch < everyExample.length) {
            const perEpoch = Math.ceil(everyExample.length / batch);
            const first = (step % perEpoch) * batch;
            g = meanGradient(draws.orders[Math.floor(step / perEpoch)].slice(first, first + batch), w);
        }
        return noise > 0 ? g.map((g, axis) => g + noise * draws.noise[seed][step][axis]) : g;
    };

    // Descends by `plan`: { optimizer, lr, momentum, gamma (of an exponential decay), steps, start, batch, noise, seed }.
    // Returns { points: [{ w, value }], finite }, as `thalweg descend --json` does.
    tour.descend = (surface, plan) => {
        const rule = RULES[plan.optimizer ?? "sgd"];
        const states = [{}, {}];
        const points = [];
        let w = plan.start ?? surface.start;
        for (let step = 0; step <= plan.steps; step++) {
            const value = surface.value(w);
            if (![...w, value, ...surface.gradient(w)].every(Number.isFinite)) return { points, finite: false };
            points.push({ w, value });
            if (step === plan.steps) break;
            const g = seenGradient(surface, plan, step, w);
            const rates = { ...plan, lr: plan.lr * (plan.gamma ?? 1) ** step };
            w = w.map((c, axis) => c + rule(states[axis], g[axis], rates, step + 1));
        }
        return { points, finite: true };
    };

    // The command that makes the same at home.
    tour.descendCommand = (surface, plan) => {
        const words = [`thalweg descend --surface ${surface.name}`];
        if (plan.optimizer && plan.optimizer !== "sgd") words.push(`--optimizer ${plan.optimizer}`);
        words.push(`--lr ${plan.lr}`);
        if (plan.momentum) words.push(`--momentum ${plan.momentum}`);
        if (plan.gamma && plan.gamma !== 1) words.push(`--schedule exponential --set schedule.gamma=${plan.gamma}`);
        if (plan.batch && plan.batch < everyExample.length) words.push(`--batch ${plan.batch}`);
        if (plan.noise) words.push(`--noise ${plan.noise}`);
        if (plan.noise && plan.seed) words.push(`--seed ${plan.seed}`);
        if (plan.start && String(plan.start) !== String(surface.start)) words.push(`--start ${plan.start.join(",")}`);
        words.push(`--steps ${plan.steps}`);
        return words.join(" ");
    };
})();
