"""What is refused before anything is computed, and what the check does to a model."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.export.formats import EXPORT_FORMATS, find_format
from maskrcnn_benchmark.modeling.dense.rpn.inference import ProposalSettings
from maskrcnn_benchmark.modeling.dense.selection import SelectionSettings
from maskrcnn_benchmark.modeling.roi_heads.box_head.inference import BoxSelectionSettings

pytest.importorskip("onnxscript")
run = pytest.importorskip("maskrcnn_benchmark.export.run")
refusals = pytest.importorskip("maskrcnn_benchmark.export.refusals")
source = pytest.importorskip("maskrcnn_benchmark.export.source")


def test_no_file_of_an_export_is_replaced_unasked(tmp_path):
    kind, path = EXPORT_FORMATS["openvino"], tmp_path / "model.xml"
    run.check_target(path, kind, overwrite=False)
    (tmp_path / "model.bin").touch()
    with pytest.raises(ConfigError, match=r"model\.bin"):
        run.check_target(path, kind, overwrite=False)
    run.check_target(path, kind, overwrite=True)


@pytest.mark.parametrize("kind", ["detector", "dense"])
def test_regions_alone_are_refused(kind):
    with pytest.raises(ConfigError, match="no classes"):
        refusals.check_architecture(kind, "rpn", ())


def test_networks_of_other_models_are_written():
    refusals.check_architecture("dense", "rpn", ("keypoint", "box"))
    with pytest.raises(ConfigError, match="mixtures"):
        refusals.check_architecture("detector", "yolact", ())


@pytest.mark.parametrize(("threshold", "moved"), [(0.5, 0.4), (0.0, 0.0)])
def test_thresholds_move_and_what_is_off_stays_off(threshold, moved):
    selection = SimpleNamespace(settings=SelectionSettings(0.3, 10, threshold, 10))
    model = SimpleNamespace(has_roi_heads=False, rpn=SimpleNamespace(select_test=selection))
    mine = source.Source(model=model, twin=model, family="fcos", metadata=None, inputs=None)
    with mine.moved(0.1):
        assert selection.settings.score_threshold == pytest.approx(0.4)
        assert selection.settings.nms_threshold == pytest.approx(moved)
    assert selection.settings == SelectionSettings(0.3, 10, threshold, 10)


@pytest.mark.parametrize(("by", "limits"), [(1e-4, (990, 99, 1)), (-1e-4, (1010, 101, 2))])
def test_limits_on_proposals_move_with_them(by, limits):
    names = ("pre_nms_top_n", "post_nms_top_n", "fpn_post_nms_top_n")
    proposals = ProposalSettings(nms_threshold=0.7, **dict(zip(names, (1000, 100, 1), strict=True)))
    first = SimpleNamespace(settings=proposals)
    last = SimpleNamespace(settings=BoxSelectionSettings(0.05, 0.5, 100))
    box = SimpleNamespace(post_processor=last)
    model = SimpleNamespace(
        has_roi_heads=True, rpn=SimpleNamespace(select_test=first), roi_heads={"box": box}
    )
    mine = source.Source(model=model, twin=model, family="rpn", metadata=None, inputs=None)
    with mine.moved(by):
        assert tuple(getattr(first.settings, name) for name in names) == limits
        assert first.settings.nms_threshold == pytest.approx(0.7 - by)
        assert last.settings.score_threshold == pytest.approx(0.05 + by)
        assert last.settings.detections_per_image == 100
    assert first.settings is proposals


@pytest.mark.parametrize("name", list(EXPORT_FORMATS))
def test_files_are_of_the_format_of_their_suffix(name):
    path = Path("folder.onnx") / f"model.dense{EXPORT_FORMATS[name].suffix}"
    assert find_format(path) == name


def test_other_files_are_of_none():
    with pytest.raises(ConfigError, match=r"\.onnx"):
        find_format(Path("model.pth"))
