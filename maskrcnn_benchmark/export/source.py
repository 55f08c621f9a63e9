"""The model that is exported, what its files say of it, and what PyTorch finds with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import torch
import yaml
from PIL import Image
from torch import Tensor
from torch.utils import _pytree as pytree

from maskrcnn_benchmark import __version__
from maskrcnn_benchmark.config import ArchitectureSpec, CfgNode, Convention
from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.weight_settings import make_pixel_mean
from maskrcnn_benchmark.data.collate_batch import pad_together
from maskrcnn_benchmark.data.transforms import ToPixels, build_pixel_normalizer
from maskrcnn_benchmark.data.transforms.build import SIDE_RULES
from maskrcnn_benchmark.data.transforms.transforms import SideRule
from maskrcnn_benchmark.engine.forward import build_pretrained_model, make_model_description
from maskrcnn_benchmark.export.dense import describe_maps
from maskrcnn_benchmark.export.formats import Contents
from maskrcnn_benchmark.export.metadata import (
    ExportMetadata,
    Kind,
    PasteRecord,
    ResizeRecord,
)
from maskrcnn_benchmark.export.own_operators import make_fast_twin
from maskrcnn_benchmark.export.refusals import check_architecture
from maskrcnn_benchmark.layers.mask_resize import MASK_PADDING, MASK_THRESHOLD
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.modeling.dense.rpn.inference import ProposalSettings
from maskrcnn_benchmark.modeling.dense.selection import SelectionSettings
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN
from maskrcnn_benchmark.modeling.postprocessing import sort_by_score
from maskrcnn_benchmark.modeling.roi_heads.box_head.inference import BoxSelectionSettings
from maskrcnn_benchmark.modeling.roi_heads.head import RoiInputs
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList, PixelNormalizer
from maskrcnn_benchmark.structures.keypoint import Keypoints
from maskrcnn_benchmark.visualization.class_names import build_class_names
from maskrcnn_benchmark.weights.description import ModelDescription, drop_local_settings

_RESIZE_RULE: Final = "shorter_side"
_LIMIT_SHARE: Final = 0.01
"""By such a part of it a limit on candidates may be off: their scores lie close together there."""
_ROUNDING: Final = 1e-6
"""Part of a number that computing it in another order changes."""
_Settings = TypeVar("_Settings", SelectionSettings, BoxSelectionSettings)


@dataclass(frozen=True, slots=True)
class Source:
    """A model to export.

    Attributes:
        model: in evaluation mode, on the CPU.
        twin: what is written of it, and computes what is not in the file: the model itself, or its
            copy in our own operators.
        family: of its dense detector.
        metadata: what its file says of it.
        inputs: makes what it is given of photos.
        size_hw: the only size of images that a dense file takes; None: many.
    """

    model: GeneralizedRCNN
    twin: GeneralizedRCNN
    family: str
    metadata: ExportMetadata
    inputs: PlainInputs
    size_hw: tuple[int, int] | None = None

    @torch.no_grad()
    def detect(self, photo: Image.Image) -> BoxList:
        """What PyTorch finds on a photo, px of it, best first."""
        return self._detect(self.inputs(photo), photo)

    @torch.no_grad()
    def detect_shaken(self, photo: Image.Image, seed: int = 0) -> BoxList:
        """The same with other roundings: of the input, and of what the dense head predicts.

        Every number is another one by about a millionth, so that equal scores are so no longer.
        """
        generator = torch.Generator().manual_seed(seed)

        def shake(value: object) -> object:
            if not isinstance(value, Tensor) or not value.is_floating_point():
                return value
            return value * (1 + _ROUNDING * torch.randn(value.shape, generator=generator))

        images = self.inputs(photo)
        pixels = images.tensors
        shaken = pixels * (1 + _ROUNDING * torch.randn(pixels.shape, generator=generator))
        head: Any = self.model.rpn.head
        hook = head.register_forward_hook(
            lambda _head, _inputs, outputs: pytree.tree_map(shake, outputs)
        )
        try:
            return self._detect(ImageList(shaken, images.image_sizes), photo)
        finally:
            hook.remove()

    def _detect(self, images: ImageList, photo: Image.Image) -> BoxList:
        found = self.model(images)
        assert isinstance(found, list)
        boxes: BoxList = found[0].resize(photo.size)
        return sort_by_score(boxes)

    @torch.no_grad()
    def keypoints_in(self, photo: Image.Image, boxes: BoxList) -> Keypoints:
        """The keypoints that PyTorch finds in some boxes, all in px of the photo."""
        images = self.inputs(photo)
        height, width = images.image_sizes[0]
        bare = boxes.copy_with_fields([]).resize((width, height))
        features = self.model.backbone(images.tensors)
        found = self.model.roi_heads["keypoint"](RoiInputs(features, [bare])).boxes[0]
        keypoints: Keypoints = found.resize(photo.size).get_field("keypoints")
        return keypoints

    @contextmanager
    def moved(self, by: float) -> Iterator[None]:
        """A block in which boxes need a score that is higher by this, and overlap less, everywhere.

        Limits on candidates are 1 % lower, or higher if the number is negative.
        """
        first: Any = self.model.rpn.select_test
        last = last_selection(self.model)
        with ExitStack() as stack:
            for selection in [first] if first is last else [first, last]:
                stack.callback(setattr, selection, "settings", selection.settings)
                selection.settings = _moved(selection.settings, by)
            yield


def _moved(settings: _Settings, by: float) -> _Settings:
    """Settings by which a bit less is found, or more if the number is negative."""
    names: list[str] = ["pre_nms_top_n"] if isinstance(settings, SelectionSettings) else []
    if isinstance(settings, ProposalSettings):
        names += ["post_nms_top_n", "fpn_post_nms_top_n"]
    sign = 1 if by > 0 else -1
    limits = {name: getattr(settings, name) for name in names}
    changes: dict[str, Any] = {
        name: max(1, limit - sign * max(1, round(_LIMIT_SHARE * limit)))
        for name, limit in limits.items()
        if limit > 0
    }
    return replace(
        settings,
        score_threshold=settings.score_threshold + by,
        # 0 stays 0: nothing is suppressed then.
        nms_threshold=settings.nms_threshold and settings.nms_threshold - by,
        **changes,
    )


def last_selection(model: GeneralizedRCNN) -> Any:  # noqa: ANN401 - of stages, or of a box head
    """What finds the detections among candidates; its ``settings`` are the thresholds."""
    if model.has_roi_heads and "box" in model.roi_heads:
        head: Any = model.roi_heads["box"]
        return head.post_processor
    stage: Any = model.rpn
    return stage.select_test


class PlainInputs:
    """Photos as the model is given them, resized by Pillow, first in width and then in height.

    Pillow's releases differ in which comes first for tall photos; two calls leave no choice.

    Args:
        sides: ((width, height), least side, most of the other) -> (height, width) afterwards.
        sizes: px of the shorter side, and most of the longer one.
        normalizer: what the model wants done with 8-bit pixels.
        step: sides are padded to multiples of it.
    """

    def __init__(
        self,
        *,
        sides: SideRule,
        sizes: tuple[int, int],
        normalizer: PixelNormalizer,
        step: int,
    ) -> None:
        self.sides = sides
        self.sizes = sizes
        self.normalizer = normalizer
        self.step = step

    @classmethod
    def from_config(cls, cfg: CfgNode) -> PlainInputs:
        """Those of the sections INPUT and DATALOADER.

        Raises:
            ConfigError: photos are resized by a rule that no export knows.
        """
        if cfg.INPUT.RESIZE_RULE != _RESIZE_RULE:
            raise ConfigError(
                f"INPUT.RESIZE_RULE: {cfg.INPUT.RESIZE_RULE!r} cannot be exported, as it resizes "
                f"numbers that are not whole; expected {_RESIZE_RULE!r}"
            )
        return cls(
            sides=SIDE_RULES[Convention.from_config(cfg).resize],
            sizes=(cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
            normalizer=build_pixel_normalizer(cfg),
            step=cfg.DATALOADER.SIZE_DIVISIBILITY,
        )

    def __call__(self, photo: Image.Image) -> ImageList:
        """The normalised batch of one photo."""
        height, width = self.sides(photo.size, *self.sizes)
        wide = photo.resize((width, photo.height), Image.Resampling.BILINEAR)
        pixels, _ = ToPixels()(wide.resize((width, height), Image.Resampling.BILINEAR))
        return pad_together([pixels], self.step, self.normalizer).to(torch.device("cpu"))


def make_source(
    cfg: CfgNode,
    contents: Contents,
    opset: int,
) -> Source:
    """The trained model of some settings, ready to be exported.

    Args:
        cfg: settings; MODEL.WEIGHT names its weights.
        contents: of the file.
        opset: of ONNX; 0 in other formats.

    Raises:
        ConfigError: a part of it cannot be exported; the message says why.
        CheckpointError: the weights are absent, damaged, or do not fit.
    """
    size_hw = contents.size_hw
    own = cfg.clone()
    own.defrost()
    # What is exported are masks in boxes; pasting is up to whoever reads them.
    own.MODEL.ROI_MASK_HEAD.POSTPROCESS_MASKS = False
    spec = ArchitectureSpec.from_config(own)
    check_architecture(contents.kind, spec.proposal, spec.roi_heads)
    inputs = PlainInputs.from_config(own)
    if size_hw is not None:
        step = max(inputs.step, 1)
        if any(side % step for side in size_hw):
            raise ConfigError(f"--size: expected multiples of {step}, got {list(size_hw)}")
        inputs.sides = lambda *_: size_hw
    model = build_pretrained_model(own, torch.device("cpu"), own.MODEL.WEIGHT)
    assert isinstance(model, GeneralizedRCNN)
    model.requires_grad_(False)
    description = make_model_description(own, own.MODEL.WEIGHT)
    metadata = _make_metadata(own, model, description, contents.kind)
    maps = describe_maps(model) if contents.kind == "dense" else ()
    metadata = replace(
        metadata,
        opset=opset,
        maps=maps,
        size_hw=size_hw or (),
        precision=contents.precision,
        operators=contents.operators,
        config=_make_portable_settings(cfg),
    )
    is_own = contents.operators == "own"
    twin = make_fast_twin(model, contents.precision) if is_own else model
    return Source(model, twin, spec.proposal, metadata, inputs, size_hw)


def _make_metadata(
    cfg: CfgNode, model: GeneralizedRCNN, description: ModelDescription | None, kind: Kind
) -> ExportMetadata:
    convention, settings = Convention.from_config(cfg), cfg.INPUT
    names = (description and description.class_names()) or build_class_names(cfg)
    ids = description.class_ids() if description else {}
    settings_of_last = last_selection(model).settings
    spec = ArchitectureSpec.from_config(cfg)
    return ExportMetadata(
        package_version=__version__,
        kind=kind,
        model=" + ".join([spec.proposal, *spec.roi_heads]) + f", {cfg.MODEL.BACKBONE.CONV_BODY}",
        class_names=tuple(names[label] for label in sorted(names)),
        category_ids=tuple(ids.get(label, label) for label in sorted(names)),
        pixel_mean=tuple(make_pixel_mean(cfg)),
        pixel_std=tuple(settings.PIXEL_STD),
        channel_order="bgr" if settings.TO_BGR255 else "rgb",
        scale=255 if settings.TO_BGR255 else 1,
        resize=ResizeRecord(
            rule=settings.RESIZE_RULE,
            sides=convention.resize,
            min_size=settings.MIN_SIZE_TEST,
            max_size=settings.MAX_SIZE_TEST,
            divisibility=cfg.DATALOADER.SIZE_DIVISIBILITY,
        ),
        pixel_offset=convention.pixel_offset,
        mask_paste=_paste_record(convention) if "mask" in spec.roi_heads else None,
        keypoint_offset=convention.keypoint_offset if "keypoint" in spec.roi_heads else None,
        score_threshold=description.score_threshold if description else None,
        max_detections=max(0, limit_of(settings_of_last)),
        nms_threshold=settings_of_last.nms_threshold,
        config="",
        opset=0,
    )


def _make_portable_settings(cfg: CfgNode) -> str:
    """The settings as YAML, without those of this machine and this run."""
    settings = yaml.safe_load(ModelDescription.from_config(cfg, ()).config)
    drop_local_settings(settings)
    text: str = yaml.safe_dump(settings)
    return text


def limit_of(settings: SelectionSettings | BoxSelectionSettings) -> int:
    """The most detections of an image; 0: no limit."""
    if isinstance(settings, BoxSelectionSettings):
        return settings.detections_per_image
    return settings.post_nms_top_n


def _paste_record(convention: Convention) -> PasteRecord:
    is_inclusive = (
        convention.roi.paste == "inclusive" or convention.pixel_offset == LEGACY_PIXEL_OFFSET
    )
    if is_inclusive:
        return PasteRecord(rule="inclusive", threshold=MASK_THRESHOLD, padding=MASK_PADDING)
    return PasteRecord(rule="sub_pixel", threshold=MASK_THRESHOLD, padding=0)
