"""What travels with the package: configurations with short names, their table, bundled weights."""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from maskrcnn_benchmark.config.errors import ConfigError, UnknownNameError

_PACKED: Final = Path(__file__).resolve().parents[1] / "shipped"
# A wheel has copies of the files (setup.py makes them); a checkout has the files themselves.
SHIPPED: Final = _PACKED if _PACKED.is_dir() else Path(__file__).resolve().parents[2]
"""The folder with ``configs/``, ``MODEL_ZOO.json`` and ``datasets/``."""


@dataclass(frozen=True, slots=True)
class ShippedModel:
    """A configuration with a short name.

    Attributes:
        config: its file, below ``configs/``.
        weights: ImageNet weights that its body can start from, as in MODEL.WEIGHT; "" leaves those
            of the file.
        is_trained: the file names weights of the whole model, which finds COCO's classes with them.
    """

    config: str
    weights: str = ""
    is_trained: bool = False

    @property
    def path(self) -> Path:
        """The file of settings."""
        return SHIPPED / "configs" / self.config


_MOBILENET: Final = "catalog://quickstart/mobilenet_v2"
_R50: Final = "catalog://torchvision/resnet50"
_R101: Final = "catalog://torchvision/resnet101"
_X101: Final = "catalog://torchvision/resnext101_32x8d"
_V39: Final = "catalog://timm/ese_vovnet39b.ra_in1k"
_V57: Final = "catalog://timm/ese_vovnet57b.ra4_e3600_r256_in1k"


def _lite(body: str, weights: str = "") -> ShippedModel:
    return ShippedModel(f"centermask/centermask_{body}_FPN_lite_res600_ms_bs16_4x.yaml", weights)


def _centermask(body: str, weights: str = "") -> ShippedModel:
    return ShippedModel(f"centermask/centermask_{body}_FPN_ms_3x.yaml", weights)


def _centermask2(name: str, weights: str = "") -> ShippedModel:
    return ShippedModel(f"centermask2/centermask_{name}.yaml", weights)


def _torchvision(name: str) -> ShippedModel:
    return ShippedModel(f"torchvision/{name}.yaml", is_trained=True)


def _detectron2(name: str) -> ShippedModel:
    return ShippedModel(f"detectron2/{name}_FPN_3x.yaml", is_trained=True)


