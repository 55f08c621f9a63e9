"""Graphs under test, run by ONNX Runtime."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from maskrcnn_benchmark.export.graph import Graph, Value  # noqa: E402 - needs onnx


def run_graph(
    inputs: dict[str, tuple[type, tuple[int | str, ...]]],
    build: Callable[..., Sequence[Value]],
    *,
    narrow: bool = False,
) -> Callable[..., list[np.ndarray]]:
    """A function of arrays, by the names of inputs with their types and shapes.

    ``build(graph, *values)`` returns the outputs.
    """
    graph = Graph(narrow=narrow)
    values = [graph.input(name, kind, shape) for name, (kind, shape) in inputs.items()]
    for number, value in enumerate(build(graph, *values)):
        graph.output(f"output_{number}", value, None)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    content = graph.model("test", {}).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda *arrays: session.run(None, dict(zip(inputs, arrays, strict=True)))
