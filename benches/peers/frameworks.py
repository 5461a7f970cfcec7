"""thalweg beside PyTorch and JAX: the same networks, batches and SGD, alternating turn by turn.

Build the peers first (`cargo run --release -- --help`); thalweg runs in their process. Both frameworks are given all
batches as tensors on their device, normalised beforehand, and are waited for only at the end of a turn; thalweg gathers
and normalises within its step. The last columns are ratios to thalweg: above 1, thalweg is faster.
"""

import argparse
import contextlib
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

try:
    import numpy as np
except ImportError:
    sys.exit("numpy is missing: pip install numpy")

NETWORKS = {3072: [3072, 512, 256, 10], 784: [784, 256, 128, 10]}
SAMPLES, MOST_BATCHES, CLASSES = 4096, 64, 10
LR, MOMENTUM = 1e-3, 0.9
# Steps on one batch, at a rate at which their losses must fall by a hundredth.
CHECK_STEPS, CHECK_LR, CHECK_FALL = 5, 1e-2, 0.01
TURN, ENOUGH = 0.3, 0.05


class Task:
    """One network at one batch size: its batches and its first weights, the same for every framework."""

    def __init__(self, widths, rows):
        self.widths, self.rows = widths, rows
        i = np.arange(SAMPLES * widths[0], dtype=np.uint64)
        pixels = ((i * np.uint64(2654435761)) >> np.uint64(7)).astype(np.uint8).astype(np.float64)
        x = ((pixels - pixels.mean()) / pixels.std()).astype(np.float32)
        count = min(SAMPLES // rows, MOST_BATCHES)
        self.x = x[: count * rows * widths[0]].reshape(count, rows, widths[0])
        self.labels = (np.arange(count * rows) % CLASSES).reshape(count, rows)
        draw = np.random.default_rng(0).standard_normal
        # Weights (outputs, inputs) and biases.
        self.params = [
            (draw((b, a)).astype(np.float32) * np.float32(math.sqrt(2 / a)), np.zeros(b, np.float32))
            for a, b in zip(widths, widths[1:])
        ]


class Thalweg:
    """An engine of thalweg in a process of the peers, which checks its losses itself."""

    def __init__(self, task, program, peer):
        command = [program, "serve", peer, str(task.widths[0]), str(task.rows)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        kind, _, self.description = self.answer().partition(" ")
        if kind != "ready":
            raise RuntimeError(f"{peer} is not ready: {kind} {self.description}")

    def answer(self):
        for line in self.process.stdout:
            if line.startswith("> "):
                return line[2:].strip()
        raise RuntimeError("thalweg's process ended without an answer")

    def run(self, steps):
        print(steps, file=self.process.stdin, flush=True)
        return float(self.answer())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Torch:
    """PyTorch, eager or compiled, in f32 or under autocast, its steps launched one by one or as a CUDA graph."""

    def __init__(self, task, torch, device, compiled=False, dtype=None, graph=False):
        self.torch, self.device = torch, device
        layers = []
        for weight, bias in task.params:
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight))
                linear.bias.copy_(torch.from_numpy(bias))
            layers += [linear, torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*layers[:-1]).to(device)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LR, momentum=MOMENTUM)
        x, labels = torch.from_numpy(task.x).to(device), torch.from_numpy(task.labels).to(device)
        self.batches = list(zip(x.unbind(), labels.unbind()))
        # float16's small gradients need a scaler; it looks at them, and so waits for the device, in every step.
        self.scaler = torch.amp.GradScaler() if dtype == torch.float16 else None

        def loss(x, labels):
            with torch.autocast(device, dtype) if dtype else contextlib.nullcontext():
                return torch.nn.functional.cross_entropy(self.model(x), labels)

        if compiled:
            # What was compiled for other networks and batches counts towards a limit, after which it would run eagerly.
            torch.compiler.reset()
        self.loss = torch.compile(loss, fullgraph=True) if compiled else loss
        # Through a function of its own, as PyTorch's recipe has it: `step` itself is wrapped by a profiler's hook.
        self.update = torch.compile(lambda: self.optimizer.step()) if compiled else self.optimizer.step
        self.next = 0
        losses = []
        self.rate(CHECK_LR)
        for _ in range(CHECK_STEPS):
            losses.append(self.step(*self.batches[0]).item())
        check(losses)
        self.rate(LR)
        self.graph = self.capture() if graph else None
        mode = ", ".join(["compiled" if compiled else "eager", str(dtype or torch.float32).removeprefix("torch.")])
        where = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
        self.description = f"PyTorch {torch.__version__}, {where}, {mode}{', CUDA graph' if graph else ''}"

    def rate(self, lr):
        for group in self.optimizer.param_groups:
            group["lr"] = lr

    def step(self, x, labels):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(x, labels)
        if self.scaler:
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
        else:
            loss.backward()
            self.update()
        return loss

    def capture(self):
        """A whole step on a batch that is copied in first."""
        torch = self.torch
        self.static = [tensor.clone() for tensor in self.batches[0]]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.step(*self.static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        self.optimizer.zero_grad(set_to_none=True)
        with torch.cuda.graph(graph):
            self.step(*self.static)
        return graph

    def run(self, steps):
        start = time.perf_counter()
        for _ in range(steps):
            x, labels = self.batches[self.next]
            self.next = (self.next + 1) % len(self.batches)
            if self.graph:
                self.static[0].copy_(x)
                self.static[1].copy_(labels)
                self.graph.replay()
            else:
                self.step(x, labels)
        if self.device == "cuda":
            self.torch.cuda.synchronize()
        return time.perf_counter() - start

    def close(self):
        pass


class Jax:
    """JAX: a turn is one jitted `lax.scan` over its steps."""

    def __init__(self, task, jax):
        self.jax = jax
        jnp = jax.numpy
        xs, all_labels = jnp.asarray(task.x), jnp.asarray(task.labels, jnp.int32)
        count = len(task.x)
        # Weights (inputs, outputs).
        params = [(jnp.asarray(weight.T), jnp.asarray(bias)) for weight, bias in task.params]
        velocity = jax.tree.map(jnp.zeros_like, params)

        def loss(params, x, labels):
            for weight, bias in params[:-1]:
                x = jax.nn.relu(x @ weight + bias)
            weight, bias = params[-1]
            log_p = jax.nn.log_softmax(x @ weight + bias)
            return -jnp.take_along_axis(log_p, labels[:, None], 1).mean()

        def step(xs, all_labels, lr, state, i):
            params, velocity = state
            value, gradient = jax.value_and_grad(loss)(params, xs[i], all_labels[i])
            velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
            params = jax.tree.map(lambda p, v: p - lr * v, params, velocity)
            return (params, velocity), value

        def scan(state, xs, all_labels, lr, order):
            return jax.lax.scan(lambda state, i: step(xs, all_labels, lr, state, i), state, order)

        # The batches are arguments: as constants they would be compiled into the program.
        scan = jax.jit(scan, donate_argnums=0)
        self.scan = lambda state, lr, order: scan(state, xs, all_labels, jnp.float32(lr), jnp.asarray(order))
        self.orders = lambda steps: np.arange(steps, dtype=np.int32) % count
        self.compiled = set()
        self.state, losses = self.scan((params, velocity), CHECK_LR, np.zeros(CHECK_STEPS, np.int32))
        check(losses.tolist())
        device = jax.devices()[0]
        self.description = f"JAX {jax.__version__} on {device.device_kind}, one scan a turn"

    def run(self, steps):
        order = self.orders(steps)
        if steps not in self.compiled:
            # A scan of another length is another program.
            self.compiled.add(steps)
            self.turn(order)
        return self.turn(order)

    def turn(self, order):
        start = time.perf_counter()
        self.state, losses = self.scan(self.state, LR, order)
        self.jax.block_until_ready((self.state, losses))
        return time.perf_counter() - start

    def close(self):
        pass


def check(losses):
    """Refuses what does not train."""
    if not losses[-1] < (1 - CHECK_FALL) * losses[0]:
        raise RuntimeError(f"expected losses that fall, found {losses}")


def missing(name):
    """The module, or None and a line that says so."""
    try:
        module = __import__(name)
        return __import__("jax.numpy") if name == "jax" else module
    except ImportError as error:
        print(f"{name} is missing and left out ({error}): pip install {name}", file=sys.stderr)
        return None


def contenders(args):
    """Each by its name, as a function from a task; thalweg first."""
    torch, jax = missing("torch"), missing("jax")
    cuda = torch is not None and torch.cuda.is_available()
    gpu = args.device == "gpu" or (args.device == "auto" and cuda)
    peer = "thalweg-gpu" if gpu else "thalweg-cpu"
    found = {"thalweg": lambda task: Thalweg(task, args.program, peer)}
    if torch and gpu and not cuda:
        print("torch is left out: it finds no CUDA device", file=sys.stderr)
    elif torch:
        device = "cuda" if gpu else "cpu"
        found["torch"] = lambda task: Torch(task, torch, device)
        found["torch-compile"] = lambda task: Torch(task, torch, device, compiled=True)
        if gpu:
            found["thalweg-mixed"] = lambda task: Thalweg(task, args.program, "thalweg-mixed")
            found["torch-graph"] = lambda task: Torch(task, torch, device, graph=True)
            found["torch-graph-bf16"] = lambda task: Torch(task, torch, device, dtype=torch.bfloat16, graph=True)
            found["torch-f16"] = lambda task: Torch(task, torch, device, dtype=torch.float16)
    if jax and gpu and jax.default_backend() == "cpu":
        print("jax is left out: it finds no GPU", file=sys.stderr)
    elif jax:
        if not gpu:
            jax.config.update("jax_platforms", "cpu")
        found["jax"] = lambda task: Jax(task, jax)
    wanted = args.contenders or list(found)
    for name in wanted:
        if name not in found:
            print(f"--contenders: expected some of {', '.join(found)}, found {name}", file=sys.stderr)
    return {name: make for name, make in found.items() if name in wanted or name == "thalweg"}


def turn_length(runner):
    """Steps of about TURN seconds."""
    for _ in range(2):
        runner.run(1)
    steps = 1
    while (seconds := runner.run(steps)) < ENOUGH:
        # JAX compiles each length anew, so there are few of them.
        steps *= 8
    return max(1, round(TURN * steps / seconds))


def measure(task, makers, rounds):
    """Milliseconds a step of each contender, one a round; None where it failed."""
    runners, lengths, times, descriptions = {}, {}, {}, {}
    for name, make in makers.items():
        try:
            runners[name] = make(task)
            lengths[name] = turn_length(runners[name])
            # JAX compiles a scan of the final length here.
            runners[name].run(lengths[name])
            times[name], descriptions[name] = [], runners[name].description
        except Exception as error:  # Whatever went wrong in one must not end the others.
            times[name], descriptions[name] = None, f"failed: {str(error).splitlines()[0] if str(error) else error!r}"
    for _ in range(rounds):
        for name in makers:
            if times[name] is not None:
                times[name].append(1e3 * runners[name].run(lengths[name]) / lengths[name])
    for runner in runners.values():
        runner.close()
    return times, descriptions


def cell(times):
    if times is None:
        return "failed"
    return f"{statistics.median(times):#.3g} ({min(times):#.3g}-{max(times):#.3g})"


def ratios(times, base):
    """Of each round, since the machine's moods last longer than one."""
    return None if times is None or base is None else statistics.median(a / b for a, b in zip(times, base))


def text(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(entry.ljust(width) for entry, width in zip(row, widths)).rstrip() for row in rows)


def numbers(option, most):
    def parse(value):
        found = [int(item) for item in value.split(",") if item.strip().isdigit()]
        if len(found) != len(value.split(",")) or not all(1 <= n <= most for n in found):
            raise argparse.ArgumentTypeError(f"expected numbers from 1 to {most}, found {value!r}")
        return found

    parse.__name__ = option
    return parse


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=numbers("networks", 3072), default=list(NETWORKS), help="by their inputs")
    parser.add_argument("--batches", type=numbers("batches", SAMPLES), default=[1, 8, 32, 128, 512, 2048])
    parser.add_argument("--contenders", type=lambda value: value.split(","), help="which to measure; default: all")
    parser.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto", help="auto: gpu if there is CUDA")
    parser.add_argument("--rounds", type=int, default=5)
    program = Path(__file__).parent / "target" / "release" / "peers"
    parser.add_argument("--program", default=str(program), help="the compiled peers; default: %(default)s")
    parser.add_argument("--json", type=argparse.FileType("w"), help="also writes all numbers there")
    args = parser.parse_args()
    for inputs in args.networks:
        if inputs not in NETWORKS:
            parser.error(f"--networks: expected {' or '.join(map(str, NETWORKS))}, found {inputs}")
    if args.rounds < 1:
        parser.error(f"--rounds: expected a number from 1, found {args.rounds}")
    if not Path(args.program).is_file():
        parser.error(f"--program: expected the compiled peers (cargo build --release), found no {args.program}")

    makers = contenders(args)
    others = [name for name in makers if name != "thalweg"]
    cells = []
    for inputs in args.networks:
        widths = NETWORKS[inputs]
        rows, notes = [["batch", *makers, *(f"{name}/thalweg" for name in others), "best/thalweg"]], {}
        for batch in args.batches:
            print(f"{inputs}, batch {batch}", file=sys.stderr)
            times, descriptions = measure(Task(widths, batch), makers, args.rounds)
            over = {name: ratios(times[name], times["thalweg"]) for name in others}
            # The better of the frameworks is the one with the least median, over the whole measurement.
            known = [name for name in others if over[name] is not None]
            best = min(known, key=lambda name: statistics.median(times[name]), default=None)
            entries = [f"{over[name]:.2f}" if over[name] else "-" for name in others]
            rows.append([str(batch), *(cell(times[name]) for name in makers), *entries, f"{over[best]:.2f}" if best else "-"])
            for name, description in descriptions.items():
                failed = description.startswith("failed")
                notes.setdefault(f"{name} at {batch}" if failed else name, description)
            for name in makers:
                cells.append({"network": inputs, "batch": batch, "contender": name, "description": descriptions[name],
                              "rounds_ms": times[name], "ratio": over.get(name)})
        print(f"{'-'.join(map(str, widths))}: ms a step, median (least-most)")
        print(text(rows))
        print("".join(f"{name}: {note}\n" for name, note in notes.items()))
    if args.json:
        json.dump(cells, args.json, indent=2)


if __name__ == "__main__":
    main()
