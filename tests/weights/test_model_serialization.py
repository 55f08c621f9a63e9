import pytest
import torch
from torch import nn

from maskrcnn_benchmark.layers import FrozenBatchNorm2d
from maskrcnn_benchmark.weights.load_report import CheckpointError, ShapeMismatch
from maskrcnn_benchmark.weights.model_serialization import (
    load_state_dict,
    match_by_suffix,
    match_exactly,
    plain_names,
    strip_prefix_if_present,
    unwrap,
)


def _nest(**modules: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict(modules)


def _detector(num_classes: int = 3) -> nn.ModuleDict:
    """A body with a norm, and a class layer: the shape of a detector in miniature."""
    body = _nest(conv1=nn.Conv2d(3, 4, 1, bias=False), bn1=FrozenBatchNorm2d(4))
    return _nest(backbone=_nest(body=body), head=_nest(cls_logits=nn.Conv2d(4, num_classes, 1)))


def _values(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_prefix_goes_only_if_every_name_has_it():
    assert strip_prefix_if_present({"module.a": 1, "module.module.b": 2}, "module.") == {
        "a": 1,
        "module.b": 2,
    }
    assert strip_prefix_if_present({"module.a": 1, "b": 2}, "module.") == {"module.a": 1, "b": 2}
    assert strip_prefix_if_present({}, "module.") == {}


def test_exact_matching_knows_equal_names_only():
    assert match_exactly(["a.b", "b", "c"], ["b", "a"]) == {"b": "b"}


def test_suffix_matching_takes_whole_components_and_the_longest():
    model_names = ["body.layer1.0.conv1.weight", "body.stem.conv1.weight", "body.myconv1.weight"]
    file_names = ["conv1.weight", "layer1.0.conv1.weight"]
    assert match_by_suffix(model_names, file_names) == {
        "body.layer1.0.conv1.weight": "layer1.0.conv1.weight",
        "body.stem.conv1.weight": "conv1.weight",
    }


def test_one_file_tensor_may_serve_two_heads():
    matches = match_by_suffix(["box.head.layer4.w", "mask.head.layer4.w"], ["layer4.w"])
    assert matches == {"box.head.layer4.w": "layer4.w", "mask.head.layer4.w": "layer4.w"}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_an_equal_model_loads_exactly(prefix: str):
    source, target = _detector(), _detector()
    report = load_state_dict(
        target, {prefix + k: v for k, v in source.state_dict().items()}, strict=True
    )
    assert report.is_exact
    assert set(report.loaded) == set(source.state_dict())
    torch.testing.assert_close(target.state_dict(), source.state_dict(), rtol=0, atol=0)


def test_a_wrapped_model_is_filled_inside_its_wrapper():
    source, target = _detector(), nn.DataParallel(_detector())
    load_state_dict(target, source.state_dict(), strict=True)
    torch.testing.assert_close(unwrap(target).state_dict(), source.state_dict(), rtol=0, atol=0)


def test_class_layers_of_another_count_stay_as_they_are():
    source, target = _detector(num_classes=80), _detector(num_classes=2)
    before = _values(target)
    report = load_state_dict(target, source.state_dict())
    assert report.shape_mismatch == (
        ShapeMismatch("head.cls_logits.weight", (80, 4, 1, 1), (2, 4, 1, 1)),
        ShapeMismatch("head.cls_logits.bias", (80,), (2,)),
    )
    assert report.missing == () == report.unexpected
    after = target.state_dict()
    assert torch.equal(after["head.cls_logits.weight"], before["head.cls_logits.weight"])
    assert torch.equal(after["backbone.body.conv1.weight"], source.state_dict()[report.loaded[0]])


@pytest.mark.parametrize(
    ("shape", "text"),
    [((8, 6, 1, 1), "8 x 6 x 1 x 1"), ((4, 6, 1, 1), "4 x 6"), ((8, 3, 1, 1), "8 x 3")],
    ids=["inputs and outputs", "inputs", "outputs, and there is no bias"],
)
def test_another_architecture_is_an_error_and_changes_nothing(shape, text: str):
    target = _detector()
    before = _values(target)
    state_dict = _detector().state_dict()
    state_dict["backbone.body.conv1.weight"] = torch.zeros(shape)
    with pytest.raises(CheckpointError, match=rf"\bconv1\.weight .*{text}"):
        load_state_dict(target, state_dict)
    torch.testing.assert_close(target.state_dict(), before, rtol=0, atol=0)


def test_transposed_convolutions_count_outputs_in_their_second_dimension():
    source = _nest(a=nn.Linear(1, 1), kps_score=nn.ConvTranspose2d(4, 17, 2))
    target = _nest(a=nn.Linear(1, 1), kps_score=nn.ConvTranspose2d(4, 5, 2))
    report = load_state_dict(target, source.state_dict())
    assert [m.changed_size for m in report.shape_mismatch] == [(17, 5), (17, 5)]
    other_inputs = _nest(a=nn.Linear(1, 1), kps_score=nn.ConvTranspose2d(6, 17, 2))
    with pytest.raises(CheckpointError, match="another architecture"):
        load_state_dict(other_inputs, source.state_dict())


def test_missing_and_unexpected_names_are_told_apart():
    state_dict = _detector().state_dict()
    state_dict["old.layer.weight"] = state_dict.pop("head.cls_logits.bias")
    report = load_state_dict(_detector(), state_dict)
    assert report.missing == ("head.cls_logits.bias",)
    assert report.unexpected == ("old.layer.weight",)
    with pytest.raises(CheckpointError, match=r"(?s)cls_logits.bias.*old.layer.weight"):
        load_state_dict(_detector(), state_dict, strict=True)


def test_loading_nothing_is_an_error_that_shows_both_sides():
    with pytest.raises(CheckpointError, match=r"encoder\.weight.*backbone\.body"):
        load_state_dict(_detector(), {"encoder.weight": torch.zeros(1)})
    with pytest.raises(CheckpointError, match="no tensors"):
        load_state_dict(_detector(), {})


def test_checkpointers_never_match_full_names_by_suffix():
    # UPSTREAM(exact-names): the original matched every file by suffix, and never missed anything.
    bare = {"conv1.weight": torch.ones(4, 3, 1, 1)}
    with pytest.raises(CheckpointError, match="not one tensor"):
        load_state_dict(_detector(), bare, by_suffix=False)
    assert load_state_dict(_detector(), bare, by_suffix=True).loaded == (
        "backbone.body.conv1.weight",
    )


def test_a_backbone_tells_what_it_lacks_from_what_it_cannot_have():
    bare = {"conv1.weight": torch.ones(4, 3, 1, 1), "bn1.weight": torch.ones(4)}
    report = load_state_dict(_detector(), bare, by_suffix=True)
    assert report.missing == tuple(
        f"backbone.body.bn1.{name}" for name in ("bias", "running_mean", "running_var")
    )
    assert report.outside == ("head.cls_logits.weight", "head.cls_logits.bias")
    with pytest.raises(CheckpointError, match=r"\bhead\.cls_logits\.weight"):
        load_state_dict(_detector(), bare, by_suffix=True, strict=True)


def test_counters_of_batch_norms_are_neither_missing_nor_unexpected():
    with_counter, without = _nest(bn=nn.BatchNorm2d(4)), _nest(bn=FrozenBatchNorm2d(4))
    report = load_state_dict(without, with_counter.state_dict(), strict=True)
    assert report.ignored == ("bn.num_batches_tracked",)
    assert load_state_dict(with_counter, without.state_dict(), strict=True).is_exact


def test_epsilon_goes_to_norms_that_have_none():
    trained = nn.BatchNorm2d(4, eps=1e-5).eval()
    trained.running_var.fill_(1e-5)
    images = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    for target in (FrozenBatchNorm2d(4), nn.BatchNorm2d(4, eps=1e-5).eval()):
        load_state_dict(
            _nest(bn=target), {f"bn.{k}": v for k, v in trained.state_dict().items()}, bn_eps=1e-5
        )
        torch.testing.assert_close(target(images), trained(images))


def test_values_take_the_type_of_the_model():
    target = _nest(fc=nn.Linear(2, 2))
    half = {name: value.half() for name, value in target.state_dict().items()}
    load_state_dict(target, half, strict=True)
    assert target["fc"].weight.dtype == torch.float32


def test_anchors_are_not_missed():
    """Models compute them; files of other programs do not hold them."""
    generator = nn.Module()
    generator.cell_anchors = nn.ParameterList([torch.zeros(3, 4)])
    model = _nest(rpn=_nest(anchor_generator=generator, head=nn.Linear(1, 1)))
    head = {"rpn.head.weight": torch.ones(1, 1), "rpn.head.bias": torch.ones(1)}
    report = load_state_dict(model, head, strict=True)
    assert report.is_exact
    anchors = {"rpn.anchor_generator.cell_anchors.0": torch.ones(3, 4)}
    assert len(load_state_dict(model, head | anchors, strict=True).loaded) == 3


def test_a_checkpoint_of_a_backbone_alone_misses_nothing_of_the_heads():
    model = _detector()
    body = {name: v for name, v in _values(model).items() if name.startswith("backbone.")}
    report = load_state_dict(model, body)
    assert report.missing == ()
    assert set(report.outside) == {"head.cls_logits.weight", "head.cls_logits.bias"}
    del body["backbone.body.bn1.bias"]
    assert load_state_dict(model, body).missing == ("backbone.body.bn1.bias",)


def test_deformable_convolutions_match_plain_ones():
    model_names = ["body.layer3.0.conv2.conv.weight", "body.OSA4_1_0/conv.conv.weight", "a.conv.b"]
    file_names = ["layer3.0.conv2.weight", "OSA4_1_0/conv.weight", "a.b"]
    assert match_by_suffix(model_names, file_names) == {
        "body.layer3.0.conv2.conv.weight": "layer3.0.conv2.weight",
        "body.OSA4_1_0/conv.conv.weight": "OSA4_1_0/conv.weight",
    }


def _compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")  # type: ignore[return-value]


def _in_a_part(model: nn.Module) -> nn.Module:
    """Only the body is compiled: the mark is in the middle of the names."""
    model["backbone"]["body"] = _compiled(model["backbone"]["body"])
    return model


WRAPPINGS = {
    "devices": nn.DataParallel,
    "compiled": _compiled,
    "compiled in devices": lambda model: nn.DataParallel(_compiled(model)),
    "devices in compiled": lambda model: _compiled(nn.DataParallel(model)),
    "in a part": _in_a_part,
    "twice": lambda model: _compiled(nn.DataParallel(_compiled(model))),
}


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS.keys())
def test_wrapped_and_compiled_models_have_the_names_of_the_model(wrap):
    names = _detector().state_dict().keys()
    model = _detector()
    wrapped = wrap(model)
    assert unwrap(wrapped) is model
    assert plain_names(unwrap(wrapped).state_dict()).keys() == names
    assert plain_names(wrapped.state_dict()).keys() == names


@pytest.mark.parametrize("wrap", WRAPPINGS.values(), ids=WRAPPINGS.keys())
def test_a_state_dict_of_a_wrapped_model_loads_exactly_into_every_other(wrap):
    source = wrap(_detector())
    expected = plain_names(_values(source))
    for target in (_detector(), wrap(_detector()), _compiled(_detector())):
        report = load_state_dict(target, source.state_dict(), by_suffix=False, strict=True)
        assert report.is_exact
        assert all(torch.equal(v, expected[k]) for k, v in plain_names(_values(target)).items())
