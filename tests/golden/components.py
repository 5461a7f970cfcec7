"""Makes components.json: the principal components of a few vectors, by numpy's singular value decomposition.

    pip install numpy && python tests/golden/components.py
"""
import json
from pathlib import Path

import numpy as np

rng = np.random.default_rng(0)


def case(n, length):
    # A walk, so that the first components stand out, as they do of weights along a run.
    walk = np.cumsum(rng.standard_normal((n, length)), axis=0) / np.sqrt(n)
    centered = walk - walk.mean(axis=0)
    _, s, directions = np.linalg.svd(centered, full_matrices=False)
    shares = s**2 / np.sum(s**2)
    assert shares[0] - shares[1] > 0.01 and shares[1] - shares[2] > 0.01, shares
    away = walk - walk[-1]
    directions = directions[:2] * -np.sign(directions[:2] @ away[0])[:, None]
    return {
        "vectors": walk.tolist(),
        "directions": directions.tolist(),
        "shares": shares[:2].tolist(),
        "places": (away @ directions.T).tolist(),
    }


cases = [case(3, 5), case(9, 40), case(12, 7)]
Path(__file__).with_suffix(".json").write_text(json.dumps(cases, indent=1) + "\n")
