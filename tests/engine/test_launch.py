import logging
import os
import socket
import time

import pytest
import torch
import torch.multiprocessing as mp

from maskrcnn_benchmark.config import ConfigError, get_default_config
from maskrcnn_benchmark.engine.launch import ProcessPlace, make_run, process_group, select_device
from maskrcnn_benchmark.engine.random_state import preserved_random_state

ALONE = ProcessPlace(rank=0, local_rank=0, world_size=1)
SECOND = ProcessPlace(rank=5, local_rank=1, world_size=8)


@pytest.fixture
def two_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.fixture
def no_devices(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_launcher_a_process_is_alone():
    assert ProcessPlace.from_environment(None) == ALONE
    assert not ALONE.is_distributed


def test_the_launcher_says_where_a_process_stands(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("RANK", "5")
    assert ProcessPlace.from_environment(1) == SECOND
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert ProcessPlace.from_environment(1).local_rank == 3
    assert SECOND.is_distributed


def test_the_cpu_is_taken_when_asked_for(two_devices):
    assert select_device("cpu", SECOND) == torch.device("cpu")


def test_each_process_takes_the_cuda_device_of_its_local_rank(two_devices):
    assert select_device("cuda", ALONE) == torch.device("cuda", 0)
    assert select_device("cuda", SECOND) == torch.device("cuda", 1)
    assert select_device("cuda:1", ALONE) == torch.device("cuda", 1)


def test_a_machine_without_cuda_works_on_the_cpu_and_says_so_loudly(no_devices, caplog):
    with caplog.at_level(logging.WARNING):
        assert select_device("cuda", SECOND) == torch.device("cpu")
    assert "MODEL.DEVICE is 'cuda'" in caplog.text
    assert "WORKING ON THE CPU" in caplog.text


@pytest.mark.parametrize(
    ("requested", "place", "text"),
    [
        ("cuda:2", ALONE, "cuda:2 was asked for .* there are 2 CUDA devices"),
        ("cuda", ProcessPlace(2, 2, 3), r"cuda:2 was asked for \(local rank 2\)"),
        ("cuda:0", SECOND, "expected 'cuda' with 8 processes, .* got 'cuda:0'"),
        ("gpu", ALONE, "expected 'cpu', 'cuda' or 'cuda:N', got 'gpu'"),
        ("meta", ALONE, "got 'meta'"),
    ],
)
def test_devices_that_cannot_be_had(two_devices, requested, place, text):
    with pytest.raises(ConfigError, match=text):
        select_device(requested, place)


def test_a_run_is_logged_and_seeded(tmp_path, no_devices):
    cfg = get_default_config()
    cfg.OUTPUT_DIR = str(tmp_path / "new")
    cfg.SEED = 11
    with preserved_random_state():
        with make_run(cfg) as run:
            assert run.device == torch.device("cpu")
            assert run.place == ALONE
            drawn = torch.rand(1)
        torch.manual_seed(11)
        assert torch.rand(1) == drawn
    log = (tmp_path / "new" / "log.txt").read_text()
    for part in ("WORKING ON THE CPU", "SEED: 11", "1 process(es), this one on cpu"):
        assert part in log
    assert not logging.getLogger("maskrcnn_benchmark").handlers


def test_a_run_has_the_settings_that_its_weights_need_and_keeps_them(tmp_path, no_devices):
    cfg = get_default_config()
    weight = "catalog://torchvision/mobilenet_v2"
    cfg.merge_from_list(["MODEL.WEIGHT", weight, "OUTPUT_DIR", str(tmp_path)])
    with preserved_random_state(), make_run(cfg):
        assert cfg.INPUT.TO_BGR255 is False
        assert cfg.is_frozen()
    log = (tmp_path / "log.txt").read_text()
    assert f"{weight}: set INPUT.TO_BGR255 False" in log
    assert "TO_BGR255: False" in log


def test_a_numbered_device_is_never_replaced(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"MODEL\.DEVICE.*cuda:0"):
        select_device("cuda:0", ALONE)


def _leave_a_group(rank, folder, port):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port, RANK=str(rank), WORLD_SIZE="2")
    with process_group(torch.device("cpu"), ProcessPlace(rank, rank, 2)):
        if rank == 1:
            time.sleep(1)
            (folder / "last_work").touch()
    (folder / f"left{rank}").write_text(str((folder / "last_work").exists()))


@pytest.mark.slow
def test_no_process_leaves_while_another_works(tmp_path):
    """Gloo ends the other with an abort where one closes its connections too early."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    mp.start_processes(_leave_a_group, args=(tmp_path, port), nprocs=2, start_method="spawn")
    assert [(tmp_path / f"left{rank}").read_text() for rank in range(2)] == ["True"] * 2
