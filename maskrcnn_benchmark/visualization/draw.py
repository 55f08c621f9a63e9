"""Instances drawn on a photo: translucent masks with outlines, boxes, skeletons and name chips."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from centermask_runtime import style
from centermask_runtime.drawing import draw_skeleton
from centermask_runtime.fonts import OWN_FONT
from centermask_runtime.labels import Chip, Rectangle, draw_chips
from centermask_runtime.palette import Colour, class_colour
from maskrcnn_benchmark.layers.pixel import LEGACY_PIXEL_OFFSET
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import Keypoints, PersonKeypoints
from maskrcnn_benchmark.structures.paste_rules import PastedMask
from maskrcnn_benchmark.structures.predicted_masks import ImageMasks
from maskrcnn_benchmark.visualization.fonts import font_file_for, load_font

RGBImage = Image.Image | npt.NDArray[np.uint8]


def draw_instances(
    image: RGBImage,
    boxes: BoxList,
    class_names: Mapping[int, str],
    score_threshold: float = 0.0,
    font: str | None = None,
) -> Image.Image:
    """A copy of the photo with its instances drawn on it, as an RGB image of the same size.

    Args:
        image: RGB photo, PIL or (h, w, 3) uint8.
        boxes: K instances with ``labels``, and optionally ``scores`` and ``mask`` (predictions) or
            ``masks`` (ground truth), and ``keypoints``. Boxes of another image size are scaled to
            the photo's.
        class_names: label to name; a label that is missing here is shown as its number, and so is
            one whose name has characters that no font here has, with a warning.
        score_threshold: instances that score less are left out.
        font: a font file for names; others are tried where it lacks characters.

    Raises:
        ValueError: ``image`` is an array of another shape or type.
        ConfigError: ``font`` is no font.
    """
    photo = as_rgb(image)
    scale = style.canvas_scale(photo.size)
    boxes = select_by_score(boxes, score_threshold)
    canvas_wh = (photo.width * scale, photo.height * scale)
    scaled = boxes.resize(canvas_wh)
    unit = min(photo.size) * scale
    canvas = cv2.resize(np.asarray(photo), canvas_wh, interpolation=cv2.INTER_NEAREST)
    labels = [int(label) for label in boxes.get_field("labels").tolist()]
    colours = [class_colour(label) for label in labels]
    outline_width = round(style.length(style.OUTLINE, unit, scale))
    _paint_shapes(canvas, instance_shapes(scaled), colours, outline_width)
    painted = Image.fromarray(canvas)
    pen = ImageDraw.Draw(painted)
    chips = _chips(scaled, labels, colours, class_names, font)
    width = max(1, round(style.length(style.BOX_LINE, unit, scale)))
    for chip in reversed(chips):
        pen.rectangle(tuple(chip.box), outline=chip.colour, width=width)
    if scaled.has_field("keypoints"):
        keypoints = scaled.get_field("keypoints").with_pixel_offset(LEGACY_PIXEL_OFFSET)
        draw_skeletons(pen, keypoints, colours, width)
    draw_chips(pen, chips, style.length(style.FONT, unit, scale), canvas_wh, load_font)
    return painted.reduce(scale) if scale > 1 else painted


def as_rgb(image: RGBImage) -> Image.Image:
    """The image as a PIL image in RGB mode.

    Raises:
        ValueError: an array of another shape than (h, w, 3) or another type than uint8.
    """
    if isinstance(image, Image.Image):
        return image.convert("RGB")
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be (h, w, 3) uint8, got {image.shape} {image.dtype}")
    return Image.fromarray(image)


def as_instances(boxes: BoxList) -> BoxList:
    """The boxes with ``labels`` and ``scores``; proposals become class 1, scored by objectness."""
    if boxes.has_field("labels") or not boxes.has_field("objectness"):
        return boxes
    instances = boxes.copy_with_fields([])
    instances.add_field("labels", torch.ones(len(boxes), dtype=torch.int64))
    instances.add_field("scores", boxes.get_field("objectness"))
    return instances


def select_by_score(boxes: BoxList, score_threshold: float) -> BoxList:
    """The instances that score at least the threshold, best first; all if they have no scores."""
    if not boxes.has_field("scores"):
        return boxes
    order = boxes.get_field("scores").argsort(descending=True, stable=True)
    kept = boxes.get_field("scores")[order] >= score_threshold
    return boxes[order[kept]]


def _paint_shapes(
    canvas: npt.NDArray[np.uint8],
    shapes: list[PastedMask | None],
    colours: list[Colour],
    outline_width: int,
) -> None:
    """Paint on ``canvas``, large shapes first, so that small ones in front of them stay visible."""
    present = [
        (shape, colour) for shape, colour in zip(shapes, colours, strict=True) if shape is not None
    ]
    present.sort(key=lambda item: -int(item[0].mask.sum()))
    for shape, colour in present:
        height, width = shape.mask.shape
        region = canvas[shape.y0 : shape.y0 + height, shape.x0 : shape.x0 + width]
        if shape.mask.size:
            tinted = cv2.LUT(region, style.tint(colour))
            cv2.copyTo(tinted, np.ascontiguousarray(shape.mask), region)
        # Padding closes the outline where a shape touches the end of its crop.
        padded = np.pad(shape.mask, 1)
        contours, _ = cv2.findContours(padded, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        offset = (shape.x0 - 1, shape.y0 - 1)
        cv2.drawContours(canvas, contours, -1, colour, outline_width, cv2.LINE_AA, offset=offset)


def _chips(
    boxes: BoxList,
    labels: Sequence[int],
    colours: Sequence[Colour],
    class_names: Mapping[int, str],
    font: str | None,
) -> list[Chip]:
    scores = boxes.get_field("scores").tolist() if boxes.has_field("scores") else None
    chips = []
    # Lines are drawn on pixels, not on edges.
    pixels = boxes.convert("xyxy").with_pixel_offset(LEGACY_PIXEL_OFFSET)
    for k, (x1, y1, x2, y2) in enumerate(pixels.bbox.tolist()):
        name = class_names.get(labels[k], str(labels[k]))
        font_file = font_file_for(name, font)
        if font_file is None:
            name, font_file = str(labels[k]), OWN_FONT
        text = name if scores is None else f"{name} {scores[k]:.2f}"
        box = Rectangle(x1, y1, max(x1, x2), max(y1, y2))
        chips.append(Chip(text, colours[k], box, font_file))
    return chips


def instance_shapes(boxes: BoxList) -> list[PastedMask | None]:
    """The shape of each of the K instances, ``None`` where only a box is known.

    They come from the field ``mask`` (predictions: ``PredictedMasks``) or ``masks`` (ground truth:
    ``SegmentationMask``), if there is one.
    """
    if boxes.has_field("mask"):
        return list(boxes.predicted_masks.crops())
    if boxes.has_field("masks"):
        masks = boxes.get_field("masks")
        # One at a time: a stack of all of them would be as large as K photos.
        bitmaps = (masks[k].to_bitmasks() for k in range(len(boxes)))
        return [crop for bitmap in bitmaps for crop in ImageMasks(bitmap, boxes.size).crops()]
    return [None] * len(boxes)


def draw_skeletons(
    pen: ImageDraw.ImageDraw, keypoints: Keypoints, colours: Sequence[Colour], width: int
) -> None:
    """Draw dots on the visible points of each instance and lines between those of a person.

    ``keypoints`` of K instances in px of the canvas (predictions have the field "logits"), in K
    ``colours``; ``width`` of the lines in px.
    """
    visible = keypoints.keypoints[..., 2] > 0
    if "logits" in keypoints.extra_fields:
        visible &= keypoints.get_field("logits") > style.MIN_KEYPOINT_LOGIT
    connections = PersonKeypoints.CONNECTIONS if isinstance(keypoints, PersonKeypoints) else ()
    for points, shown, colour in zip(
        keypoints.keypoints[..., :2].tolist(), visible.tolist(), colours, strict=True
    ):
        draw_skeleton(pen, points, shown, connections, colour, width)
