"""Whether 8 bits pay: ``python -m benchmarks.int8 times`` or ``scores``.

Networks are quantised after training, by NNCF for OpenVINO: static, a scale for each channel of the
weights, calibrated on 32 photos; the first convolution and the last ones (classes, boxes,
centerness) stay as they are. Both packages are no part of this project's environment.
"""

import argparse
import copy
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.gpu.scenes import Scene, make_images, make_model, read_settings, title
from benchmarks.measure import medians
from maskrcnn_benchmark.config import CfgNode
from maskrcnn_benchmark.data import make_datasets, make_test_loader
from maskrcnn_benchmark.engine.forward import ModelRunner, build_pretrained_model
from maskrcnn_benchmark.engine.inference import make_evaluation
from maskrcnn_benchmark.engine.modes import INFERENCE_MODES
from maskrcnn_benchmark.engine.settings import load_settings
from maskrcnn_benchmark.modeling.dense.fcos.head import FCOSOutputs
from maskrcnn_benchmark.timing.machine import processor

CPU = torch.device("cpu")
CALIBRATION_PHOTOS = 32
NUM_LAST = 3  # classes, boxes, centerness
NUM_LEVELS = 5
SCENES = (
    Scene("centermask/centermask_M_v2_FPN_lite_res600_ms_bs16_4x", (608, 1024)),
    Scene("centermask/centermask_V_39_eSE_FPN_lite_res600_ms_bs16_4x", (608, 1024)),
    Scene("centermask/centermask_R_50_FPN_1x", (800, 1344)),
)


class DensePart(nn.Module):
    """Backbone, pyramid and head of a detector as one function: maps, then what the head predicts.

    Args:
        model: with FCOS.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = model.backbone, model.rpn.head

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Five maps, and on each logits, distances and centerness, from images (N, 3, H, W)."""
        maps = self.backbone(images)
        logits, ltrb, centerness = self.head(maps)
        return (*maps, *logits, *ltrb, *centerness)


class Compiled:
    """A dense part in OpenVINO.

    Args:
        graph: OpenVINO's.
        precision: "f32" or "bf16": of what has not 8 bits.
    """

    def __init__(self, graph: Any, precision: str) -> None:
        import openvino

        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": precision,
        }
        self.program = openvino.Core().compile_model(graph, "CPU", options)
        self.request = self.program.create_infer_request()

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Maps, logits, distances and centerness; they last until the next call."""
        results = self.request.infer([images.numpy()], share_inputs=True, share_outputs=True)
        return [torch.from_numpy(results[output]) for output in self.program.outputs]


def translate(model: nn.Module) -> Any:
    """The dense part as OpenVINO's graph, for images of any size."""
    import openvino

    example = torch.zeros(1, 3, 256, 320)
    with torch.no_grad():
        graph = openvino.convert_model(DensePart(model).eval(), example_input=example)
    graph.reshape({graph.inputs[0]: [1, 3, -1, -1]})
    return graph


def first_and_last(graph: Any) -> list[str]:
    """Names of the first convolution, and of those that no other follows."""
    has_later, last, convs = set[str](), [], []
    for op in reversed(graph.get_ordered_ops()):
        name, is_conv = op.get_friendly_name(), "Convolution" in op.get_type_name()
        inputs = [value.get_node().get_friendly_name() for value in op.input_values()]
        if is_conv:
            convs.append(name)
            last += [] if name in has_later else [name]
        if is_conv or name in has_later:
            has_later.update(inputs)
    return [convs[-1], *last]


def quantise(graph: Any, photos: Sequence[Tensor]) -> Any:
    """The graph in 8 bits, calibrated on the photos, but for its first and last convolutions."""
    import nncf

    kept = first_and_last(graph)
    if len(kept) != 1 + NUM_LAST * NUM_LEVELS:
        raise ValueError(f"expected 1 first and {NUM_LAST} last layers on each level, got {kept}")
    return nncf.quantize(
        graph,
        nncf.Dataset([photo.numpy() for photo in photos]),
        subset_size=len(photos),
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        ignored_scope=nncf.IgnoredScope(names=kept),
    )


def fixed(graph: Any, image_hw: tuple[int, int]) -> Any:
    """A copy of the graph for one size."""
    copy = graph.clone()
    copy.reshape({copy.inputs[0]: [1, 3, *image_hw]})
    return copy


@torch.no_grad()
def _without_gradients(dense: nn.Module, images: Tensor) -> object:
    return dense(images)


