"""The command that writes models for other programs."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from centermask_runtime import Predictor
from maskrcnn_benchmark.cli import main
from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.engine.settings import load_checkpoint_settings
from tests.contract import markdown
from tests.contract.source_tree import ROOT
from tests.tools.start_up import SLOW, run

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from maskrcnn_benchmark.export import onnx_file  # noqa: E402 - needs onnx
from maskrcnn_benchmark.export.metadata import METADATA_KEY, ExportMetadata  # noqa: E402
from maskrcnn_benchmark.timing.exported import make_export_contender  # noqa: E402
from tests.export.random_models import PHOTO, save_random_model  # noqa: E402

MODULE = ("-m", "maskrcnn_benchmark.cli")
IN_16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="no bfloat16 on this processor"
)
SMALL = ("INPUT.MIN_SIZE_TEST", 160, "INPUT.MAX_SIZE_TEST", 256)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "MODEL"),
        (["model.pth", "--format", "torchscript"], "onnx"),
        (["model.pth", "--format", "tflite"], "onnx"),
        (["model.pth", "--format", "torch"], "--dense"),
        (["model.pth", "--precision", "int8"], "int8.md"),
        (["model.pth", "--precision", "bf16"], "openvino"),
        (["model.pth", "--operators", "own"], "aoti"),
        (["model.pth", "--size", "640", "640"], "--dense"),
        (["absent.pth"], "absent.pth"),
        (["model.pth", "--photos", "absent.jpg"], "absent.jpg"),
    ],
)
def test_wrong_words_are_named_before_anything_slow(words, named):
    code, output, imported = run(*MODULE, "export", *words)
    assert code == 2
    assert named in output
    assert "Traceback" not in output
    assert not imported & (SLOW - {"numpy"})


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("export") / "model.pth"
    return save_random_model("centermask-lite-mv2", path, *SMALL)


def test_places_that_it_cannot_write_to(checkpoint, tmp_path, capsys):
    taken = tmp_path / "taken.onnx"
    taken.write_bytes(b"")
    for output, told in ((taken, "--overwrite"), (tmp_path / "a.pt", ".onnx")):
        with pytest.raises(SystemExit) as exit_:
            main(["export", str(checkpoint), "--output", str(output)])
        assert exit_.value.code == 2
        assert told in capsys.readouterr().err
    assert taken.read_bytes() == b""


@pytest.mark.parametrize("model", ["yolact-r50", "tensormask-r50"])
def test_models_that_cannot_be_exported_say_why(model, tmp_path, capsys, monkeypatch):
    words = ["export", model, "--output", str(tmp_path / "a.onnx")]
    monkeypatch.setattr(
        "maskrcnn_benchmark.cli.export.load_model_settings", lambda *_: _settings(model)
    )
    with pytest.raises(SystemExit):
        main(words)
    assert "cannot be exported: " in capsys.readouterr().out


def _settings(model):
    from maskrcnn_benchmark.config.shipped import find_model
    from maskrcnn_benchmark.engine.settings import load_settings

    return load_settings(find_model(model).path, ["MODEL.DEVICE", "cpu"])


@pytest.mark.slow
def test_a_file_finds_what_its_model_finds_or_is_called_otherwise(
    checkpoint, tmp_path, monkeypatch
):
    path = tmp_path / "out" / "model.onnx"
    words = ["export", str(checkpoint), "--output", str(path)]
    assert main(words) == 0
    assert [each.name for each in path.parent.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(path)
    content = session.get_modelmeta().custom_metadata_map[METADATA_KEY]
    metadata = ExportMetadata.from_json(content)
    assert (metadata.kind, metadata.class_names[4]) == ("detector", "class 5")
    assert metadata.category_ids[4] == 50
    assert json.loads(content)["resize"]["min_size"] == 160
    photo = np.array(Image.open(PHOTO))
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"image": photo}), strict=True))
    number = int(found["num_detections"])
    assert found["masks"].shape == (number, 28, 28)
    assert found["labels"].dtype == np.int64

    cfg = load_checkpoint_settings(checkpoint, "", "cpu")
    assert len(make_export_contender(cfg, path)([PHOTO, PHOTO])[1]) == number

    # A file that reads photos otherwise finds something else.
    write = onnx_file.write_detector

    def write_other(model, family, metadata, **options):
        other = dataclasses.replace(metadata, pixel_mean=(0.0, 0.0, 0.0))
        return write(model, family, other, **options)

    monkeypatch.setattr(onnx_file, "write_detector", write_other)
    assert main([*words, "--overwrite", "--photos", str(Path(PHOTO))]) == 1
    kept = sorted(each.name for each in path.parent.iterdir())
    assert kept == ["model.onnx", "model.unverified.onnx"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--format", "openvino"], ["model.bin", "model.xml"]),
        (["--format", "onnx", "--dense", "--size", "192", "256"], ["model.dense.onnx"]),
        (["--format", "torch", "--dense"], ["model.dense.pt2"]),
        (["--format", "torch", "--dense", "--operators", "own"], ["model.dense.pt2"]),
        pytest.param(
            ["--format", "torch", "--dense", "--precision", "bf16"],
            ["model.dense.pt2"],
            marks=IN_16,
        ),
        pytest.param(
            ["--format", "openvino", "--precision", "bf16"], ["model.bin", "model.xml"], marks=IN_16
        ),
    ],
)
def test_other_formats_find_what_the_model_finds(checkpoint, tmp_path, words, names):
    pytest.importorskip("openvino")
    model = tmp_path / "model.pth"
    shutil.copy(checkpoint, model)
    settings = ["INPUT.MIN_SIZE_TEST", "192"]
    assert main(["export", str(model), *words, *settings]) == 0
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([*names, "model.pth"])

    cfg = load_checkpoint_settings(model, "", "cpu")
    cfg.merge_from_list(settings)
    contender = make_export_contender(cfg, tmp_path / names[-1])
    found = contender([PHOTO])[0]
    assert {"size", "counts"} <= set(found[0])
    assert {"decode", "network", "paste, RLE"} <= set(contender.times.seconds)

    # Wherever it goes beside another model, it says so.
    cfg.merge_from_list(["INPUT.MIN_SIZE_TEST", 160])
    if "--dense" in words:
        with pytest.raises(ConfigError, match="another model"):
            make_export_contender(cfg, tmp_path / names[-1])


@pytest.mark.slow
def test_keypoints_are_those_of_the_model(tmp_path):
    few = ("MODEL.ROI_HEADS.DETECTIONS_PER_IMG", 20, "TEST.DETECTIONS_PER_IMG", 20)
    model = save_random_model("detectron2-keypoint-rcnn-r50", tmp_path / "a.pth", *SMALL, *few)
    assert main(["export", str(model), "--photos", str(PHOTO)]) == 0
    found = Predictor.from_onnx(tmp_path / "a.onnx", "cpu")(PHOTO)
    assert len(found) > 0
    assert found.keypoints.shape == (len(found), 17, 2)
    cfg = load_checkpoint_settings(model, "", "cpu")
    (of_network,) = make_export_contender(cfg, tmp_path / "a.onnx")([PHOTO])
    assert len(of_network) == len(found)


@pytest.mark.slow
def test_the_network_runs_between_the_other_parts_as_the_page_says(
    checkpoint, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    shutil.copy(checkpoint, "run/model_best.pth")
    shutil.copy(PHOTO, "photo.jpg")
    words = ["--format", "torch", "--dense", "--photos", "photo.jpg"]
    assert main(["export", "run/model_best.pth", *words]) == 0
    program, _ = markdown.blocks(ROOT / "docs" / "export.md", "py")
    names = {}
    exec(program, names)
    detect, masks = names["detect"], names["masks"]
    expected = detect.source.detect(Image.open(PHOTO).convert("RGB"))
    assert len(masks) == len(expected) > 0
    torch.testing.assert_close(names["found"].bbox, expected.bbox, atol=0.1, rtol=0)
