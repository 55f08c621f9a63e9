import cv2
import numpy as np

from maskrcnn_benchmark.utils import cv2_util


def test_contours_of_a_square():
    mask = np.zeros((10, 10), np.uint8)
    mask[2:5, 3:8] = 1
    contours, hierarchy = cv2_util.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    assert sorted(map(tuple, contours[0][:, 0].tolist())) == [(3, 2), (3, 4), (7, 2), (7, 4)]
    assert hierarchy.shape == (1, 1, 4)
