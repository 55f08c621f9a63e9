"""make_data_loader: which batches, in which order, from which settings."""

import itertools
import logging
import pickle
import re
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.config.paths_catalog import DatasetCatalog
from maskrcnn_benchmark.data import build, make_data_loader
from maskrcnn_benchmark.data.build import aspect_ratio_groups, check_class_count
from maskrcnn_benchmark.data.datasets import COCODataset
from maskrcnn_benchmark.data.errors import ImageReadError
from tests.data.tiny_coco import annotation, content, image, without, write
from tests.golden_data import GOLDEN_DIR, golden_json, golden_npz

SETTINGS = (
    *("MODEL.NUM_CLASSES", 3, "MODEL.RPN_ONLY", True, "MODEL.FCOS_ON", True),
    *("DATASETS.TRAIN", ("tiny",), "DATASETS.TEST", ("tiny",), "DATALOADER.NUM_WORKERS", 0),
    *("INPUT.MIN_SIZE_TRAIN", (8, 12, 16), "INPUT.MAX_SIZE_TRAIN", 40),
    *("INPUT.MIN_SIZE_TEST", 16, "INPUT.MAX_SIZE_TEST", 40),
    *("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 9, "TEST.IMS_PER_BATCH", 2),
)


def settings(*options):
    cfg = get_default_config()
    cfg.merge_from_list([*SETTINGS, *options])
    return cfg


def catalog_entry(monkeypatch, folder, data, name="tiny"):
    ann_file, root = write(folder, data)
    entry = {"img_dir": str(root), "ann_file": str(ann_file)}
    monkeypatch.setitem(DatasetCatalog.DATASETS, name, entry)


@pytest.fixture(autouse=True)
def _tiny(monkeypatch, tmp_path):
    """A data set "tiny" of seven images, 1..7; the even ones portrait, the last without boxes."""
    sizes = [(10, 8) if i % 2 else (8, 11) for i in range(1, 8)]
    images = [image(i, width=w, height=h) for i, (w, h) in enumerate(sizes, start=1)]
    catalog_entry(monkeypatch, tmp_path, content(images, [annotation(i, i) for i in range(1, 7)]))


@pytest.fixture
def two_processes(monkeypatch):
    """A function that makes the loader as one of two processes does."""

    def make(rank, cfg, **options):
        monkeypatch.setattr(build, "get_world_size", lambda: 2)
        monkeypatch.setattr(build, "get_rank", lambda: rank)
        return make_data_loader(cfg, is_distributed=True, **options)

    return make


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.image_ids == other.image_ids
        assert torch.equal(one.images.tensors, other.images.tensors)
        assert list(one.images.image_sizes) == list(other.images.image_sizes)
        for target, twin in zip(one.targets, other.targets, strict=True):
            assert torch.equal(target.bbox, twin.bbox)
            assert torch.equal(target.labels, twin.labels)
            masks = (each.get_field("masks").to_bitmasks() for each in (target, twin))
            assert torch.equal(*masks)


def test_training_yields_max_iter_batches_of_images_with_boxes():
    loader = make_data_loader(settings())
    batches = list(loader)
    assert len(batches) == len(loader) == 9
    assert {i for batch in batches for i in batch.image_ids} == {1, 2, 3, 4, 5, 6}
    for batch in batches:
        for target, (height, width) in zip(batch.targets, batch.images.image_sizes, strict=True):
            assert target.size == (width, height)
            assert min(height, width) in (8, 12, 16)


def test_batches_hold_one_orientation():
    for batch in make_data_loader(settings("SOLVER.MAX_ITER", 30)):
        assert len({height >= width for height, width in batch.images.image_sizes}) == 1
    free = settings("SOLVER.MAX_ITER", 30, "DATALOADER.ASPECT_RATIO_GROUPING", False)
    mixed = [
        len({height >= width for height, width in batch.images.image_sizes})
        for batch in make_data_loader(free)
    ]
    assert 2 in mixed


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_continued_run_sees_what_an_uninterrupted_one_sees(num_workers):
    whole = list(make_data_loader(settings()))
    cfg = settings("DATALOADER.NUM_WORKERS", num_workers)
    for start in (0, 4, 9) if num_workers else range(10):
        loader = make_data_loader(cfg, start_iter=start)
        assert len(loader) == 9 - start
        torch.rand(start + 1)  # the global generator has no say
        assert_same(list(loader), whole[start:])


def test_seeds_decide():
    assert_same(list(make_data_loader(settings())), list(make_data_loader(settings())))
    orders = {
        tuple(batch.image_ids for batch in make_data_loader(settings("SEED", seed)))
        for seed in range(4)
    }
    assert len(orders) == 4


def test_starting_a_loader_leaves_the_global_generator_alone():
    before = torch.random.get_rng_state()
    next(iter(make_data_loader(settings())))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_two_processes_divide_each_epoch(two_processes):
    cfg = settings("SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 3)
    parts = [list(two_processes(rank, cfg)) for rank in (0, 1)]
    assert all(len(batch.image_ids) == 1 for part in parts for batch in part)
    seen = sorted(i for part in parts for batch in part for i in batch.image_ids)
    assert seen == [1, 2, 3, 4, 5, 6]


def test_evaluation_sees_each_image_once_over_all_processes(two_processes):
    alone = make_data_loader(settings(), is_train=False)
    assert len(alone) == 1
    assert sorted(i for batch in alone[0] for i in batch.image_ids) == [1, 2, 3, 4, 5, 6, 7]
    parts = [two_processes(rank, settings(), is_train=False)[0] for rank in (0, 1)]
    seen = [i for part in parts for batch in part for i in batch.image_ids]
    assert sorted(seen) == [1, 2, 3, 4, 5, 6, 7]


def test_evaluation_loaders_belong_to_their_data_sets(monkeypatch, tmp_path):
    (tmp_path / "other").mkdir()
    catalog_entry(monkeypatch, tmp_path / "other", content(), "other")
    loaders = make_data_loader(settings("DATASETS.TEST", ("tiny", "other")), is_train=False)
    assert [loader.dataset.name for loader in loaders] == ["tiny", "other"]
    assert [len(loader.dataset) for loader in loaders] == [7, 1]
    batch = next(iter(loaders[1]))
    assert batch.images.tensors.shape == (1, 3, 16, 20)


def test_a_catalog_entry_may_name_a_few_images(monkeypatch):
    entry = {**DatasetCatalog.DATASETS["tiny"], "image_ids": [2, 5]}
    monkeypatch.setitem(DatasetCatalog.DATASETS, "few", entry)
    loader = make_data_loader(settings("DATASETS.TRAIN", ("few",)))
    assert {i for batch in loader for i in batch.image_ids} == {2, 5}


def test_one_loader_for_evaluations_during_training(monkeypatch, tmp_path):
    """upstream: period-loader. All images of the first data set, which can be evaluated."""
    (tmp_path / "other").mkdir()
    catalog_entry(monkeypatch, tmp_path / "other", content(), "other")
    cfg = settings("DATASETS.TEST", ("tiny", "other"))
    loader = make_data_loader(cfg, is_train=False, is_for_period=True)
    assert loader.dataset.name == "tiny"
    assert loader.dataset.image_ids == [1, 2, 3, 4, 5, 6, 7]
    batches = list(loader)
    assert sorted(i for batch in batches for i in batch.image_ids) == [1, 2, 3, 4, 5, 6, 7]
    assert_same(batches, list(loader))


def test_several_training_sets_are_one(monkeypatch, tmp_path):
    (tmp_path / "other").mkdir()
    data = content([image(77)], [annotation(1, 77)])
    catalog_entry(monkeypatch, tmp_path / "other", data, "other")
    loader = make_data_loader(settings("DATASETS.TRAIN", ("tiny", "other")))
    assert 77 in {i for batch in loader for i in batch.image_ids}
    assert loader.dataset.categories == {1: "cat", 2: "dog"}


def test_everything_that_workers_need_can_be_sent_to_them():
    """Start method "spawn" pickles these."""
    loader = make_data_loader(settings())
    parts = loader.dataset, loader.collate_fn, loader.worker_init_fn
    dataset, collate, start = pickle.loads(pickle.dumps(parts))
    first = [[each[i] for i in range(2)] for each in (loader.dataset, dataset)]
    assert_same([loader.collate_fn(first[0])], [collate(first[1])])
    assert callable(start)


def num_threads(_):
    return torch.get_num_threads(), cv2.getNumThreads()


def test_workers_have_one_thread():
    start = make_data_loader(settings()).worker_init_fn
    loader = DataLoader([0], num_workers=1, collate_fn=num_threads, worker_init_fn=start)
    assert list(loader) == [(1, 1)]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_corrupt_image_stops_with_its_name(tmp_path, num_workers):
    (tmp_path / "images" / "3.png").write_bytes(b"\x89PNG")
    loader = make_data_loader(settings("DATALOADER.NUM_WORKERS", num_workers))
    with pytest.raises(ImageReadError, match=r"3\.png.*id 3"):
        list(loader)


def test_workers_are_no_more_than_processors(monkeypatch, caplog):
    monkeypatch.setattr(build.os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    with caplog.at_level(logging.INFO):
        assert make_data_loader(settings("DATALOADER.NUM_WORKERS", 9)).num_workers == 2
    assert "2 instead of 9 workers" in caplog.text
    assert make_data_loader(settings("DATALOADER.NUM_WORKERS", 1)).num_workers == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("DATASETS.TRAIN", ()), r"DATASETS\.TRAIN"),
        (("DATASETS.TRAIN", ("coco_2019_train",)), "coco_2019_train"),
        (("DATALOADER.NUM_WORKERS", -1), r"DATALOADER\.NUM_WORKERS.*0.*-1"),
        (("SOLVER.IMS_PER_BATCH", 0), r"SOLVER\.IMS_PER_BATCH.*0"),
        (("MODEL.NUM_CLASSES", 2), r"tiny.*2.*1.*MODEL\.NUM_CLASSES.*3"),
    ],
)
def test_impossible_settings_name_their_key(options, message):
    with pytest.raises(ConfigError, match=message):
        make_data_loader(settings(*options))


