import logging
import math

import pytest
import torch

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.engine.modes import INFERENCE_MODES, fast, fused_layers
from maskrcnn_benchmark.engine.modes.auto import Trial, choose, compare
from maskrcnn_benchmark.layers import ops_status
from maskrcnn_benchmark.structures.bounding_box import BoxList
from tests.engine.modes.families import make_images, make_model
from tests.factories import random_boxlist

CPU = torch.device("cpu")
FAST = Trial("fast", 1.0, 0.001, 1e-6, 5)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (Trial("bf16", 0.5, 0.4, 0.01, 5), "bf16"),
        (Trial("bf16", 1.5, 0.4, 0.01, 5), "fast"),
        (Trial("bf16", 0.5, 0.6, 0.01, 5), "fast"),
        (Trial("bf16", 0.5, 0.4, 0.03, 5), "fast"),
        (Trial("bf16", 0.5, 0.0, 0.0, 0), "fast"),
    ],
)
def test_less_precision_must_be_faster_and_shown_to_be_exact(other, expected):
    assert choose([FAST, other]).mode == expected


def test_what_is_exact_by_design_needs_no_boxes_but_has_to_be_the_fastest():
    plain = Trial("plain", 0.8, 0.0, 0.0, 0)
    assert choose([plain, FAST._replace(num_boxes=0)]) is plain
    assert choose([plain, FAST._replace(seconds=0.5, num_boxes=0)]).mode == "fast"


def test_comparison():
    expected = random_boxlist(6)
    order = torch.tensor([3, 1, 0, 2, 5, 4])
    moved = BoxList(expected.bbox[order] + 0.25, expected.size)
    moved.add_field("labels", expected.get_field("labels")[order])
    moved.add_field("scores", expected.get_field("scores")[order] - 0.125)
    box_px, score, num_boxes = compare([moved], [expected])
    assert box_px == pytest.approx(0.25, abs=1e-4)
    assert score == pytest.approx(0.125, abs=1e-6)
    assert num_boxes == 6
    assert compare([expected[:5]], [expected]) == (math.inf, math.inf, 6)
    assert compare([expected[:0]], [expected[:0]]) == (0.0, 0.0, 0)
    others = expected.copy_with_fields(["scores"])
    others.add_field("labels", expected.get_field("labels") + 100)
    assert compare([others], [expected])[0] == math.inf


@torch.no_grad()
def test_the_log_says_what_was_chosen(caplog):
    model, images = make_model("RetinaNet"), make_images()
    with caplog.at_level(logging.INFO):
        detect = INFERENCE_MODES["auto"](model, CPU)
    (message,) = [r.getMessage() for r in caplog.records if "chose" in r.getMessage()]
    assert all(word in message for word in ("fast", "ms", "px"))
    assert len(detect(images)) == 2


def test_without_bfloat16_the_mode_is_refused_and_not_chosen(monkeypatch, caplog):
    monkeypatch.setattr(fast, "_computes_in_bfloat16", lambda _device: False)
    model = make_model("RetinaNet")
    with pytest.raises(ConfigError, match=r"TEST\.INFERENCE_MODE: 'bf16'.*'fast'"):
        INFERENCE_MODES["bf16"](model, CPU)
    with caplog.at_level(logging.INFO):
        INFERENCE_MODES["auto"](model, CPU)
    assert "chose" in caplog.text
    assert "chose bf16" not in caplog.text


@torch.no_grad()
def test_without_instructions_for_integers_the_mode_is_refused(monkeypatch):
    kernels = dict(ops_status().kernels) | {"winograd_conv3x3_int16": ()}
    status = ops_status()._replace(kernels=kernels)
    monkeypatch.setattr(fused_layers, "ops_status", lambda: status)
    model, images = make_model("RetinaNet"), make_images()
    with pytest.raises(ConfigError, match=r"TEST\.INFERENCE_MODE: 'int16'.*'fast'"):
        INFERENCE_MODES["int16"](model, CPU)
    # The others do without them.
    assert len(INFERENCE_MODES["auto"](model, CPU)(images)) == 2
