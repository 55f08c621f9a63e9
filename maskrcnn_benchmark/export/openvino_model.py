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
    narrow = _narrow_layers(tree.getroot())
    for layer in tree.getroot().iter("layer"):
        if layer.get("type") in _VALUES or layer in narrow:
            continue
        notes = layer.find("rt_info")
        if notes is None:
            notes = ET.Element("rt_info")
            layer.insert(0 if layer.find("data") is None else 1, notes)
        ET.SubElement(notes, "attribute", {"name": "precise", "version": "0"})
    tree.write(path, encoding="utf-8", xml_declaration=True)


def _narrow_layers(root: ET.Element) -> set[ET.Element]:
    """Layers of the network, but its last products and what follows these alone."""
    # In the order in which they are computed.
    layers = {layer.get("id"): layer for layer in root.iterfind("layers/layer")}
    followers: dict[ET.Element, list[ET.Element]] = {layer: [] for layer in layers.values()}
    for edge in root.iterfind("edges/edge"):
        followers[layers[edge.get("from-layer")]].append(layers[edge.get("to-layer")])
    network = {each for each in followers if each.get("name", "").startswith(PART_PREFIXES)}
    # The converter gives some products names of its own.
    for layer in [*network]:
        network |= {each for each in followers[layer] if each.get("type") in _PRODUCTS}
    last = set[ET.Element]()
    for layer in reversed(followers):
        ends = [
            each not in network or (each in last and each.get("type") not in _PRODUCTS)
            for each in followers[layer]
        ]
        if layer in network and all(ends):
            last.add(layer)
    return network - last


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
