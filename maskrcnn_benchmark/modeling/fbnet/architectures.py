"""FBNet architectures: which blocks follow one another, and which stages make which part.

Sources: FBNet (arXiv 1812.03443), ChamNet (Dai et al., arXiv 1812.08934) for "cham_*", MobileNetV2
(arXiv 1801.04381); the detection variants were published with maskrcnn-benchmark.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from maskrcnn_benchmark.config.errors import ConfigError
from maskrcnn_benchmark.config.registry import Registry


@dataclass(frozen=True, slots=True)
class Block:
    """One block.

    Attributes:
        op: a name of ``PRIMITIVES``.
        expansion: hidden channels / incoming channels.
        channels: outgoing channels, before scaling.
        stride: negative numbers enlarge.
    """

    op: str
    expansion: float
    channels: int
    stride: int


Stage = tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A network as stages of blocks.

    Attributes:
        stages: all stages, whatever part they belong to.
        parts: "backbone", "rpn", "bbox", "mask", "kpts" or "head" (of all heads without a part of
            their own) -> numbers of its stages.
        first: (channels, stride) or (channels, stride, kernel) of the first convolution.
        last_channels: channels of a head's last 1x1 convolution, before scaling; 0 for none.
        rpn_stride: stride of the backbone in px, where the definition names it.
    """

    stages: tuple[Stage, ...]
    parts: Mapping[str, tuple[int, ...]]
    first: tuple[int, ...] = (32, 2)
    last_channels: int = 0
    rpn_stride: int | None = None

    def blocks_of(self, part: str, numbers: Sequence[int] = ()) -> dict[str, Block]:
        """The blocks of a part by their names in checkpoints, such as "xif3_0".

        Args:
            part: see ``parts``; one that the architecture does not name has all stages.
            numbers: which blocks of each stage; () means all.

        Raises:
            ConfigError: the architecture has no such blocks.
        """
        # UPSTREAM(part-without-stages): as there, all stages stand for a part that is not named,
        # such as the keypoint head of the built-in architectures.
        every_stage = tuple(range(len(self.stages)))
        stages = self.parts.get(part, self.parts.get("head", every_stage))
        blocks = {
            f"xif{stage}_{number}": block
            for stage in sorted(stages)
            for number, block in enumerate(self.stages[stage])
            if not numbers or number in numbers
        }
        if not blocks:
            raise ConfigError(
                f"MODEL.FBNET: the {part!r} part of the architecture has no blocks {list(numbers)}"
            )
        return blocks


def _groups(*groups: tuple[str, float, int, int, int]) -> Stage:
    """A stage of groups (op, expansion, channels, repeats, stride of the first)."""
    return tuple(
        Block(op, expansion, channels, 1 if repeat else stride)
        for op, expansion, channels, repeats, stride in groups
        for repeat in range(repeats)
    )


_MOBILENET_V2_TRUNK = (
    _groups(("ir_k3", 1, 16, 1, 1)),
    _groups(("ir_k3", 6, 24, 2, 2)),
    _groups(("ir_k3", 6, 32, 3, 2)),
    _groups(("ir_k3", 6, 64, 4, 2), ("ir_k3", 6, 96, 3, 1)),
)
_PARTS = {"backbone": (0, 1, 2, 3), "bbox": (4,)}

