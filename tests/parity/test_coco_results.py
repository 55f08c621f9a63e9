"""Result files equal the original program's: boxes, categories, scores and masks as RLE."""

import pytest

from tests.parity.coco_results import assert_coco_results
from tests.parity.reference import cases, evaluate, tolerances

pytestmark = pytest.mark.golden


@pytest.mark.parametrize("case", cases("coco_bbox"))
@pytest.mark.parametrize("image", [0, 1])
def test_coco_results(case, image):
    detections = evaluate(case).detections[image]
    assert_coco_results(case, image, detections, tolerances(case).scores)