def measure_times(scene: Scene, rounds: int) -> None:
    """Print the milliseconds of a dense part in every way, taking turns."""
    small = make_images(scene._replace(image_hw=(320, 512)), CPU)
    model = make_model(read_settings(scene.config, CPU), small, CPU).eval()
    graph = translate(model)
    whole = fixed(graph, scene.image_hw)
    eight = fixed(quantise(graph, [small.tensors]), scene.image_hw)
    dense, images = DensePart(model).eval(), make_images(scene, CPU).tensors
    # The layout of the weights decides that of the maps.
    last = copy.deepcopy(dense).to(memory_format=torch.channels_last)

    def in_bfloat16() -> object:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return last(images)

    ways: dict[str, Callable[[], object]] = {
        "PyTorch, float32": partial(_without_gradients, dense, images),
        "PyTorch, bfloat16 by autocast": in_bfloat16,
        "OpenVINO, float32": partial(Compiled(whole, "f32"), images),
        "OpenVINO, bfloat16": partial(Compiled(whole, "bf16"), images),
        "OpenVINO, int8 and float32": partial(Compiled(eight, "f32"), images),
        "OpenVINO, int8 and bfloat16": partial(Compiled(eight, "bf16"), images),
    }
    for mode in ("fast", "bf16"):
        rewritten = INFERENCE_MODES[mode](model, CPU) if mode in INFERENCE_MODES else None
        if isinstance(rewritten, nn.Module):
            ways[f"mode {mode}"] = partial(_without_gradients, DensePart(rewritten).eval(), images)
    measured = medians(list(ways.values()), rounds, torch.get_num_threads())
    times = dict(zip(ways, measured, strict=True))
    best = min(time for way, time in times.items() if "bf" in way and "int8" not in way)
    print(f"\n{title(scene)}, dense part, medians of up to {rounds} turns\n")
    print("| | ms | best bfloat16 / this |\n|---|---|---|")
    for way, time in times.items():
        print(f"| {way} | {time:.1f} | {best / time:.2f} |", flush=True)


class _Maps(nn.Module):
    """Stands for a backbone; what the head would predict from its maps waits in ``predicted``."""

    def __init__(self, dense: Callable[[Tensor], Sequence[Tensor]]) -> None:
        super().__init__()
        self.dense = dense
        self.predicted: FCOSOutputs | None = None

    def forward(self, images: Tensor) -> list[Tensor]:
        results = [tensor.clone() for tensor in self.dense(images)]
        maps, logits, ltrb, centerness = (
            results[i : i + NUM_LEVELS] for i in range(0, len(results), NUM_LEVELS)
        )
        self.predicted = FCOSOutputs([*logits], [*ltrb], [*centerness])
        return [*maps]


class _Predictions(nn.Module):
    """Stands for a head: what its backbone has left."""

    def __init__(self, maps: _Maps) -> None:
        super().__init__()
        self.maps = (maps,)  # no submodule of this one

    def forward(self, maps: Sequence[Tensor]) -> FCOSOutputs:  # noqa: ARG002 - of every head
        predicted = self.maps[0].predicted
        assert predicted is not None
        return predicted


def put_in(model: nn.Module, dense: Callable[[Tensor], Sequence[Tensor]]) -> None:
    """Let a detector compute its dense part by a function like ``DensePart``."""
    model.backbone = _Maps(dense)
    model.rpn.head = _Predictions(model.backbone)


def measure_scores(cfg: CfgNode) -> None:
    """Print AP of a trained model as it is, in OpenVINO with 32 and 16 bits, and with 8."""
    # Other modes compute with a copy of the model.
    cfg.TEST.IMS_PER_BATCH, cfg.TEST.INFERENCE_MODE = 1, "plain"
    (calibration, *_), (name, *_) = cfg.DATASETS.TRAIN, cfg.DATASETS.TEST
    # Photos to calibrate on are prepared as those that are evaluated.
    cfg.DATASETS.TEST = (calibration, name)
    datasets = make_datasets(cfg, train=False).test
    model = build_pretrained_model(cfg, CPU, cfg.MODEL.WEIGHT)
    loader = make_test_loader(cfg, datasets[0], False)
    photos = [batch.images.tensors for batch in islice(loader, CALIBRATION_PHOTOS)]
    graph = translate(model)
    eight = quantise(graph, photos)
    ways = {
        "PyTorch, float32": None,
        "OpenVINO, float32": Compiled(graph, "f32"),
        "OpenVINO, bfloat16": Compiled(graph, "bf16"),
        "OpenVINO, int8 and float32": Compiled(eight, "f32"),
        "OpenVINO, int8 and bfloat16": Compiled(eight, "bf16"),
    }
    print("\n| | box AP | box AP50 | mask AP | mask AP50 |\n|---|---|---|---|---|")
    for way, dense in ways.items():
        if dense is not None:
            put_in(model, dense)
        runner = ModelRunner.from_config(cfg, model, CPU)
        loader = make_test_loader(cfg, datasets[1], False)
        metrics = make_evaluation(cfg, runner, name, loader)().metrics
        numbers = [metrics[kind][metric] for kind in ("bbox", "segm") for metric in ("AP", "AP50")]
        print(f"| {way} | {' | '.join(f'{number:.2f}' for number in numbers)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    what = parser.add_subparsers(dest="what", required=True)
    times = what.add_parser("times", help="of dense parts with random weights")
    times.add_argument("--rounds", type=int, default=9, help="turns of each way")
    times.add_argument("--only", default="", help="models whose configuration has this text")
    scores = what.add_parser("scores", help="AP of a trained model, MODEL.WEIGHT")
    scores.add_argument("--config-file", default="", metavar="FILE")
    scores.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "openvino", "nncf"))
    print(f"{processor()}, {arguments.threads} threads, {packages}")
    if arguments.what == "scores":
        measure_scores(load_settings(arguments.config_file, arguments.opts))
        return
    for scene in SCENES:
        if arguments.only in scene.config:
            measure_times(scene, arguments.rounds)


if __name__ == "__main__":
    main()
