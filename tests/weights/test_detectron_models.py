"""Whole detectors of Detectron in models of ours, ready to be evaluated."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from tests.contract.source_tree import ROOT
from tests.weights.detectron_blobs import blobs_of
from tests.weights.pickles import python2_pickle

CONFIGS = [
    *sorted((ROOT / "configs" / "caffe2").glob("*.yaml")),
    ROOT / "configs" / "gn_baselines" / "e2e_mask_rcnn_R_50_FPN_Xconv1fc_1x_gn.yaml",
    ROOT / "configs" / "retinanet" / "retinanet_R-50-FPN_1x.yaml",
]


@pytest.mark.slow
@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_tensor_is_filled_and_every_blob_used(path: Path, tmp_path: Path):
    cfg = get_default_config()
    cfg.merge_from_file(path)
    cfg.merge_from_list(["MODEL.DEVICE", "cpu"])
    source, target = build_detection_model(cfg), build_detection_model(cfg)
    # C4's heads for boxes and masks are one, so that its tensors come twice.
    generator = torch.Generator().manual_seed(0)
    for name, value in {v.data_ptr(): (n, v) for n, v in source.state_dict().items()}.values():
        if not name.endswith(("running_mean", "running_var")) and "cell_anchors" not in name:
            value.uniform_(-0.1, 0.1, generator=generator)
    depth = int(re.search(r"[RX][-_](\d+)", path.name)[1])
    blobs = blobs_of(source.state_dict(), depth)
    blobs |= {"kps_score_w": np.ones((1, 1, 4, 4), np.float32)}
    file = tmp_path / "model_final.pkl"
    file.write_bytes(python2_pickle(blobs))
    checkpointer = DetectronCheckpointer(cfg, target)
    checkpointer.load(file, strict=True)
    assert checkpointer.last_report.is_exact
    assert checkpointer.last_report.ignored == ("kps_score_w",)
    # Weights of RetinaNet's boxes are divided and multiplied on their way.
    torch.testing.assert_close(target.state_dict(), source.state_dict(), rtol=1e-6, atol=0)
