"""Keypoints drawn as skeletons."""

from collections.abc import Sequence

from PIL import ImageDraw

from maskrcnn_benchmark.structures.keypoint import Keypoints, PersonKeypoints
from maskrcnn_benchmark.visualization.palette import Colour

_MIN_LOGIT = 2.0
"""Predicted points of a lower score are not drawn. Source: Detectron's visualisation."""
_DOT_RADIUS = 1.5
"""In line widths."""


def draw_skeletons(
    pen: ImageDraw.ImageDraw, keypoints: Keypoints, colours: Sequence[Colour], width: int
) -> None:
    """Draw dots on the visible points of each instance and lines between those of a person.

    Args:
        pen: draws on the canvas.
        keypoints: K instances, px of the canvas; predictions have the field "logits".
        colours: K colours.
        width: of the lines, px.
    """
    visible = keypoints.keypoints[..., 2] > 0
    if "logits" in keypoints.extra_fields:
        visible &= keypoints.get_field("logits") > _MIN_LOGIT
    connections = PersonKeypoints.CONNECTIONS if isinstance(keypoints, PersonKeypoints) else ()
    radius = _DOT_RADIUS * width
    for points, shown, colour in zip(
        keypoints.keypoints[..., :2].tolist(), visible.tolist(), colours, strict=True
    ):
        for first, second in connections:
            if shown[first] and shown[second]:
                pen.line([*points[first], *points[second]], fill=colour, width=width)
        for (x, y), is_shown in zip(points, shown, strict=True):
            if is_shown:
                pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
