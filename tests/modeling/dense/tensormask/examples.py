"""A small stage, maps and targets."""

import math

import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.dense.build import build_rpn
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask

SMALL = {
    "MODEL.DENSE.FAMILY": "tensormask",
    "MODEL.CONVENTION": "detectron2",
    "MODEL.NUM_CLASSES": 4,
    "MODEL.DENSE.SETTINGS.NUM_CONVS": 1,
    "MODEL.DENSE.SETTINGS.CLS_CHANNELS": 8,
    "MODEL.DENSE.SETTINGS.BBOX_CHANNELS": 8,
    "MODEL.DENSE.SETTINGS.MASK_CHANNELS": 8,
}
NUM_LEVELS = 6


def small_config(*options):
    cfg = get_default_config()
    cfg.merge_from_list([item for pair in SMALL.items() for item in pair])
    cfg.merge_from_list(list(options))
    return cfg


def make_stage(*options):
    cfg = small_config(*options)
    torch.manual_seed(0)
    return build_rpn(cfg, 8)


def make_inputs(num_images=2, side=64):
    generator = torch.Generator().manual_seed(1)
    sides = [max(math.ceil(side / 2 ** (level + 2)), 1) for level in range(NUM_LEVELS)]
    maps = [torch.randn(num_images, 8, n, n, generator=generator) for n in sides]
    images = ImageList(torch.zeros(num_images, 3, side, side), [(side, side)] * num_images)
    return images, [one.requires_grad_() for one in maps]


def make_target(boxes, side=64):
    target = BoxList(torch.tensor(boxes).reshape(-1, 4), (side, side), pixel_offset=0)
    target.add_field("labels", torch.arange(len(boxes)) % 3 + 1)
    outlines = [[[x1, y1, x2, y1, x2, y2, x1, y2]] for x1, y1, x2, y2 in boxes]
    target.add_field("masks", SegmentationMask(outlines, (side, side)))
    return target
