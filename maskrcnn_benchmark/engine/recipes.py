"""Settings of a training that follow from the data: how long, how fast, from which start."""

import math
from dataclasses import dataclass
from typing import Any, Final

from maskrcnn_benchmark.config import CfgNode

SMALL: Final = "small"
PUBLISHED: Final = "published"
RECIPES: Final = (SMALL, PUBLISHED)
FEW_PHOTOS: Final = 5000
"""Below this many photos the recipe is ``small`` unless one is asked for."""

_MOST_MOMENTUM: Final = 0.1
"""Share of a batch in the statistics of norms, as PyTorch has it."""

_MEMORIES: Final = 20
"""How often in a training statistics of norms forget what they were."""

_COCO_PHOTOS: Final = 117_266
"""Photos of COCO's train2017 with objects, which the published schedules are for."""
_KEPT: Final = 2
"""Checkpoints to go on from: the newest may lie on a disk that is about to fail."""
_NUM_EVALUATIONS: Final = 10
# Measured on 88 photos of circuit boards with CenterMask-Lite and MobileNetV2: 600 to 900 steps of
# 4 photos at AdamW's 1e-3 had a mask AP50 of 86 to 99 on unseen photos.
_SMALL_BATCH: Final = 4
_SMALL_EPOCHS: Final = 27
_LEAST_STEPS: Final = 400
_SMALL_WARMUP: Final = 50
_MOBILENET_LR: Final = 0.001
# Not measured here: larger bodies take lower rates of Adam.
_OTHER_LR: Final = 0.0002
_LIGHT: Final = 0.4
# Short sides to draw from on a CPU, short side in evaluation, and longest side, px: a step of that
# measurement took a third of a second on two cores. A GPU takes the sizes of the model.
_CPU_SIZES: Final = (192, 320)
_CPU_TEST_SIZE: Final = 288
_CPU_LONGEST: Final = 534


