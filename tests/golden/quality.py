"""Makes quality.json: what scikit-learn says of predictions.

    pip install scikit-learn && python tests/golden/quality.py
"""
import json
from pathlib import Path

import numpy as np
from sklearn import metrics
from sklearn.calibration import calibration_curve

rng = np.random.default_rng(0)
BINS = 15


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def calibration_error(right, confidence):
    """Naeini et al. (2015), by the bins of scikit-learn's calibration_curve."""
    edges = np.linspace(0, 1, BINS + 1)
    bins = np.searchsorted(edges[1:-1], confidence)
    gaps = [abs((right[bins == b] - confidence[bins == b]).sum()) for b in range(BINS)]
    return sum(gaps) / len(right), np.bincount(bins, minlength=BINS).tolist()


def classes(count, samples, missing, sharpness):
    """Answers over `count` classes, of which those in `missing` are neither true nor predicted."""
    there = [c for c in range(count) if c not in missing]
    labels = rng.choice(there, samples)
    z = sharpness * (rng.normal(size=(samples, count)) + 1.2 * np.eye(count)[labels])
    z[:, missing] -= 40
    p, predicted = softmax(z), z.argmax(1)
    right, confidence = (predicted == labels).astype(float), p.max(1)
    accuracy, mean_confidence = calibration_curve(right, confidence, n_bins=BINS)
    error, counts = calibration_error(right, confidence)
    names = list(range(count))
    each = metrics.precision_recall_fscore_support(labels, predicted, labels=names, zero_division=0)
    means = {
        average: metrics.precision_recall_fscore_support(labels, predicted, average=average, zero_division=0)[:3]
        for average in ["macro", "weighted"]
    }
    return {
        "z": z.flatten().tolist(), "labels": labels.tolist(),
        "loss": metrics.log_loss(labels, p, labels=names), "accuracy": metrics.accuracy_score(labels, predicted),
        "confusion": metrics.confusion_matrix(labels, predicted, labels=names).tolist(),
        "precision": each[0].tolist(), "recall": each[1].tolist(), "f1": each[2].tolist(), "support": each[3].tolist(),
        "macro": list(means["macro"]), "weighted": list(means["weighted"]),
        "top5": metrics.top_k_accuracy_score(labels, z, k=5, labels=names),
        "calibration_error": error, "bin_counts": counts,
        "bin_accuracy": accuracy.tolist(), "bin_confidence": mean_confidence.tolist(),
    }


def values(width):
    targets = rng.normal(size=(30, width)) * 50 + 1000
    predicted = targets + rng.normal(size=(30, width)) * 20
    each = {"multioutput": "raw_values"}
    return {
        "width": width, "targets": targets.flatten().tolist(), "predicted": predicted.flatten().tolist(),
        "rmse": metrics.root_mean_squared_error(targets, predicted, **each).tolist(),
        "mae": metrics.mean_absolute_error(targets, predicted, **each).tolist(),
        "r2": metrics.r2_score(targets, predicted, **each).tolist(),
    }


golden = {
    "classes": [classes(3, 80, [], 1.0), classes(6, 80, [4], 0.5), classes(12, 150, [11], 3.0)],
    "values": [values(1), values(3)],
}
Path(__file__).with_suffix(".json").write_text(json.dumps(golden, indent=1) + "\n")
