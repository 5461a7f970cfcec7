"""Runs ONNX models in onnxruntime, and prints what is not as it should be: run_onnx.py CASES.json

A case names a `model`, the `input` (.npy, f32) and the outputs that are wanted (`want`, .npy), how far off each may be (`bound`), the
`output`'s name and, where they matter, the `metadata`. A reader's warnings are faults too.
"""

import json
import os
import sys
import tempfile

import numpy
import onnxruntime


def warnings_of(action):
    """What an action writes to standard error, and its result."""
    kept = os.dup(2)
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            result = action()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        return file.read().decode(), result


def faults(case):
    said, session = warnings_of(lambda: onnxruntime.InferenceSession(case["model"], providers=["CPUExecutionProvider"]))
    x, want = numpy.load(case["input"]), numpy.load(case["want"])
    [input], [output] = session.get_inputs(), session.get_outputs()
    if input.name != "input" or output.name != case["output"]:
        yield f"{input.name} makes {output.name}"
    if input.shape != ["batch", *x.shape[1:]] or output.shape != ["batch", want.shape[1]]:
        yield f"{input.shape} makes {output.shape}"
    for key, value in case.get("metadata", {}).items():
        found = session.get_modelmeta().custom_metadata_map.get(key)
        if found != value:
            yield f"{key} is {found!r}, not {value!r}"
    for rows in [1, 3, len(x)]:
        printed, [got] = warnings_of(lambda: session.run(None, {"input": x[:rows]}))
        said += printed
        off = numpy.abs(got - want[:rows]).max()
        if got.dtype != numpy.float32 or not off <= case["bound"]:
            yield f"{rows} rows are off by {off:e}, more than {case['bound']:e}"
    if said:
        yield said


if __name__ == "__main__":
    # What a reader says of the machine when it begins is none of the models' doing.
    warnings_of(lambda: onnxruntime.get_available_providers())
    with open(sys.argv[1]) as file:
        cases = json.load(file)
    for case in cases:
        for fault in faults(case):
            print(f"{case['model']}: {fault}")
    print(f"{len(cases)} models")
