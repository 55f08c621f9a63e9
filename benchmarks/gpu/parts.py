"""The parts that measure, one a child process; each works on the CPU too, at toy sizes."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from benchmarks.gpu.clock import DRY, FULL, Effort, medians, milliseconds, wait_for
from benchmarks.gpu.record import Notebook
from benchmarks.gpu.scenes import (
    Scene,
    make_batch,
    make_images,
    make_model,
    read_settings,
    title,
)
from benchmarks.workloads import (
    Case,
    deform_conv_case,
    focal_case,
    nms_cases,
    roi_align_cases,
    roi_pool_case,
)
from maskrcnn_benchmark.config import CfgNode, ConfigError
from maskrcnn_benchmark.data.collate_batch import Batch
from maskrcnn_benchmark.engine.forward import ModelRunner, make_training_runner
from maskrcnn_benchmark.engine.modes.compiled import modes_without_compiling
from maskrcnn_benchmark.engine.trainer import Trainer
from maskrcnn_benchmark.layers import ops_status
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.structures.boxlist_ops import boxlist_iou
from maskrcnn_benchmark.structures.image_list import ImageList
from maskrcnn_benchmark.timing.thresholds import make_threshold

QUICKSTART = "quickstart/centermask_lite_M_v2_FPN_quickstart"


class Sizes(NamedTuple):
    """What is measured, and how hard."""

    effort: Effort
    cases: Callable[[], Sequence[Case]]
    detect: Sequence[Scene]
    train: Scene
    steps: int


class Detected(NamedTuple):
    """Time of a call, ms, and what it found in each image."""

    time: float
    boxes: list[BoxList]


def _full_cases() -> list[Case]:
    return [
        *roi_align_cases(100, 14, 2),
        *roi_align_cases(512, 7, 2),
        *roi_align_cases(512, 7, 0),
        *nms_cases(1000),
        *nms_cases(5000),
        roi_pool_case(512, 7),
        focal_case(45000, 80),
        deform_conv_case(128, 50, 84),
    ]


def _dry_cases() -> list[Case]:
    return [
        *roi_align_cases(2, 7, 2),
        *nms_cases(20),
        roi_pool_case(2, 7),
        focal_case(50, 4),
        deform_conv_case(8, 5, 6),
    ]


ON_A_GPU = Sizes(
    effort=FULL,
    cases=_full_cases,
    detect=(
        Scene("centermask/centermask_R_50_FPN_1x", (800, 1344)),
        Scene("centermask/centermask_V_39_eSE_FPN_lite_res600_ms_bs16_4x", (608, 1024)),
        Scene("centermask/centermask_V_39_eSE_FPN_lite_res600_ms_bs16_4x", (608, 1024), batch=8),
    ),
    train=Scene("centermask/centermask_R_50_FPN_1x", (800, 1344), batch=2, objects=8),
    steps=10,
)
IN_A_DRY_RUN = Sizes(
    effort=DRY,
    cases=_dry_cases,
    detect=(Scene(QUICKSTART, (64, 96)),),
    train=Scene(QUICKSTART, (64, 96), batch=2, objects=2),
    steps=1,
)


def measure_ceiling(device: torch.device, sizes: Sizes, notes: Notebook) -> None:
    """What the card can do at best: copying, and products of matrices."""
    dry = sizes.effort is DRY
    side, length = (64, 2**12) if dry else (8192, 2**30)
    source = torch.rand(length, device=device)
    target = torch.empty_like(source)
    (copy,) = medians([lambda: target.copy_(source)], device, sizes.effort)
    notes.add("copy within the card", f"{2 * source.nbytes / copy / 1e6:.0f} GB/s")
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        left = torch.rand(side, side, device=device).to(dtype)
        (product,) = medians([lambda left=left: left @ left], device, sizes.effort)
        rate = 2 * side**3 / product / 1e9
        notes.add(f"matrix product {side}, {str(dtype)[6:]}", f"{rate:.1f} TFLOP/s")


def measure_operators(device: torch.device, sizes: Sizes, notes: Notebook) -> None:
    """Every operator beside torchvision's, both on this device; starting kernels included."""
    status = ops_status()
    notes.add("operators", status.cuda_reason if device.type == "cuda" else status.reason)
    torch.manual_seed(0)
    with torch.device(device):
        cases = sizes.cases()
    for case in cases:
        ours, theirs = medians([case.ours, case.theirs], device, sizes.effort)
        notes.add(
            case.title,
            f"{ours:.3f} ms",
            peer=case.peer,
            peer_value=f"{theirs:.3f} ms",
            note=f"{theirs / ours:.2f}x",
        )