def test_batches_must_divide_among_processes(two_processes):
    with pytest.raises(ConfigError, match=r"SOLVER\.IMS_PER_BATCH.*2.*3"):
        two_processes(0, settings("SOLVER.IMS_PER_BATCH", 3))
    with pytest.raises(ConfigError, match=r"TEST\.IMS_PER_BATCH.*2.*1"):
        two_processes(0, settings("TEST.IMS_PER_BATCH", 1), is_train=False)


def test_zero_is_a_batch_of_one_for_each_process_of_a_test(two_processes):
    one_each = settings("TEST.IMS_PER_BATCH", 0)
    loaders = [two_processes(rank, one_each, is_train=False)[0] for rank in (0, 1)]
    counts = [[len(images.image_sizes) for images, _, _ in loader] for loader in loaders]
    assert set(counts[0] + counts[1]) == {1}
    assert sum(map(len, counts)) == 7


def test_boxes_are_those_of_the_convention():
    corners = {}
    for convention in ("legacy", "detectron2"):
        sizes = ("INPUT.MIN_SIZE_TEST", 8, "MODEL.CONVENTION", convention)
        (loader,) = make_data_loader(settings(*sizes), is_train=False)
        ids_and_targets = (zip(ids, targets, strict=True) for _, targets, ids in loader)
        target = dict(itertools.chain.from_iterable(ids_and_targets))[1]
        corners[target.pixel_offset] = target.bbox
    torch.testing.assert_close(corners[1][:, 2:] + 1, corners[0][:, 2:])
    torch.testing.assert_close(corners[1][:, :2], corners[0][:, :2])


