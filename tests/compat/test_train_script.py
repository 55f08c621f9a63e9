"""Training and testing as the scripts of the original do it, call by call, on a few photos."""

import os

import pytest
import torch

from maskrcnn_benchmark.config import cfg as global_cfg
from maskrcnn_benchmark.data import make_data_loader
from maskrcnn_benchmark.engine.inference import inference
from maskrcnn_benchmark.engine.trainer import do_train
from maskrcnn_benchmark.modeling.detector import build_detection_model
from maskrcnn_benchmark.solver import make_lr_scheduler, make_optimizer
from maskrcnn_benchmark.utils.comm import get_rank, synchronize
from maskrcnn_benchmark.utils.imports import import_file
from maskrcnn_benchmark.utils.logger import close_logger, setup_logger
from maskrcnn_benchmark.utils.miscellaneous import mkdir
from maskrcnn_benchmark.weights.checkpoint import DetectronCheckpointer
from tests.contract.source_tree import ROOT

FILE = "configs/centermask/centermask_M_v2_FPN_lite_res600_ms_bs16_4x.yaml"
SETTINGS = (
    *("MODEL.DEVICE", "cpu", "MODEL.WEIGHT", "", "DATALOADER.NUM_WORKERS", "0"),
    *("DATASETS.TRAIN", "('quickstart_train_few',)", "DATASETS.TEST", "('quickstart_val',)"),
    *("SOLVER.IMS_PER_BATCH", "2", "SOLVER.MAX_ITER", "3", "SOLVER.CHECKPOINT_PERIOD", "2"),
    *("INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_RANGE_TRAIN", "(-1, -1)"),
    *("INPUT.MIN_SIZE_TEST", "64", "TEST.IMS_PER_BATCH", "4", "SOLVER.STEPS", "(2,)"),
)


@pytest.fixture
def cfg(tmp_path):
    cfg = global_cfg.clone()
    cfg.merge_from_file(str(ROOT / FILE))
    cfg.merge_from_list([*SETTINGS, "OUTPUT_DIR", str(tmp_path / "run")])
    cfg.freeze()
    mkdir(cfg.OUTPUT_DIR)
    setup_logger("maskrcnn_benchmark", cfg.OUTPUT_DIR, get_rank())
    yield cfg
    close_logger("maskrcnn_benchmark")


def train(cfg):
    model = build_detection_model(cfg)
    device = torch.device(cfg.MODEL.DEVICE)
    model.to(device)
    optimizer = make_optimizer(cfg, model)
    scheduler = make_lr_scheduler(cfg, optimizer)
    arguments = {"iteration": 0}
    save_to_disk = get_rank() == 0
    checkpointer = DetectronCheckpointer(
        cfg, model, optimizer, scheduler, cfg.OUTPUT_DIR, save_to_disk
    )
    arguments.update(checkpointer.load(cfg.MODEL.WEIGHT))
    data_loader = make_data_loader(
        cfg, is_train=True, is_distributed=False, start_iter=arguments["iteration"]
    )
    do_train(
        cfg,
        model,
        data_loader,
        None,
        optimizer,
        scheduler,
        checkpointer,
        device,
        cfg.SOLVER.CHECKPOINT_PERIOD,
        0,
        arguments,
    )
    return model


@pytest.mark.slow
def test_a_script_trains_tests_and_reads_what_is_left(cfg):
    model = train(cfg)
    left = {"log.txt", "model_0000002.pth", "model_final.pth", "last_checkpoint"}
    assert left <= set(os.listdir(cfg.OUTPUT_DIR))

    for name, loader in zip(cfg.DATASETS.TEST, make_data_loader(cfg, is_train=False), strict=True):
        folder = os.path.join(cfg.OUTPUT_DIR, "inference", name)
        mkdir(folder)
        inference(
            model,
            loader,
            dataset_name=name,
            iou_types=("bbox", "segm"),
            box_only=False,
            device=cfg.MODEL.DEVICE,
            expected_results=cfg.TEST.EXPECTED_RESULTS,
            expected_results_sigma_tol=cfg.TEST.EXPECTED_RESULTS_SIGMA_TOL,
            output_folder=folder,
        )
        synchronize()
        assert {"bbox.json", "segm.json", "predictions.pth"} <= set(os.listdir(folder))

    fresh = build_detection_model(cfg)
    extra = DetectronCheckpointer(cfg, fresh, save_dir=cfg.OUTPUT_DIR).load(cfg.MODEL.WEIGHT)
    assert extra["iteration"] == 3
    saved = torch.load(os.path.join(cfg.OUTPUT_DIR, "model_final.pth"), weights_only=True)
    assert {"model", "optimizer", "scheduler", "iteration"} <= set(saved)
    for mine, theirs in zip(model.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_batch_holds_what_a_script_unpacks(cfg):
    loader = make_data_loader(cfg)
    assert len(loader) == cfg.SOLVER.MAX_ITER
    images, targets, image_ids = next(iter(loader))
    assert images.tensors.shape[:2] == (2, 3)
    assert len(targets) == len(image_ids) == 2
    for (height, width), each in zip(images.image_sizes, targets, strict=True):
        assert each.size == (width, height)
        assert each.has_field("labels")
        assert len(each.get_field("masks")) == len(each)


def test_the_catalog_is_found_by_its_path_from_any_folder(cfg, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    catalog = import_file("maskrcnn_benchmark.config.paths_catalog", cfg.PATHS_CATALOG, True)
    entry = catalog.DatasetCatalog.get("coco_2017_val")
    assert entry["factory"] == "COCODataset"
    assert sorted(entry["args"]) == ["ann_file", "root"]
    assert all(path.startswith(catalog.DatasetCatalog.DATA_DIR) for path in entry["args"].values())
    assert catalog.ModelCatalog.get("ImageNetPretrained/MSRA/R-50").endswith("MSRA/R-50.pkl")


def test_a_data_set_tells_what_evaluation_scripts_ask(cfg):
    (loader,) = make_data_loader(cfg, is_train=False)
    dataset = loader.dataset
    info = dataset.get_img_info(0)
    assert info["id"] == dataset.id_to_img_map[0]
    image, target, _ = dataset[0]
    assert image.shape[0] == 3
    # The target follows the image to its new size.
    assert target.size == (image.shape[2], image.shape[1])
    assert target.resize((info["width"], info["height"])).size == (info["width"], info["height"])
    json_ids = dataset.contiguous_category_id_to_json_id
    assert [json_ids[i] for i in (1, 12, 80)] == [1, 13, 90]
    assert dataset.json_category_id_to_contiguous_id[90] == 80
