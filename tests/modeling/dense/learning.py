"""A training on two photos, which are learnt by heart."""

import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.data import make_datasets, make_train_loader
from maskrcnn_benchmark.engine.data_fit import fit_to_data
from maskrcnn_benchmark.engine.forward import make_training_runner
from maskrcnn_benchmark.engine.random_state import seed_everything
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from tests.contract.source_tree import ROOT


def make_config(monkeypatch, name, changes):
    """The settings of a quickstart on the first two of its photos."""
    entry = DatasetCatalog.DATASETS["quickstart_train_few"]
    two = {**entry, "image_ids": entry["image_ids"][:2]}
    monkeypatch.setitem(DatasetCatalog.DATASETS, "two_photos", two)
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / "configs" / "quickstart" / f"{name}_M_v2_FPN_quickstart.yaml")
    cfg.merge_from_list([item for pair in changes.items() for item in pair])
    cfg.merge_from_list(["DATASETS.TRAIN", ("two_photos",)])
    return cfg


def train(cfg):
    """The model, the last batch, and the losses step by step."""
    seed_everything(0)
    datasets = make_datasets(cfg, test=False).train
    model = build_detection_model(cfg)
    DetectronCheckpointer(cfg, model).load(cfg.MODEL.WEIGHT)
    fit_to_data(model, datasets, seed=0)
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


def best_ious(runner, batch, threshold):
    """Of each object the best IoUs of boxes, and of masks, of its class: (G,) and (G,)."""
    with runner.evaluating() as detect:
        found = detect(batch.images)
    ious = []
    for detections, target in zip(found, batch.targets, strict=True):
        seen = detections[detections.scores > threshold].resize(target.size)
        target = target.with_pixel_offset(seen.pixel_offset)
        is_same = seen.labels[:, None] == target.labels
        of_boxes = (boxlist_iou(seen, target) * is_same).amax(dim=0)
        ious.append((of_boxes, (mask_ious(seen, target) * is_same).amax(dim=0)))
    return [torch.cat(each) for each in zip(*ious, strict=True)]


def mask_ious(seen, target):
    """(K, G) IoUs of predicted and true masks."""
    ours = seen.predicted_masks.planes().flatten(1).float()
    theirs = target.get_field("masks").to_bitmasks().flatten(1).float()
    shared = ours @ theirs.T
    return shared / (ours.sum(dim=1)[:, None] + theirs.sum(dim=1) - shared)
