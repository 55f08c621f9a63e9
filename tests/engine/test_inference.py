import logging

import pytest
import torch
from torch import nn

from maskrcnn_benchmark.engine import inference as inference_module
from maskrcnn_benchmark.engine.forward import ModelRunner
from maskrcnn_benchmark.engine.inference import compute_on_dataset, inference
from tests.engine.oracle import FakeLoader, Oracle


def test_a_perfect_model_scores_100_and_keeps_its_mode(tmp_path, caplog):
    model = Oracle().train()
    with caplog.at_level(logging.INFO):
        result = inference(
            model,
            FakeLoader([11, 12, 13]),
            "fake",
            ("bbox", "segm"),
            device="cpu",
            output_folder=tmp_path,
            backend="pycocotools",
        )
    assert result.metrics["bbox"]["AP"] == pytest.approx(100)
    assert result.metrics["segm"]["AP50"] == pytest.approx(100)
    assert model.training
    assert {path.name for path in tmp_path.iterdir()} >= {"bbox.json", "segm.json"}
    for part in ("Start evaluation on fake (3 images)", "on 1 processes: model 0.", "dog"):
        assert part in caplog.text


def test_expectations_are_compared(caplog):
    with caplog.at_level(logging.INFO):
        inference(
            Oracle(),
            FakeLoader([11, 12, 13]),
            "fake",
            device="cpu",
            expected_results=[["bbox", "AP", [0.5, 0.01]], ["bbox", "AP50", [1.0, 0.01]]],
        )
    assert "FAIL: bbox AP expected 50.00" in caplog.text
    assert "PASS: bbox AP50" in caplog.text


def on_cpu(model):
    return ModelRunner(model, device=torch.device("cpu"))


class Recorder:
    def __init__(self):
        self.seen = []

    def process(self, image_ids, predictions):
        self.seen += list(image_ids)


def test_times_and_images_are_counted(monkeypatch):
    """An image takes a second to read, ten in the model and a hundred to collect."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    def slowly(function, seconds):
        def slow(*arguments):
            now[0] += seconds
            return function(*arguments)

        return slow

    loader, model, recorder = FakeLoader([12, 11]), Oracle(), Recorder()
    images = iter(loader)
    monkeypatch.setattr(
        FakeLoader, "__iter__", lambda self: iter(slowly(lambda: next(images, None), 1), None)
    )
    monkeypatch.setattr(model, "forward", slowly(model.forward, 10))
    monkeypatch.setattr(recorder, "process", slowly(recorder.process, 100))
    times = compute_on_dataset(on_cpu(model), loader, recorder)
    assert recorder.seen == [12, 11]
    assert (times.data, times.model, times.results, times.num_images) == (2, 20, 200, 2)
    assert "model 10.0000 s, data 1.0000 s, results 100.0000 s" in times.per_image()


def test_no_images_are_fine():
    times = compute_on_dataset(on_cpu(Oracle()), FakeLoader([]), Recorder())
    assert times.num_images == 0
    assert "model 0.0000 s" in times.per_image()


class Failing(nn.Module):
    def forward(self, images, targets=None):
        raise ValueError("no")


def test_a_failure_restores_the_mode_too():
    model = Failing()
    with pytest.raises(ValueError, match="no"):
        compute_on_dataset(on_cpu(model), FakeLoader([11]), Recorder())
    assert model.training


def test_long_evaluations_tell_when_they_end(monkeypatch, caplog):
    monkeypatch.setattr(inference_module, "_SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO):
        compute_on_dataset(on_cpu(Oracle()), FakeLoader([11, 12]), Recorder())
    assert [record.message for record in caplog.records] == [
        "batch 1 of 2, eta: 0:00:00",
        "batch 2 of 2, eta: 0:00:00",
    ]
