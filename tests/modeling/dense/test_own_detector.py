"""A dense detector of somebody else: one folder outside the package, and one registration."""

import os
import subprocess
import sys

from tests.contract import markdown
from tests.contract.source_tree import ROOT

PROGRAM = """
import torch
import own_detector
from maskrcnn_benchmark.config import ArchitectureSpec, get_default_config
from maskrcnn_benchmark.modeling.detector import build_detection_model

cfg = get_default_config()
cfg.merge_from_file("own.yaml")
assert ArchitectureSpec.from_config(cfg).iou_types == ("bbox", "segm")
torch.manual_seed(0)
with torch.no_grad():
    (found,) = build_detection_model(cfg).eval()([torch.rand(3, 64, 96)])
assert len(found) == 7
assert [code["size"] for code in found.predicted_masks.encode()] == [[64, 96]] * 7
"""
SETTINGS = """
MODEL:
  DENSE: {FAMILY: "prototypes", SETTINGS: {SCORE_THRESHOLD: 0}}
  BACKBONE: {CONV_BODY: "MNV2-FPN-RETINANET"}
  NUM_CLASSES: 3
TEST: {DETECTIONS_PER_IMG: 7}
"""


def test_a_folder_and_a_registration_are_enough(tmp_path):
    blocks = markdown.blocks(ROOT / "docs" / "extending.md", "python")
    (detector,) = [block for block in blocks if "FAMILIES.register(" in block]
    folder = tmp_path / "own_detector"
    folder.mkdir()
    imports = "import torch\nfrom torch import Tensor, nn\n"
    (folder / "__init__.py").write_text(imports + detector)
    (tmp_path / "own.yaml").write_text(SETTINGS)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
