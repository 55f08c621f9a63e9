import pytest
import torch

from maskrcnn_benchmark.config import get_default_config
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.data import make_data_loader, make_datasets
from maskrcnn_benchmark.data.datasets import voc
from maskrcnn_benchmark.data.datasets.voc import PascalVOCDataset, read_voc
from maskrcnn_benchmark.data.errors import DatasetError, ImageReadError
from maskrcnn_benchmark.data.transforms.transforms import Resize
from tests.data import tiny_voc

TWO_IMAGES = {
    "000005": tiny_voc.annotation(tiny_voc.entry(), tiny_voc.entry("Person", (1, 1, 10, 8), 1)),
    "2008_000002": tiny_voc.annotation(tiny_voc.entry("aeroplane", (2, 2, 4.5, 4))),
}


def load(tmp_path, annotations=None, **more):
    root = tiny_voc.write(tmp_path, TWO_IMAGES if annotations is None else annotations)
    return PascalVOCDataset(root, "val", **more)


def test_boxes_count_pixels_from_0_and_labels_classes_from_1(tmp_path):
    dataset = load(tmp_path)
    target = dataset.get_target(0)
    assert target.bbox.tolist() == [[2, 1, 5, 4]]
    assert target.labels.tolist() == [12]
    assert target.fields() == ["labels"]
    assert dataset.map_class_id_to_class_name(12) == dataset.categories[12] == "dog"
    assert dataset.get_target(1).bbox.tolist() == [[1, 1, 3.5, 3]]
    assert (dataset.name, len(dataset), len(dataset.categories)) == ("VOC2007_val", 2, 20)
    assert (dataset.has_masks, dataset.has_keypoints) == (False, False)


def test_difficult_objects_are_ground_truth_but_no_targets(tmp_path):
    truth = load(tmp_path).get_groundtruth(0)
    assert truth.get_field("difficult").tolist() == [False, True]
    assert truth.labels.tolist() == [12, 15]
    assert load(tmp_path, use_difficult=True).get_target(0).labels.tolist() == [12, 15]


def test_samples(tmp_path):
    dataset = load(tmp_path, transforms=Resize(16, 100))
    image, target, image_id = dataset[1]
    assert image.size == target.size == (20, 16)
    assert target.bbox.tolist() == [[2, 2, 7, 6]]
    assert image_id == dataset.image_ids[1] == 2008000002
    assert dataset.get_img_info(1)["file_name"] == "2008_000002.jpg"


def test_an_image_without_objects(tmp_path):
    dataset = load(tmp_path, {"1": tiny_voc.annotation()})
    assert len(dataset.get_target(0)) == 0
    assert dataset.ground_truth()["annotations"] == []


def test_ground_truth_in_coco_format(tmp_path):
    content = load(tmp_path).ground_truth()
    assert [one["iscrowd"] for one in content["annotations"]] == [0, 1, 0]
    assert content["annotations"][0]["bbox"] == [2, 1, 4, 4]
    assert content["annotations"][2]["image_id"] == 2008000002
    assert len(content["categories"]) == 20


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("<annotation>", ""),
        ("<annotation></annotation>", "<size>"),
        (tiny_voc.annotation(tiny_voc.entry("unicorn")), "'unicorn'"),
        (tiny_voc.annotation("<object><name>cat</name></object>"), "<bndbox>"),
        (tiny_voc.annotation(tiny_voc.entry(box=("a", 1, 2, 3))), "'a'"),
        (tiny_voc.annotation(tiny_voc.entry()).replace("<xmax>6</xmax>", ""), "<xmax>"),
    ],
)
def test_damaged_annotations_are_errors_that_name_file_and_place(tmp_path, text, place):
    with pytest.raises(DatasetError, match=rf"000007\.xml.*{place}"):
        load(tmp_path, {"000007": text})


def test_missing_files(tmp_path):
    dataset, root = load(tmp_path), tmp_path / "VOC2007"
    with pytest.raises(DatasetError, match=r"nonsense\.txt"):
        PascalVOCDataset(root, "nonsense")
    (root / "JPEGImages" / "000005.jpg").unlink()
    with pytest.raises(ImageReadError, match=r"000005\.jpg"):
        dataset[0]
    (root / "Annotations" / "000005.xml").unlink()
    with pytest.raises(DatasetError, match=r"000005\.xml"):
        PascalVOCDataset(root, "val")
    (root / "ImageSets" / "Main" / "val.txt").write_text("../x\n")
    with pytest.raises(DatasetError, match=r"val\.txt.*'\.\./x'"):
        PascalVOCDataset(root, "val")


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    """Settings of a run on the two images, called "tiny"."""
    root = tiny_voc.write(tmp_path, TWO_IMAGES)
    entry = {"factory": "PascalVOCDataset", "data_dir": str(root), "split": "val"}
    monkeypatch.setattr(DatasetCatalog, "DATASETS", {"tiny": entry})
    cfg = get_default_config()
    cfg.merge_from_file("configs/pascal_voc/e2e_faster_rcnn_R_50_C4_1x_1_gpu_voc.yaml")
    for key, value in {
        "DATASETS.TRAIN": ("tiny",),
        "DATASETS.TEST": ("tiny",),
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.MAX_ITER": 2,
        "INPUT.MIN_SIZE_TRAIN": (16,),
        "INPUT.MIN_SIZE_TEST": 16,
    }.items():
        cfg.merge_from_list([key, value])
    return cfg


def test_annotations_are_read_once_in_a_run(cfg, monkeypatch):
    calls = []

    def read_and_count(split_file, root):
        calls.append(split_file)
        return read_voc(split_file, root)

    monkeypatch.setattr(voc, "read_voc", read_and_count)
    made = make_datasets(cfg)
    assert [dataset.name for dataset in (*made.train, *made.test)] == ["VOC2007_val"] * 2
    assert (made.train[0].transforms is None, made.test[0].transforms is None) == (True, False)
    assert len(calls) == 1


def test_training_and_test_batches_by_the_catalog(cfg):
    batches = list(make_data_loader(cfg))
    assert sum(len(batch.targets[0]) for batch in batches) == 2
    (loader,) = make_data_loader(cfg, is_train=False)
    assert torch.cat([torch.tensor(batch.image_ids) for batch in loader]).tolist() == [
        5,
        2008000002,
    ]
