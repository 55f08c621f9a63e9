"""What to look at when a model finds nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from maskrcnn_benchmark.evaluation.result import count


def zero_ap_checklist(
    iou_type: str, results: Sequence[Mapping[str, Any]], num_images: int, num_ground_truth: int
) -> str:
    """A text of several lines: what was detected, and the usual causes of an AP of 0."""
    lines = [
        f"{iou_type} AP is 0 ({count(num_ground_truth, 'ground truth')} in "
        f"{count(num_images, 'image')}). {_describe(results)} Usual causes:",
        "  1. The weights did not load: see the load report in the log, and MODEL.WEIGHT.",
        "  2. The model is hardly trained yet: see whether the losses in the log still fall.",
        "  3. The input differs from training: INPUT.PIXEL_MEAN, INPUT.PIXEL_STD, "
        "INPUT.TO_BGR255, INPUT.MIN_SIZE_TEST.",
        "  4. The classes differ: number and order of the categories of this data set and of the "
        "one trained on.",
        "  5. A threshold drops everything: MODEL.FCOS.INFERENCE_TH, "
        "MODEL.ROI_HEADS.SCORE_THRESH, TEST.DETECTIONS_PER_IMG.",
    ]
    if iou_type == "segm":
        lines.append(
            "  6. Boxes are right but masks are not (bbox AP above 0): the mask head died; its "
            "loss stays near 0.69. Lower SOLVER.BASE_LR or warm up longer."
        )
    return "\n".join(lines)


def _describe(results: Sequence[Mapping[str, Any]]) -> str:
    if not results:
        return "There is not a single detection."
    images = {result["image_id"] for result in results}
    categories = {result["category_id"] for result in results}
    scores = [result["score"] for result in results]
    return (
        f"Found: {count(len(results), 'detection')} of "
        f"{count(len(categories), 'category', 'categories')} in {count(len(images), 'image')}, "
        f"scores {min(scores):.3f} to {max(scores):.3f}."
    )
