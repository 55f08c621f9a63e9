"""The text of docs/model_zoo.md, made from MODEL_ZOO.json."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ZOO = ROOT / "MODEL_ZOO.json"

Model = Mapping[str, Any]

HEADER = """\
# Model zoo

<!-- Made from MODEL_ZOO.json by docs/generate.py. -->

**AP and ms on this page were published by the authors of the models. None was measured here**:
that takes COCO and GPUs. They are the goal that a full training with this code must reach, and
`tools/test_net.py --check` tells whether a run on val2017 does
([how](evaluation.md#expected-results)).

**Parameters and GFLOPs were measured here**, by
`python tools/analyze_model.py --zoo MODEL_ZOO.json`: multiply-adds (what most papers call FLOPs) of
convolutions and matrix products, for one padded image of the test size, with as many boxes as a
test hands to the heads at most. With `--config-file` it prints one model part by part.

AP is on COCO, in percent, with the values for small, medium and large objects in parentheses.
Epochs: 12 is the "1x" schedule (90 000 iterations of 16 images), 24 is "2x", 36 is "3x", 48 is
"4x". The same rows, for programs: `MODEL_ZOO.json`.

"weights" is where the authors put the file; many of these links have died since. A file that you
have loads with `MODEL.WEIGHT path/to/file.pth`; [other sources](checkpoints.md).

Beside one another, against time: [comparison](comparison.md).

## Start here

| you want | take |
|---|---|
| real time on a GPU | `centermask_V_39_eSE_FPN_lite_res600_ms_bs16_4x.yaml` |
| the smallest model | `centermask_M_v2_FPN_lite_res600_ms_bs16_4x.yaml` |
| the most accurate model | `centermask_V_99_eSE_FPN_ms_3x.yaml` |
| the same of CenterMask2 | `configs/centermask2/centermask_V_99_eSE_dcn_FPN_ms_3x.yaml` |
| a baseline others know | `centermask_R_50_FPN_1x.yaml` |
"""

VAL = """
## COCO val2017, trained at several scales

TensorMask's 1x schedule is of one scale. The files of the Mask R-CNN rows were not published; those
in `configs/mask_rcnn/` are our reading.

"""

SECOND = """
## CenterMask2, COCO val2017

The second generation: the same layers under detectron2's rules (`MODEL.CONVENTION detectron2`).
Files for detectron2 load with `MODEL.WEIGHT`
([what is tested](checkpoints.md#which-file-from-where-under-which-rules)).

"""

TEST_DEV = """
## COCO test-dev

Methods without a configuration are listed for comparison.

"""

LATER = """
## Later variants of VoVNetV2

Mask AP and ms as their author published them, without saying on which part of COCO.

"""

FOOTER = """
Sources: Lee and Park, [CenterMask: Real-Time Anchor-Free Instance Segmentation](https://arxiv.org/abs/1911.06667),
CVPR 2020, and the tables that its authors published with their program; for the RetinaMask rows
on val2017 Fu, Shvets and Berg, [RetinaMask](https://arxiv.org/abs/1901.03353); for YOLACT-700 and
DarkNet-53 the AP and frames per second that the authors of
[YOLACT](https://arxiv.org/abs/1904.02689) published with their program; for TensorMask on val2017
what its authors published with [theirs](https://arxiv.org/abs/1903.12174); for ShapeMask the
benchmark page of its authors' program (val2017) and
[their paper](https://arxiv.org/abs/1904.03239) (test-dev). The GFLOPs of YOLACT++
are without the re-scoring of masks, those of TensorMask without reading them: their numbers
depend on the image.
"""

COLUMNS = (
    "model",
    "config",
    "epochs",
    "published mask AP (APs/APm/APl)",
    "published box AP (APs/APm/APl)",
    "published ms",
    "on GPU",
    "parameters measured here",
    "GFLOPs measured here",
    "published weights",
)
NOTHING = "-"
SECOND_CONFIGS = "configs/centermask2/"


def _scores(scores: Mapping[str, float] | None) -> str:
    if scores is None:
        return NOTHING
    parts = "/".join(f"{scores[name]:.1f}" for name in ("APs", "APm", "APl") if name in scores)
    return f"{scores['AP']:.1f} ({parts})" if parts else f"{scores['AP']:.1f}"


def _link(text: str, target: str | None) -> str:
    return f"[{text}]({target})" if target else NOTHING


def _cells(model: Model) -> list[str]:
    config, measured = model["config"], model.get("measured")
    size = "{1} x {0}".format(*measured["image_hw"]) if measured else ""
    return [
        model["model"],
        _link(Path(config).name, f"../{config}") if config else NOTHING,
        str(model["epochs"] or NOTHING),
        _scores(model["mask"]),
        _scores(model["box"]),
        str(model["ms"] or NOTHING),
        model["gpu"] or NOTHING,
        f"{measured['parameters'] / 1e6:.1f} M" if measured else NOTHING,
        f"{measured['multiply_adds'] / 1e9:.0f} at {size}" if measured else NOTHING,
        _link("link", model["weights"]),
    ]


def _table(models: Iterable[Model]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *map(_cells, models)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def model_zoo() -> str:
    """The text of docs/model_zoo.md."""
    models = json.loads(ZOO.read_text(encoding="utf-8"))["models"]
    second = [model for model in models if (model["config"] or "").startswith(SECOND_CONFIGS)]
    models = [model for model in models if model not in second]
    val = [model for model in models if model["split"] == "val2017"]
    test_dev = [model for model in models if model["split"] == "test-dev"]
    later = [model for model in models if model["split"] is None]
    parts = ((VAL, val), (SECOND, second), (TEST_DEV, test_dev), (LATER, later))
    return HEADER + "".join(title + _table(rows) for title, rows in parts) + FOOTER
