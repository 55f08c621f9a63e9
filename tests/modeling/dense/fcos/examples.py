"""Locations and ground truth of the reference outputs, and the assigner that they are for."""

import torch

from maskrcnn_benchmark.modeling.dense.fcos.locations import level_locations
from maskrcnn_benchmark.modeling.dense.fcos.targets import FCOSTargetAssigner, FCOSTargetSettings
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.golden_data import golden_npz

STRIDES = (8, 16, 32, 64, 128)
RANGES = ((-1.0, 64.0), (64.0, 128.0), (128.0, 256.0), (256.0, 512.0), (512.0, 1e8))


def make_assigner(**options):
    return FCOSTargetAssigner(FCOSTargetSettings(STRIDES, RANGES, **options))


def golden_locations():
    data = golden_npz("ops")
    return [
        level_locations((int(height), int(width)), stride, 1, torch.device("cpu"))
        for (height, width), stride in zip(data["fcos_level_sizes"], STRIDES, strict=True)
    ]


def image_by_image(values, locations, num_images):
    """(N, L, ...) from targets, whose levels come before the images."""
    per_level = values.split([len(points) * num_images for points in locations])
    return torch.cat([level.unflatten(0, (num_images, -1)) for level in per_level], dim=1)


def golden_targets():
    data = golden_npz("ops")
    targets = []
    for image in range(2):
        target = BoxList(torch.from_numpy(data[f"fcos_gt{image}_boxes"]), (320, 240))
        target.add_field("labels", torch.from_numpy(data[f"fcos_gt{image}_labels"]))
        targets.append(target)
    return targets
