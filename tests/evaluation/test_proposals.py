import json

import pytest
import torch

from maskrcnn_benchmark.engine.inference import inference
from maskrcnn_benchmark.evaluation import check_expected_results
from maskrcnn_benchmark.evaluation.proposals import (
    ProposalEvaluator,
    average_recall,
    covered_ious,
)
from maskrcnn_benchmark.evaluation.result import PROPOSAL_METRIC_NAMES
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.evaluation.fakes import (
    FakeDataset,
    quickstart_annotations,
    square_annotation,
    two_image_content,
)

# The object of ``two_image_content`` as inclusive corners.
RIGHT_BOX = [10.0, 10, 49, 49]


def proposals(boxes, objectness=None, size_wh=(100, 80)):
    result = BoxList(torch.tensor(boxes).reshape(-1, 4), size_wh)
    scores = torch.linspace(1, 0, len(result)) if objectness is None else torch.tensor(objectness)
    result.add_field("objectness", scores)
    return result


def evaluate(content, **by_image):
    evaluator = ProposalEvaluator(FakeDataset(content))
    for image_id, found in by_image.items():
        evaluator.process([int(image_id[1:])], [found])
    return evaluator.evaluate()


def naive_recall(content, by_image, limit, low, high):
    """Average recall by plain loops over pairs, the best pair first."""
    found = []
    for image in content["images"]:
        boxes = by_image[image["id"]].convert("xyxy").bbox.tolist()[:limit]
        truths = []
        for one in content["annotations"]:
            if one["image_id"] == image["id"] and not one["iscrowd"] and low <= one["area"] <= high:
                x, y, w, h = one["bbox"]
                truths.append([x, y, x + w - 1, y + h - 1])
        pairs = []
        for i, a in enumerate(boxes):
            for j, b in enumerate(truths):
                width = min(a[2], b[2]) - max(a[0], b[0]) + 1
                height = min(a[3], b[3]) - max(a[1], b[1]) + 1
                inter = max(width, 0) * max(height, 0)
                areas = [(c[2] - c[0] + 1) * (c[3] - c[1] + 1) for c in (a, b)]
                pairs.append((inter / (sum(areas) - inter), i, j))
        ious = [0.0] * len(truths)
        used = set()
        for iou, i, j in sorted(pairs, key=lambda pair: -pair[0]):
            if ("box", i) not in used and ("truth", j) not in used:
                ious[j] = iou
                used |= {("box", i), ("truth", j)}
        found += ious
    if not found:
        return None
    thresholds = [0.5 + 0.05 * i for i in range(10)]
    return 100 * sum(sum(iou >= t for iou in found) / len(found) for t in thresholds) / 10


def test_each_truth_takes_the_best_pair_that_is_left():
    overlaps = torch.tensor([[0.9, 0.8, 0.1], [0.7, 0.6, 0.0], [0.2, 0.1, 0.0]])
    # 0.9 uses up the first row and column; 0.6 is left of the second.
    assert sorted(covered_ious(overlaps).tolist()) == pytest.approx([0, 0.6, 0.9])
    assert covered_ious(overlaps[:1]).tolist() == pytest.approx([0.9, 0, 0])
    assert covered_ious(overlaps[:0]).tolist() == [0, 0, 0]
    assert covered_ious(overlaps[:, :0]).tolist() == []


def test_recall_is_averaged_over_ten_ious():
    # 0.5 counts once, 0.74 up to 0.70: five times, 1.0 ten times, 0.3 never.
    assert average_recall(torch.tensor([0.5, 0.74, 1.0, 0.3])) == pytest.approx(100 * 16 / 40)
    assert average_recall(torch.zeros(0)) is None


def test_numbers_by_hand():
    content = two_image_content()
    content["annotations"].append(square_annotation(2, 12, 3, (0, 0, 20, 20)))
    result = evaluate(content, _11=proposals(RIGHT_BOX), _12=proposals([50.0, 50, 60, 60]))
    metrics = result.metrics["box_proposal"]
    assert list(metrics) == list(PROPOSAL_METRIC_NAMES)
    for limit in (100, 1000):
        assert metrics[f"AR@{limit}"] == pytest.approx(50)
        assert metrics[f"ARs@{limit}"] == 0  # the object of 20 x 20 px
        assert metrics[f"ARm@{limit}"] == pytest.approx(100)
        assert metrics[f"ARl@{limit}"] is None
    assert "no ground truth of large area" in result.reasons["box_proposal"]["ARl@100"]
    table = result.table().splitlines()
    assert table[1].split() == list(PROPOSAL_METRIC_NAMES)
    expected = ["box_proposal", "50.0", "0.0", "100.0", "n/a", "50.0", "0.0", "100.0", "n/a"]
    assert table[2].split() == expected