ARCHITECTURES = Registry[Architecture](
    "architecture (MODEL.FBNET.ARCH, unless MODEL.FBNET.ARCH_DEF defines one)",
    {
        "default": Architecture(
            stages=(
                *_MOBILENET_V2_TRUNK,
                _groups(("ir_k3", 4, 160, 1, 2), ("ir_k3", 6, 160, 2, 1), ("ir_k3", 6, 240, 1, 1)),
                _groups(("ir_k3", 6, 96, 3, 1)),
                _groups(("ir_k3", 4, 160, 1, 1), ("ir_k3", 6, 160, 3, 1), ("ir_k3", 3, 80, 1, -2)),
            ),
            parts=_PARTS | {"rpn": (5,), "mask": (6,)},
        ),
        "xirb16d_dsmask": Architecture(
            first=(16, 2),
            stages=(
                _groups(("ir_k3", 1, 16, 1, 1)),
                _groups(("ir_k3", 6, 32, 2, 2)),
                _groups(("ir_k3", 6, 48, 3, 2)),
                _groups(("ir_k3", 6, 96, 4, 2), ("ir_k3", 6, 128, 3, 1)),
                _groups(("ir_k3", 4, 128, 1, 2), ("ir_k3", 6, 128, 2, 1), ("ir_k3", 6, 160, 1, 1)),
                _groups(
                    ("ir_k3", 4, 128, 1, 2),
                    ("ir_k3", 6, 128, 2, 1),
                    ("ir_k3", 6, 128, 1, -2),
                    ("ir_k3", 3, 64, 1, -2),
                ),
                _groups(("ir_k3", 6, 128, 3, 1)),
            ),
            parts=_PARTS | {"mask": (5,), "rpn": (6,)},
        ),
        "mobilenet_v2": Architecture(
            stages=(
                *_MOBILENET_V2_TRUNK,
                _groups(("ir_k3", 6, 160, 3, 1), ("ir_k3", 6, 320, 1, 1)),
            ),
            parts=_PARTS,
        ),
        "cham_v1a": Architecture(
            stages=(
                _groups(("ir_k3", 1, 24, 1, 1)),
                _groups(("ir_k7", 4, 48, 2, 2)),
                _groups(("ir_k3", 7, 64, 5, 2)),
                _groups(("ir_k5", 12, 56, 7, 2), ("ir_k3", 8, 88, 5, 1)),
                _groups(("ir_k3", 7, 152, 4, 2), ("ir_k3", 10, 104, 1, 1)),
                _groups(("ir_k3", 8, 88, 3, 1)),
            ),
            parts=_PARTS | {"rpn": (5,)},
        ),
        "cham_v2": Architecture(
            stages=(
                _groups(("ir_k3", 1, 24, 1, 1)),
                _groups(("ir_k5", 8, 32, 4, 2)),
                _groups(("ir_k7", 5, 48, 6, 2)),
                _groups(("ir_k5", 9, 56, 3, 2), ("ir_k3", 6, 56, 6, 1)),
                _groups(("ir_k3", 2, 160, 6, 2), ("ir_k3", 6, 112, 1, 1)),
                _groups(("ir_k3", 6, 56, 1, 1)),
            ),
            parts=_PARTS | {"rpn": (5,)},
        ),
    },
)
"""Architectures by the names of MODEL.FBNET.ARCH."""


def parse_architecture(text: str) -> Architecture:
    """The architecture that MODEL.FBNET.ARCH_DEF describes.

    Args:
        text: JSON with "block_cfg" ("first", "stages" as lists of groups [expansion, channels,
            repeats, stride], "last", and the stage numbers of each part) and "block_op_type" (the
            name of each block, stage by stage).

    Raises:
        ConfigError: the text is no such definition.
    """
    try:
        definition = json.loads(text)
        settings, ops = dict(definition["block_cfg"]), definition["block_op_type"]
        stages = tuple(
            _named_groups(groups, names)
            for groups, names in zip(settings.pop("stages"), ops, strict=True)
        )
        first, last = tuple(settings.pop("first")), settings.pop("last", (0, 0.0))
        rpn_stride = settings.pop("rpn_stride", definition.get("rpn_stride"))
        trunk = tuple(range(len(stages) - 1))
        parts = {"backbone": trunk} | {part: tuple(numbers) for part, numbers in settings.items()}
        return Architecture(
            first=first,
            stages=stages,
            parts=parts,
            last_channels=int(last[0]),
            rpn_stride=rpn_stride,
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ConfigError(
            "MODEL.FBNET.ARCH_DEF: expected JSON with block_cfg (first, stages, ...) and "
            f"block_op_type, one name a block; got {text[:80]!r} ({error})"
        ) from error


def _named_groups(groups: Sequence[Sequence[Any]], names: Sequence[str]) -> Stage:
    stage = _groups(*(("", expansion, *rest) for expansion, *rest in groups))
    return tuple(replace(block, op=name) for block, name in zip(stage, names, strict=True))
