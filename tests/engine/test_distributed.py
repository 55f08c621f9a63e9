"""Two processes: a step is the mean of what one process does with each half of the batch.

And an evaluation scores what all of them found.
"""

import copy
from itertools import pairwise

import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.engine.build import distribute
from maskrcnn_benchmark.engine.forward import ModelRunner
from maskrcnn_benchmark.engine.inference import inference
from maskrcnn_benchmark.engine.launch import ProcessPlace, Run
from maskrcnn_benchmark.engine.random_state import preserved_random_state, seed_everything
from maskrcnn_benchmark.engine.trainer import Trainer
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.image_list import ImageList
from tests.engine.oracle import FakeLoader, Oracle
from tests.engine.spawn import in_two_processes
from tests.engine.standins import TinyBatches, TinyDetector
from tests.factories import target_with_masks
from tests.tools.small_run import CONFIG

CPU = torch.device("cpu")
SIDE = 64


def tiny_model():
    seed_everything(0)
    model = TinyDetector()
    model.dropout.p = 0.0
    return model


def tiny_batch():
    return TinyBatches()[1]


def centermask():
    """CenterMask-Lite with its mask-IoU head, two classes."""
    cfg = get_default_config()
    cfg.merge_from_file(str(CONFIG))
    cfg.merge_from_list(["MODEL.MASKIOU_ON", True, "MODEL.NUM_CLASSES", 3])
    seed_everything(0)
    return build_detection_model(cfg)


def centermask_batch():
    """Four images for two processes; the first half has no object in its second image."""
    generator = torch.Generator().manual_seed(0)
    images = 100 * torch.rand(4, 3, SIDE, SIDE, generator=generator)
    targets = tuple(
        target_with_masks(num_boxes, (SIDE, SIDE), seed=num_boxes, num_foreground=2)
        for num_boxes in (3, 0, 2, 1)
    )
    return ImageList(images, [(SIDE, SIDE)] * 4), targets, (0, 1, 2, 3)


def half(batch, rank):
    """A process' half of a batch."""
    images, targets, ids = batch
    share = len(ids) // 2
    part = slice(share * rank, share * (rank + 1))
    return ImageList(images.tensors[part], images.image_sizes[part]), targets[part], ids[part]


def make_trainer(model):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    return Trainer(
        runner=ModelRunner(model, device=CPU),
        data_loader=[],
        optimizer=optimizer,
        scheduler=torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0),
        max_iter=1,
    )


def one_step(model, batch, wrap=lambda model: model):
    losses, _ = make_trainer(wrap(model).train()).run_step(batch)
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {"losses": losses, "gradients": gradients, "weights": model.state_dict()}


def wrap_for(rank):
    run = Run(CPU, ProcessPlace(rank=rank, local_rank=rank, world_size=2))
    return lambda model: distribute(model, run)


def _break_one_process(rank):
    """The error that a process gets, and whether its model is as before."""
    model = tiny_model()
    trainer = make_trainer(wrap_for(rank)(model))
    before = copy.deepcopy(model.state_dict())
    images, targets, ids = half(tiny_batch(), rank)
    if rank == 1:
        images.tensors.fill_(float("nan"))
    try:
        trainer.run_step((images, targets, ids))
    except FloatingPointError as error:
        return str(error), all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    return "no error", False


def _evaluate_share(rank):
    """The numbers on the main process; the shares are of different lengths."""
    share = FakeLoader([11, 13] if rank == 0 else [12])
    result = inference(Oracle(), share, "fake", ("bbox", "segm"), device="cpu")
    return result and {key: dict(value) for key, value in result.metrics.items()}


MODELS = {"tiny": (tiny_model, tiny_batch), "centermask": (centermask, centermask_batch)}


def _work(rank):
    steps = {
        name: one_step(make_model(), half(make_batch(), rank), wrap_for(rank))
        for name, (make_model, make_batch) in MODELS.items()
    }
    return {**steps, "broken": _break_one_process(rank), "scores": _evaluate_share(rank)}


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    return in_two_processes(_work, tmp_path_factory.mktemp("step"))


@pytest.fixture(scope="module")
def halves():
    """For each model, what a single process does with the halves."""
    with preserved_random_state():
        return {
            name: [one_step(make_model(), half(make_batch(), rank)) for rank in range(2)]
            for name, (make_model, make_batch) in MODELS.items()
        }


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("part", ["losses", "gradients"])
def test_losses_and_gradients_are_means_of_the_halves(together, halves, name, part):
    first, second = (result[part] for result in halves[name])
    assert first.keys() == second.keys()
    expected = {key: (first[key] + second[key]) / 2 for key in first}
    for result in together:
        torch.testing.assert_close(result[name][part], expected, rtol=1e-5, atol=1e-5)


def test_the_halves_differ(halves):
    """Otherwise the test above would prove nothing."""
    for first, second in halves.values():
        assert all(first["losses"][key] != second["losses"][key] for key in first["losses"])


@pytest.mark.parametrize("name", MODELS)
def test_processes_stay_the_same(together, name):
    for one, other in pairwise(together):
        torch.testing.assert_close(one[name]["weights"], other[name]["weights"], rtol=0, atol=0)


def test_one_broken_process_stops_all_and_is_named(together):
    """Otherwise the others would wait for it, and the main process' log would not say why."""
    for result in together:
        text, unchanged = result["broken"]
        assert "not finite at iteration 1; process 1: images [3]: loss_cls nan" in text
        assert "process 0" not in text
        assert unchanged


def test_two_processes_score_together(together):
    loader = FakeLoader([11, 12, 13])
    alone = inference(Oracle(), loader, "fake", ("bbox", "segm"), device="cpu")
    assert [result["scores"] for result in together] == [alone.metrics, None]


def test_a_single_process_is_not_wrapped():
    model = tiny_model()
    assert distribute(model, Run(CPU, ProcessPlace(0, 0, 1)), convert_batch_norm=True) is model
