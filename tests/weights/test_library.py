import sys
from pathlib import Path

import pytest
import torch
import torchvision

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.config.weight_settings import WeightSettings
from maskrcnn_benchmark.weights import library as library_weights
from maskrcnn_benchmark.weights.library import fetch_in_turn, find_library_weights
from maskrcnn_benchmark.weights.load_report import CheckpointError
from tests.weights.library_caches import fill_timm, fill_torchvision

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("address", ["weights.pth", "https://x.org/resnet50.pth", "/a/timm/b"])
def test_other_addresses_are_no_librarys(address: str):
    assert find_library_weights(address) is None


@pytest.mark.parametrize(
    ("name", "version"),
    [("resnet50", "IMAGENET1K_V1"), ("resnet50.IMAGENET1K_V2", "IMAGENET1K_V2")],
)
def test_torchvision_finds_the_weights_that_were_asked_for(name, version, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for number, known in enumerate(("IMAGENET1K_V1", "IMAGENET1K_V2")):
        fill_torchvision(tmp_path, "resnet50", known, {"number": torch.tensor(number)})
    weights = find_library_weights(f"torchvision://{name}")
    assert weights.settings == WeightSettings(False, *IMAGENET, stride_in_1x1=False)
    assert weights.fetch()["number"] == int(version[-1]) - 1


def test_torchvision_is_read_without_running_code(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fill_torchvision(tmp_path, "mobilenet_v2", "IMAGENET1K_V1", {"x": torch.nn.Linear(1, 1)})
    with pytest.raises(Exception, match=r"[Ww]eights.only"):
        find_library_weights("torchvision://mobilenet_v2").fetch()


def test_only_residual_networks_have_a_place_of_their_strides():
    assert find_library_weights("torchvision://mobilenet_v2").settings.stride_in_1x1 is None


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("torchvision://resnet18", r"no backbone takes catalog://torchvision/resnet18; .*resnet50"),
        ("torchvision://resnet101.V9", r"no weights 'V9' of resnet101; it has IMAGENET1K_V1, "),
    ],
)
def test_what_torchvision_does_not_have_is_said(address: str, message: str):
    with pytest.raises(ConfigError, match=message):
        find_library_weights(address)


def test_every_listed_network_is_in_torchvision():
    for name in library_weights._TORCHVISION_MODELS:
        assert "IMAGENET1K_V1" in torchvision.models.get_model_weights(name).__members__


@pytest.mark.parametrize("library", ["torchvision.models", "timm"])
def test_a_library_that_is_not_installed_is_named_with_the_command(library: str, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    name = library.partition(".")[0]
    with pytest.raises(ConfigError, match=rf"pip install {name}\b"):
        find_library_weights(f"{name}://mobilenet_v2")


def test_a_failed_download_names_the_way_out():
    def fetch():
        raise OSError("no route to host")

    with pytest.raises(CheckpointError, match=r"catalog://x\b.*no route.*TORCH_HOME.*HF_HOME"):
        fetch_in_turn("catalog://x", fetch)


@pytest.mark.parametrize("is_first", [True, False])
def test_the_first_process_downloads_before_the_others(is_first: bool, monkeypatch):
    events = []
    monkeypatch.setattr(library_weights, "is_main_process", lambda: is_first)
    monkeypatch.setattr(library_weights, "synchronize", lambda: events.append("wait"))
    assert fetch_in_turn("x", lambda: events.append("fetch") or {}) == {}
    assert events == (["fetch", "wait"] if is_first else ["wait", "fetch"])


@pytest.mark.slow
def test_timm_loads_its_weights(tmp_path: Path, monkeypatch):
    import timm

    name = "ese_vovnet19b_dw.ra_in1k"
    torch.manual_seed(0)
    state_dict = timm.create_model("ese_vovnet19b_dw").state_dict()
    fill_timm(tmp_path, name, state_dict, monkeypatch)
    weights = find_library_weights(f"timm://{name}")
    assert weights.settings == WeightSettings(False, *IMAGENET)
    torch.testing.assert_close(dict(weights.fetch()), dict(state_dict), rtol=0, atol=0)
    assert find_library_weights("timm://resnet50.a1_in1k").settings.stride_in_1x1 is False
    with pytest.raises(CheckpointError, match="LocalEntryNotFoundError"):
        fetch_in_turn("catalog://x", find_library_weights("timm://ese_vovnet39b.ra_in1k").fetch)


@pytest.mark.slow
def test_what_timm_does_not_have_is_said():
    with pytest.raises(ConfigError, match=r"'ese_vovnet39b\.x'.*39b\.ra_in1k"):
        find_library_weights("timm://ese_vovnet39b.x")
