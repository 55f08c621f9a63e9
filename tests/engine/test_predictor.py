import numpy as np
import pytest
import torch
from PIL import Image

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.engine.forward import ModelRunner
from maskrcnn_benchmark.engine.predictor import Predictor
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.structures.bounding_box import BoxList
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from maskrcnn_benchmark.weights.description import Category
from maskrcnn_benchmark.weights.load_report import CheckpointError


class OneBox(torch.nn.Module):
    """Finds the left half of every image; remembers what it was given."""

    def forward(self, images):
        self.seen, self.was_training = images, self.training
        assert not torch.is_grad_enabled()
        found = []
        for height, width in images.image_sizes:
            boxes = BoxList([[0, 0, width / 2 - 1, height - 1]], (width, height))
            boxes.add_field("labels", torch.tensor([1]))
            boxes.add_field("scores", torch.tensor([0.9]))
            boxes.add_field("mask", torch.ones(1, 1, 28, 28))
            found.append(boxes)
        return found


def half_size(image, target):
    small = image.resize((image.width // 2, image.height // 2))
    assert target is None
    return torch.zeros(3, small.height, small.width), None


@pytest.fixture
def predictor():
    return Predictor(
        runner=ModelRunner(OneBox(), device=torch.device("cpu")),
        transform=half_size,
        size_divisible=32,
    )


def test_detections_are_in_px_of_the_photo(predictor):
    found = predictor(Image.new("RGB", (100, 60)))
    assert found.size == (100, 60)
    torch.testing.assert_close(found.convert("xyxy").bbox, torch.tensor([[0.0, 0.0, 48.0, 58.0]]))
    assert found.get_field("mask").shape == (1, 1, 28, 28)


def test_input_is_padded_to_the_divisor(predictor):
    predictor(Image.new("RGB", (100, 60)))
    assert predictor.runner.model.seen.tensors.shape == (1, 3, 32, 64)
    assert [tuple(size) for size in predictor.runner.model.seen.image_sizes] == [(30, 50)]


@pytest.mark.parametrize("mode", ["L", "RGBA", "RGB"])
def test_photos_of_other_modes(predictor, mode):
    assert len(predictor(Image.new(mode, (40, 40)))) == 1


@pytest.mark.parametrize("training", [True, False])
def test_the_model_predicts_in_evaluation_mode_and_keeps_its_own(predictor, training):
    predictor.runner.model.train(training)
    predictor(Image.new("RGB", (40, 40)))
    assert predictor.runner.model.was_training is False
    assert predictor.runner.model.training is training


@pytest.fixture(scope="module")
def cfg():
    cfg = get_default_config()
    cfg.merge_from_file("configs/centermask/centermask_M_v2_FPN_lite_res600_ms_bs16_4x.yaml")
    cfg.merge_from_list(["INPUT.MIN_SIZE_TEST", 64, "MODEL.DEVICE", "cpu"])
    return cfg


def test_a_config_makes_the_predictor_of_its_checkpoint(cfg, tmp_path):
    torch.manual_seed(0)
    model = build_detection_model(cfg)
    path = tmp_path / "model.pth"
    torch.save({"model": model.state_dict()}, path)
    loaded = Predictor.from_config(cfg, weights=str(path))
    given = Predictor.from_config(cfg, model=model)
    for name, value in loaded.runner.model.state_dict().items():
        torch.testing.assert_close(value, model.state_dict()[name], rtol=0, atol=0)
    photo = Image.effect_noise((120, 90), 80).convert("RGB")
    assert loaded.size_divisible == 32
    torch.testing.assert_close(loaded(photo).bbox, given(photo).bbox)


def test_weights_that_are_not_there_are_an_error(cfg, tmp_path):
    with pytest.raises(CheckpointError, match=r"absent\.pth"):
        Predictor.from_config(cfg, weights=str(tmp_path / "absent.pth"))


def test_lists_go_through_the_model_together(predictor):
    photos = [Image.new("RGB", (100, 60)), np.zeros((40, 30, 3), np.uint8)]
    first, second = predictor(photos)
    assert predictor.runner.model.seen.tensors.shape == (2, 3, 32, 64)
    assert (first.size, second.size) == ((100, 60), (30, 40))
    assert predictor([]) == []
    assert [one.size for one in predictor((photos[1],))] == [(30, 40)]


def test_long_lists_go_through_the_model_in_batches(predictor):
    predictor.batch_size = 2
    sizes = [found.size for found in predictor([Image.new("RGB", (8 * k, 8)) for k in (1, 2, 3)])]
    assert sizes == [(8, 8), (16, 8), (24, 8)]
    assert len(predictor.runner.model.seen.image_sizes) == 1


def test_objects_have_the_names_of_the_model(predictor):
    predictor.class_names, predictor.class_ids = {1: "cat"}, {1: 17}
    (found,) = predictor(Image.new("RGB", (100, 60)))
    assert (found.name, found.category_id, found.size) == ("cat", 17, (100, 60))
    assert found.mask.shape == (60, 100)


def test_a_whole_checkpoint_needs_no_settings(cfg, tmp_path, monkeypatch):
    torch.manual_seed(0)
    cfg = cfg.clone()
    cfg.merge_from_list(["MODEL.NUM_CLASSES", 3, "MODEL.FCOS.NUM_CLASSES", 3])
    model = build_detection_model(cfg)
    categories = (Category(5, "cat"), Category(9, "dog"))
    checkpointer = DetectronCheckpointer(cfg, model, save_dir=tmp_path, categories=categories)
    checkpointer.save("model_final")
    checkpointer.save("noted", score_threshold=0.25)
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    loaded = Predictor.from_checkpoint(tmp_path / "model_final.pth", device="cpu")
    assert loaded.class_names == {1: "cat", 2: "dog"}
    assert loaded.class_ids == {1: 5, 2: 9}
    assert loaded.score_threshold == 0.5
    torch.testing.assert_close(
        loaded(photo).bbox, Predictor.from_config(cfg, model=model)(photo).bbox
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Predictor.from_checkpoint("~/noted.pth", "cpu").score_threshold == 0.25
    options = ["INPUT.MIN_SIZE_TEST", 32]
    small = Predictor.from_checkpoint(tmp_path / "model_final.pth", "cpu", options)
    assert small.transform(Image.fromarray(photo), None)[0].shape[1] == 32


def test_a_checkpoint_that_is_not_whole_says_so(tmp_path):
    torch.save({"model": {}}, tmp_path / "bare.pth")
    with pytest.raises(CheckpointError, match=r"bare\.pth"):
        Predictor.from_checkpoint(tmp_path / "bare.pth")


def test_an_exported_model_is_sent_to_what_runs_it(tmp_path):
    with pytest.raises(CheckpointError, match="centermask_runtime"):
        Predictor.from_checkpoint(tmp_path / "model.onnx")
