"""A step of two processes is the mean of what one process does with each half."""

import copy

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from maskrcnn_benchmark.engine.trainer import Trainer
from maskrcnn_benchmark.structures.image_list import ImageList
from tests.engine.spawn import in_two_processes
from tests.engine.standins import TinyBatches, TinyDetector

CPU = torch.device("cpu")


def tiny_model():
    torch.manual_seed(0)
    model = TinyDetector()
    model.dropout.p = 0.0
    return model


def half(batch, rank):
    images, targets, ids = batch
    part = slice(rank, rank + 1)
    return ImageList(images.tensors[part], images.image_sizes[part]), targets[part], ids[part]


def make_trainer(model, clip_grad_norm=0.0):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)
    return Trainer(
        model=model,
        data_loader=[],
        optimizer=optimizer,
        scheduler=scheduler,
        device=CPU,
        max_iter=1,
        clip_grad_norm=clip_grad_norm,
    )


def gradients(model):
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def _step_on_own_half(rank):
    model = tiny_model()
    trainer = make_trainer(DistributedDataParallel(model, broadcast_buffers=False))
    losses, _ = trainer.run_step(half(TinyBatches()[1], rank))
    return {"losses": losses, "gradients": gradients(model), "weights": model.state_dict()}


def _break_one_process(rank):
    """The error that a process gets, and whether its model is as before."""
    model = tiny_model()
    trainer = make_trainer(DistributedDataParallel(model, broadcast_buffers=False))
    before = copy.deepcopy(model.state_dict())
    images, targets, ids = half(TinyBatches()[1], rank)
    if rank == 1:
        images.tensors.fill_(float("nan"))
    try:
        trainer.run_step((images, targets, ids))
    except FloatingPointError as error:
        return str(error), all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    return "no error", False


def _both(rank):
    return {**_step_on_own_half(rank), "broken": _break_one_process(rank)}


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    return in_two_processes(_both, tmp_path_factory.mktemp("step"))


@pytest.fixture(scope="module")
def halves():
    results = []
    for rank in range(2):
        model = tiny_model()
        losses, _ = make_trainer(model).run_step(half(TinyBatches()[1], rank))
        results.append((losses, gradients(model)))
    return results


def test_losses_are_means_of_the_halves(together, halves):
    (first, _), (second, _) = halves
    expected = {name: (first[name] + second[name]) / 2 for name in first}
    for result in together:
        assert result["losses"] == pytest.approx(expected, abs=1e-5)


def test_gradients_are_means_of_the_halves_on_every_process(together, halves):
    (_, first), (_, second) = halves
    expected = {name: (first[name] + second[name]) / 2 for name in first}
    for result in together:
        torch.testing.assert_close(result["gradients"], expected, rtol=0, atol=1e-5)


def test_processes_stay_the_same(together):
    torch.testing.assert_close(together[0]["weights"], together[1]["weights"], rtol=0, atol=0)


def test_one_broken_process_stops_all_and_is_named(together):
    """Otherwise the others would wait for it, and the main process' log would not say why."""
    for result in together:
        text, unchanged = result["broken"]
        assert "not finite at iteration 1; process 1: images [3]: loss_cls nan" in text
        assert "process 0" not in text
        assert unchanged
