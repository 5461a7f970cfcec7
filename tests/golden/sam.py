"""Makes sam.json: some steps of sharpness-aware minimisation around PyTorch's optimizers, in double precision.

    python tests/golden/sam.py > tests/golden/sam.json

The ascent follows the papers (Foret et al., 2021; Kwon et al., 2021) and the code of the second: T = |w| + 0.01 for every
parameter, and the norm that of all parameters together.
"""

import json

import torch

torch.manual_seed(0)
torch.set_default_dtype(torch.float64)
ETA, STEPS = 0.01, 4
inputs, hidden, outputs, rows = 3, 5, 2, 8
x = torch.randn(rows, inputs)
labels = torch.randint(0, outputs, (rows,))


def flat(model):
    return {name: value.detach().flatten().tolist() for name, value in model.state_dict().items()}


def ascend(model, rho, adaptive):
    """Moves the weights up, and returns what they were."""
    parameters = list(model.parameters())
    before = [p.detach().clone() for p in parameters]
    sizes = [p.abs() + ETA if adaptive else torch.ones_like(p) for p in before]
    norm = torch.sqrt(sum(((t * p.grad) ** 2).sum() for t, p in zip(sizes, parameters)))
    with torch.no_grad():
        for t, p in zip(sizes, parameters):
            p.add_(rho * t**2 * p.grad / norm)
    return before


def train(optimizer, rho, adaptive):
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(inputs, hidden), torch.nn.Tanh(), torch.nn.Linear(hidden, outputs))
    first, step, losses = flat(model), optimizer(model.parameters()), []
    for _ in range(STEPS):
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        losses.append(loss.item())
        step.zero_grad()
        loss.backward()
        before = ascend(model, rho, adaptive)
        step.zero_grad()
        torch.nn.functional.cross_entropy(model(x), labels).backward()
        with torch.no_grad():
            for p, w in zip(model.parameters(), before):
                p.copy_(w)
        step.step()
    return {"first": first, "last": flat(model), "losses": losses}


OPTIMIZERS = {
    "sgd": lambda w: torch.optim.SGD(w, lr=0.5, momentum=0.9, weight_decay=0.01),
    "adam": lambda w: torch.optim.Adam(w, lr=0.05, eps=1e-2),
}
cases = [
    {"optimizer": name, "rho": rho, "adaptive": adaptive, **train(optimizer, rho, adaptive)}
    for name, optimizer in OPTIMIZERS.items()
    for rho, adaptive in [(0.1, False), (0.5, True)]
]
print(json.dumps({"x": x.flatten().tolist(), "labels": labels.tolist(), "cases": cases}, indent=1))
