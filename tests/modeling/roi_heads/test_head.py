"""What all heads share."""

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.modeling.roi_heads.head import BoxFeatures, ROIHead, RoiInputs

HALF, SINGLE, DOUBLE = torch.bfloat16, torch.float32, torch.float64


@pytest.mark.parametrize(
    ("given", "expected"), [(HALF, SINGLE), (SINGLE, SINGLE), (DOUBLE, DOUBLE)]
)
def test_predictions_leave_half_precision(given, expected):
    class Pair(nn.Module):
        def forward(self, x):
            return x, 2 * x

    x = torch.ones(3, dtype=given)
    single = ROIHead(feature_extractor=nn.Identity(), predictor=nn.Identity()).predictor(x)
    assert single.dtype == expected
    pair = ROIHead(feature_extractor=nn.Identity(), predictor=Pair()).predictor(x)
    assert [each.dtype for each in pair] == [expected] * 2
    assert pair[1].tolist() == [2, 2, 2]


def test_shared_features_are_looked_up():
    head = ROIHead(
        feature_extractor=nn.Identity(), predictor=nn.Identity(), shares_box_features=True
    )
    features = torch.arange(4.0)[:, None]
    inputs = RoiInputs([], [], [], {BoxFeatures: BoxFeatures(features)})
    found = head.extract(inputs, [], torch.tensor([3, 1]))
    assert found.encoded.tolist() == found.pooled.tolist() == [[3], [1]]