def test_nothing_to_evaluate_on():
    assert make_data_loader(settings("DATASETS.TEST", ()), is_train=False) == []
    with pytest.raises(ConfigError, match=r"DATASETS\.TEST"):
        make_data_loader(settings("DATASETS.TEST", ()), is_train=False, is_for_period=True)


def test_fewer_categories_than_classes_are_told(caplog):
    data = SimpleNamespace(name="few", categories={1: "cat"})
    check_class_count(data, num_classes=2)
    assert caplog.text == ""
    check_class_count(data, num_classes=81)
    assert re.search(r"few.* 1 .* 80 .*MODEL\.NUM_CLASSES.* 2", caplog.text)


def test_masks_cannot_be_learned_from_boxes(monkeypatch, tmp_path):
    data = content(annotations=[without(annotation(), "segmentation")])
    catalog_entry(monkeypatch, tmp_path, data)
    masks = ("MODEL.MASK_ON", True, "MODEL.FCOS_MASK", True)
    with pytest.raises(ConfigError, match=r"tiny.*outlines.*MODEL\.MASK_ON"):
        make_data_loader(settings(*masks))
    boxes = ("MODEL.MASK_ON", False, "MODEL.FCOS_MASK", False)
    batch = next(iter(make_data_loader(settings(*boxes))))
    assert batch.targets[0].fields() == ["labels"]


class FlippedDataset(COCODataset):
    """A user's own reader."""

    def get_img_info(self, index):
        return super().get_img_info(len(self) - 1 - index)


