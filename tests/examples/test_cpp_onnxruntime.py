"""The C++ example, built where CMake, OpenCV and ONNX Runtime's headers are, against Python."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from centermask_runtime import Predictor
from tests.centermask_runtime.small_export import metadata, write_export
from tests.contract.source_tree import ROOT

pytestmark = pytest.mark.slow

PHOTO = ROOT / "datasets" / "quickstart" / "val" / "000000005001.jpg"


def _root(folder):
    """Headers and library as CMake takes them: a release's, or the system's and the wheel's."""
    if "ONNXRUNTIME_ROOT" in os.environ:
        return os.environ["ONNXRUNTIME_ROOT"]
    import onnxruntime

    (folder / "lib").mkdir(parents=True)
    for library in Path(onnxruntime.__file__).with_name("capi").glob("libonnxruntime.so.*"):
        for name in ("libonnxruntime.so", "libonnxruntime.so.1"):
            (folder / "lib" / name).symlink_to(library)
    return folder


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cpp")
    if shutil.which("cmake") is None:
        pytest.skip("no CMake")
    root = _root(folder / "onnxruntime")
    source = ROOT / "examples" / "cpp_onnxruntime"
    configure = ["cmake", "-S", source, "-B", folder / "build", f"-DONNXRUNTIME_ROOT={root}"]
    told = subprocess.run(configure, capture_output=True, text=True, check=False)
    if told.returncode:
        missing = [line for line in told.stderr.splitlines() if "ould not find" in line]
        pytest.skip(f"cannot be built here: {' '.join(missing) or told.stderr}")
    build = ["cmake", "--build", folder / "build"]
    subprocess.run(build, check=True, capture_output=True)
    return folder / "build" / "draw_detections", Path(root, "lib")


def run(program, *words):
    path, libraries = program
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    command = [path, *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "paste",
    [
        {"rule": "inclusive", "threshold": 0.5, "padding": 1},
        {"rule": "sub_pixel", "threshold": 0.6, "padding": 0},
    ],
)
def test_objects_and_the_pixels_of_masks_are_those_of_python(program, tmp_path, paste):
    offset = int(paste["rule"] == "inclusive")
    content = metadata(mask_paste=paste, pixel_offset=offset)
    model = write_export(tmp_path / "model.onnx", content)
    drawn = tmp_path / "drawn.png"
    told = run(program, model, PHOTO, drawn)
    assert told.returncode == 0, told.stderr
    expected = [
        f"{one.name} {one.score:.4f} {' '.join(f'{x:.2f}' for x in one.box)} {one.mask.sum()}"
        for one in Predictor.from_onnx(model)(PHOTO)
    ]
    assert told.stdout.splitlines() == expected
    assert drawn.exists()
    assert run(program, model, PHOTO, drawn, "0.6").stdout.splitlines() == expected[:1]


def test_what_cannot_be_used_is_told(program, tmp_path):
    other = write_export(tmp_path / "other.onnx")
    dense = write_export(tmp_path / "dense.onnx", metadata(kind="dense"))
    model = write_export(tmp_path / "model.onnx", metadata())
    for words, named in [
        ((other, PHOTO), "metadata"),
        ((dense, PHOTO), "dense"),
        ((PHOTO, PHOTO), PHOTO.name),
        ((model, "absent.jpg"), "absent.jpg"),
    ]:
        told = run(program, *words, tmp_path / "drawn.png")
        assert told.returncode == 2
        assert named in told.stderr
