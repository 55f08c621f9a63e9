"""The tools as commands, in processes of their own: started by launchers, killed, resumed."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.tools.small_run import ROOT, arguments, trace, write_data_set

pytestmark = pytest.mark.slow

TRAIN = str(ROOT / "tools" / "train_net.py")
TEST = str(ROOT / "tools" / "test_net.py")
LAUNCHERS = {
    "alone": [],
    "launch": ["-m", "torch.distributed.launch", "--nproc_per_node=2"],
    "torchrun": ["-m", "torch.distributed.run", "--nproc_per_node=2"],
}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return write_data_set(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module", autouse=True)
def interruptible():
    """Commands in the background ignore Ctrl-C, and so do the processes that they start."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(launcher, tool, words, **kwargs):
    port = [] if launcher == "alone" else [f"--master_port={free_port()}"]
    command = [sys.executable, *LAUNCHERS[launcher], *port, tool, *words]
    # The checkout is not installed in the folder where the process starts.
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        **kwargs,
    )  # fmt: skip


def finish(process):
    """What the process printed; it must have ended well."""
    try:
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 0, output
    return output


def wait_for_iteration(folder, iteration):
    """Return as soon as the metrics of a run tell of the iteration."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        path = folder / "metrics.jsonl"
        if path.exists() and path.read_text().count("\n") >= iteration:
            return
        time.sleep(0.01)
    raise TimeoutError(f"no iteration {iteration} in {folder}")


def long_run(catalog, folder):
    return ["--skip-test", *arguments(catalog, folder, SOLVER__MAX_ITER=24, SOLVER__STEPS="(12,)")]


def test_a_run_killed_at_any_moment_goes_on_exactly(catalog, tmp_path):
    """SIGKILL at four moments, each somewhere else between two checkpoints."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start("alone", TRAIN, long_run(catalog, whole)))
    for iteration, delay in ((1, 0.0), (5, 0.05), (10, 0.11), (17, 0.17)):
        process = start("alone", TRAIN, long_run(catalog, killed))
        wait_for_iteration(killed, iteration)
        time.sleep(delay)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    finish(start("alone", TRAIN, long_run(catalog, killed)))
    assert len(trace(whole)) == 24
    assert trace(killed) == trace(whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_run_says_where_it_stands(catalog, tmp_path, number, code):
    process = start("alone", TRAIN, long_run(catalog, tmp_path))
    wait_for_iteration(tmp_path, 2)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code
    assert "The same command goes on from the last checkpoint" in output
    assert "Traceback" not in output
    assert "stopped after iteration" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("launcher", ["launch", "torchrun"])
def test_two_processes_train_and_test(catalog, tmp_path, launcher):
    output = finish(start(launcher, TRAIN, arguments(catalog, tmp_path)))
    assert "2 process(es), this one on cpu" in output
    # One process writes.
    assert output.count("Start training") == 1
    assert [line["iteration"] for line in trace(tmp_path)] == [1, 2, 3, 4, 5, 6]
    first = (tmp_path / "inference" / "small" / "bbox.json").read_text()
    weights = tmp_path / "model_final.pth"
    output = finish(start(launcher, TEST, arguments(catalog, tmp_path, MODEL__WEIGHT=weights)))
    assert "on 2 processes" in output
    assert (tmp_path / "inference" / "small" / "bbox.json").read_text() == first


def test_two_processes_go_on_exactly(catalog, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish(start("torchrun", TRAIN, long_run(catalog, whole)))
    process = start("torchrun", TRAIN, long_run(catalog, killed), start_new_session=True)
    wait_for_iteration(killed, 7)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    finish(start("torchrun", TRAIN, long_run(catalog, killed)))
    assert trace(killed) == trace(whole)


def test_one_process_and_two_find_the_same(catalog, tmp_path):
    """Evaluation gives every image to one process, and the results are put together.

    One image a batch in both cases, as larger batches round differently.
    """
    finish(start("alone", TRAIN, arguments(catalog, tmp_path, TEST__IMS_PER_BATCH=1)))
    alone = (tmp_path / "inference" / "small" / "bbox.json").read_text()
    finish(start("launch", TEST, arguments(catalog, tmp_path, TEST__IMS_PER_BATCH=2)))
    assert (tmp_path / "inference" / "small" / "bbox.json").read_text() == alone
