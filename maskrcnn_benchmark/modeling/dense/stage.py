"""The one shape of all dense detectors: predictions at every point, then losses or boxes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeAlias, TypeVar

from torch import Tensor, nn

from maskrcnn_benchmark.layers import at_least_float32
from maskrcnn_benchmark.modeling.postprocessing import append_ground_truth
from maskrcnn_benchmark.modeling.stage import StageOutput
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList

Outputs = TypeVar("Outputs", bound=Iterable[object])
PointMaker: TypeAlias = Callable[[Sequence[Tensor]], list[Tensor]]
Loss: TypeAlias = Callable[[Outputs, Sequence[Tensor], Sequence[BoxList]], dict[str, Tensor]]
Select: TypeAlias = Callable[[Outputs, Sequence[Tensor], Sequence[tuple[int, int]]], list[BoxList]]


class DenseStage(nn.Module, Generic[Outputs]):
    """Finds boxes at every point of the feature maps; in training also returns the losses.

    A point is what predictions belong to: a location (x, y) of FCOS, an anchor (x1, y1, x2, y2) of
    RetinaNet and RPN, px of the padded batch.

    Args:
        head: feature maps -> the fields of ``outputs``; each a tensor, or one for each level.
        outputs: the NamedTuple that the losses and the selection read.
        points: feature maps -> the points of every level.
        loss: (outputs, points, targets) -> losses by name.
        select_train: (outputs, points, sizes of the images) -> boxes in training, or None when no
            later head wants proposals.
        select_test: the same in evaluation.
    """

    def __init__(
        self,
        *,
        head: nn.Module,
        outputs: Callable[..., Outputs],
        points: PointMaker,
        loss: Loss[Outputs],
        select_train: Select[Outputs] | None,
        select_test: Select[Outputs],
    ) -> None:
        super().__init__()
        # Anchors are named so in checkpoints.
        self.anchor_generator = points
        self.head = head
        self.outputs = outputs
        self.loss = loss
        self.select_train = select_train
        self.select_test = select_test

    def forward(
        self,
        images: ImageList,
        features: Sequence[Tensor],
        targets: Sequence[BoxList] | None = None,
    ) -> StageOutput:
        """Boxes, and losses (empty in evaluation).

        In training the ground-truth boxes follow the selected ones, with score 1.
        """
        outputs = self._predict(features)
        points = self.anchor_generator(features)
        if not self.training or targets is None:
            return StageOutput(self.select_test(outputs, points, images.image_sizes), {})
        losses = self.loss(outputs, points, targets)
        if self.select_train is None:
            return StageOutput([], losses)
        boxes = self.select_train(outputs, points, images.image_sizes)
        return StageOutput(append_ground_truth(boxes, targets), losses)

    def _predict(self, features: Sequence[Tensor]) -> Outputs:
        """The head's predictions, none in half precision.

        Half precision has too few values to rank scores and cut them off, and rounds boxes to
        whole pixels and more: what follows the head never sees it.
        """
        fields: list[Tensor | list[Tensor]] = []
        for field in self.head(features):
            if isinstance(field, Tensor):
                fields.append(at_least_float32(field))
            else:
                fields.append(list(map(at_least_float32, field)))
        return self.outputs(*fields)
