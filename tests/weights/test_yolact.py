import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.modeling.backbone import build_backbone
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.weights.checkpoint import Checkpointer
from maskrcnn_benchmark.weights.files import read_weight_file
from maskrcnn_benchmark.weights.load_report import CheckpointError
from maskrcnn_benchmark.weights.yolact import convert_yolact, is_yolact, rename_darknet
from tests.contract.source_tree import ROOT
from tests.golden_data import golden_json

CASES = ("yolact_resnet50_550", "yolact_plus_resnet50")


def load(name):
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / "configs" / "yolact" / f"{name}.yaml")
    return cfg


def entries(case):
    """The names and shapes of a published file."""
    found = golden_json(f"yolact/{case}")["state_dict"]
    return {name: torch.empty(shape, device="meta") for name, shape, _ in found}


@pytest.mark.parametrize("case", CASES)
def test_every_tensor_of_a_published_file_has_its_place(case):
    with torch.device("meta"):
        state_dict = build_detection_model(load(case)).state_dict()
    file = convert_yolact(entries(case))
    assert is_yolact(entries(case))
    assert {name: value.shape for name, value in file.tensors.items()} == {
        name: value.shape for name, value in state_dict.items()
    }
    assert file.bn_eps == 1e-5
    cfg = load(case)
    assert not file.settings.differing(type(file.settings).from_config(cfg))


def test_what_the_first_files_hold_besides_is_left_out():
    extra = ("backbone.layer1.0.conv1.weight", "fpn.downsample_layers.2.bias")
    file = convert_yolact(entries(CASES[0]) | dict.fromkeys(extra, torch.zeros(1)))
    assert file.ignored == extra
    assert len(file.tensors) == len(entries(CASES[0]))


@pytest.mark.parametrize(
    "name", ["fpn.lat_layers.3.weight", "proto_net.1.weight", "backbone.fc.bias", "mask_dim"]
)
def test_anything_else_is_an_error(name):
    with pytest.raises(CheckpointError, match=name):
        convert_yolact(entries(CASES[0]) | {name: torch.zeros(1)})


def darknet_names(body):
    """Our names of a DarkNet -> those of the authors."""
    return {
        name: name.replace("stem.first", "_preconv").replace("stem.layer", "layers.")
        if name.startswith("stem.")
        else "layers." + name.removeprefix("layer")
        for name in body.state_dict()
    }


def test_darknet_under_its_authors_names(tmp_path):
    with torch.device("meta"):
        body = build_backbone(load("yolact_darknet53")).body
    names = darknet_names(body)
    assert "layers.0.1.conv2.0.weight" in names.values()
    for ours, theirs in names.items():
        assert rename_darknet(theirs) == ours
    whole = {f"backbone.{theirs}": torch.zeros(1) for theirs in names.values()}
    found = convert_yolact({**whole, "prediction_layers.0.bbox_layer.weight": torch.zeros(1)})
    assert {f"backbone.body.{name}" for name in names} < set(found.tensors)
    assert found.settings.pixel_mean == (0, 0, 0)
    torch.save({theirs: torch.zeros(2) for theirs in names.values()}, tmp_path / "darknet53.pth")
    file = read_weight_file(tmp_path / "darknet53.pth", ())
    assert file.is_backbone
    assert set(file.tensors) == set(names)


def test_imagenet_resnets_fill_deformable_stages(tmp_path):
    cfg = load("yolact_plus_resnet50")
    cfg.merge_from_list(["MODEL.RESNETS.RES2_OUT_CHANNELS", 8, "MODEL.RESNETS.WIDTH_PER_GROUP", 2])
    cfg.merge_from_list(["MODEL.RESNETS.STEM_OUT_CHANNELS", 4])
    backbone = build_backbone(cfg)
    weights = {
        name.removeprefix("stem."): torch.rand_like(value.float())
        for name, value in backbone.body.state_dict().items()
        if not name.endswith(("conv2.bias", "num_batches_tracked"))
        and "conv_offset_mask" not in name
    }
    torch.save(weights, tmp_path / "resnet50.pth")
    checkpointer = Checkpointer(backbone)
    checkpointer.load(tmp_path / "resnet50.pth", use_latest=False)
    conv = backbone.body.layer2[0].conv2
    assert torch.equal(conv.weight, weights["layer2.0.conv2.weight"])
    assert not conv.bias.any()
    assert not conv.conv_offset_mask.weight.any()
    assert torch.equal(backbone.body.stem.bn1.running_var, weights["bn1.running_var"])