@pytest.fixture
def own_catalog(monkeypatch, tmp_path):
    """A function that makes PATHS_CATALOG's data set have a factory."""

    def use(factory):
        args = {"root": str(tmp_path / "images"), "ann_file": str(tmp_path / "annotations.json")}
        catalog = SimpleNamespace(get=lambda _: {"factory": factory, "args": args})
        monkeypatch.setattr(
            build, "import_catalog", lambda _: SimpleNamespace(DatasetCatalog=catalog)
        )

    return use


def test_own_readers(own_catalog):
    own_catalog(FlippedDataset)
    dataset = make_data_loader(settings(), is_train=False)[0].dataset
    assert isinstance(dataset, FlippedDataset)
    assert dataset.get_img_info(0)["id"] == 7
    own_catalog("NoSuchDataset")
    with pytest.raises(ConfigError, match=r"NoSuchDataset.*tiny.*COCODataset"):
        make_data_loader(settings())


class Sizes(list):
    """A data set of nothing but (height, width)."""

    def get_img_info(self, index):
        return dict(zip(("height", "width"), self[index], strict=True))


def test_aspect_ratio_groups():
    assert aspect_ratio_groups(Sizes([(2, 3), (3, 3), (3, 2)])) == [0, 1, 1]


@pytest.mark.golden
@pytest.mark.parametrize("is_train", [False, True])
def test_large_photos_are_read_reduced_where_exactness_is_not_asked_for(
    monkeypatch, tmp_path, is_train
):
    folder = tmp_path / "large"
    folder.mkdir()
    images = [image(1, width=500, height=331, file_name="1.jpg")]
    objects = [annotation(bbox=(200, 100, 150, 90), segmentation=[[200, 100, 350, 100, 350, 190]])]
    catalog_entry(monkeypatch, folder, content(images, objects), "large")
    (root,) = {path.parent for path in folder.rglob("1.jpg")}
    Image.radial_gradient("L").resize((500, 331)).convert("RGB").save(root / "1.jpg")
    batches = []
    for backend in ("pil", "fast"):
        names = ("DATASETS.TRAIN", ("large",), "DATASETS.TEST", ("large",))
        cfg = settings(*names, "INPUT.RESIZE_BACKEND", backend, "SOLVER.IMS_PER_BATCH", 1)
        loader = make_data_loader(cfg, is_train)
        loader = loader if is_train else loader[0]
        dataset = loader.dataset.dataset if is_train else loader.dataset
        assert dataset.needed_side == (None if backend == "pil" else 16)
        assert dataset.read_image(0).size == (500, 331)
        batches.append(next(iter(loader)))
    exact, reduced = batches
    assert reduced.images.image_sizes == exact.images.image_sizes
    assert torch.equal(reduced.targets[0].bbox, exact.targets[0].bbox)
    assert (reduced.images.tensors - exact.images.tensors).abs().max() <= 20


def test_the_batch_of_the_reference_outputs(monkeypatch):
    entry = {
        "img_dir": str(GOLDEN_DIR / "images"),
        "ann_file": str(GOLDEN_DIR / "annotations.json"),
    }
    monkeypatch.setitem(DatasetCatalog.DATASETS, "golden", entry)
    options = ("DATASETS.TEST", ("golden",), "INPUT.MIN_SIZE_TEST", 320, "MODEL.NUM_CLASSES", 81)
    cfg = settings(*options, "INPUT.MAX_SIZE_TEST", 544, "DATALOADER.SIZE_DIVISIBILITY", 32)
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = False
    (loader,) = make_data_loader(cfg, is_train=False)
    (batch,) = list(loader)
    reference = golden_json("centermask_R_50_FPN_1x")
    assert list(batch.images.tensors.shape) == reference["batch_shape"]
    for index, info in enumerate(reference["images"]):
        height, width = batch.images.image_sizes[index]
        assert [height, width] == info["transformed_hw"]
        assert batch.image_ids[index] == info["id"]
        pixels = batch.images.tensors[index, :, :height, :width]
        # JPEG decoders may differ by a step here and there.
        assert pixels.double().mean().item() == pytest.approx(info["mean"], abs=0.05)
        assert pixels.double().std().item() == pytest.approx(info["std"], abs=0.05)
        corner = golden_npz("centermask_R_50_FPN_1x")[f"input{index}_corner"]
        np.testing.assert_allclose(pixels[:, :8, :8], corner, atol=4.01)
        assert loader.dataset.contiguous_category_id_to_json_id == {
            int(label): category for label, category in reference["contiguous_to_coco_id"].items()
        }
