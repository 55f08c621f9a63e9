"""Whether an exported file finds what the model finds.

Every detection of the one must be among those of the other: same class, corners within 0.1 px,
scores within 1e-4, masks with an IoU of 0.999, keypoints within 0.1 px, whose logits are within
1e-3, or as large a part of theirs. One in a hundred keypoints may lie elsewhere, with that score:
maps have several maxima that are nearly as high. Rounding decides about a detection that lies at a
threshold, and nobody can say which side is right. Such a detection may be missing or extra if, and
only if, its score is within 1e-4 of the last one that the limit on detections left, or PyTorch
itself finds it at one and not at another of three settings: thresholds and limits as they are;
those of scores higher and those of IoUs lower by 1e-4, and limits on candidates and proposals lower
by 1 %, so that less is found; the reverse. Rounding decides, too, which of two candidates with
equal scores suppresses the other: what PyTorch finds with some and not with others of numbers that
differ by a millionth may be missing or extra, if it finds much of the rest with each of them.

Shapes: N detections, M side of a mask, H, W sides of the photo.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import pycocotools.mask as mask_utils
import torch
from PIL import Image
from torch import Tensor

from maskrcnn_benchmark.config.errors import UserError
from maskrcnn_benchmark.config.shipped import SHIPPED
from maskrcnn_benchmark.data.image_io import read_image
from maskrcnn_benchmark.export.metadata import ExportMetadata
from maskrcnn_benchmark.export.network import NetworkDetector
from maskrcnn_benchmark.export.program import Outputs, Run
from maskrcnn_benchmark.export.source import Source
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.keypoint import Keypoints
from maskrcnn_benchmark.structures.predicted_masks import BoxMasks

logger = logging.getLogger(__name__)

Photos: TypeAlias = Iterable[tuple[str, Image.Image]]
"""Each behind what messages call it."""

MAX_PX: Final = 0.1
MAX_SCORE: Final = 1e-4
MIN_IOU: Final = 0.999
MAX_PIXELS: Final = 2
"""So many pixels may differ where a mask is so small that one of them is more than 0.1 %."""

MIN_SAME: Final = 0.4
"""Part of the detections that PyTorch has to find again where numbers are shaken."""
_SHAKES: Final = 24

MAX_LOGIT: Final = 1e-3
"""Of keypoints; of those beyond 1 such a part."""
MAX_MOVED: Final = 0.01
"""Part of all keypoints that may lie elsewhere, where their map is as high."""

_PHOTOS: Final = (
    "datasets/quickstart/val/000000005001.jpg",
    "datasets/quickstart/val/000000006818.jpg",
    "datasets/quickstart/val/000000168974.jpg",
    "datasets/boards/val/IMG_20181228_102636.jpg",
    "datasets/boards/val/IMG_20181228_103629.jpg",
)
_TINY: Final = (64, 48)
_LARGE: Final = (4000, 3000)


class NotTheSameError(UserError):
    """The error of an export that finds something else than the model."""


class Difference(NamedTuple):
    """How far an export is from the model on some photos.

    Attributes:
        detections: that were compared.
        excused: that lie at a threshold, and are missing or extra.
        px: of corners, the greatest.
        score: of scores and mask scores, the greatest.
        iou: of masks, the least; 1 without any.
        points: keypoints that were compared.
        moved: of them, that lie elsewhere, where the model is as sure.
        point_px: of the others, the greatest.
    """

    detections: int = 0
    excused: int = 0
    px: float = 0.0
    score: float = 0.0
    iou: float = 1.0
    points: int = 0
    moved: int = 0
    point_px: float = 0.0

    def joined(self, other: "Difference") -> "Difference":
        """That on the photos of both."""
        return Difference(
            self.detections + other.detections,
            self.excused + other.excused,
            max(self.px, other.px),
            max(self.score, other.score),
            min(self.iou, other.iou),
            self.points + other.points,
            self.moved + other.moved,
            max(self.point_px, other.point_px),
        )

    def __str__(self) -> str:
        points = (
            f", {self.points} keypoints within {self.point_px:.2g} px, {self.moved} elsewhere"
            if self.points
            else ""
        )
        return (
            f"{self.detections} detections, corners within {self.px:.2g} px, scores within "
            f"{self.score:.2g}, masks with an IoU of at least {self.iou:.5f}{points}; "
            f"{self.excused} at a threshold"
        )


def check_photos(given: Sequence[Path] = ()) -> Iterator[tuple[str, Image.Image]]:
    """Photos to compare on, one after the other: those given, or the bundled ones.

    Of the bundled ones there are a portrait and landscapes as they are, a tiny one and one of
    12 megapixels, to which photos are resized.
    """
    for path in given:
        yield str(path), read_image(path)
    if given:
        return
    for name in _PHOTOS:
        yield Path(name).name, read_image(SHIPPED / name)
    for title, name, size in (("tiny", _PHOTOS[0], _TINY), ("12 megapixels", _PHOTOS[-1], _LARGE)):
        yield title, read_image(SHIPPED / name).resize(size, Image.Resampling.BICUBIC)


def check_readable(given: Sequence[Path]) -> None:
    """Raise ImageReadError unless all photos can be read: before the long way, not behind it."""
    for path in given:
        read_image(path)


def verify(source: Source, run: Run, photos: Photos) -> Difference:
    """How far the export is from the model.

    Raises:
        NotTheSameError: too far, or nothing was found that could be compared.
    """
    total = Difference()
    for name, photo in photos:
        expected = source.detect(photo)
        found = detect_with(source, run, photo)
        try:
            difference = _compare(source, name, photo, found, expected)
        except NotTheSameError as error:
            raise NotTheSameError(f"{error}{_reason(source, photo, expected)}") from error
        logger.info("%s (%d x %d px): %s", name, *photo.size, difference)
        total = total.joined(difference)
    check_something(total.detections)
    if total.moved > MAX_MOVED * total.points:
        raise NotTheSameError(f"{total.moved} of {total.points} keypoints lie elsewhere")
    return total


def _reason(source: Source, photo: Image.Image, expected: BoxList) -> str:
    """Why no file finds the same, if it is the model; else ""."""
    shaken = source.detect_shaken(photo)
    if len(_pairs(shaken, expected)) == len(expected) == len(shaken):
        return ""
    return (
        " (nor does PyTorch find the same if its input changes by a millionth: rounding decides "
        "what this model finds, as it may with random weights or far offsets of deformable "
        "convolutions)"
    )


def check_something(detections: int) -> None:
    """Raise NotTheSameError if there was no detection to compare."""
    if detections == 0:
        raise NotTheSameError(
            "the model finds nothing on the photos, so that nothing was compared; name photos on "
            "which it does by --photos"
        )


def detect_with(source: Source, run: Run, photo: Image.Image) -> BoxList:
    """What the file finds on a photo; a dense one with our selection and heads."""
    if source.metadata.kind == "detector":
        return as_boxes(run(np.array(photo)), photo.size, source.metadata)
    return NetworkDetector(source=source, run=run)(photo)


def as_boxes(outputs: Outputs, size: tuple[int, int], metadata: ExportMetadata) -> BoxList:
    """The outputs of an exported detector as the model's own detections are given.

    Raises:
        NotTheSameError: outputs contradict one another.
    """
    number = int(outputs["num_detections"])
    if any(len(values) != number for name, values in outputs.items() if name != "num_detections"):
        shapes = {name: values.shape for name, values in outputs.items()}
        raise NotTheSameError(f"num_detections is {number}, but the outputs are {shapes}")
    corners = torch.from_numpy(outputs["boxes"])
    boxes = BoxList(corners, size, pixel_offset=metadata.pixel_offset)
    boxes.add_field("labels", torch.from_numpy(outputs["labels"]))
    for name in ("scores", "mask_scores"):
        boxes.add_field(name, torch.from_numpy(outputs[name]))
    if "masks" in outputs:
        boxes.add_field("mask", torch.from_numpy(outputs["masks"])[:, None])
    if "keypoints" in outputs and metadata.keypoint_offset is not None:
        places = torch.from_numpy(outputs["keypoints"])
        points = torch.cat([places, torch.ones_like(places[..., :1])], dim=2)
        keypoints = Keypoints(points, size, pixel_offset=metadata.keypoint_offset)
        keypoints.add_field("logits", torch.from_numpy(outputs["keypoint_scores"]))
        boxes.add_field("keypoints", keypoints)
    return boxes


def _compare(
    source: Source, name: str, photo: Image.Image, found: BoxList, expected: BoxList
) -> Difference:
    for field, words in (("mask", "masks"), ("keypoints", "keypoints")):
        if found.has_field(field) != expected.has_field(field):
            raise NotTheSameError(f"{name}: only one of file and model gives {words}")
    pairs = _pairs(found, expected)
    missing = _others(len(expected), [mine for mine, _ in pairs])
    extra = _others(len(found), [theirs for _, theirs in pairs])
    strays = [expected[missing], found[extra]]
    excused = len(missing) + len(extra)
    if excused:
        _excuse(source, name, photo, strays, expected)
    first = expected[torch.tensor([mine for mine, _ in pairs], dtype=torch.int64)]
    second = found[torch.tensor([theirs for _, theirs in pairs], dtype=torch.int64)]
    difference = _difference(first, second)._replace(excused=excused)
    if difference.iou < MIN_IOU:
        raise NotTheSameError(f"{name}: masks have an IoU of {difference.iou:.5f}")
    return _with_points(source, name, photo, second, first, difference)


def _pairs(found: BoxList, expected: BoxList) -> list[tuple[int, int]]:
    """(expected, found) indices of detections that are the same, each at most once."""
    if not len(found) or not len(expected):
        return []
    far = (expected.bbox[:, None] - found.bbox).abs().amax(dim=2) / MAX_PX
    for name in _scores(expected, found):
        gap = (expected.get_field(name)[:, None] - found.get_field(name)).abs() / MAX_SCORE
        far = torch.maximum(far, gap)
    far[expected.get_field("labels")[:, None] != found.get_field("labels")] = torch.inf
    # What is no number is far from everything.
    far = far.nan_to_num(nan=torch.inf, posinf=torch.inf)
    pairs, taken = [], set[int]()
    for mine, distances in enumerate(far):
        for theirs in distances.argsort().tolist():
            if distances[theirs] > 1:
                break
            if theirs not in taken:
                taken.add(theirs)
                pairs.append((mine, theirs))
                break
    return pairs


def _scores(*given: BoxList) -> list[str]:
    """Scores that all have: files give those of masks also where a model has none."""
    names = ("scores", "mask_scores")
    return [name for name in names if all(boxes.has_field(name) for boxes in given)]


def _others(number: int, taken: Sequence[int]) -> Tensor:
    rest = sorted(set(range(number)) - set(taken))
    return torch.tensor(rest, dtype=torch.int64)


def _excuse(
    source: Source, name: str, photo: Image.Image, strays: Sequence[BoxList], expected: BoxList
) -> None:
    """Raise NotTheSameError unless rounding decides about all of some detections."""
    limit = source.metadata.max_detections
    is_cut = 0 < limit <= len(expected)
    last = float(expected.get_field("scores").min()) if is_cut else float("-inf")
    runs = [expected]
    for by in (-MAX_SCORE, MAX_SCORE):
        with source.moved(by):
            runs.append(source.detect(photo))
    shaken = [source.detect_shaken(photo, seed) for seed in range(_SHAKES)]
    same = MIN_SAME * len(expected)
    runs += [boxes for boxes in shaken if len(_pairs(boxes, expected)) >= same]
    for stray, word in zip(strays, ("is missing", "is not the model's"), strict=True):
        for index in range(len(stray)):
            one = stray[torch.tensor([index])]
            if abs(float(one.get_field("scores")[0]) - last) <= MAX_SCORE:
                continue
            if len({bool(_pairs(run, one)) for run in runs}) == 1:
                label, score = int(one.get_field("labels")[0]), float(one.get_field("scores")[0])
                raise NotTheSameError(
                    f"{name}: a detection of class {label}, score {score:.5f}, at "
                    f"{[round(x, 2) for x in one.bbox[0].tolist()]} {word}"
                )


def _difference(expected: BoxList, found: BoxList) -> Difference:
    """That of detections in pairs."""
    if len(expected) == 0:
        return Difference()
    px = float((expected.bbox - found.bbox).abs().max())
    score = max(
        float((expected.get_field(name) - found.get_field(name)).abs().max())
        for name in _scores(expected)
    )
    return Difference(len(expected), 0, px, score, _least_iou(expected, found))


def _with_points(
    source: Source,
    name: str,
    photo: Image.Image,
    found: BoxList,
    expected: BoxList,
    difference: Difference,
) -> Difference:
    """That with the keypoints of detections in pairs.

    Maps are resized to as many pixels as a box has, rounded up: of a side that is nearly whole,
    rounding decides. Such detections have the points that the model finds in the file's own boxes.

    Raises:
        NotTheSameError: the model is not as sure of the places of the file.
    """
    if not expected.has_field("keypoints") or not len(expected):
        return difference
    theirs = found.get_field("keypoints")
    px, gaps = _point_gaps(expected.get_field("keypoints"), theirs)
    is_other = ((px > MAX_PX) | ~(gaps <= MAX_LOGIT)).any(dim=1)
    if is_other.any():
        again = _point_gaps(source.keypoints_in(photo, found), theirs)
        px, gaps = (
            torch.where(is_other[:, None], other, mine)
            for mine, other in zip((px, gaps), again, strict=True)
        )
    if not bool((gaps <= MAX_LOGIT).all()):
        raise NotTheSameError(f"{name}: scores of keypoints differ by {float(gaps.max()):.2g}")
    is_moved = ~(px <= MAX_PX)
    return difference._replace(
        points=px.numel(),
        moved=int(is_moved.sum()),
        point_px=float(px[~is_moved].max()) if not is_moved.all() else 0.0,
    )


def _point_gaps(mine: Keypoints, theirs: Keypoints) -> tuple[Tensor, Tensor]:
    """(n, P) distances in px, and differences of logits, of large ones in parts of them."""
    px = (mine.keypoints - theirs.keypoints)[..., :2].abs().amax(dim=2)
    logits = mine.get_field("logits")
    return px, (logits - theirs.get_field("logits")).abs() / logits.abs().clamp(min=1)


def _least_iou(expected: BoxList, found: BoxList) -> float:
    """The least IoU of two masks; those of which few pixels differ do not count."""
    return min([1.0, *mask_ious(expected, found, MAX_PIXELS)])


def mask_ious(expected: BoxList, found: BoxList, most_pixels: int = 0) -> list[float]:
    """IoU of each two masks, both pasted into the box of the first; () of boxes without masks.

    Those of which no more than ``most_pixels`` differ have 1.
    """
    if not expected.has_field("mask"):
        return []
    mine = expected.predicted_masks
    assert isinstance(mine, BoxMasks)
    theirs = BoxMasks(found.get_field("mask"), mine.boxes, mine.size, mine.rule)
    ious = []
    for first, second in zip(mine.encode(), theirs.encode(), strict=True):
        union = int(mask_utils.area(mask_utils.merge([first, second])))
        common = int(mask_utils.area(mask_utils.merge([first, second], intersect=True)))
        ious.append(1.0 if union - common <= most_pixels else common / union)
    return ious
