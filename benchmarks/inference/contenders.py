"""The models of the tables, with random weights, as none of ours come with the repository."""

from typing import NamedTuple

from benchmarks.gpu.scenes import make_model
from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.engine.forward import build_model
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.modeling.detector import GeneralizedRCNN
from maskrcnn_benchmark.timing.contenders import CPU, Inputs, Photos
from maskrcnn_benchmark.timing.thresholds import make_threshold

DETECTIONS = 50


class Subject(NamedTuple):
    """A model of the tables.

    Attributes:
        title: what the tables call it.
        config: its file of settings.
        short_side: of its input, px.
        long_side: at most, px.
    """

    title: str
    config: str
    short_side: int
    long_side: int


SUBJECTS = {
    "R-50": Subject(
        "CenterMask R-50, 800/1333", "configs/centermask/centermask_R_50_FPN_1x.yaml", 800, 1333
    ),
    "V2-39": Subject(
        "CenterMask-Lite V2-39, 600/1000",
        "configs/centermask/centermask_V_39_eSE_FPN_lite_res600_ms_bs16_4x.yaml",
        *(600, 1000),
    ),
    "MV2": Subject(
        "CenterMask-Lite MV2, 600/1000",
        "configs/centermask/centermask_M_v2_FPN_lite_res600_ms_bs16_4x.yaml",
        *(600, 1000),
    ),
}


def make_subject(
    config: str, paths: Photos, detections: int = DETECTIONS
) -> tuple[CfgNode, GeneralizedRCNN]:
    """The settings and the model of a file of settings, which finds so many objects in each photo.

    Its weights are random.
    """
    options = ["MODEL.WEIGHT", "", "MODEL.DEVICE", "cpu", "TEST.DETECTIONS_PER_IMG", detections]
    options += ["MODEL.ROI_HEADS.DETECTIONS_PER_IMG", detections]
    options += ["MODEL.RETINANET.NUM_MASKS_TEST", detections]
    cfg = load_settings(config, options)
    images = Inputs.from_config(cfg, "pil")(read_image(path) for path in paths[:1])
    fitted = make_model(cfg, images, CPU)
    cfg.merge_from_list([*make_threshold(cfg, fitted, images)])
    model = build_model(cfg, CPU)
    model.load_state_dict(fitted.state_dict())
    return cfg, model.eval()
