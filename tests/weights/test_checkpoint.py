import logging
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.solver import WarmupMultiStepLR
from maskrcnn_benchmark.weights import checkpoint
from maskrcnn_benchmark.weights.checkpoint import Checkpointer, DetectronCheckpointer
from maskrcnn_benchmark.weights.load_report import CheckpointError


class Run:
    """A tiny training run in a folder: a model, its optimizer and its schedule."""

    def __init__(self, folder: Path | str, num_classes: int = 3, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = nn.ModuleDict(
            {"body": nn.Linear(2, 4), "cls_logits": nn.Linear(4, num_classes)}
        )
        self.optimizer: Optimizer = SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.scheduler: LRScheduler = WarmupMultiStepLR(self.optimizer, [3, 6], warmup_iters=2)
        self.checkpointer = Checkpointer(self.model, self.optimizer, self.scheduler, folder)

    def step(self) -> None:
        loss = self.model["cls_logits"](self.model["body"](torch.randn(5, 2))).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.scheduler.step()

    def save(self, iteration: int) -> str:
        name = f"model_{iteration:07d}"
        self.checkpointer.save(name, iteration=iteration, rng_state=torch.get_rng_state())
        return f"{name}.pth"

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: value.clone() for name, value in self.model.state_dict().items()}


def _equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first | second)


def test_a_resumed_run_equals_the_uninterrupted_one(tmp_path: Path):
    run = Run(tmp_path)
    for _ in range(4):
        run.step()
    run.save(iteration=4)
    for _ in range(4):
        run.step()
    resumed = Run(tmp_path, seed=1)
    extra = resumed.checkpointer.load()
    assert extra.keys() == {"iteration", "rng_state"}
    assert extra["iteration"] == 4
    assert resumed.scheduler.last_epoch == 4
    torch.set_rng_state(extra["rng_state"])
    for _ in range(4):
        resumed.step()
    assert _equal(resumed.weights(), run.weights())
    assert resumed.optimizer.param_groups[0]["lr"] == run.optimizer.param_groups[0]["lr"]
    assert resumed.checkpointer.last_report.is_exact


def test_a_file_has_the_entries_of_the_original(tmp_path: Path):
    run = Run(tmp_path)
    name = run.save(iteration=4)
    content = torch.load(tmp_path / name, weights_only=True)
    assert content.keys() == {"model", "optimizer", "scheduler", "iteration", "rng_state"}
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / name)


def test_wrapped_models_are_saved_without_the_wrapper(tmp_path: Path):
    run = Run(tmp_path)
    Checkpointer(nn.DataParallel(run.model), save_dir=tmp_path).save("w")
    assert torch.load(tmp_path / "w.pth", weights_only=True)["model"].keys() == run.weights().keys()


def test_a_compiled_run_goes_on_in_a_plain_one_and_back(tmp_path: Path):
    """torch.compile puts a prefix in front of every name, wrappers for devices another."""
    model = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 3))
    names = set(model.state_dict())
    compiled = nn.DataParallel(torch.compile(model, backend="eager"))
    compiled(torch.ones(5, 2)).sum().backward()
    Checkpointer(compiled, save_dir=tmp_path).save("w", iteration=1)
    saved = torch.load(tmp_path / "w.pth", weights_only=True)["model"]
    assert saved.keys() == names
    plain = nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 3))
    assert Checkpointer(plain, save_dir=tmp_path).load() == {"iteration": 1}
    assert _equal(plain.state_dict(), saved)
    again = torch.compile(nn.Sequential(nn.Linear(2, 4), nn.Linear(4, 3)), backend="eager")
    assert Checkpointer(again, save_dir=tmp_path).load() == {"iteration": 1}
    torch.testing.assert_close(again(torch.ones(5, 2)), plain(torch.ones(5, 2)), rtol=0, atol=0)


def test_a_file_with_the_marks_of_a_compiled_model_is_that_of_a_plain_one(tmp_path: Path):
    run = Run(tmp_path)
    marked = {f"_orig_mod.module.{name}": value for name, value in run.weights().items()}
    torch.save({"model": marked}, tmp_path / "compiled.pth")
    other = Run("", seed=1)
    other.checkpointer.load(tmp_path / "compiled.pth", strict=True)
    assert _equal(other.weights(), run.weights())


def test_initial_weights_bring_neither_iteration_nor_optimizer(tmp_path: Path):
    # UPSTREAM(weights-only-start): the original restored them; a fine-tuning ended at once.
    released = Run(tmp_path / "released")
    released.step()
    path = tmp_path / "released" / released.save(iteration=90000)
    run = Run(tmp_path / "mine", seed=1)
    assert run.checkpointer.load(path) == {}
    assert _equal(run.weights(), released.weights())
    assert run.optimizer.state == {}
    assert run.scheduler.last_epoch == 0


