"""The commands on an exported model, in processes that cannot import PyTorch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.centermask_runtime.small_export import expected_coco, metadata, write_export
from tests.contract.source_tree import ROOT

SIZE_WH = (64, 48)
# What centermask_runtime may import, beside the standard library and itself.
_BARRED = ("torch", "torchvision", "pycocotools", "cv2", "matplotlib", "maskrcnn_benchmark", "yacs")
_START = """
import sys
class Barred:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {barred}:
            raise ModuleNotFoundError("barred: " + name, name=name)
sys.meta_path.insert(0, Barred())
from {module} import main
sys.exit(main({words}))
"""


def run(words, module="centermask_runtime.command", barred=_BARRED):
    """Exit code and what was printed by a command in a process that lacks packages."""
    code = _START.format(barred=set(barred), module=module, words=[str(word) for word in words])
    process = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return process.returncode, process.stdout + process.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, and photos in a folder: grey, turned, one that is none, one that shows nothing."""
    folder = tmp_path_factory.mktemp("command")
    write_export(folder / "model.onnx", metadata())
    photos = folder / "photos"
    photos.mkdir()
    Image.new("L", SIZE_WH, 200).save(photos / "a.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", SIZE_WH, "navy").save(photos / "b.jpg", exif=turned)
    Image.new("RGB", SIZE_WH).save(photos / "c.png")
    (photos / "d.jpg").write_bytes(b"no photo")
    return folder


def results_of(out):
    return json.loads((out / "predictions.json").read_text())


@pytest.mark.parametrize(
    ("module", "words", "barred"),
    [
        ("centermask_runtime.command", [], _BARRED),
        ("maskrcnn_benchmark.cli", ["predict"], ("torch", "torchvision")),
    ],
)
def test_photos_are_drawn_on_without_pytorch(folder, tmp_path, module, words, barred):
    options = ["--save-json", "--save-masks", "--crops", "--output", tmp_path]
    command = [*words, folder / "model.onnx", folder / "photos", *options]
    code, printed = run(command, module, barred)
    assert code == 1, printed
    assert "d.jpg" in printed
    assert "Traceback" not in printed
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*")}
    assert files == {
        *("a.png", "b.jpg", "c.png", "predictions.json"),
        *("masks/a.png", "masks/b.png", "masks/c.png"),
        *("crops/cat/a_1.png", "crops/dog/a_2.png", "crops/cat/b_1.png", "crops/dog/b_2.png"),
    }
    # What is written is what the package itself makes of the same boxes and masks.
    expected = expected_coco(SIZE_WH, 1) + expected_coco(SIZE_WH[::-1], 2)
    results = results_of(tmp_path)
    names = [str(folder / "photos" / name) for name in ("a.png", "a.png", "b.jpg", "b.jpg")]
    assert [result.pop("file_name") for result in results] == names
    assert results == expected
    with Image.open(tmp_path / "masks" / "c.png") as masks:
        assert not np.asarray(masks).any()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["absent.onnx", "{photo}"], "absent.onnx"),
        (["{photo}", "{photo}"], "a.png"),
        (["{model}", "absent.jpg"], "absent.jpg"),
        (["{model}", "{photo}", "--threshold", "2"], "--threshold"),
        (["{model}", "{photo}", "--device", "tpu"], "--device"),
        (["{model}", "{photo}", "--font", "absent.ttf"], "absent.ttf"),
    ],
)
def test_wrong_words_are_named(folder, tmp_path, words, named):
    places = {"model": folder / "model.onnx", "photo": folder / "photos" / "a.png"}
    given = [word.format(**places) for word in words]
    code, printed = run([*given, *([] if "--output" in given else ["--output", tmp_path])])
    assert code == 2, printed
    assert named in printed
    assert "Traceback" not in printed


def test_a_missing_onnx_runtime_is_named(folder, tmp_path):
    words = [folder / "model.onnx", folder / "photos" / "a.png", "--output", tmp_path]
    code, printed = run(words, barred=(*_BARRED, "onnxruntime"))
    assert code == 2
    assert "pip install onnxruntime" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--config-file", "a.yaml"], "--config-file"),
        (["INPUT.MIN_SIZE_TEST", "300"], "INPUT.MIN_SIZE_TEST"),
    ],
)
def test_options_that_need_the_checkpoint_are_refused_by_name(folder, tmp_path, words, named):
    command = ["predict", folder / "model.onnx", folder / "photos" / "a.png", *words]
    command += ["--output", tmp_path]
    code, printed = run(command, "maskrcnn_benchmark.cli", ())
    assert code == 2, printed
    assert named in printed
    assert "Traceback" not in printed


def test_the_runtime_imports_the_three_packages_alone(folder):
    code = (
        "import sys; before = set(sys.modules); import centermask_runtime.command, "
        "centermask_runtime.photos, centermask_runtime.drawing, centermask_runtime.predictor; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    process = subprocess.run(
        [sys.executable, "-S", "-c", "import site; site.main(); " + code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    others = {name for name in process.stdout.split() if name not in sys.stdlib_module_names}
    assert others <= {"centermask_runtime", "numpy", "onnxruntime", "PIL", "onnxruntime_pybind11"}


def test_lines_of_many_photos_hold_what_drawings_hold(folder, tmp_path):
    photos = folder / "photos"
    found = tmp_path / "found.jsonl"
    command = ["predict", folder / "model.onnx", photos, "--output", found, "--resume"]
    code, printed = run([*command, "--batch", "2"], "maskrcnn_benchmark.cli", ())
    assert code == 1, printed
    lines = map(json.loads, found.read_text().splitlines())
    records = {Path(one["file_name"]).name: one for one in lines}
    assert set(records) == {"a.png", "b.jpg", "c.png", "d.jpg"}
    expected = [{**one, "image_id": None} for one in expected_coco(SIZE_WH)]
    assert [{**one, "image_id": None} for one in records["a.png"]["objects"]] == expected
    assert records["c.png"]["objects"] == []
    assert records["d.jpg"]["error"]
    # Nothing is done again, and by another model nothing is gone on with.
    assert run(command, "maskrcnn_benchmark.cli", ())[0] == 0
    command[1] = write_export(tmp_path / "other.onnx", metadata(score_threshold=0.4, model="b"))
    code, printed = run(command, "maskrcnn_benchmark.cli", ())
    assert code == 2, printed
    assert "checkpoint" in printed