def measure_modes(device: torch.device, sizes: Sizes, notes: Notebook) -> None:
    """Detections in every inference mode: time, memory and likeness to the plain one."""
    for scene in sizes.detect:
        cfg = read_settings(scene.config, device)
        images = make_images(scene, device)
        cfg.merge_from_list([*make_threshold(cfg, make_model(cfg, images, device), images)])
        plain: Detected | None = None
        for mode in modes_without_compiling():
            work = f"{title(scene)}, mode {mode}"
            cfg.TEST.INFERENCE_MODE = mode
            try:
                found = _detect(cfg, images, device, sizes.effort)
            except (ConfigError, RuntimeError) as error:
                notes.add(work, "failed", note=_shortly(error))
                continue
            number = sum(map(len, found.boxes))
            value = f"{found.time:.2f} ms, {number} detections, {_peak_memory(device)}"
            if plain is None:
                plain = found
                notes.add(work, value)
                continue
            note = f"{found.time / plain.time:.2f} of plain's time; "
            note += likeness(plain.boxes, found.boxes)
            notes.add(work, value, peer="plain", peer_value=f"{plain.time:.2f} ms", note=note)


def _detect(cfg: CfgNode, images: ImageList, device: torch.device, effort: Effort) -> Detected:
    runner = ModelRunner.from_config(cfg, make_model(cfg, images, device), device)
    with runner.evaluating() as detect:
        boxes = detect(images)
        _start_counting_memory(device)
        (time,) = medians([lambda: detect(images)], device, effort)
    return Detected(time, boxes)


def likeness(expected: Sequence[BoxList], found: Sequence[BoxList]) -> str:
    """How many boxes have their like (same class, IoU over 0.9), and how far scores differ."""
    matched, total, apart = 0, 0, 0.0
    for some, others in zip(expected, found, strict=True):
        total += len(some)
        if not len(some) or not len(others):
            continue
        overlaps = boxlist_iou(some, others)
        overlaps = overlaps * (some.labels[:, None] == others.labels[None, :])
        best, partner = overlaps.max(dim=1)
        is_matched = best > 0.9
        matched += int(is_matched.sum())
        differences = (some.scores - others.scores[partner]).abs()[is_matched]
        apart = max([apart, *differences.tolist()])
    return f"{matched} of {total} matched, scores within {apart:.2g}"


def measure_training(device: torch.device, sizes: Sizes, notes: Notebook) -> None:
    """Optimizer steps in every type that SOLVER.AMP knows."""
    scene = sizes.train
    batch = make_batch(scene)
    plain = None
    for layout, amp in _ways_of_training(device):
        cfg = read_settings(scene.config, device)
        # Random weights diverge at the rate of a training that starts from good ones.
        options = ["MODEL.CHANNELS_LAST", layout, "SOLVER.BASE_LR", 1e-5, "SOLVER.AMP", amp]
        cfg.merge_from_list(options)
        work = f"{title(scene)}, a step, SOLVER.AMP {amp}"
        work += ", channels last" if layout else ""
        try:
            time, loss = _train(cfg, batch, device, sizes.steps)
        except (ConfigError, RuntimeError, FloatingPointError) as error:
            notes.add(work, "failed", note=_shortly(error))
            continue
        plain = plain or time
        value = f"{time:.1f} ms, loss {loss:.4f}, {_peak_memory(device)}"
        notes.add(work, value, note=f"{time / plain:.2f} of the first's time")


def _ways_of_training(device: torch.device) -> list[tuple[bool, str]]:
    ways = [(False, "off"), (True, "off"), (True, "bf16")]
    # A CPU does not train in float16.
    return [*ways, (True, "fp16")] if device.type == "cuda" else ways


def _train(cfg: CfgNode, batch: Batch, device: torch.device, steps: int) -> tuple[float, float]:
    """Milliseconds a step, and the last step's loss."""
    model = make_model(cfg, batch.images.to(device), device)
    optimizer = make_optimizer(cfg, model)
    trainer = Trainer(
        runner=make_training_runner(cfg, model, device),
        data_loader=(),
        optimizer=optimizer,
        scheduler=make_lr_scheduler(cfg, optimizer),
        max_iter=2 * steps + 2,
    )
    losses: list[Mapping[str, float]] = []
    model.train()

    def step() -> None:
        losses.append(trainer.run_step(batch)[0])

    for _ in range(2):
        step()
    wait_for(device)
    _start_counting_memory(device)
    return milliseconds(step, steps, device), losses[-1]["loss"]


def _shortly(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:150]}"


def _start_counting_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _peak_memory(device: torch.device) -> str:
    if device.type != "cuda":
        return "memory unknown"
    return f"{torch.cuda.max_memory_allocated(device) / 2**30:.2f} GiB"


MEASURED: Mapping[str, Callable[[torch.device, Sizes, Notebook], None]] = {
    "ceiling": measure_ceiling,
    "operators": measure_operators,
    "modes": measure_modes,
    "training": measure_training,
}
"""Name of a part -> what it does on (device, sizes) and writes to (notebook)."""
