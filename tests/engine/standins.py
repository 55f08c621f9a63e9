"""A model, a data loader and a data set that are small enough to follow by hand."""

from types import SimpleNamespace

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.engine.hooks import StepRecord
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList

SIDE = 8


class TinyDetector(nn.Module):
    """A detector with the interface of the real ones: a dict of losses, or one BoxList an image.

    It draws random numbers in training (dropout) and needs at least one target box.
    """

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.dropout = nn.Dropout(0.25)
        self.head = nn.Linear(4, 4)

    def forward(self, images, targets=None):
        features = self.conv(images.tensors).relu().mean(dim=(2, 3))
        boxes = self.head(self.dropout(features))
        if targets is None:
            return [
                self._detections(row, hw) for row, hw in zip(boxes, images.image_sizes, strict=True)
            ]
        wanted = torch.stack([target.bbox[0] for target in targets])
        return {
            "loss_cls": (boxes.sum(dim=1) - 1).square().mean(),
            "loss_reg": (boxes - wanted).abs().mean(),
        }

    def _detections(self, row, hw):
        boxes = BoxList(row[None], (hw[1], hw[0]))
        boxes.add_field("labels", torch.ones(1, dtype=torch.int64))
        boxes.add_field("scores", torch.full((1,), 0.5))
        return boxes


class TinyBatches(Dataset):
    """Batch number i, two images; the same whoever asks for it."""

    def __getitem__(self, iteration):
        generator = torch.Generator().manual_seed(iteration)
        images = torch.rand(2, 3, SIDE, SIDE, generator=generator)
        targets = tuple(
            BoxList(torch.rand(1, 4, generator=generator), (SIDE, SIDE)) for _ in range(2)
        )
        ids = (2 * iteration, 2 * iteration + 1)
        return ImageList(images, [(SIDE, SIDE)] * 2), targets, ids


def tiny_loader(start, stop, num_workers=0):
    """Batches of the iterations start + 1 to stop."""
    order = range(start + 1, stop + 1)
    return DataLoader(TinyBatches(), batch_size=None, sampler=order, num_workers=num_workers)


def training_config(output_dir, **solver):
    """Default settings but for some of SOLVER: no warm-up, and a log line each iteration."""
    cfg = get_default_config()
    cfg.OUTPUT_DIR = str(output_dir)
    for key, value in {"WARMUP_ITERS": 0, "LOG_PERIOD": 1, "BASE_LR": 0.05, **solver}.items():
        cfg.merge_from_list([f"SOLVER.{key}", value])
    return cfg


class RecordingSaver:
    """A checkpointer that only remembers."""

    def __init__(self):
        self.saved = []
        self.latest = None

    def save(self, name, *, is_latest=True, **extra):
        self.saved.append((name, extra))
        if is_latest:
            self.latest = name

    @property
    def names(self):
        return [name for name, _ in self.saved]


def run_hook(hook, max_iter, start_iter=0, model=None, *, scales=False):
    """Call the hook as a trainer does; returns what it saw of one."""
    trainer = SimpleNamespace(
        max_iter=max_iter,
        start_iter=start_iter,
        model=model or nn.ReLU(),
        iteration=start_iter,
        scaler=torch.amp.GradScaler("cpu", enabled=scales),
    )
    hook.before_train(trainer)
    for iteration in range(start_iter + 1, max_iter + 1):
        hook.after_step(trainer, StepRecord(iteration, {"loss": 1.0}, 0.1, None, 0.0, 0.0))
    hook.close(trainer)
    return trainer
