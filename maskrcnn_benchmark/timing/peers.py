"""Other detectors, and the dense part of ours in other programs, as far as they are installed."""

import io
import logging
import warnings
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import pycocotools.mask as mask_utils
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn
from torchvision.transforms.functional import to_tensor

from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.timing.contenders import Photos
from maskrcnn_benchmark.timing.random_weights import fitting_norms
from maskrcnn_benchmark.timing.stages import StageTimes
from maskrcnn_benchmark.timing.thresholds import CANDIDATES

logger = logging.getLogger(__name__)

Dense = Callable[[], object]


class Work(NamedTuple):
    """What a detector has to do to be comparable.

    Attributes:
        short_side: of its input, px.
        long_side: at most, px.
        detections: found in each photo.
    """

    short_side: int
    long_side: int
    detections: int


class TorchvisionDetector:
    """Torchvision's Mask R-CNN with random weights, as it comes: float32, images as they are.

    Args:
        work: the size of its input, and how much it finds.
        paths: photos whose first the weights and the threshold are fitted to.
    """

    def __init__(self, work: Work, paths: Photos) -> None:
        torch.manual_seed(0)
        self.model: MaskRCNN = maskrcnn_resnet50_fpn(
            weights=None,
            weights_backbone=None,
            box_detections_per_img=work.detections,
            min_size=work.short_side,
            max_size=work.long_side,
        ).eval()
        self.times = StageTimes()
        with torch.no_grad():
            images = [to_tensor(read_image(paths[0]))]
            with fitting_norms(self.model):
                self.model.backbone(self.model.transform(images)[0].tensors)
            self.model.roi_heads.score_thresh = self._threshold(images)

    def _threshold(self, images: list[Tensor]) -> float:
        """The score that CANDIDATES class scores exceed."""
        seen: list[Tensor] = []
        hook = self.model.roi_heads.box_predictor.register_forward_hook(
            lambda _module, _inputs, outputs: seen.append(outputs[0])
        )
        self.model.roi_heads.score_thresh = 1.0
        self.model(images)
        hook.remove()
        return float(seen[0].softmax(-1)[:, 1:].flatten().topk(CANDIDATES).values[-1])

    def __call__(self, paths: Photos) -> list[Any]:
        """The run lengths of the masks in each photo."""
        times = self.times
        times.clear()
        with torch.no_grad():
            with times.stage("decode"):
                images = [to_tensor(read_image(path)) for path in paths]
            with times.stage("network"):
                found = self.model(images)
            with times.stage("paste, RLE"):
                return [_encoded(each["masks"][:, 0] > 0.5) for each in found]


class YoloDetector:
    """YOLO11s-seg of ultralytics with random weights, at 640 px, masks at the size of the photo.

    Args:
        detections: found in each photo.
        paths: photos whose first the weights and the threshold are fitted to.
    """

    def __init__(self, detections: int, paths: Photos) -> None:
        from ultralytics import YOLO

        torch.manual_seed(0)
        self.detections = detections
        self.model = YOLO("yolo11s-seg.yaml")
        network, threads = self.model.model.eval(), torch.get_num_threads()
        photo = to_tensor(read_image(paths[0]).resize((640, 480)))[None]
        with torch.no_grad():
            with fitting_norms(network):
                network(photo)
            scores = network(photo)[0][0][:, 4:84].amax(1).flatten()
        self.threshold = float(scores.topk(CANDIDATES).values[-1])
        self.times = StageTimes()
        self(paths)
        # Its first call sets the number of threads of the whole process.
        torch.set_num_threads(threads)

    def __call__(self, paths: Photos) -> list[Any]:
        """The run lengths of the masks in each photo."""
        self.times.clear()
        with self.times.stage("network"):
            found = self.model.predict(
                [str(path) for path in paths],
                imgsz=640,
                conf=self.threshold,
                max_det=self.detections,
                retina_masks=True,
                device="cpu",
                verbose=False,
            )
        with self.times.stage("paste, RLE"):
            return [_encoded(each.masks.data) if each.masks else [] for each in found]


def _encoded(masks: Tensor) -> list[Any]:
    planes = masks.to(torch.uint8).numpy()
    return [mask_utils.encode(np.asfortranarray(plane)) for plane in planes]


def whole_peers(work: Work, paths: Photos) -> dict[str, Any]:
    """Detectors of others by name."""
    makers: dict[str, Callable[[], Any]] = {
        _name("torchvision", "Mask R-CNN R-50"): lambda: TorchvisionDetector(work, paths),
        _name("ultralytics", "YOLO11s-seg, 640 px"): lambda: YoloDetector(work.detections, paths),
    }
    return _made(makers)


class DensePart(nn.Module):
    """Backbone, pyramid and head of a model: images -> all maps of the head."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - any detector with these parts
        super().__init__()
        self.backbone = model.backbone
        self.head = model.rpn.head

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The maps, one after the other."""
        return tuple(each for maps in self.head(self.backbone(images)) for each in maps)


def dense_peers(model: nn.Module, images: Tensor, threads: int) -> dict[str, Dense]:
    """What computes the dense part of a model for some images, by the name of the program."""
    makers: dict[str, Callable[[], Any]] = {
        _name("openvino", "float32"): lambda: _openvino(model, images, threads, "f32"),
        _name("openvino", "bfloat16"): lambda: _openvino(model, images, threads, "bf16"),
        _name("onnxruntime", "float32"): lambda: _onnx_runtime(model, images, threads),
    }
    return _made(makers)


def _name(package: str, work: str) -> str:
    """The package with its version, and what it does."""
    installed = f" {version(package)}" if find_spec(package) else ""
    return f"{package}{installed}, {work}"


def _made(makers: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """What could be made, by name."""
    made = {name: _try(name, make) for name, make in makers.items()}
    return {name: one for name, one in made.items() if one is not None}


def _try(name: str, make: Callable[[], object]) -> object | None:
    try:
        return make()
    # The rest of the table does without them.
    except Exception as error:  # noqa: BLE001 - programs of others fail in ways of their own
        reason = str(error).partition("\n")[0][:120]
        logger.warning("%s: left out (%s: %s)", name, type(error).__name__, reason)
        return None


def _openvino(model: nn.Module, images: Tensor, threads: int, precision: str) -> Dense:
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


def _onnx_runtime(model: nn.Module, images: Tensor, threads: int) -> Dense:
    import onnxruntime

    # The file may be an open one, which its types do not say.
    file: Any = io.BytesIO()
    # The exporter that needs no further package, where there is one.
    torch.onnx.export(DensePart(model), (images,), file, dynamo=find_spec("onnxscript") is not None)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )
    given = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, given)
