"""Compares detections of a model with restated ones, as sets."""

import math

import torch


def assert_same_detections(result, boxes, scores, labels):
    """Each restated box is found once, with its label, within 0.01 px and 1e-5 of its score."""
    assert len(result) == len(boxes) > 0
    distances = torch.cdist(result.bbox, boxes, p=math.inf)
    distances[result.labels[:, None] != labels] = math.inf
    assert distances.amin(dim=0).max() < 0.01
    order = distances.argmin(dim=0)
    assert len(order.unique()) == len(order)
    torch.testing.assert_close(result.scores[order].double(), scores, rtol=0, atol=1e-5)
