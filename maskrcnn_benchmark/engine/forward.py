"""The one way to run a model: on its device, in its memory layout, in a mode of computing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.engine.fast_convolutions import choose_convolutions
from maskrcnn_benchmark.engine.mixed_precision import training_dtype
from maskrcnn_benchmark.engine.modes import INFERENCE_MODES, Detect
from maskrcnn_benchmark.layers import FrozenBatchNorm2d
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.utils.processor import lasting_memory
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer, find_last_checkpoint
from maskrcnn_benchmark.weights.description import ModelDescription, find_description
from maskrcnn_benchmark.weights.model_serialization import undistributed

if TYPE_CHECKING:
    from maskrcnn_benchmark.data.collate_batch import Batch

Weights: TypeAlias = tuple[tuple[int, int], ...]
"""The place of each tensor of a model, and how often it was written to."""

_CPU = torch.device("cpu")


class ModelRunner:
    """Computes losses and detections of a model, which it moves to a device and a layout.

    Args:
        model: ``model(images, targets)`` returns scalar losses by name, ``model(images)`` one
            ``BoxList`` an image; it may be wrapped by ``DistributedDataParallel`` and compiled.
        device: where the model and its inputs go.
        channels_last: whether feature maps lie in memory as NHWC.
        mode: name in ``INFERENCE_MODES``: how detections are computed. It is applied to the
            weights that the model has when ``evaluating`` is entered.
        dtype: type in which ``losses`` computes what is safe in it.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        device: torch.device,
        channels_last: bool = False,
        mode: str = "plain",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model = model.to(device)
        if channels_last:
            # The layout of the weights decides that of the maps, whatever that of the images.
            self.model = self.model.to(memory_format=torch.channels_last)
        self.device = device
        self.dtype = dtype
        self._make_detect = INFERENCE_MODES[mode]
        self._detect: Detect | None = None
        self._weights_of_detect: Weights = ()

    @classmethod
    def from_config(cls, cfg: CfgNode, model: nn.Module, device: torch.device) -> ModelRunner:
        """A runner of ``model`` as MODEL.CHANNELS_LAST and TEST.INFERENCE_MODE say."""
        # Left to itself the layout is the original's, whose results are equal to the last bit.
        return cls(
            model,
            device=device,
            channels_last=cfg.MODEL.CHANNELS_LAST is True,
            mode=cfg.TEST.INFERENCE_MODE,
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Scalar losses by name of a batch, with their graph; the model is in training mode."""
        images, targets, _ = batch
        is_mixed = self.dtype != torch.float32
        with torch.autocast(self.device.type, self.dtype, enabled=is_mixed):
            losses: dict[str, Tensor] = self.model(
                images.to(self.device, non_blocking=True),
                [target.to(self.device) for target in targets],
            )
        return losses

    @contextmanager
    def evaluating(self) -> Iterator[Callable[[ImageList], list[BoxList]]]:
        """A block with the model in evaluation mode and without gradients; gives ``detect``.

        ``detect(images)`` returns one BoxList an image on the CPU, px of the resized image. The
        model is in its former mode afterwards.
        """
        # Without DistributedDataParallel, as processes may have different numbers of batches.
        model = undistributed(self.model)
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad():
                weights = _weights_now(model)
                if self._detect is None or weights != self._weights_of_detect:
                    with lasting_memory():
                        self._detect = self._make_detect(model, self.device)
                    self._weights_of_detect = weights
                yield self._detections
        finally:
            model.train(was_training)

    def _detections(self, images: ImageList) -> list[BoxList]:
        assert self._detect is not None  # ``evaluating`` has set it
        return [boxes.to(_CPU) for boxes in self._detect(images.to(self.device, non_blocking=True))]


def _weights_now(model: nn.Module) -> Weights:
    tensors = chain(model.parameters(), model.buffers())
    return tuple((tensor.data_ptr(), tensor._version) for tensor in tensors)


def make_training_runner(cfg: CfgNode, model: nn.Module, device: torch.device) -> ModelRunner:
    """A runner that trains as SOLVER.AMP and CONV_3X3 say, and evaluates as ``from_config``'s does.

    Where MODEL.CHANNELS_LAST is "auto", maps lie as NHWC on a CPU. With such maps frozen norms are
    folded into convolutions in training, which like the layout changes results by rounding alone.

    Raises:
        ConfigError: the device cannot be trained on so.
    """
    choice = cfg.MODEL.CHANNELS_LAST
    channels_last = device.type == "cpu" if choice == "auto" else choice
    for module in model.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.may_fold = channels_last
    choose_convolutions(model, cfg.SOLVER.CONV_3X3, device)
    return ModelRunner(
        model,
        device=device,
        channels_last=channels_last,
        mode=cfg.TEST.INFERENCE_MODE,
        dtype=training_dtype(cfg.SOLVER.AMP, device),
    )


def build_model(cfg: CfgNode, device: torch.device) -> nn.Module:
    """The model of ``cfg`` with random weights, in training mode, where and as it will run.

    Raises:
        ConfigError: for settings that contradict each other or name unknown parts.
    """
    return ModelRunner.from_config(cfg, build_detection_model(cfg), device).model


def build_pretrained_model(
    cfg: CfgNode, device: torch.device, weights: str | None = None
) -> nn.Module:
    """The model of ``cfg`` with weights that fit it exactly, in evaluation mode.

    Args:
        cfg: the settings.
        device: where the model goes.
        weights: a file, URL or ``catalog://`` name; ``""`` is MODEL.WEIGHT; None the last
            checkpoint in OUTPUT_DIR, or MODEL.WEIGHT where there is none.

    Raises:
        CheckpointError: the weights are absent, damaged, or do not fit.
    """
    with lasting_memory():
        model = build_model(cfg, device)
        checkpointer = DetectronCheckpointer(cfg, model, save_dir=cfg.OUTPUT_DIR)
        checkpointer.load(weights or cfg.MODEL.WEIGHT, use_latest=weights is None, strict=True)
    return model.eval()


def make_model_description(cfg: CfgNode, weights: str | None = None) -> ModelDescription | None:
    """What the weights that ``build_pretrained_model`` takes say of their model; None: nothing."""
    latest = find_last_checkpoint(cfg.OUTPUT_DIR) if weights is None else ""
    return find_description(latest or weights or cfg.MODEL.WEIGHT)