@dataclass(frozen=True, slots=True)
class TrainingData:
    """What is known of the data before the training.

    Attributes:
        num_photos: that are trained on.
        num_classes: background included.
        has_outlines: whether some objects have more than a box.
    """

    num_photos: int
    num_classes: int
    has_outlines: bool

    @property
    def recipe(self) -> str:
        """The name of the one that fits."""
        return SMALL if self.num_photos < FEW_PHOTOS else PUBLISHED


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a recipe depends on besides the data.

    Attributes:
        on_gpu: whether the training runs on one.
        num_processes: that share each batch.
        epochs: passes over the photos; None leaves them to the recipe.
        weights: to start from; "" leaves those of the settings.
        has_validation: whether there are photos to evaluate on.
    """

    on_gpu: bool = False
    num_processes: int = 1
    epochs: float | None = None
    weights: str = ""
    has_validation: bool = True


def make_recipe(
    name: str, base: CfgNode, given: CfgNode, data: TrainingData, circumstances: Circumstances
) -> dict[str, Any]:
    """Full names of settings and their values, none that somebody gave.

    Args:
        name: one of ``RECIPES``.
        base: the settings of the model.
        given: those over it; ``is_given`` tells which.
        data: to train on.
        circumstances: of the training.
    """
    make = _make_small if name == SMALL else _make_published
    settings = make(base, given, data, circumstances)
    if circumstances.weights:
        settings["MODEL.WEIGHT"] = circumstances.weights
    return {key: value for key, value in settings.items() if not given.is_given(key)}


def _make_small(
    base: CfgNode, given: CfgNode, data: TrainingData, circumstances: Circumstances
) -> dict[str, Any]:
    """A gentle start, AdamW on a cosine, and as many steps as the photos are worth."""
    share = max(1, min(_SMALL_BATCH, data.num_photos) // circumstances.num_processes)
    batch = share * circumstances.num_processes
    if given.is_given("SOLVER.IMS_PER_BATCH"):
        batch = given.SOLVER.IMS_PER_BATCH
    steps = _num_steps(data.num_photos, batch, circumstances.epochs or _SMALL_EPOCHS)
    if circumstances.epochs is None:
        steps = max(steps, _LEAST_STEPS)
    if given.is_given("SOLVER.MAX_ITER"):
        steps = given.SOLVER.MAX_ITER
    is_mobilenet = base.MODEL.BACKBONE.CONV_BODY.startswith("MNV2")
    # Adam's rate goes with the root of the batch. Source: Malladi et al., arXiv 2205.10287.
    scale = math.sqrt(batch / _SMALL_BATCH)
    settings: dict[str, Any] = {
        "SOLVER.MAX_ITER": steps,
        "SOLVER.IMS_PER_BATCH": batch,
        "SOLVER.OPTIMIZER": "AdamW",
        "SOLVER.BASE_LR": (_MOBILENET_LR if is_mobilenet else _OTHER_LR) * scale,
        "SOLVER.WEIGHT_DECAY": 0.01,
        "SOLVER.LR_SCHEDULE": "cosine",
        "SOLVER.WARMUP_METHOD": "linear",
        "SOLVER.WARMUP_ITERS": min(_SMALL_WARMUP, steps // 10),
        "SOLVER.CLIP_GRAD_NORM": 10.0,
        **_periods(steps, circumstances),
        **_make_looks(base, given),
        "MODEL.BACKBONE.FREEZE_CONV_BODY_AT": 2,
        "MODEL.ROI_MASK_HEAD.LOGITS_INIT_STD": 0.01,
        "MODEL.ROI_MASK_HEAD.ATTENTION_INIT_STD": 0.01,
    }
    # Statistics of norms are to forget the start within a part of the training.
    momentum = min(_MOST_MOMENTUM, _MEMORIES / steps)
    if momentum > base.MODEL.BATCH_NORM.MOMENTUM:
        settings["MODEL.BATCH_NORM.MOMENTUM"] = momentum
    return settings if circumstances.on_gpu else settings | _cpu_settings()


def _cpu_settings() -> dict[str, Any]:
    return {
        "MODEL.FCOS.POST_NMS_TOP_N_TRAIN": 50,
        "INPUT.MIN_SIZE_RANGE_TRAIN": _CPU_SIZES,
        "INPUT.MAX_SIZE_TRAIN": _CPU_LONGEST,
        "INPUT.MIN_SIZE_TEST": _CPU_TEST_SIZE,
        "INPUT.MAX_SIZE_TEST": _CPU_LONGEST,
    }


def _make_published(
    base: CfgNode, given: CfgNode, data: TrainingData, circumstances: Circumstances
) -> dict[str, Any]:
    """The model's own schedule, for these photos and this batch.

    The learning rate goes with the batch, and the steps with the photos, so that each is seen as
    often as those of COCO were. Source: Goyal et al., arXiv 1706.02677.
    """
    solver = base.SOLVER
    batch = solver.IMS_PER_BATCH
    if given.is_given("SOLVER.IMS_PER_BATCH"):
        batch = given.SOLVER.IMS_PER_BATCH
    epochs = circumstances.epochs or solver.MAX_ITER * solver.IMS_PER_BATCH / _COCO_PHOTOS
    steps = _num_steps(data.num_photos, batch, epochs)
    if given.is_given("SOLVER.MAX_ITER"):
        steps = given.SOLVER.MAX_ITER
    return {
        "SOLVER.MAX_ITER": steps,
        "SOLVER.STEPS": tuple(round(step * steps / solver.MAX_ITER) for step in solver.STEPS),
        "SOLVER.BASE_LR": solver.BASE_LR * batch / solver.IMS_PER_BATCH,
        "SOLVER.WARMUP_ITERS": min(solver.WARMUP_ITERS, steps // 10),
        **_periods(steps, circumstances),
    }


def _num_steps(num_photos: int, batch: int, epochs: float) -> int:
    return max(1, math.ceil(epochs * num_photos / batch))


def _periods(steps: int, circumstances: Circumstances) -> dict[str, Any]:
    # One more, so that none falls just before the last step, which is evaluated anyway.
    period = steps // _NUM_EVALUATIONS + 1
    return {
        "SOLVER.TEST_PERIOD": period if circumstances.has_validation else 0,
        "SOLVER.KEEP_BEST": circumstances.has_validation,
        "SOLVER.CHECKPOINT_PERIOD": period,
        "SOLVER.KEEP_CHECKPOINTS": _KEPT,
        "SOLVER.LOG_PERIOD": min(20, period),
    }


def _make_looks(base: CfgNode, given: CfgNode) -> dict[str, Any]:
    """Few photos look different each time, or they are learnt by heart; some models see to it."""
    if base.INPUT.AUGMENTATIONS_TRAIN or given.INPUT.AUGMENTATIONS_TRAIN:
        return {}
    return {
        "INPUT.BRIGHTNESS": _LIGHT,
        "INPUT.CONTRAST": _LIGHT,
        "INPUT.SATURATION": _LIGHT,
        "INPUT.SAME_SHAPE_IN_BATCH": True,
    }
