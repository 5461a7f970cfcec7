"""Seconds for a grid of points in a plane of weight space, 784-256-128-10 over Fashion-MNIST's test images: thalweg beside
what draws loss landscapes today.

    pip install torch loss-landscapes landscaper loss-landscape-3d safetensors
    python3 landscape.py PROGRAM RUN IMAGES LABELS [--grid 11] [--samples 10000] [--rounds 3]

PROGRAM is thalweg, RUN a run of that network on Fashion-MNIST, IMAGES and LABELS the two IDX files of the test part. All take
turns, round after round, on the CPU and with as many threads as there are; thalweg's seconds are those of the whole command, from
reading the images to writing the pictures, the others' begin with the images in memory.
"""
import argparse
import contextlib
import copy
import gzip
import io
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import landscaper.compute
import loss_landscapes
import numpy as np
import torch
from loss_landscape_3d.calculator import LossLandscapeCalculator
from loss_landscapes.metrics import Loss
from safetensors.torch import load_file
from torch.nn import functional as f

RADIUS = 1.0


def idx(path, header):
    data = Path(path).read_bytes()
    return np.frombuffer(gzip.decompress(data) if path.endswith(".gz") else data, np.uint8)[header:].copy()


def network(run):
    model = torch.nn.Sequential(
        torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10)
    )
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(Path(run) / "weights.safetensors").items()})
    return model.eval()


def filter_normalised(model):
    def direction(w):
        d = torch.randn_like(w)
        return d * (w.norm(dim=1, keepdim=True) / d.norm(dim=1, keepdim=True)) if w.dim() == 2 else torch.zeros_like(w)

    return [direction(w.detach()) for w in model.parameters()]


def outputs(w, x):
    return f.linear(f.relu(f.linear(f.relu(f.linear(x, w[0], w[1])), w[2], w[3])), w[4], w[5])


class Peers:
    def __init__(self, args):
        self.args, self.model = args, network(args.run)
        self.weights = [w.detach() for w in self.model.parameters()]
        images = idx(args.images, 16).reshape(-1, 784)[: args.samples]
        self.x = torch.from_numpy(images).float() / 255
        self.y = torch.from_numpy(idx(args.labels, 8)[: args.samples]).long()
        self.dx, self.dy = filter_normalised(self.model), filter_normalised(self.model)
        self.steps = torch.linspace(-RADIUS, RADIUS, args.grid)

    def thalweg(self):
        with tempfile.TemporaryDirectory() as out:
            grid = f"{self.args.grid}x{self.args.grid}"
            flags = ["--grid", grid, "--radius", str(RADIUS), "--samples", str(self.args.samples), "--part", "test"]
            command = [self.args.program, "landscape", self.args.run, *flags, "--device", "cpu", "--out", out]
            subprocess.run(command, check=True, capture_output=True)

    def torch_loop(self, batch=2048):
        with torch.inference_mode():
            for a in self.steps:
                for b in self.steps:
                    w = [w + a * dx + b * dy for w, dx, dy in zip(self.weights, self.dx, self.dy)]
                    for x, y in zip(self.x.split(batch), self.y.split(batch)):
                        z = outputs(w, x)
                        f.cross_entropy(z, y, reduction="sum").item()
                        (z.argmax(1) == y).sum().item()

    def torch_vmap(self, points=16, batch=512):
        def of_point(w, x, y):
            z = outputs(w, x)
            return f.cross_entropy(z, y, reduction="sum"), (z.argmax(1) == y).sum()

        plane = torch.cartesian_prod(self.steps, self.steps)
        with torch.inference_mode():
            for p in plane.split(points):
                at = lambda w, dx, dy: w + torch.tensordot(p[:, :1], dx[None], 1) + torch.tensordot(p[:, 1:], dy[None], 1)
                w = [at(*tensors) for tensors in zip(self.weights, self.dx, self.dy)]
                for x, y in zip(self.x.split(batch), self.y.split(batch)):
                    torch.func.vmap(of_point, in_dims=(0, None, None))(w, x, y)

    def loss_landscapes(self):
        metric = Loss(torch.nn.CrossEntropyLoss(), self.x, self.y)
        loss_landscapes.random_plane(copy.deepcopy(self.model), metric, RADIUS, self.args.grid, "filter", True)

    def landscaper(self):
        def loss(model, data):
            with torch.inference_mode():
                return f.cross_entropy(model(data[0]), data[1]).item()

        dirs = [[d.clone() for d in direction] for direction in (self.dx, self.dy)]
        model, data = copy.deepcopy(self.model), (self.x, self.y)
        landscaper.compute.compute_loss_landscape(model, data, dirs, loss, self.args.grid, RADIUS, 2, "cpu")

    def loss_landscape_3d(self):
        model, names = copy.deepcopy(self.model), list(self.model.state_dict())
        calculator = LossLandscapeCalculator(model, [(self.x, self.y)], torch.nn.CrossEntropyLoss())
        directions = [dict(zip(names, direction)) for direction in (self.dx, self.dy)]
        steps = self.steps.tolist()
        calculator.calculate(steps, steps, *directions, copy.deepcopy(model.state_dict()))


def main():
    parser = argparse.ArgumentParser()
    for name in ["program", "run", "images", "labels"]:
        parser.add_argument(name)
    for name, default in [("--grid", 11), ("--samples", 10_000), ("--rounds", 3)]:
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args()
    peers = Peers(args)
    names = ["thalweg", "torch_loop", "torch_vmap", "loss_landscapes", "landscaper", "loss_landscape_3d"]
    seconds = {name: [] for name in names}
    for _ in range(args.rounds):
        for name in names:
            start = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                getattr(peers, name)()
            seconds[name].append(time.perf_counter() - start)
    print(f"{args.grid}x{args.grid} points, {len(peers.x)} images, {torch.get_num_threads()} threads")
    for name, all_ in seconds.items():
        ratios = [other / own for other, own in zip(all_, seconds["thalweg"])]
        print(f"{name:18} {statistics.median(all_):8.2f} s  {statistics.median(ratios):6.2f} x thalweg's")


if __name__ == "__main__":
    main()
