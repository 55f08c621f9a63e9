import cv2
import numpy as np
import pytest

from maskrcnn_benchmark.utils import cv2_util


def test_contours_of_a_square():
    mask = np.zeros((10, 10), np.uint8)
    mask[2:5, 3:8] = 1
    contours, hierarchy = cv2_util.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    assert sorted(map(tuple, contours[0][:, 0].tolist())) == [(3, 2), (3, 4), (7, 2), (7, 4)]
    assert hierarchy.shape == (1, 1, 4)


@pytest.mark.parametrize("front", [(), ("image",)], ids=["now", "version 3"])
def test_the_image_in_front_is_dropped(monkeypatch, front):
    monkeypatch.setattr(cv2, "findContours", lambda *_: (*front, ("outline",), "hierarchy"))
    assert cv2_util.findContours(None, 0, 0) == (("outline",), "hierarchy")
