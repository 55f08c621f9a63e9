"""Time a training step beside torchvision's Mask R-CNN: ``python -m benchmarks training``.

A step takes two images of 800 x 1344 px with eight objects each to losses and gradients, and the
weights a little further (SGD). Both models have a ResNet-50 with a pyramid, random weights, a
frozen stem and second stage, frozen norms, and 81 classes; they take turns in one process.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from maskrcnn_benchmark.data.collate_batch import Batch
from maskrcnn_benchmark.engine.forward import make_training_runner
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.engine.trainer import Trainer
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.structures.segmentation_mask import SegmentationMask
from maskrcnn_benchmark.timing.machine import circumstances

ROOT = Path(__file__).resolve().parents[1]
CENTERMASK = ROOT / "configs/centermask/centermask_R_50_FPN_1x.yaml"
QUICKSTART = ROOT / "configs/quickstart/centermask_lite_M_v2_FPN_quickstart.yaml"
PEER = "torchvision Mask R-CNN R-50"
LEARNING_RATE = 1e-5
NUM_CLASSES = 81
CORNERS = 20
PLAIN = ("SOLVER.CONV_3X3", "plain")
CPU = torch.device("cpu")

Step = Callable[[], object]


def make_target(image_hw: tuple[int, int], num_objects: int) -> BoxList:
    """Ellipses anywhere in an image, 4 to 24 % of its sides long."""
    sides = torch.tensor([image_hw[1], image_hw[0]])
    extent = (0.04 + 0.2 * torch.rand(num_objects, 2)) * sides
    corner = torch.rand(num_objects, 2) * (sides - extent - 1)
    target = BoxList(torch.cat([corner, corner + extent], dim=1), (image_hw[1], image_hw[0]))
    target.add_field("labels", torch.randint(1, NUM_CLASSES, (num_objects,)))
    angles = torch.arange(CORNERS) * (2 * math.pi / CORNERS)
    circle = torch.stack([angles.cos(), angles.sin()], dim=1) / 2 + 0.5
    outlines = corner[:, None] + circle * extent[:, None]
    polygons = [[outline.flatten().tolist()] for outline in outlines]
    target.add_field("masks", SegmentationMask(polygons, target.size))
    return target


def make_batch(image_hw: tuple[int, int], num_images: int, num_objects: int) -> Batch:
    """Noise with ellipses as targets."""
    targets = tuple(make_target(image_hw, num_objects) for _ in range(num_images))
    images = ImageList(torch.randn(num_images, 3, *image_hw), [image_hw] * num_images)
    return Batch(images, targets, tuple(range(num_images)))


def our_step(config: Path, batch: Batch, options: Sequence[object]) -> Step:
    """A step as ``tools/train_net.py`` does it."""
    given = ["MODEL.WEIGHT", "", "MODEL.DEVICE", "cpu", "SOLVER.BASE_LR", LEARNING_RATE, *options]
    cfg = load_settings(config, given)
    torch.manual_seed(0)
    runner = make_training_runner(cfg, build_detection_model(cfg).train(), CPU)
    optimizer = make_optimizer(cfg, runner.model)
    trainer = Trainer(
        runner=runner,
        data_loader=[],
        optimizer=optimizer,
        scheduler=make_lr_scheduler(cfg, optimizer),
        max_iter=1,
        clip_grad_norm=cfg.SOLVER.CLIP_GRAD_NORM,
    )
    return lambda: trainer.run_step(batch)


def their_step(batch: Batch) -> Step:
    """The same of torchvision's Mask R-CNN, in its own way to train it."""
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=3)
    height, width = batch.images.tensors.shape[-2:]
    model = MaskRCNN(backbone, NUM_CLASSES, min_size=height, max_size=width).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=LEARNING_RATE, momentum=0.9)
    images = list(batch.images.tensors)
    targets = [
        {
            "boxes": target.bbox,
            "labels": target.get_field("labels"),
            "masks": target.get_field("masks").get_mask_tensor(),
        }
        for target in batch.targets
    ]

    def step() -> None:
        optimizer.zero_grad()
        sum(model(images, targets).values()).backward()
        optimizer.step()

    return step


def make_steps(image_hw: tuple[int, int], which: str) -> dict[str, Step]:
    """What takes turns, by name: CenterMask R-50 with its peer, or the demo's model."""
    torch.manual_seed(0)
    if which == "quickstart":
        batch = make_batch(image_hw, 4, 3)
        return {
            "demo's model, SOLVER.CONV_3X3 plain": our_step(QUICKSTART, batch, PLAIN),
            "demo's model, float32": our_step(QUICKSTART, batch, ["SOLVER.AMP", "off"]),
            "demo's model, bf16": our_step(QUICKSTART, batch, ["SOLVER.AMP", "bf16"]),
        }
    batch = make_batch(image_hw, 2, 8)
    return {
        "CenterMask R-50, as published": our_step(
            CENTERMASK, batch, ["MODEL.CHANNELS_LAST", False, *PLAIN]
        ),
        "CenterMask R-50, SOLVER.CONV_3X3 plain": our_step(CENTERMASK, batch, PLAIN),
        "CenterMask R-50": our_step(CENTERMASK, batch, []),
        "CenterMask R-50, SOLVER.AMP bf16": our_step(CENTERMASK, batch, ["SOLVER.AMP", "bf16"]),
        PEER: their_step(batch),
    }


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """A block beside which another process keeps a processor busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def step_seconds(steps: Mapping[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step, taking turns, after one that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
        print(", ".join(f"{seconds[-1]:.2f}" for seconds in times.values()), "s", flush=True)
    return {name: seconds[1:] for name, seconds in times.items()}


def report(times: Mapping[str, Sequence[float]], where: str) -> dict[str, Any]:
    """Print a table, and return its content."""
    rows = {name: statistics.median(seconds) for name, seconds in times.items()}
    reference = rows.get(PEER, next(iter(rows.values())))
    print(f"\n| step, {where} | median, s | ratio |\n|---|---|---|")
    for name, seconds in rows.items():
        print(f"| {name} | {seconds:.3f} | {seconds / reference:.2f} |")
    return {"where": where, "seconds": {name: list(each) for name, each in times.items()}}


def main() -> None:
    """Measure, print, and with --json write the numbers into a file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", choices=("centermask", "quickstart"), default="centermask")
    parser.add_argument("--rounds", type=int, default=3, help="steps of each (default: 3)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--neighbour", action="store_true", help="also beside a busy process")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    image_hw = tuple(options.size or ((256, 384) if options.model == "quickstart" else (800, 1344)))
    about = f"{circumstances()} {torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}."
    print(about)
    steps = make_steps(image_hw, options.model)
    tables = [report(step_seconds(steps, options.rounds), "alone")]
    if options.neighbour:
        with busy_neighbour():
            tables.append(report(step_seconds(steps, options.rounds), "beside a busy process"))
    if options.json:
        content = {"about": about, "model": options.model, "image_hw": image_hw, "tables": tables}
        options.json.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
