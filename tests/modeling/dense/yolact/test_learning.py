"""A YOLACT learns the objects of two photos by heart."""

import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.data import make_datasets, make_train_loader
from maskrcnn_benchmark.engine.forward import make_training_runner
from maskrcnn_benchmark.engine.random_state import preserved_random_state, seed_everything
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from tests.contract.source_tree import ROOT

pytestmark = pytest.mark.slow

STEPS = 90
SMALL = {
    "MODEL.RESNETS.BACKBONE_OUT_CHANNELS": 64,
    "MODEL.CHANNELS_LAST": True,
    "INPUT.MIN_SIZE_TEST": 128,
    "SOLVER.IMS_PER_BATCH": 2,
    "SOLVER.MAX_ITER": STEPS,
    "SOLVER.BASE_LR": 0.002,
    "SOLVER.WARMUP_ITERS": 10,
}


@pytest.fixture(autouse=True)
def _undisturbed():
    with preserved_random_state():
        yield


def train(cfg):
    """The model and the sums of its losses, step by step."""
    seed_everything(0)
    datasets = make_datasets(cfg, test=False).train
    model = build_detection_model(cfg)
    DetectronCheckpointer(cfg, model).load(cfg.MODEL.WEIGHT)
    runner = make_training_runner(cfg, model, torch.device("cpu"))
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    course = []
    for batch in make_train_loader(cfg, datasets, is_distributed=False):
        losses = runner.losses(batch)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        scheduler.step()
        course.append({name: loss.item() for name, loss in losses.items()})
    return runner, batch, course


def test_losses_fall_and_objects_are_found(monkeypatch):
    entry = DatasetCatalog.DATASETS["quickstart_train_few"]
    two = {**entry, "image_ids": entry["image_ids"][:2]}
    monkeypatch.setitem(DatasetCatalog.DATASETS, "two_photos", two)
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / "configs" / "quickstart" / "yolact_M_v2_FPN_quickstart.yaml")
    cfg.merge_from_list([item for pair in SMALL.items() for item in pair])
    cfg.merge_from_list(["DATASETS.TRAIN", ("two_photos",)])
    runner, batch, course = train(cfg)
    for name, first in course[0].items():
        assert course[-1][name] < 0.5 * first, name
    with runner.evaluating() as detect:
        found = detect(batch.images)
    for detections, target in zip(found, batch.targets, strict=True):
        seen = detections[detections.scores > 0.2].resize(target.size)
        is_same = seen.labels[:, None] == target.labels
        assert (boxlist_iou(seen, target) * is_same).amax(dim=0).min() > 0.5
        assert (mask_ious(seen, target) * is_same).amax(dim=0).min() > 0.5


def mask_ious(seen, target):
    """(K, G) IoUs of predicted and true masks."""
    ours = seen.predicted_masks.planes().flatten(1).float()
    theirs = target.get_field("masks").to_bitmasks().flatten(1).float()
    shared = ours @ theirs.T
    return shared / (ours.sum(dim=1)[:, None] + theirs.sum(dim=1) - shared)
