"""Makes spectra.json: eigenvalues of Hessians and Gauss-Newton matrices of small networks, by PyTorch and NumPy in f64.

Weights, features and targets are those that tests/library/curvature.rs makes.

    pip install torch numpy && python tests/golden/spectra.py
"""

import json
import pathlib

import numpy as np
import torch
from torch.func import functional_call, hessian, jacrev

SAMPLES = 24


def features(width):
    i = np.arange(SAMPLES * width)
    return torch.tensor((i * 37 % 101).astype(np.float32) / np.float32(64) - np.float32(0.75)).double().reshape(SAMPLES, width)


def labels(classes):
    return torch.tensor([i * 7 % 11 % classes for i in range(SAMPLES)])


def values(outputs):
    i = np.arange(SAMPLES * outputs)
    return torch.tensor((i * 29 % 31).astype(np.float32) / np.float32(16) - np.float32(1)).double().reshape(SAMPLES, outputs)


def case(name, widths, activation, loss):
    layers = []
    for inputs, outputs in zip(widths, widths[1:]):
        layers += [torch.nn.Linear(inputs, outputs, dtype=torch.float64), activation()]
    model = torch.nn.Sequential(*layers[:-1])
    shapes = {key: value.shape for key, value in model.state_dict().items()}
    sizes = [shape.numel() for shape in shapes.values()]
    flat = torch.tensor(np.sin(0.7 * np.arange(sum(sizes))) * 0.6)
    x = features(widths[0])
    y = labels(widths[-1]) if loss is torch.nn.functional.cross_entropy else values(widths[-1])

    def outputs(flat):
        parts = dict(zip(shapes, [part.reshape(shape) for part, shape in zip(flat.split(sizes), shapes.values())]))
        return functional_call(model, parts, (x,))

    h = hessian(lambda flat: loss(outputs(flat), y))(flat)
    j = jacrev(outputs)(flat).reshape(-1, flat.numel())
    by_outputs = hessian(lambda z: loss(z, y))(outputs(flat))
    g = j.T @ by_outputs.reshape(j.shape[0], j.shape[0]) @ j
    weights = torch.cat([torch.full((size,), len(shape) == 2) for size, shape in zip(sizes, shapes.values())])
    eigenvalues = lambda m: np.linalg.eigvalsh(m.numpy())[::-1].tolist()
    return {
        "name": name,
        "widths": widths,
        "loss": loss(outputs(flat), y).item(),
        "hessian": eigenvalues(h),
        "gauss_newton": eigenvalues(g),
        "weights_only": eigenvalues(h[weights][:, weights]),
    }


cases = [
    case("tanh", [8, 16, 12, 5], torch.nn.Tanh, torch.nn.functional.cross_entropy),
    case("gelu", [6, 10, 8, 3], torch.nn.GELU, torch.nn.functional.mse_loss),
]
path = pathlib.Path(__file__).with_name("spectra.json")
path.write_text(json.dumps(cases) + "\n")
