"""Makes curvature.json: what torch.func says of products with second derivatives.

    pip install torch && python tests/golden/curvature.py
"""
import json
from pathlib import Path

import torch
from torch.func import grad, jvp, vjp
from torch.nn import functional as f

torch.set_default_dtype(torch.float64)
torch.manual_seed(0)

ACTIVATIONS = {
    "identity": lambda z: z, "relu": f.relu, "gelu": f.gelu, "gelu_tanh": lambda z: f.gelu(z, approximate="tanh"),
    "silu": f.silu, "tanh": torch.tanh, "leaky_relu": f.leaky_relu, "elu": f.elu, "sigmoid": torch.sigmoid,
}
WIDTHS, SAMPLES = [4, 4, 4, 3], 7
NORMS = ["none", "layer", "batch"]


def names(norm):
    """The tensors' names in torch.nn.Sequential, with their shapes; running statistics apart."""
    found, statistics, number = {}, {}, 0
    for l, (inputs, outputs) in enumerate(zip(WIDTHS[:-1], WIDTHS[1:])):
        found[f"{number}.weight"], found[f"{number}.bias"] = (outputs, inputs), (outputs,)
        number += 2
        if norm != "none" and l + 2 < len(WIDTHS):
            found[f"{number - 1}.weight"], found[f"{number - 1}.bias"] = (outputs,), (outputs,)
            if norm == "batch":
                statistics[f"{number - 1}.running_mean"] = statistics[f"{number - 1}.running_var"] = (outputs,)
            number += 1
    return found, statistics


def network(w, statistics, x, activation, norm, residual):
    a, number = x, 0
    for l in range(len(WIDTHS) - 1):
        z = f.linear(a, w[f"{number}.weight"], w[f"{number}.bias"])
        number += 2
        if l + 2 == len(WIDTHS):
            return z
        if norm != "none":
            name = number - 1
            scale, shift = w[f"{name}.weight"], w[f"{name}.bias"]
            if norm == "layer":
                z = f.layer_norm(z, z.shape[1:], scale, shift)
            else:
                mean, variance = statistics[f"{name}.running_mean"], statistics[f"{name}.running_var"]
                z = f.batch_norm(z, mean, variance, scale, shift, training=False)
            number += 1
        a = ACTIVATIONS[activation](z) + (a if residual else 0)


def case(i, activation):
    norm, residual = NORMS[i % 3], i % 2 == 1
    found, statistics = names(norm)
    w = {name: torch.randn(shape) for name, shape in found.items()}
    v = {name: torch.randn(shape) for name, shape in found.items()}
    statistics = {
        name: torch.rand(shape) + 0.5 if name.endswith("var") else torch.randn(shape) for name, shape in statistics.items()
    }
    x = torch.randn(SAMPLES, WIDTHS[0])
    is_regression = i % 4 == 3
    targets = torch.randn(SAMPLES, WIDTHS[-1]) if is_regression else torch.randint(0, WIDTHS[-1], (SAMPLES,))
    of_outputs = (lambda z: f.mse_loss(z, targets)) if is_regression else (lambda z: f.cross_entropy(z, targets))
    outputs = lambda w: network(w, statistics, x, activation, norm, residual)
    gradient, products = vjp(grad(lambda w: of_outputs(outputs(w))), w)
    (hessian,) = products(v)
    z, moved = jvp(outputs, (w,), (v,))
    (curved,) = vjp(grad(of_outputs), z)[1](moved)
    (gauss_newton,) = vjp(outputs, w)[1](curved)
    flat = lambda tensors: {name: {"shape": list(t.shape), "values": t.flatten().tolist()} for name, t in tensors.items()}
    return {
        "activation": activation, "norm": norm, "residual": residual, "features": x.flatten().tolist(),
        ("values" if is_regression else "labels"): targets.flatten().tolist(),
        "weights": flat(w | statistics), "v": flat(v), "gradient": flat(gradient), "hessian": flat(hessian),
        "gauss_newton": flat(gauss_newton),
    }


cases = [case(i, activation) for i, activation in enumerate(ACTIVATIONS)]
Path(__file__).with_name("curvature.json").write_text(json.dumps({"torch": torch.__version__, "widths": WIDTHS, "cases": cases}))
