"""Models as OpenVINO's own files, which its converter makes of ONNX.

It has no way of saying in a file what precision to compute in, but one of saying what must not be
in a lower one than the file has. Files of bfloat16 say so of everything but the network, and of the
network's last layers: pixels, boxes and scores need more than 8 bits.
"""

import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

import numpy as np
import openvino
import torch

from maskrcnn_benchmark.export import onnx_file
from maskrcnn_benchmark.export.metadata import METADATA_KEY, ExportMetadata
from maskrcnn_benchmark.export.parts import PART_PREFIXES
from maskrcnn_benchmark.export.program import Run
from maskrcnn_benchmark.export.source import Source

_HINTS: Final = {"float32": "f32", "bf16": "bf16"}
_VALUES: Final = ("Const", "Parameter", "Result")
"""Layers that compute nothing."""
_PRODUCTS: Final = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")
"""Layers that take the time."""


def write(source: Source, path: Path) -> None:
    """Write the model to a file, and its weights to another beside it, which ends in .bin."""
    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder) / "model.onnx"
        onnx_file.write(source, between, narrow=True)
        model = openvino.convert_model(between)
        model.set_rt_info(source.metadata.to_json(), METADATA_KEY)
        # Half precision would save disk space alone, and change what is found.
        openvino.save_model(model, path, compress_to_fp16=False)
    if source.metadata.precision == "bf16":
        keep_precision(path)


def keep_precision(path: Path) -> None:
    """Let a file say which layers keep the precision that it has."""
    tree = ET.parse(path)
    last = _last_layers(tree.getroot())
    for layer in tree.getroot().iter("layer"):
        if layer.get("type") in _VALUES or (_is_of_network(layer) and layer not in last):
            continue
        notes = layer.find("rt_info")
        if notes is None:
            notes = ET.Element("rt_info")
            layer.insert(0 if layer.find("data") is None else 1, notes)
        ET.SubElement(notes, "attribute", {"name": "precise", "version": "0"})
    tree.write(path, encoding="utf-8", xml_declaration=True)


def _is_of_network(layer: ET.Element) -> bool:
    return layer.get("name", "").startswith(PART_PREFIXES)


def _last_layers(root: ET.Element) -> set[ET.Element]:
    """Layers of the network behind its last products, with these: no other layer of it follows."""
    # In the order in which they are computed.
    layers = {layer.get("id"): layer for layer in root.iterfind("layers/layer")}
    followers: dict[str | None, list[ET.Element]] = {number: [] for number in layers}
    for edge in root.iterfind("edges/edge"):
        followers[edge.get("from-layer")].append(layers[edge.get("to-layer")])
    last = set[ET.Element]()
    for number, layer in reversed(layers.items()):
        ends = [
            not _is_of_network(one) or (one in last and one.get("type") not in _PRODUCTS)
            for one in followers[number]
        ]
        if _is_of_network(layer) and all(ends):
            last.add(layer)
    return last


def load(path: Path) -> Run:
    """What runs a file, in its precision on the CPU with as many threads as PyTorch takes."""
    core = openvino.Core()
    model = core.read_model(path)
    settings = {
        # Left to itself it computes in bfloat16 on processors that do.
        "INFERENCE_PRECISION_HINT": _HINTS[_read(model).precision],
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
    }
    compiled = core.compile_model(model, "CPU", settings)
    names = [port.get_any_name() for port in compiled.outputs]

    def run(array: np.ndarray) -> dict[str, np.ndarray]:
        found = compiled(array)
        return {name: found[name] for name in names}

    return run


def read_metadata(path: Path) -> ExportMetadata:
    """What a file says of its model.

    Raises:
        MetadataError: it says nothing that is known.
    """
    return _read(openvino.Core().read_model(path))


def _read(model: openvino.Model) -> ExportMetadata:
    text = model.get_rt_info(METADATA_KEY).value if model.has_rt_info(METADATA_KEY) else None
    return ExportMetadata.from_json(text)
