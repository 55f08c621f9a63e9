"""Copies of models for evaluation, whose parts are put together from fewer and faster layers."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.engine.modes.fused_layers import WinogradConv2d
from maskrcnn_benchmark.engine.modes.fusion import fuse
from maskrcnn_benchmark.engine.modes.tracing import (
    has_convolutions,
    is_layer,
    run_with_shapes,
    trace,
)
from maskrcnn_benchmark.layers import at_least_float32
from maskrcnn_benchmark.modeling.dense.stage import DenseStage
from maskrcnn_benchmark.modeling.detector.generalized_rcnn import PIXEL_STD
from maskrcnn_benchmark.modeling.roi_heads.feature_extractor import ROIFeatureExtractor, RoiFeatures
from maskrcnn_benchmark.modeling.roi_heads.head import ROIHead, RoiOutput
from maskrcnn_benchmark.modeling.stage import StageOutput
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList

Inputs: TypeAlias = tuple[Any, ...]
_Stage = TypeVar("_Stage", StageOutput, RoiOutput)

_PROBE_HW = (256, 320)
# From the probe to what models mostly see: (768, 960). Maps of RoIs have one size.
_ENLARGEMENT = 3
_NUM_PROBE_ROIS = 3
# Greatest difference between a part and its copy, of the size of the results, both as Euclidean
# norms. Sums in another order differ by parts of a million, which norms over the few cells of the
# coarsest maps make larger; mistakes differ by the whole.
_TOLERANCE = 1e-2
# What a layer rounds, about, and how many times as far as that leads a part its copy may be.
_NUDGE = 1e-6
_OF_NUDGED = 4.0
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_forward_hooks_with_kwargs")


@runtime_checkable
class Folds(Protocol):
    """A part that knows of fewer layers that compute the same in evaluation."""

    def folded(self) -> nn.Module:
        """What is called as the part is, and returns the same up to rounding."""
        ...


class _Extraction(nn.Module):
    """The method ``extract`` of a feature extractor as a module, which can be traced."""

    def __init__(self, extractor: ROIFeatureExtractor) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, features: Sequence[Tensor], boxes: list[BoxList]) -> RoiFeatures:
        """Features of all boxes, and the maps that they come from."""
        return self.extractor.extract(features, boxes)


class _Rewriting:
    """Replaces the parts of one model.

    Args:
        inputs: what each part was called with.
        dtype: what convolutions and linear layers compute in.
        products: what layers multiply that have kernels for it, float32 or int16.
    """

    def __init__(
        self, inputs: dict[nn.Module, Inputs], dtype: torch.dtype, products: torch.dtype
    ) -> None:
        self.inputs = inputs
        self.dtype = dtype
        self.products = products
        # Heads may share a part.
        self.done: dict[nn.Module, nn.Module] = {}

    def replace_parts(self, whole: nn.Module) -> None:
        """Put the largest parts that can be traced in place of those that the module has."""
        for name, part in list(whole._modules.items()):
            if part is not None and has_convolutions(part):
                if part not in self.done:
                    self.done[part] = self._faster(part, whole)
                setattr(whole, name, self.done[part])

    def _faster(self, part: nn.Module, whole: nn.Module) -> nn.Module:
        if isinstance(part, Folds) and _says_how(part) and part in self.inputs:
            return self._folded(part, part.folded(), whole)
        if is_layer(part):
            # What it stands in may read its weights.
            return part.to(memory_format=torch.channels_last)
        inputs = self.inputs.get(part)
        fused = None if inputs is None else self._fused(part, inputs, whole)
        if fused is None:
            self.replace_parts(part)
            return part
        return fused

    def _folded(self, part: nn.Module, folded: nn.Module, whole: nn.Module) -> nn.Module:
        """A part that computes the same as another one, made faster in its turn."""
        inputs = self.inputs[part]
        with _recorded_inputs(folded) as recorded:
            found = folded(*_copied(inputs))
        # Without hooks, which the folded one does not have.
        _check(part, inputs, found, part.forward(*_copied(inputs)))
        self.inputs |= recorded
        fused = self._fused(folded, inputs, whole)
        if fused is None:
            self.replace_parts(folded)
            return folded
        _keep_hooks(part, fused)
        return fused

    def _fused(self, part: nn.Module, inputs: Inputs, whole: nn.Module) -> nn.Module | None:
        traced = trace(part, inputs)
        if traced is None:
            return None
        expected = run_with_shapes(traced, _copied(inputs))
        enlargement = 1 if isinstance(whole, ROIHead) else _ENLARGEMENT
        fused = fx.GraphModule(traced, copy.deepcopy(traced.graph), type(part).__name__)
        fuse(fused, dtype=torch.float32, last_dtype=torch.float32, enlargement=enlargement)
        _check(part, inputs, fused(*_copied(inputs)), expected)
        in_full = self._is_as_fast_in_full(whole, inputs)
        dtype = torch.float32 if in_full else self.dtype
        if (dtype, self.products) != (torch.float32, torch.float32):
            last_dtype = torch.float32 if isinstance(whole, DenseStage) else dtype
            types = {"dtype": dtype, "last_dtype": last_dtype, "products": self.products}
            fused = traced
            fuse(fused, enlargement=enlargement, **types)
            fused.register_forward_hook(_leave_half_precision)
        _keep_hooks(part, fused)
        return fused

    def _is_as_fast_in_full(self, whole: nn.Module, inputs: Inputs) -> bool:
        """Whether 16 bits would gain nothing: dense heads are 3 x 3 convolutions on small maps."""
        devices = {x.device for x in pytree.tree_leaves(inputs) if isinstance(x, Tensor)}
        return isinstance(whole, DenseStage) and all(map(WinogradConv2d.has_kernel, devices))


def _says_how(part: Folds) -> bool:
    """Whether ``folded`` is of the class that says what is computed, or knows it.

    A subclass with another ``forward`` inherits what folds its base.
    """
    classes = type(part).__mro__
    folds, computes = (
        next(index for index, each in enumerate(classes) if name in vars(each))
        for name in ("folded", "forward")
    )
    return folds <= computes


def _keep_hooks(part: nn.Module, copied: nn.Module) -> None:
    """The copy calls what the part calls."""
    for hooks in _HOOKS:
        getattr(copied, hooks).update(getattr(part, hooks))


def _leave_half_precision(_part: nn.Module, _inputs: Inputs, outputs: object) -> object:
    """What a part returns, with float32 for half precision; a forward hook."""

    def in_full(value: object) -> object:
        if isinstance(value, Tensor) and value.is_floating_point():
            return at_least_float32(value)
        return value

    return pytree.tree_map(in_full, outputs)


def _copied(inputs: Inputs) -> Inputs:
    """The inputs, whose tensors may be changed in place."""
    copied: Inputs = pytree.tree_map(
        lambda value: value.clone() if isinstance(value, Tensor) else value, inputs
    )
    return copied


def _pass_on_few(_stage: nn.Module, _inputs: object, output: _Stage) -> _Stage:
    """What a stage returns, but some boxes where it has none or many; a forward hook."""
    return output._replace(boxes=[_few(boxes) for boxes in output.boxes])


def _few(boxes: BoxList) -> BoxList:
    if len(boxes) > 0:
        return boxes[:_NUM_PROBE_ROIS]
    width, height = boxes.size
    corners = [[0, 0, width / (2 + i), height / (1 + i)] for i in range(_NUM_PROBE_ROIS)]
    corners_of_few = torch.tensor(corners).to(boxes.bbox)
    few = BoxList(corners_of_few, boxes.size, pixel_offset=boxes.pixel_offset)
    for name in boxes.fields():
        field = boxes.get_field(name)
        if isinstance(field, Tensor):
            few.add_field(name, field.new_ones(_NUM_PROBE_ROIS, *field.shape[1:]))
    return few


def _check(part: nn.Module, inputs: Inputs, found: object, expected: object) -> None:
    """Raise ConfigError unless the two are equal up to rounding, as far as the part lets it grow.

    Deformable layers may read elsewhere for the least change: there another rounding of the inputs
    leads the part itself as far astray.
    """
    own: list[float] = []
    leaves = zip(pytree.tree_leaves(found), pytree.tree_leaves(expected), strict=True)
    for index, (mine, reference) in enumerate(leaves):
        if not _is_floating(reference):
            continue
        difference, size = _difference(mine, reference)
        if difference <= _TOLERANCE * max(size, 1e-6):
            continue
        own = own or _growth_of_rounding(part, inputs)
        if difference <= _OF_NUDGED * own[index]:
            continue
        raise ConfigError(
            f"TEST.INFERENCE_MODE: the fast copy of {type(part).__name__} computes something "
            f"else than the part itself (they differ by {difference:.2g} where the results "
            f'are {size:.2g}); use "plain"'
        )


def _growth_of_rounding(part: nn.Module, inputs: Inputs) -> list[float]:
    """How far each result of a part moves where its inputs are rounded otherwise."""
    pairs = zip(
        pytree.tree_leaves(part(*_nudged(inputs))),
        pytree.tree_leaves(part(*_copied(inputs))),
        strict=True,
    )
    return [
        _difference(moved, result)[0] if _is_floating(result) else 0.0 for moved, result in pairs
    ]


def _is_floating(value: object) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _difference(found: Tensor, expected: Tensor) -> tuple[float, float]:
    """How far apart they are where the expected one is finite, and how large that one is."""
    is_finite = expected.isfinite()
    difference = (found - expected)[is_finite].double().norm()
    return float(difference), float(expected[is_finite].double().norm())


def _nudged(inputs: Inputs) -> Inputs:
    """The inputs with floating numbers a millionth larger or smaller."""
    generator = torch.Generator().manual_seed(0)

    def nudge(value: object) -> object:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        signs = torch.randint(0, 2, value.shape, generator=generator).to(value) * 2 - 1
        return value * (1 + _NUDGE * signs)

    nudged: Inputs = pytree.tree_map(nudge, inputs)
    return nudged


@contextmanager
def _few_boxes(model: nn.Module) -> Iterator[None]:
    """While the block runs, stages pass on few boxes, and never none."""
    with ExitStack() as stack:
        for part in model.modules():
            if isinstance(part, DenseStage | ROIHead):
                stack.callback(part.register_forward_hook(_pass_on_few).remove)
        yield


@contextmanager
def _recorded_inputs(model: nn.Module) -> Iterator[dict[nn.Module, Inputs]]:
    """What the first call of each part with convolutions in it gets, while the block runs."""
    recorded: dict[nn.Module, Inputs] = {}

    def record(part: nn.Module, args: Inputs) -> None:
        if part not in recorded:
            recorded[part] = _copied(args)

    with ExitStack() as stack:
        for part in model.modules():
            if has_convolutions(part):
                stack.callback(part.register_forward_pre_hook(record).remove)
        yield recorded


def input_std(model: nn.Module) -> float:
    """About the standard deviation of the images that a model works on."""
    return float(getattr(model, "input_std", PIXEL_STD))


def _make_probe(device: torch.device, std: float) -> ImageList:
    """One small image of noise.

    Of the strength of photos: deformable layers read far stronger ones at places that rounding
    decides.
    """
    generator = torch.Generator().manual_seed(0)
    pixels = std * torch.randn(1, 3, *_PROBE_HW, generator=generator).to(device)
    return ImageList(pixels, [_PROBE_HW])


@torch.no_grad()
def rewrite(
    model: nn.Module,
    device: torch.device,
    dtype: torch.dtype,
    products: torch.dtype = torch.float32,
) -> nn.Module:
    """A copy of the model for evaluation with fewer and faster layers, which detects the same.

    Convolutions take up what follows them; maps lie in memory as NHWC. Each part that is replaced
    was compared with the part itself, in float32. Layers of parts that cannot be traced
    stay what they are.

    Args:
        model: in evaluation mode, on ``device``.
        device: of the model.
        dtype: what convolutions and linear layers compute in, float32 or bfloat16; what leaves
            a part is never in half precision.
        products: what 3 x 3 convolutions multiply by minimal filtering, and with maps of 32 bits
            convolutions of single cells and linear layers, too: float32, or int16, which is exact
            to 6e-4 of the results.

    Raises:
        ConfigError: the copy computes something else.
    """
    twin = copy.deepcopy(getattr(model, "_orig_mod", model)).eval().requires_grad_(False)
    if not has_convolutions(twin):
        return twin
    extractions: dict[nn.Module, _Extraction] = {}
    for head in twin.modules():
        if isinstance(head, ROIHead) and isinstance(head.feature_extractor, ROIFeatureExtractor):
            extractor = head.feature_extractor
            extractions.setdefault(extractor, _Extraction(extractor))
            head.feature_extractor = extractions[extractor]
    probe = _make_probe(device, input_std(twin))
    with _few_boxes(twin):
        with _recorded_inputs(twin) as inputs:
            twin(probe)
        _Rewriting(inputs, dtype, products).replace_parts(twin)
        twin(probe)
    return twin
