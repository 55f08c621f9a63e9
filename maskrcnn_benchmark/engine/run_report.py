"""What a finished run has to show: numbers, loss curves, pictures and one page with them all."""

import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.data.datasets import DetectionDataset
from maskrcnn_benchmark.engine.hooks import FINAL_CHECKPOINT
from maskrcnn_benchmark.engine.launch import Run
from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.engine.progress import METRICS_FILE, format_seconds
from maskrcnn_benchmark.evaluation import EvaluationResult
from maskrcnn_benchmark.evaluation.result import count
from maskrcnn_benchmark.utils.files import atomic_write, write_json
from maskrcnn_benchmark.visualization import SheetPhoto, contact_sheet, plot_loss_curves
from maskrcnn_benchmark.visualization.curves import read_metrics
from maskrcnn_benchmark.visualization.draw import select_by_score
from maskrcnn_benchmark.visualization.report import Picture, Report, write_report

PHOTOS_PER_SHEET = 12
# Where no validation photo tells. Scores are class probability times centerness, so good detections
# of a short training have less than the 0.5 that is usual elsewhere.
DRAWN_SCORE = 0.3
# With fewer training objects of a category on average than this, nothing is learnt about others.
FEW_OBJECTS = 10
# The most frequent categories are named; all are in the tables.
NAMED_CATEGORIES = 12


class Split(NamedTuple):
    """One data set of the demo and what the model scored on it.

    Attributes:
        title: "train" or "val".
        dataset: its photos and ground truth.
        result: its numbers.
    """

    title: str
    dataset: DetectionDataset
    result: EvaluationResult


def pair_splits(
    datasets: Sequence[DetectionDataset], results: Mapping[str, EvaluationResult | None]
) -> list[Split]:
    """The two data sets with their numbers, train first."""
    pairs = zip(("train", "val"), datasets, results.values(), strict=True)
    return [Split(title, dataset, one) for title, dataset, one in pairs if one is not None]


def make_outputs(cfg: CfgNode, model: nn.Module, run: Run, splits: Sequence[Split]) -> list[Path]:
    """The files written: numbers, loss curves, contact sheets and the report of both."""
    folder = Path(cfg.OUTPUT_DIR)
    notes = make_notes(cfg, splits)
    written = [write_metrics_json(folder, splits), write_metrics_text(folder, splits, notes)]
    predictor = Predictor.from_config(cfg, model=model)
    threshold = drawing_threshold(splits)
    pictures = {}
    for split in splits:
        path = folder / f"predictions_{split.title}.png"
        pictures[split.title] = _write_sheet(path, split, predictor, threshold)
        written.append(path)
    curves = plot_loss_curves(folder / METRICS_FILE, folder / "loss_curves.png")
    report = Report(
        title="CenterMask demo",
        lead="What a small CenterMask finds on photos that it has never seen, after a few minutes "
        "of training.",
        opening=pictures.pop("val"),
        facts=make_facts(cfg, model, run, splits),
        notes=notes,
        results={split.title: split.result for split in reversed(splits)},
        pictures=list(pictures.values()),
        curves=Picture.from_file(curves, "Losses: every logged iteration, and smoothed"),
        config_text=cfg.dump(),
        next_steps=make_next_steps(cfg),
    )
    return [*written, curves, write_report(folder / "report.html", report)]


def drawing_threshold(splits: Sequence[Split]) -> float:
    """From which score on predictions are drawn: where F1 on the val photos is best."""
    _, val = splits
    found = val.result.score_threshold
    return DRAWN_SCORE if found is None else found


def make_next_steps(cfg: CfgNode) -> dict[str, str]:
    """What to try after the demo, and the command for it."""
    weights = Path(cfg.OUTPUT_DIR) / f"{FINAL_CHECKPOINT}.pth"
    beside_python = Path(sys.prefix) / "bin" / "centermask"
    command = "centermask"
    if beside_python.is_file() and beside_python.is_relative_to(Path.cwd()):
        command = str(beside_python.relative_to(Path.cwd()))
    return {
        "Draw on a photo of your own": f"{command} predict {weights} photo.jpg --output drawn",
        "Drop photos into a page": f"{command} serve {weights}",
        "Train on data of your own": f"{command} train --data my_photos",
    }


def write_metrics_json(folder: Path, splits: Sequence[Split]) -> Path:
    """The path of ``metrics.json``: split, then task, then number in percent; n/a is null."""
    content = {
        split.title: {task: dict(numbers) for task, numbers in split.result.metrics.items()}
        for split in splits
    }
    path = folder / "metrics.json"
    write_json(path, content, indent=2)
    return path


def write_metrics_text(folder: Path, splits: Sequence[Split], notes: Sequence[str]) -> Path:
    """The path of ``metrics.txt``: the tables of both splits, then the notes."""
    tables = []
    for split in splits:
        tables.append(f"{split.title}: {split.result.table()}")
        tables += [split.result.per_class_table(task) for task in split.result.per_class]
    path = folder / "metrics.txt"
    with atomic_write(path, "w") as file:
        file.write("\n\n".join([*tables, *notes]) + "\n")
    return path


