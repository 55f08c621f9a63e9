import numpy as np
import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.config.coco_ids import COCO_IDS
from maskrcnn_benchmark.weights.classes import with_own_classes
from maskrcnn_benchmark.weights.files import read_weight_file
from maskrcnn_benchmark.weights.load_report import CheckpointError
from maskrcnn_benchmark.weights.shapemask import convert_shapemask, is_shapemask
from tests.contract.source_tree import ROOT
from tests.golden.deterministic_weights_shapemask import shapes, tf_table, to_tf

PRIORS = "roi_heads.mask.shape_priors"


def variables(**options):
    """Arrays of counting numbers in TensorFlow's layout under its names, and in ours."""
    sizes = shapes(**options)
    ours = {
        name: np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        for name, shape in sizes.items()
    }
    table = tf_table(options.get("depth", 50))
    theirs = {variable: to_tf(kind, ours[name]) for variable, name, kind in table}
    return {**theirs, "shape_priors": ours[PRIORS]}, ours


@pytest.mark.parametrize("options", [{}, {"depth": 101}, {"class_agnostic": True}])
def test_every_variable_has_its_place(options):
    theirs, ours = variables(**options)
    assert is_shapemask(theirs)
    file = convert_shapemask({f"{name}:0": array for name, array in theirs.items()})
    assert set(file.tensors) == set(ours)
    for name, array in ours.items():
        assert np.array_equal(file.tensors[name].numpy(), array), name
    cfg = get_default_config()
    cfg.merge_from_file(ROOT / "configs/shapemask/shapemask_R_50_FPN_640_2x.yaml")
    assert not file.settings.differing(type(file.settings).from_config(cfg))
    assert file.bn_eps == cfg.MODEL.BATCH_NORM.EPSILON


@pytest.mark.parametrize("class_agnostic", [False, True])
def test_of_rows_for_ids_those_of_classes_are_kept(class_agnostic):
    theirs, ours = variables(num_classes=91, num_priors=2, class_agnostic=class_agnostic)
    file = convert_shapemask(theirs)
    expected = shapes(num_classes=81, num_priors=2, class_agnostic=class_agnostic)
    assert {name: tuple(t.shape) for name, t in file.tensors.items()} == expected
    ids = [0, *COCO_IDS]
    logits = ours["rpn.head.cls_logits.bias"].reshape(9, 91)[:, ids].flatten()
    assert np.array_equal(file.tensors["rpn.head.cls_logits.bias"].numpy(), logits)
    assert np.array_equal(file.tensors[PRIORS].numpy(), ours[PRIORS][ids])
    name = "roi_heads.mask.prior_classifier.bias"
    weights = ours[name] if class_agnostic else ours[name].reshape(91, 2)[ids].flatten()
    assert np.array_equal(file.tensors[name].numpy(), weights)


def test_a_file_is_told_by_its_names(tmp_path):
    theirs, ours = variables(num_classes=3, num_priors=2)
    path = tmp_path / "variables.npz"
    np.savez(path, **theirs, global_step=np.array(7), **{"fpn/l3/kernel/Momentum": np.zeros(1)})
    file = read_weight_file(path, [])
    assert set(file.tensors) == set(ours)
    assert set(file.ignored) == {"global_step", "fpn/l3/kernel/Momentum"}


def test_other_layouts_are_refused():
    theirs, _ = variables(num_classes=3, num_priors=2)
    with pytest.raises(CheckpointError, match="fine-mask-class-0"):
        convert_shapemask({**theirs, "fine_mask/fine-mask-class-0/kernel": np.zeros(1)})
    without = {name: array for name, array in theirs.items() if name != "fpn/p6/bias"}
    with pytest.raises(CheckpointError, match="fpn/p6/bias"):
        convert_shapemask(without)
    del theirs["shape_priors"]
    with pytest.raises(CheckpointError, match="shape_priors"):
        convert_shapemask(theirs)


def test_rows_of_the_same_classes_are_kept_for_a_model_of_others():
    _, file = variables(num_classes=4, num_priors=2)
    _, model = variables(num_classes=3, num_priors=2)
    tensors = {name: torch.from_numpy(array) for name, array in file.items()}
    own = {name: -torch.from_numpy(array) - 1 for name, array in model.items()}
    found = with_own_classes(tensors, own, ["cat", "dog", "cow"], ["cow", "yak"])
    logits = found["rpn.head.cls_logits.bias"].view(9, 3)
    given = tensors["rpn.head.cls_logits.bias"].view(9, 4)
    assert torch.equal(logits[:, :2], given[:, [0, 3]])
    assert (logits[:, 2] < 0).all()
    assert torch.equal(found[PRIORS][:2], tensors[PRIORS][[0, 3]])
    weights = found["roi_heads.mask.prior_classifier.bias"].view(3, 2)
    assert weights[:2].tolist() == [[0, 1], [6, 7]]
    for part in ("coarse", "fine"):
        name = f"roi_heads.mask.{part}.predict.bias"
        assert found[name].tolist() == [0, 3, -3]
    assert torch.equal(found["rpn.head.bbox_pred.bias"], tensors["rpn.head.bbox_pred.bias"])