def test_a_foreign_optimizer_state_in_initial_weights_does_not_matter(tmp_path: Path):
    run = Run(tmp_path / "mine")
    path = tmp_path / "released.pth"
    states = {"optimizer": {"state": {}, "param_groups": []}, "scheduler": {"milestones": [1]}}
    torch.save({"model": run.model.state_dict(), "iteration": 9, **states}, path)
    assert run.checkpointer.load(path) == {}


def test_the_last_checkpoint_wins_over_initial_weights(tmp_path: Path, caplog):
    run = Run(tmp_path)
    run.save(iteration=5)
    other = Run(tmp_path / "other", seed=1)
    path = tmp_path / "other" / other.save(iteration=1)
    resumed = Run(tmp_path, seed=2)
    with caplog.at_level(logging.INFO):
        assert resumed.checkpointer.load(path)["iteration"] == 5
    assert _equal(resumed.weights(), run.weights())
    assert f"{path} is not used" in caplog.text
    assert resumed.checkpointer.load(path, use_latest=False) == {}
    assert _equal(resumed.weights(), other.weights())


def test_class_layers_of_another_count_are_left_out_of_initial_weights_only(tmp_path, caplog):
    released = Run(tmp_path, num_classes=80)
    path = tmp_path / released.save(iteration=1)
    run = Run(tmp_path / "mine", num_classes=2, seed=1)
    before = run.weights()
    run.checkpointer.load(path)
    assert _equal({"w": run.weights()["body.weight"]}, {"w": released.weights()["body.weight"]})
    assert torch.equal(run.weights()["cls_logits.weight"], before["cls_logits.weight"])
    assert [m.name for m in run.checkpointer.last_report.shape_mismatch] == [
        "cls_logits.weight",
        "cls_logits.bias",
    ]
    assert "cls_logits.weight  80 x 4       2 x 4" in caplog.text
    resuming = Run(tmp_path, num_classes=2)
    with pytest.raises(
        CheckpointError,
        match=r"(?s)model_0000001.*cls_logits.*OUTPUT_DIR",
    ):
        resuming.checkpointer.load()


def test_a_strict_load_demands_weights_that_fit(tmp_path: Path):
    path = tmp_path / Run(tmp_path, num_classes=80).save(iteration=1)
    run = Run(tmp_path / "mine", num_classes=2)
    with pytest.raises(CheckpointError, match="do not fit the model"):
        run.checkpointer.load(path, strict=True)
    with pytest.raises(CheckpointError, match=r"MODEL\.WEIGHT"):
        run.checkpointer.load("", strict=True)


def test_no_weights_at_all_is_a_start_from_random_weights(tmp_path: Path, caplog):
    run = Run(tmp_path)
    before = run.weights()
    with caplog.at_level(logging.INFO):
        assert run.checkpointer.load("") == {}
    assert "random weights" in caplog.text
    assert _equal(run.weights(), before)


@pytest.mark.parametrize("missing", ["optimizer", "scheduler"])
def test_resuming_needs_all_states(missing: str, tmp_path: Path):
    run = Run(tmp_path)
    path = tmp_path / run.save(iteration=1)
    content = torch.load(path, weights_only=True)
    del content[missing]
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=rf"\b{missing}\b.*MODEL\.WEIGHT"):
        Run(tmp_path).checkpointer.load()
    # Evaluation has neither and needs neither.
    Checkpointer(Run(tmp_path).model, save_dir=tmp_path).load()


def test_resuming_with_a_state_that_does_not_fit_names_the_file(tmp_path: Path):
    run = Run(tmp_path)
    path = tmp_path / run.save(iteration=1)
    content = torch.load(path, weights_only=True)
    content["optimizer"]["param_groups"] = []
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=rf"{path}.*\boptimizer\b"):
        Run(tmp_path).checkpointer.load()


def test_attributes_of_an_old_schedule_are_no_obstacle(tmp_path: Path):
    run = Run(tmp_path)
    path = tmp_path / run.save(iteration=1)
    content = torch.load(path, weights_only=True)
    content["scheduler"] = {"last_epoch": 4, "milestones": [3, 6], "forgotten_attribute": 1}
    torch.save(content, path)
    resumed = Run(tmp_path)
    resumed.checkpointer.load()
    assert resumed.scheduler.last_epoch == 4
    assert not hasattr(resumed.scheduler, "forgotten_attribute")


def test_a_moved_run_resumes_from_its_own_files(tmp_path: Path):
    run = Run(tmp_path / "old")
    name = run.save(iteration=3)
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    moved = Run(tmp_path / "new")
    assert moved.checkpointer.get_checkpoint_file() == str(tmp_path / "new" / name)
    (tmp_path / "new" / name).unlink()
    assert moved.checkpointer.get_checkpoint_file() == str(tmp_path / "old" / name)


