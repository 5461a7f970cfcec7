"""Makes scores.json: what PyTorch and scikit-learn say of weighted losses and of predictions.

    pip install torch scikit-learn && python tests/golden/scores.py
"""
import json
from pathlib import Path

import numpy as np
import torch
from sklearn import metrics
from sklearn.utils.class_weight import compute_class_weight

rng = np.random.default_rng(0)


def weighted_loss(smoothing):
    z = torch.tensor(rng.normal(size=(6, 5)) * 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 2, 2, 4, 1, 0])
    weight = torch.tensor([0.5, 2.0, 1.5, 0.0, 3.0], dtype=torch.float64)
    loss = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=smoothing)(z, labels)
    loss.backward()
    return {
        "smoothing": smoothing, "z": z.detach().flatten().tolist(), "labels": labels.tolist(), "weight": weight.tolist(),
        "loss": loss.item(), "dz": z.grad.flatten().tolist(),
    }


def calibration_error(probabilities, labels, bins=15):
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    edges, error = np.linspace(0, 1, bins + 1), 0.0
    for low, high in zip(edges[:-1], edges[1:]):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return error


def classes(count, samples):
    labels = rng.integers(0, count - 1, samples)  # the last class has no samples
    z = rng.normal(size=(samples, count)) + 1.5 * np.eye(count)[labels]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    names = range(count)
    each = metrics.precision_recall_fscore_support(labels, z.argmax(1), labels=names, zero_division=0)
    return {
        "z": z.flatten().tolist(), "labels": labels.tolist(),
        "confusion": metrics.confusion_matrix(labels, z.argmax(1), labels=names).tolist(),
        "precision": each[0].tolist(), "recall": each[1].tolist(), "f1": each[2].tolist(), "support": each[3].tolist(),
        "calibration_error": calibration_error(p, labels),
        "top5": metrics.top_k_accuracy_score(labels, z, k=5, labels=names),
        "balanced": compute_class_weight("balanced", classes=np.unique(labels), y=labels).tolist(),
    }


def values(width):
    targets = rng.normal(size=(40, width)) * 100 + 3e5
    said = targets + rng.normal(size=(40, width)) * 30
    each = {"multioutput": "raw_values"}
    return {
        "width": width, "targets": targets.flatten().tolist(), "said": said.flatten().tolist(),
        "rmse": metrics.root_mean_squared_error(targets, said), "mae": metrics.mean_absolute_error(targets, said),
        "r2": metrics.r2_score(targets, said), "r2_each": metrics.r2_score(targets, said, **each).tolist(),
    }


golden = {
    "losses": [weighted_loss(0.0), weighted_loss(0.1)],
    "classes": [classes(4, 60), classes(12, 90)],
    "values": [values(1), values(3)],
}
Path(__file__).with_suffix(".json").write_text(json.dumps(golden, indent=1) + "\n")
