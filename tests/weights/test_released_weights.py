"""Files that users of the original bring along, loaded into whole detectors."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.weights.load_report import CheckpointError
from tests.golden_data import golden_json

LITE = "centermask_M_v2_FPN_lite_res600_ms_bs16_4x"
LARGE = (
    "centermask_R_50_FPN_1x",
    "centermask_V_39_eSE_FPN_ms_3x",
    "centermask_V_39_eSE_dconv_FPN_1x",
    "e2e_mask_rcnn_R_50_C4_1x",
    "e2e_mask_rcnn_R_50_FPN_1x",
    "fcos_R_50_FPN_1x",
    "retinanet_R-50-FPN_1x",
)


def _config(case: str, *options: Any) -> Any:
    cfg = get_default_config()
    cfg.merge_from_file(golden_json(case)["config"])
    cfg.merge_from_list([*golden_json(case)["overrides"], "MODEL.DEVICE", "cpu", *options])
    return cfg


def _released_model(case: str) -> dict[str, Tensor]:
    """Random tensors under the names and shapes of the original's state dict."""
    generator = torch.Generator().manual_seed(0)
    entries = golden_json(case)["state_dict"]
    model = {f"module.{name}": torch.rand(shape, generator=generator) for name, shape, _ in entries}
    # Models on C4 have one stage for boxes and masks, so a file holds its tensors twice.
    twins = {name: name.replace(".mask.", ".box.") for name in model if ".head.layer4." in name}
    return model | {name: model[twin] for name, twin in twins.items()}


def _old_states(case: str, iteration: int) -> dict[str, Any]:
    """Optimizer and scheduler as torch 1.0 saved them, one group a trainable parameter."""
    shapes = {name: shape for name, shape, _ in golden_json(case)["state_dict"]}
    state, groups = {}, []
    for number, name in enumerate(golden_json(case)["trainable"], start=140_000_000):
        state[number] = {"momentum_buffer": torch.full(shapes[name], float(number % 1000))}
        settings = {"momentum": 0.9, "dampening": 0, "weight_decay": 1e-4, "nesterov": False}
        groups.append({"lr": 0.01, "initial_lr": 0.01, "params": [number], **settings})
    scheduler = {"milestones": (60000, 80000), "gamma": 0.1, "last_epoch": iteration}
    scheduler |= {"warmup_factor": 1 / 3, "warmup_iters": 500, "warmup_method": "constant"}
    return {
        "optimizer": {"state": state, "param_groups": groups},
        "scheduler": {**scheduler, "base_lrs": [0.01] * len(groups)},
    }


def _write_release(path: Path, case: str, iteration: int = 90000) -> Path:
    content = {"model": _released_model(case), "iteration": iteration}
    content |= _old_states(case, iteration)
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return _as_from_gpu(path)


def _as_from_gpu(path: Path) -> Path:
    """The file with its tensors on a GPU, where trainings were: the names that say so changed."""
    content = path.read_bytes()
    for here, there in (
        (b"ctorch\nFloatStorage\n", b"ctorch.cuda\nFloatStorage\n"),
        (b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"),
    ):
        assert content.count(here) == 1
        content = content.replace(here, there)
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released ``.pth`` of the Lite MobileNetV2 model, as torch 1.0 wrote it on a GPU."""
    return _write_release(tmp_path_factory.mktemp("release") / "model_final.pth", LITE)


def _assert_weights_are_those_of(model: nn.Module, case: str) -> None:
    expected = {n.removeprefix("module."): v for n, v in _released_model(case).items()}
    torch.testing.assert_close(dict(model.state_dict()), expected, rtol=0, atol=0)


def test_a_released_checkpoint_fits_exactly(release: Path):
    cfg = _config(LITE)
    model = build_detection_model(cfg)
    checkpointer = DetectronCheckpointer(cfg, model)
    assert checkpointer.load(release, strict=True) == {}
    assert checkpointer.last_report.is_exact
    _assert_weights_are_those_of(model, LITE)


@pytest.mark.slow
@pytest.mark.parametrize("case", LARGE)
def test_a_large_released_checkpoint_fits_exactly(case: str, tmp_path: Path):
    cfg = _config(case)
    model = build_detection_model(cfg)
    release = _write_release(tmp_path / "model_final.pth", case)
    DetectronCheckpointer(cfg, model).load(release, strict=True)
    _assert_weights_are_those_of(model, case)


def test_an_output_folder_of_the_original_resumes(release: Path, tmp_path: Path):
    (tmp_path / "last_checkpoint").write_text(str(release))
    cfg = _config(LITE)
    model = build_detection_model(cfg)
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    checkpointer = DetectronCheckpointer(cfg, model, optimizer, scheduler, tmp_path)
    assert checkpointer.load(cfg.MODEL.WEIGHT) == {"iteration": 90000}
    assert scheduler.last_epoch == 90000
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trainable == golden_json(LITE)["trainable"]
    momentum = [
        optimizer.state[p]["momentum_buffer"].unique().item()
        for p in model.parameters()
        if p.requires_grad
    ]
    assert momentum == [float(number) for number in range(len(trainable))]


def test_fine_tuning_with_other_classes_leaves_out_the_class_layers(release: Path, caplog):
    cfg = _config(LITE, "MODEL.NUM_CLASSES", 3)
    model = build_detection_model(cfg)
    checkpointer = DetectronCheckpointer(cfg, model, make_optimizer(cfg, model))
    assert checkpointer.load(release) == {}
    report = checkpointer.last_report
    assert {m.name.rsplit(".", 1)[0] for m in report.shape_mismatch} == {
        "rpn.head.cls_logits",
        "roi_heads.mask.predictor.mask_fcn_logits",
    }
    assert report.missing == () == report.unexpected
    assert len(report.loaded) == len(model.state_dict()) - 4
    assert "rpn.head.cls_logits.weight                       80 x 128 x 3 x 3" in caplog.text


def test_a_checkpoint_of_another_backbone_is_refused(release: Path):
    cfg = _config("centermask_R_50_FPN_lite_res600_ms_bs16_4x")
    with pytest.raises(CheckpointError, match="another architecture"):
        DetectronCheckpointer(cfg, build_detection_model(cfg)).load(release)


def test_a_backbone_is_no_model_to_evaluate():
    cfg = _config(LITE)
    checkpointer = DetectronCheckpointer(cfg, build_detection_model(cfg))
    weights = "catalog://quickstart/mobilenet_v2"
    checkpointer.load(weights)
    loaded, outside = checkpointer.last_report.loaded, checkpointer.last_report.outside
    assert all(name.startswith("backbone.body.") for name in loaded)
    assert not any(name.startswith("backbone.body.") for name in outside)
    with pytest.raises(CheckpointError, match=r"\brpn\.head\b"):
        checkpointer.load(weights, strict=True)
