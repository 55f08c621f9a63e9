"""A third kind of predicted masks, to prove that one needs its own class and nothing else."""

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from maskrcnn_benchmark.structures.indexing import as_index
from maskrcnn_benchmark.structures.paste_rules import PastedMask
from maskrcnn_benchmark.structures.predicted_masks import PredictedMasks


@dataclass(frozen=True, eq=False)
class PrototypeMasks(PredictedMasks):
    """Maps that all instances of an image share, mixed by coefficients and cut to boxes.

    Args:
        prototypes: (P, h, w) maps over the whole image.
        coefficients: (K, P).
        boxes: (K, 4) in parts of the image, xyxy half-open; pixels outside are not set.
        size: (w, h) of the image.
    """

    prototypes: torch.Tensor
    coefficients: torch.Tensor
    boxes: torch.Tensor
    size: tuple[int, int]

    def __len__(self):
        return len(self.coefficients)

    def __getitem__(self, item):
        index = as_index(item, len(self), self.boxes.device)
        return replace(self, coefficients=self.coefficients[index], boxes=self.boxes[index])

    def cat(self, others):
        parts = [self, *others]
        coefficients = torch.cat([part.coefficients for part in parts])
        return replace(
            self, coefficients=coefficients, boxes=torch.cat([part.boxes for part in parts])
        )

    def to(self, device):
        moved = {
            name: getattr(self, name).to(device) for name in ("prototypes", "coefficients", "boxes")
        }
        return replace(self, **moved)

    def resize(self, size):
        return replace(self, size=size)

    def crops(self):
        width, height = self.size
        maps = F.interpolate(self.prototypes[None], (height, width), mode="bilinear")[0]
        corners = (self.boxes * self.boxes.new_tensor([width, height] * 2)).round().int()
        for weights, (x1, y1, x2, y2) in zip(self.coefficients, corners.tolist(), strict=True):
            scores = torch.einsum("p,phw->hw", weights, maps[:, y1:y2, x1:x2])
            yield PastedMask(x1, y1, (scores.sigmoid() > 0.5).cpu().numpy().astype(np.uint8))


def filled_boxes(boxes):
    """A mask for each of the boxes (inclusive corners) that fills it."""
    width, height = boxes.size
    edges = boxes.bbox + torch.tensor([0, 0, 1, 1])
    return PrototypeMasks(
        prototypes=torch.ones(1, 9, 9),
        coefficients=torch.ones(len(boxes), 1),
        boxes=edges / torch.tensor([width, height, width, height]),
        size=boxes.size,
    )