def _write_sheet(path: Path, split: Split, predictor: Predictor, threshold: float) -> Picture:
    """The contact sheet of a split, which is also written as a PNG."""
    inds = spread(len(split.dataset), PHOTOS_PER_SHEET)
    photos = [_sheet_photo(split.dataset, index, predictor, threshold) for index in inds]
    trained = {
        "train": "photos that the model was trained on",
        "val": "photos that the model has never seen",
    }[split.title]
    subtitle = (
        f"{len(photos)} of {len(split.dataset)} photos, evenly picked  ·  "
        f"{headline(split.result)}  ·  predictions that score {threshold:.2f} or more are drawn"
    )
    title = f"{split.result.dataset}: {trained}"
    names = split.dataset.categories
    sheet = contact_sheet(photos, names, title, subtitle, score_threshold=threshold)
    with atomic_write(path) as file:
        sheet.save(file, "PNG")
    return Picture.from_photo(sheet, f"{title}: prediction beside ground truth")


def spread(length: int, limit: int) -> list[int]:
    """At most ``limit`` whole numbers below ``length`` with even distances."""
    number = min(limit, length)
    return [position * length // number for position in range(number)]


def _sheet_photo(
    dataset: DetectionDataset, index: int, predictor: Predictor, threshold: float
) -> SheetPhoto:
    info = dataset.get_img_info(index)
    image = dataset.read_image(index)
    detections = select_by_score(predictor(image), threshold)
    target = dataset.get_target(index)
    caption = f"{info['file_name']}: {len(detections)} predicted, {len(target)} annotated"
    return SheetPhoto(image, detections, target, caption)


def headline(result: EvaluationResult) -> str:
    """The AP50 of each task, in words."""
    names = {"bbox": "box AP50", "segm": "mask AP50"}
    values = {names.get(task, task): n.get("AP50") for task, n in result.metrics.items()}
    return ", ".join(
        f"{name} {'n/a' if value is None else f'{value:.1f}'}" for name, value in values.items()
    )


def make_facts(cfg: CfgNode, model: nn.Module, run: Run, splits: Sequence[Split]) -> dict[str, str]:
    """What is worth seeing at once, by name."""
    records = read_metrics(Path(cfg.OUTPUT_DIR) / METRICS_FILE)
    seconds = sum(record["time"] for record in records) / max(1, len(records))
    num_parameters = sum(parameter.numel() for parameter in model.parameters())
    processors = f"{torch.get_num_threads()} threads" if run.device.type == "cpu" else "one GPU"
    return {
        **{f"{split.title} photos": headline(split.result) for split in reversed(splits)},
        "training time": f"{format_seconds(seconds * cfg.SOLVER.MAX_ITER)} ({seconds:.2f} s/step)",
        "training": f"{cfg.SOLVER.MAX_ITER} steps of {cfg.SOLVER.IMS_PER_BATCH} photos",
        "photo size": f"shorter side {cfg.INPUT.MIN_SIZE_TEST} px",
        "model": f"{cfg.MODEL.BACKBONE.CONV_BODY}, {num_parameters / 1e6:.1f} M parameters",
        "machine": f"{run.device.type}, {processors}, torch {torch.__version__}",
    }


def make_notes(cfg: CfgNode, splits: Sequence[Split]) -> list[str]:
    """What keeps a reader from taking the numbers for more than they are."""
    train, val = (split.dataset for split in splits)
    targets = [train.get_target(index) for index in range(len(train))]
    used = [target for target in targets if len(target)]
    labels = Counter(train.categories[int(label)] for target in used for label in target.labels)
    named = [f"{name} {number}" for name, number in labels.most_common(NAMED_CATEGORIES)]
    if len(labels) > len(named):
        named.append(f"{len(labels) - len(named)} more")
    notes = [
        f"Trained on {count(len(used), 'photo')} of {splits[0].result.dataset} with "
        f"{count(labels.total(), 'object')} of {count(len(labels), 'category', 'categories')} "
        f"({', '.join(named)}), starting from {cfg.MODEL.WEIGHT or 'random weights'}. The train "
        f"numbers are of all its {count(len(train), 'photo')}.",
        "The train numbers show that the model learns and remembers: it is asked about the very "
        "photos it was trained on. They say nothing about other photos.",
        f"The val numbers are of {count(len(val), 'photo')} of {splits[1].result.dataset}, on "
        "which it was not trained.",
        f"Predictions are drawn from score {drawing_threshold(splits):.2f} on. That is where F1 on "
        "the val photos is best; the checkpoint says so, and predict and serve draw the same.",
    ]
    if labels.total() < FEW_OBJECTS * len(labels):
        notes.append(
            "So few objects of a category cannot teach it in general: expect val numbers near "
            "zero. The other configurations are for training on all of COCO."
        )
    num_shared = len(set(train.image_ids) & set(val.image_ids))
    if num_shared:
        notes.append(f"{count(num_shared, 'photo')} in both splits: the val numbers are too good.")
    return notes


def summary(
    written: Sequence[Path], splits: Sequence[Split], seconds: float, next_steps: Mapping[str, str]
) -> str:
    """The numbers, where everything is, and what to try next, for the terminal."""
    folder = written[0].parent
    produced = [folder / name for name in ("log.txt", "model_final.pth")]
    lines = [
        f"{split.title:>5}: {headline(split.result)}  ({split.result.num_images} photos)"
        for split in splits
    ]
    done = f"Done in {format_seconds(seconds)}. Everything is in {folder}{os.sep}:"
    files = [f"  {path}" for path in filter(Path.exists, [*produced, *written])]
    look = f"Look at {written[-1].resolve().as_uri()}"
    steps = [f"  {what}:\n    {command}" for what, command in next_steps.items()]
    return "\n".join(["", *lines, "", done, *files, "", look, "", "Try next", *steps])
