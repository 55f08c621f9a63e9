"""The score at which F1 is best, by hand and against a loop over all scores."""

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrcnn_benchmark.evaluation.operating_point import best_f1_threshold


def truth(image_id, category_id, bbox, iscrowd=0):
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, "iscrowd": iscrowd}


def found(image_id, category_id, bbox, score):
    return {"image_id": image_id, "category_id": category_id, "bbox": bbox, "score": score}


BOX, FAR = [10, 10, 20, 20], [100, 100, 20, 20]


def test_by_hand():
    """Scores 0.9 (right), 0.7 (right), 0.4 (wrong), 0.1 (right): F1 is 1/2, 4/5, 2/3, 6/7."""
    objects = [truth(1, 1, BOX), truth(2, 1, BOX), truth(3, 1, BOX)]
    results = [
        *(found(1, 1, BOX, 0.9), found(3, 1, BOX, 0.1)),
        *(found(2, 1, BOX, 0.7), found(2, 1, FAR, 0.4)),
    ]
    # Best with all; nothing scores less, so half of 0.1.
    assert best_f1_threshold(objects, results) == pytest.approx(0.05)
    # Without the last one 0.7 is best: between it and the wrong one.
    assert best_f1_threshold(objects, results[:1] + results[2:]) == pytest.approx(0.55)


def test_an_object_is_found_once_by_class_and_image():
    objects = [truth(1, 1, BOX)]
    others = [found(1, 2, BOX, 0.9), found(2, 1, BOX, 0.9), found(1, 1, FAR, 0.9)]
    assert best_f1_threshold(objects, others) is None
    twice = [found(1, 1, BOX, 0.8), found(1, 1, BOX, 0.6)]
    assert best_f1_threshold(objects, twice) == pytest.approx(0.7)


def test_crowds_are_no_objects_and_what_is_in_them_does_not_count():
    objects = [truth(1, 1, BOX), truth(1, 1, [90, 90, 60, 60], iscrowd=1)]
    results = [found(1, 1, BOX, 0.3), found(1, 1, FAR, 0.9)]
    assert best_f1_threshold(objects, results) == pytest.approx(0.15)
    assert best_f1_threshold(objects[1:], results) is None


def test_equal_scores_are_shown_together():
    objects = [truth(1, 1, BOX), truth(2, 1, BOX)]
    results = [found(1, 1, BOX, 0.5), found(1, 1, FAR, 0.5), found(2, 1, BOX, 0.2)]
    assert best_f1_threshold(objects, results) == pytest.approx(0.1)


def test_of_equally_good_scores_the_lowest():
    """2/3 with one of two objects, and 2/3 with both and two wrong ones."""
    objects = [truth(1, 1, BOX), truth(2, 1, BOX)]
    results = [
        *(found(1, 1, BOX, 0.9), found(1, 1, FAR, 0.5)),
        *(found(2, 1, FAR, 0.4), found(2, 1, BOX, 0.3)),
    ]
    assert best_f1_threshold(objects, results) == pytest.approx(0.15)


def test_nothing_to_find_and_nothing_found():
    assert best_f1_threshold([], [found(1, 1, BOX, 0.5)]) is None
    assert best_f1_threshold([truth(1, 1, BOX)], []) is None
    flat = [truth(1, 1, [5, 5, 0, 0])], [found(1, 1, [5, 5, 0, 0], 0.5)]
    assert best_f1_threshold(*flat) is None


@pytest.mark.parametrize("seed", range(3))
def test_against_the_matches_of_pycocotools(seed):
    rng = np.random.default_rng(seed)
    objects, results = [], []
    for image_id in range(1, 9):
        for _ in range(rng.integers(0, 5)):
            box = [*rng.uniform(0, 60, 2).tolist(), *rng.uniform(10, 40, 2).tolist()]
            category = int(rng.integers(1, 3))
            objects.append(truth(image_id, category, box, int(rng.random() < 0.15)))
            for _ in range(2):
                near = (np.array(box) + rng.normal(0, 4, 4)).tolist()
                results.append(found(image_id, category, near, float(rng.random())))
    expected = naive(objects, results)
    assert best_f1_threshold(objects, results) == pytest.approx(expected)


def naive(objects, results):
    """F1 at every score, from the matches of COCO's own program; crowds as it has them."""
    coco = COCO()
    coco.dataset = {
        "images": [{"id": i} for i in range(1, 9)],
        "categories": [{"id": 1}, {"id": 2}],
        "annotations": [
            {**one, "id": i, "area": one["bbox"][2] * one["bbox"][3]}
            for i, one in enumerate(objects, start=1)
        ],
    }
    coco.createIndex()
    evaluation = COCOeval(coco, coco.loadRes([dict(one) for one in results]), "bbox")
    evaluation.params.areaRng = [[0, 1e10]]
    evaluation.params.areaRngLbl = ["all"]
    evaluation.evaluate()
    matches = []
    for entry in filter(None, evaluation.evalImgs):
        matched, ignored = entry["dtMatches"][0] > 0, entry["dtIgnore"][0]
        matches += [
            (score, is_true)
            for score, is_true, out in zip(entry["dtScores"], matched, ignored, strict=True)
            if not out
        ]
    num_objects = sum(not one["iscrowd"] for one in objects)
    scores = sorted({score for score, _ in matches}, reverse=True)

    def f1(threshold):
        shown = [is_true for score, is_true in matches if score >= threshold]
        return 2 * sum(shown) / (len(shown) + num_objects)

    best = max(range(len(scores)), key=lambda i: (f1(scores[i]), i))
    below = scores[best + 1] if best + 1 < len(scores) else 0
    return (scores[best] + below) / 2
