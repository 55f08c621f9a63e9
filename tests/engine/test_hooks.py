import pytest
import torch
from torch import nn

from maskrcnn_benchmark.engine.hooks import CheckpointHook, CheckpointWriter
from maskrcnn_benchmark.engine.random_state import preserved_random_state, restore_random_state
from maskrcnn_benchmark.weights.checkpoint import Checkpointer
from tests.engine.standins import RecordingSaver, run_hook


def checkpoint_names(period, max_iter, start_iter=0):
    saver = RecordingSaver()
    run_hook(CheckpointHook(writer=CheckpointWriter(saver), period=period), max_iter, start_iter)
    return saver.names


def test_checkpoints_come_periodically_and_at_the_end():
    assert checkpoint_names(2, 5) == ["model_0000002", "model_0000004", "model_final"]
    assert checkpoint_names(2, 4) == ["model_0000002", "model_final", "model_0000004"]
    assert checkpoint_names(2, 5, start_iter=3) == ["model_0000004", "model_final"]
    assert checkpoint_names(0, 5) == ["model_final"]


@pytest.mark.parametrize("period", [0, 2, 3])
def test_the_final_checkpoint_is_the_latest(period):
    saver = RecordingSaver()
    run_hook(CheckpointHook(writer=CheckpointWriter(saver), period=period), 4)
    assert saver.latest == "model_final"


def test_a_checkpoint_has_the_state_of_a_scaler_in_use():
    for scales in (True, False):
        saver = RecordingSaver()
        # As a run that was in use of one wrote it.
        writer = CheckpointWriter(saver, entries={"grad_scaler": {"scale": 7}})
        hook = CheckpointHook(writer=writer, period=0)
        trainer = run_hook(hook, 1, scales=scales)
        ((_, entries),) = saver.saved
        expected = trainer.scaler.state_dict() if scales else None
        assert entries.get("grad_scaler") == expected


def test_a_checkpoint_has_iteration_random_states_and_extra_entries():
    saver = RecordingSaver()
    writer = CheckpointWriter(saver, entries={"best": 3, "iteration": 77, "rng_state": None})
    run_hook(CheckpointHook(writer=writer, period=1), 1)
    _, entries = saver.saved[0]
    assert (entries["iteration"], entries["best"], len(entries["rng_state"])) == (1, 3, 1)
    with preserved_random_state():
        restore_random_state(entries["rng_state"][0])
        assert torch.equal(torch.get_rng_state(), entries["rng_state"][0]["torch"])


def broken_model():
    model = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 1))
    with torch.no_grad():
        model[1].weight.fill_(float("inf"))
    return model


def test_a_broken_model_is_never_saved():
    saver = RecordingSaver()
    hook = CheckpointHook(writer=CheckpointWriter(saver), period=2)
    with pytest.raises(FloatingPointError, match=r"\b2, 1 of 4\b.*\b1\.weight\b"):
        run_hook(hook, 5, model=broken_model())
    assert saver.saved == []


def test_older_checkpoints_make_room(tmp_path):
    for name in ("model_best", "model_0000009", "model_mine"):
        (tmp_path / f"{name}.pth").touch()
    model = torch.nn.Linear(1, 1)
    writer = CheckpointWriter(Checkpointer(model, save_dir=tmp_path))
    hook = CheckpointHook(writer=writer, period=1, keep=2)
    run_hook(hook, 5)
    kept = {path.stem for path in tmp_path.glob("*.pth")}
    # A later one is of another run, and those of other names are somebody's own.
    others = {"model_best", "model_0000009", "model_mine", "model_final"}
    assert kept == {"model_0000004", "model_0000005", *others}
    assert (tmp_path / "last_checkpoint").read_text().endswith("model_final.pth")