_DETECTRON2: Final = {
    f"detectron2-{kind.replace('_', '-')}-{short}": _detectron2(f"{kind}_{body}")
    for kind in ("mask_rcnn", "keypoint_rcnn", "faster_rcnn", "retinanet")
    for short, body in (("r50", "R_50"), ("r101", "R_101"), ("x101", "X_101_32x8d"))
    if (kind, short) != ("retinanet", "x101")
}
MODELS: Final[Mapping[str, ShippedModel]] = MappingProxyType(
    {
        "centermask-lite-mv2": _lite("M_v2", _MOBILENET),
        "centermask-lite-v19-slim-dw": _lite("V_19_slim_dw_eSE"),
        "centermask-lite-v19-slim": _lite("V_19_slim_eSE"),
        "centermask-lite-v19-dw": _lite("V_19_dw_eSE", "catalog://timm/ese_vovnet19b_dw.ra_in1k"),
        "centermask-lite-v19": _lite("V_19_eSE"),
        "centermask-lite-r50": _lite("R_50", _R50),
        "centermask-lite-v39": _lite("V_39_eSE", _V39),
        "centermask-mv2": _centermask("M_v2", _MOBILENET),
        "centermask-v19": _centermask("V_19_eSE"),
        "centermask-r50": _centermask("R_50", _R50),
        "centermask-v39": _centermask("V_39_eSE", _V39),
        "centermask-r101": _centermask("R_101", _R101),
        "centermask-v57": _centermask("V_57_eSE", _V57),
        "centermask-x101": _centermask("X_101", _X101),
        "centermask-v99": _centermask("V_99_eSE"),
        "centermask-hrnet-w32": ShippedModel("centermask/centermask_HRNET_W32_FPN_1x.yaml"),
        "centermask2-lite-mv2": _centermask2("lite_Mv2_FPN_ms_4x", _MOBILENET),
        "centermask2-lite-v19-slim-dw": _centermask2("lite_V_19_slim_dw_eSE_FPN_ms_4x"),
        "centermask2-lite-v19-slim": _centermask2("lite_V_19_slim_eSE_FPN_ms_4x"),
        "centermask2-lite-v19": _centermask2("lite_V_19_eSE_FPN_ms_4x"),
        "centermask2-lite-v39": _centermask2("lite_V_39_eSE_FPN_ms_4x", _V39),
        "centermask2-v39": _centermask2("V_39_eSE_FPN_ms_3x", _V39),
        "centermask2-v57": _centermask2("V_57_eSE_FPN_ms_3x", _V57),
        "centermask2-v99": _centermask2("V_99_eSE_FPN_ms_3x"),
        "centermask2-v39-dcn": _centermask2("V_39_eSE_dcn_FPN_ms_3x", _V39),
        "centermask2-v57-dcn": _centermask2("V_57_eSE_dcn_FPN_ms_3x", _V57),
        "centermask2-v99-dcn": _centermask2("V_99_eSE_dcn_FPN_ms_3x"),
        "mask-rcnn-r50": ShippedModel("mask_rcnn/mask_rcnn_R_50_FPN_ms_3x.yaml", _R50),
        "mask-rcnn-r101": ShippedModel("mask_rcnn/mask_rcnn_R_101_FPN_ms_3x.yaml", _R101),
        "mask-rcnn-x101": ShippedModel("mask_rcnn/mask_rcnn_X_101_32x8d_FPN_ms_3x.yaml", _X101),
        "retinamask-r50": ShippedModel("retinamask/retinamask_R_50_FPN_ms_2x.yaml", _R50),
        "retinamask-r101": ShippedModel("retinamask/retinamask_R_101_FPN_ms_2x.yaml", _R101),
        **{
            f"yolact-{name}": ShippedModel(f"yolact/yolact_{file}.yaml")
            for name, file in {
                "400-r101": "im400",
                "r50": "resnet50_550",
                "darknet53": "darknet53",
                "r101": "base",
                "700-r101": "im700",
                "plus-r50": "plus_resnet50",
                "plus-r101": "plus_base",
            }.items()
        },
        "tensormask-r50": ShippedModel("tensormask/tensormask_R_50_FPN_6x.yaml", _R50),
        "tensormask-r101": ShippedModel("tensormask/tensormask_R_101_FPN_6x.yaml", _R101),
        "shapemask-r50": ShippedModel("shapemask/shapemask_R_50_FPN_640_2x.yaml", _R50),
        "shapemask-r50-agnostic": ShippedModel(
            "shapemask/shapemask_R_50_FPN_640_2x_agnostic.yaml", _R50
        ),
        "shapemask-r101": ShippedModel("shapemask/shapemask_R_101_FPN_1024_2x.yaml", _R101),
        "torchvision-mask-rcnn": _torchvision("maskrcnn_resnet50_fpn"),
        "torchvision-mask-rcnn-v2": _torchvision("maskrcnn_resnet50_fpn_v2"),
        "torchvision-keypoint-rcnn": _torchvision("keypointrcnn_resnet50_fpn"),
        "torchvision-faster-rcnn": _torchvision("fasterrcnn_resnet50_fpn"),
        "torchvision-faster-rcnn-v2": _torchvision("fasterrcnn_resnet50_fpn_v2"),
        "torchvision-retinanet": _torchvision("retinanet_resnet50_fpn"),
        "torchvision-retinanet-v2": _torchvision("retinanet_resnet50_fpn_v2"),
        "torchvision-fcos": _torchvision("fcos_resnet50_fpn"),
        **_DETECTRON2,
        "faster-rcnn-r50": ShippedModel("e2e_faster_rcnn_R_50_FPN_1x.yaml", _R50),
        "faster-rcnn-r101": ShippedModel("e2e_faster_rcnn_R_101_FPN_1x.yaml", _R101),
        "retinanet-r50": ShippedModel("retinanet/retinanet_R-50-FPN_1x.yaml", _R50),
        "retinanet-r101": ShippedModel("retinanet/retinanet_R-101-FPN_1x.yaml", _R101),
    }
)
"""By short name."""


def find_model(name: str) -> ShippedModel:
    """The model of a short name.

    Raises:
        UnknownNameError: there is none; the text names similar ones.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name.lower(), MODELS, n=3, cutoff=0.3)
        raise UnknownNameError(
            f"unknown model {name!r}; similar: {', '.join(near) or 'none'}. "
            "`centermask models` lists all"
        )
    return MODELS[name]


def find_config(path: str) -> Path:
    """A file of settings: the one at that path, else the shipped one (``configs/...``).

    Raises:
        ConfigError: there is neither.
    """
    for candidate in (Path(path).expanduser(), SHIPPED / path):
        if candidate.is_file():
            return candidate
    raise ConfigError(
        f"no such file of settings: {path} (neither here, {Path.cwd()}, nor among those of the "
        "package); `centermask models` lists the names for --model"
    )


def zoo_row(model: ShippedModel) -> Mapping[str, Any] | None:
    """What MODEL_ZOO.json says of a model, the row of val2017 first; None if nothing."""
    rows = json.loads((SHIPPED / "MODEL_ZOO.json").read_text(encoding="utf-8"))["models"]
    own = [row for row in rows if row["config"] == f"configs/{model.config}"]
    return min(own, key=lambda row: row["split"] != "val2017", default=None)
