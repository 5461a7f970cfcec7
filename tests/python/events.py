"""Reads event files by TensorBoard's own readers, and prints what they find as JSON: events.py LOGDIR

Of every run below LOGDIR its scalars, histograms and images; of the whole what the tab of hyperparameters shows.
"""

import base64
import json
import logging
import math
import sys
from pathlib import Path

from tensorboard import context
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import backend_context, metadata

# Readers warn of what they leave out; nothing is.
logging.getLogger("tensorboard").addFilter(lambda record: "restart" in record.getMessage() or sys.exit(record.getMessage()))


def number(x):
    return x if math.isfinite(x) else str(x)


def read(run):
    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "histograms": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    histogram = lambda h: {
        **{name: getattr(h, name) for name in ("min", "max", "num", "sum", "sum_squares")},
        "limits": list(h.bucket_limit),
        "counts": list(h.bucket),
    }
    image = lambda i: {"height": i.height, "width": i.width, "png": base64.b64encode(i.encoded_image_string).decode()}
    return {
        "scalars": {t: [[e.step, number(e.value)] for e in events.Scalars(t)] for t in tags["scalars"]},
        "histograms": {t: [[e.step, histogram(e.histogram_value)] for e in events.Histograms(t)] for t in tags["histograms"]},
        "images": {t: [[e.step, image(e)] for e in events.Images(t)] for t in tags["images"]},
    }


def tab_of_hyperparameters(logdir):
    runs = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(logdir))
    runs.Reload()
    provider = data_provider.MultiplexerDataProvider(runs, str(logdir))
    tab = backend_context.Context(base_plugin.TBContext(data_provider=provider))
    ctx = context.RequestContext()
    sessions = tab.hparams_metadata(ctx, "")
    experiment = tab.experiment_from_metadata(ctx, "", True, sessions, [])
    kinds = {"number_value": float, "string_value": str, "bool_value": bool}

    def session(tags):
        start = metadata.parse_session_start_info_plugin_data(tags[metadata.SESSION_START_INFO_TAG])
        end = tags.get(metadata.SESSION_END_INFO_TAG)
        value = lambda v: getattr(v, v.WhichOneof("kind"))
        assert all(v.WhichOneof("kind") in kinds for v in start.hparams.values())
        return {
            "settings": {key: value(v) for key, v in start.hparams.items()},
            "status": metadata.parse_session_end_info_plugin_data(end).status if end else None,
        }

    return {
        "sessions": {run: session(tags) for run, tags in sessions.items()},
        "settings": sorted(info.name for info in experiment.hparam_infos),
        "metrics": sorted([info.name.group, info.name.tag] for info in experiment.metric_infos),
    }


logdir = Path(sys.argv[1])
found = sorted({path.parent for path in logdir.rglob("*tfevents*")})
runs = {str(run.relative_to(logdir)): read(run) for run in found}
json.dump({"runs": runs, "hparams": tab_of_hyperparameters(logdir)}, sys.stdout, allow_nan=False)
