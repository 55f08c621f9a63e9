"""The dense part of a model in other programs, as far as they are installed."""

import io
import warnings
from collections.abc import Callable
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN

Dense = Callable[[], object]


class DensePart(nn.Module):
    """Backbone, pyramid and head of a model: images -> all maps of the head."""

    def __init__(self, model: GeneralizedRCNN) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.head = model.rpn.head

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The maps, one after the other."""
        return tuple(each for maps in self.head(self.backbone(images)) for each in maps)


def dense_peers(model: GeneralizedRCNN, images: Tensor, threads: int) -> dict[str, Dense]:
    """What computes the dense part of a model for some images, by the name of the program."""
    makers = {
        "OpenVINO, float32": lambda: _openvino(model, images, threads, "f32"),
        "OpenVINO, bfloat16": lambda: _openvino(model, images, threads, "bf16"),
        "ONNX Runtime, float32": lambda: _onnx_runtime(model, images, threads),
    }
    made = {name: _try(name, make) for name, make in makers.items()}
    return {name: dense for name, dense in made.items() if dense is not None}


def _try(name: str, make: Callable[[], Dense]) -> Dense | None:
    try:
        return make()
    # Programs of others fail in ways of their own; the rest of the table does without them.
    except Exception as error:  # noqa: BLE001
        print(f"{name}: left out ({type(error).__name__}: {str(error).splitlines()[0][:120]})")
        return None


def _openvino(model: GeneralizedRCNN, images: Tensor, threads: int, precision: str) -> Dense:
    import openvino

    with warnings.catch_warnings():
        # It traces models in a way that PyTorch advises against.
        warnings.simplefilter("ignore", FutureWarning)
        part = openvino.convert_model(
            DensePart(model), example_input=images, input=list(images.shape)
        )
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(part, "CPU", settings)
    given = images.numpy()
    return lambda: compiled(given)


def _onnx_runtime(model: GeneralizedRCNN, images: Tensor, threads: int) -> Dense:
    import onnxruntime

    file = io.BytesIO()
    # The exporter that needs no further package, where there is one.
    torch.onnx.export(DensePart(model), (images,), file, dynamo=find_spec("onnxscript") is not None)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    given = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, given)