def test_only_the_best_proposals_count():
    wrong = [[60.0, 60, 70, 70]] * 100
    objectness = [0.9] * 100 + [0.5]
    result = evaluate(two_image_content(), _11=proposals([*wrong, RIGHT_BOX], objectness))
    assert result.metrics["box_proposal"]["AR@100"] == 0
    assert result.metrics["box_proposal"]["AR@1000"] == pytest.approx(100)
    first = evaluate(two_image_content(), _11=proposals([*wrong, RIGHT_BOX], [0.1] * 100 + [0.5]))
    assert first.metrics["box_proposal"]["AR@100"] == pytest.approx(100)


def test_crowds_need_not_be_found_and_missing_images_count():
    content = two_image_content()
    content["annotations"].append(square_annotation(2, 11, 3, (0, 0, 9, 9), iscrowd=1))
    content["annotations"].append(square_annotation(3, 12, 3, (0, 0, 40, 40)))
    result = evaluate(content, _11=proposals(RIGHT_BOX))
    assert result.metrics["box_proposal"]["AR@100"] == pytest.approx(50)
    assert len(result.notes) == 1


def test_no_ground_truth_and_no_proposals():
    result = evaluate(two_image_content(annotations=[]), _11=proposals([]), _12=proposals([]))
    assert set(result.metrics["box_proposal"].values()) == {None}
    assert "no ground truth in these images" in result.reasons["box_proposal"]["AR@100"]


def test_agrees_with_plain_loops_on_real_annotations():
    content = quickstart_annotations("val")
    content["images"] = content["images"][:6]
    generator = torch.Generator().manual_seed(0)
    by_image, evaluator = {}, ProposalEvaluator(FakeDataset(content))
    for image in content["images"]:
        size = (image["width"], image["height"])
        own = [one["bbox"] for one in content["annotations"] if one["image_id"] == image["id"]]
        near = BoxList(torch.tensor(own).reshape(-1, 4), size, mode="xywh").convert("xyxy").bbox
        near = near + 8 * torch.randn(near.shape, generator=generator)
        corners = torch.rand(120, 2, 2, generator=generator) * torch.tensor(size)
        far = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
        found = proposals(torch.cat([far, near]).tolist(), size_wh=size)
        by_image[image["id"]] = found
        evaluator.process([image["id"]], [found])
    metrics = evaluator.evaluate().metrics["box_proposal"]
    ranges = {"": (0, 1e10), "s": (0, 32**2), "m": (32**2, 96**2), "l": (96**2, 1e10)}
    for limit in (100, 1000):
        for suffix, (low, high) in ranges.items():
            expected = naive_recall(content, by_image, limit, low, high)
            assert metrics[f"AR{suffix}@{limit}"] == pytest.approx(expected, abs=1e-3)
    assert 0 < metrics["AR@100"] < metrics["AR@1000"] < 100


class RegionProposer(torch.nn.Module):
    """Proposes the right box of image 11 and nothing elsewhere, whatever it is shown."""

    def forward(self, images):
        return [proposals(RIGHT_BOX if i == 0 else []) for i in range(len(images))]


class Loader:
    """One batch of two images."""

    def __init__(self):
        self.dataset = FakeDataset(two_image_content())

    def __len__(self):
        return 1

    def __iter__(self):
        return iter([(torch.zeros(2, 3, 4, 4), None, [11, 12])])


def test_a_model_that_only_proposes_is_evaluated_so(tmp_path):
    result = inference(
        RegionProposer(), Loader(), "fake", box_only=True, device="cpu", output_folder=tmp_path
    )
    assert result.metrics["box_proposal"]["AR@100"] == pytest.approx(100)
    content = json.loads((tmp_path / "coco_results.json").read_text())
    assert content["metrics"]["box_proposal"]["AR@1000"] == pytest.approx(100)
    saved = torch.load(tmp_path / "predictions.pth", weights_only=True)
    assert saved[11]["boxes"].tolist() == [RIGHT_BOX]
    assert saved[12]["objectness"].tolist() == []
    expectations = [["box_proposal", "AR@1000", [1.0, 0.01]]]
    check_expected_results(result, expectations, 4)


def test_reset_forgets():
    evaluator = ProposalEvaluator(FakeDataset(two_image_content()))
    evaluator.process([11], [proposals(RIGHT_BOX)])
    evaluator.reset()
    assert evaluator.evaluate().metrics["box_proposal"]["AR@100"] == 0