def test_a_named_checkpoint_that_is_gone_is_an_error(tmp_path: Path):
    run = Run(tmp_path)
    for iteration in (1, 2):
        name = run.save(iteration)
    (tmp_path / name).unlink()
    with pytest.raises(CheckpointError, match=r"model_0000001\.pth"):
        run.checkpointer.load()


def test_without_a_folder_nothing_is_saved_or_resumed(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Run(folder="")
    run.save(iteration=1)
    assert not run.checkpointer.has_checkpoint()
    assert run.checkpointer.get_checkpoint_file() == ""
    assert list(tmp_path.iterdir()) == []


def test_only_the_first_process_writes_unless_told(tmp_path: Path, monkeypatch):
    # UPSTREAM(save-by-default): without save_to_disk the original wrote nothing in any process.
    model = nn.Linear(1, 1)
    monkeypatch.setattr(checkpoint, "is_main_process", lambda: False)
    Checkpointer(model, save_dir=tmp_path).save("a")
    Checkpointer(model, save_dir=tmp_path, save_to_disk=True).save("b")
    monkeypatch.setattr(checkpoint, "is_main_process", lambda: True)
    Checkpointer(model, save_dir=tmp_path).save("c")
    Checkpointer(model, save_dir=tmp_path, save_to_disk=False).save("d")
    assert sorted(p.name for p in tmp_path.glob("*.pth")) == ["b.pth", "c.pth"]


def test_what_could_not_be_loaded_again_is_not_saved(tmp_path: Path):
    run = Run(tmp_path)
    with pytest.raises(ValueError, match=r"checkpoint\.best \(numpy\.float64\)"):
        run.checkpointer.save("w", best=np.float64(3))
    assert list(tmp_path.iterdir()) == []


def test_a_failing_save_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch):
    run = Run(tmp_path)
    name = run.save(iteration=1)
    before = (tmp_path / name).read_bytes()

    def disk_full(content: object, file) -> None:
        file.write(before[: len(before) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    for iteration in (1, 2):
        with pytest.raises(OSError, match="No space"):
            run.save(iteration)
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", name]
    assert (tmp_path / name).read_bytes() == before
    assert Run(tmp_path).checkpointer.load()["iteration"] == 1


def test_the_pointer_moves_only_when_the_file_is_complete(tmp_path: Path, monkeypatch):
    run = Run(tmp_path)
    seen = []
    tag = run.checkpointer.tag_last_checkpoint
    monkeypatch.setattr(
        run.checkpointer,
        "tag_last_checkpoint",
        lambda path: (seen.append(torch.load(path, weights_only=True)["iteration"]), tag(path)),
    )
    run.save(iteration=7)
    assert seen == [7]


def test_names_of_the_catalog_are_looked_up():
    model = nn.ModuleDict(
        {"features": nn.ModuleList([nn.Sequential(nn.Conv2d(3, 32, 3, bias=False))])}
    )
    checkpointer = DetectronCheckpointer(get_default_config(), model)
    assert checkpointer.load("catalog://quickstart/mobilenet_v2") == {}
    assert checkpointer.last_report.loaded == ("features.0.0.weight",)
    with pytest.raises(ConfigError, match="catalog://nobody/nothing"):
        checkpointer.load("catalog://nobody/nothing")


def test_urls_are_cached(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("CENTERMASK_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "w.pth"
    model = nn.Linear(2, 2)
    torch.save({"model": model.state_dict()}, path)
    checkpointer = DetectronCheckpointer(get_default_config(), model)
    checkpointer.load(f"{path.as_uri()}#named.pth")
    assert checkpointer.last_report.is_exact
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["named.pth"]


def test_a_missing_file_is_one_clear_error(tmp_path: Path):
    checkpointer = DetectronCheckpointer(get_default_config(), nn.Linear(2, 2))
    with pytest.raises(CheckpointError, match=r"nowhere\.pth"):
        checkpointer.load(tmp_path / "nowhere.pth")


def test_only_a_training_is_told_how_to_go_on_with_the_one_of_its_weights(tmp_path: Path, caplog):
    model = nn.Linear(2, 2)
    Checkpointer(model, save_dir=tmp_path / "run").save("model_final", iteration=7)
    path = tmp_path / "run" / "model_final.pth"
    for optimizer in (None, torch.optim.SGD(model.parameters(), lr=0.1)):
        caplog.clear()
        with caplog.at_level(logging.INFO):
            Checkpointer(model, optimizer, save_dir=tmp_path / "other").load(str(path))
        assert ("last_checkpoint" in caplog.text) == (optimizer is not None)
