"""An installed wheel, in a folder that is not the repository: three commands, no file written."""

import json
import os
import re
import subprocess
import sys
import urllib.request

import pytest

from tests.cli.small_data import TINY, WRITERS
from tests.contract.source_tree import ROOT

pytestmark = pytest.mark.slow

BOUNDARY = "boundary"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where a wheel of what is committed is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    source, site = folder / "source", folder / "site"
    source.mkdir()
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "x", "-C", source], input=archive.stdout, check=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    build = [*pip, "wheel", ".", "--no-build-isolation", "--no-deps", "-w", str(folder)]
    environment = {**os.environ, "CENTERMASK_BUILD": "none"}
    subprocess.run(build, cwd=source, env=environment, check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True)
    return site


@pytest.fixture
def centermask(site, tmp_path):
    """Starts the installed command in an empty folder."""
    empty = tmp_path / "empty"
    empty.mkdir()

    def start(*words):
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", site / "bin" / "centermask", *words],
            cwd=empty,
            env={**os.environ, "PYTHONPATH": str(site), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def finished(process):
    """What a process printed, which ended well."""
    printed, _ = process.communicate()
    assert process.returncode == 0, printed
    return printed


def test_the_package_is_the_installed_one(site, centermask, tmp_path):
    assert "centermask-lite-mv2" in finished(centermask("models"))
    where = "import centermask, maskrcnn_benchmark as m; print(m.__file__, centermask.Predictor)"
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", where],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert str(site) in found.stdout


def asked(address, photo):
    """The answer to a photo that is posted as a browser does."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
    body = head.encode() + photo.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    with urllib.request.urlopen(urllib.request.Request(f"{address}/predict", body, kind)) as answer:
        return json.load(answer)


@pytest.mark.parametrize("kind", WRITERS)
def test_an_export_is_trained_predicted_and_served(centermask, tmp_path, kind):
    data = WRITERS[kind](tmp_path / "photos")
    photos, empty = sorted(data.rglob("*.jpg")), tmp_path / "empty"
    words = ("--device", "cpu")
    finished(centermask("train", "--data", data, "--output", "run", *words, *TINY))
    finished(centermask("predict", "run/model_best.pth", data, "--output", "drawn", *words))
    assert len(list((empty / "drawn").rglob("*.jpg"))) == len(photos)
    pytest.importorskip("fastapi")
    server = centermask("serve", "run/model_best.pth", "--port", "0", *words)
    try:
        addresses = (re.search(r"http://[\w.:]+", line) for line in server.stdout)
        address = next(found[0] for found in addresses if found)
        answer = asked(address, photos[0])
    finally:
        server.terminate()
        server.communicate()
    assert (answer["width"], answer["height"]) == (96, 72)
    assert {found["name"] for found in answer["objects"]} <= {"red", "blue"}
