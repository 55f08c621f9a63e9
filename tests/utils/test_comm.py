import os

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from maskrcnn_benchmark.utils import comm


def test_a_single_process_talks_to_itself():
    assert (comm.get_rank(), comm.get_world_size(), comm.is_main_process()) == (0, 1, True)
    comm.synchronize()
    assert comm.all_gather({"a": 1}) == [{"a": 1}]
    loss = torch.tensor(2.0, requires_grad=True)
    reduced = comm.reduce_dict({"loss": loss})
    assert reduced["loss"].item() == 2.0
    assert not reduced["loss"].requires_grad
    assert comm.reduce_dict({}) == {}
    rows = comm.gather_rows(torch.tensor([1.0, 2.0], requires_grad=True))
    assert rows.tolist() == [[1.0, 2.0]]
    assert not rows.requires_grad


def _talk(rank, world_size, folder):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world_size
    )
    result = {
        "rank": comm.get_rank(),
        "world_size": comm.get_world_size(),
        "main": comm.is_main_process(),
        "rows": comm.gather_rows(torch.tensor([rank, 10 + rank])).tolist(),
        "gathered": comm.all_gather({"from": rank, "data": "x" * rank}),
    }
    # The ranks fill their dictionaries in different orders.
    names = ("a", "b") if rank == 0 else ("b", "a")
    values = {name: torch.tensor(float(rank + 10 * (name == "b"))) for name in names}
    mean, total = comm.reduce_dict(values), comm.reduce_dict(values, average=False)
    result["mean"] = {name: mean[name].item() for name in "ab"}
    result["sum"] = {name: total[name].item() for name in "ab"}
    comm.synchronize()
    torch.save(result, os.path.join(folder, f"{rank}.pt"))
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comm")
    mp.start_processes(_talk, args=(2, str(folder)), nprocs=2, start_method="spawn")
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_two_processes_know_who_they_are(results):
    assert [(r["rank"], r["world_size"], r["main"]) for r in results] == [
        (0, 2, True),
        (1, 2, False),
    ]


def test_everybody_gets_what_everybody_gave(results):
    expected = [{"from": 0, "data": ""}, {"from": 1, "data": "x"}]
    assert [r["gathered"] for r in results] == [expected, expected]


def test_everybody_gets_the_rows_of_all(results):
    assert [r["rows"] for r in results] == [[[0, 10], [1, 11]]] * 2


def test_rank_zero_gets_mean_and_sum(results):
    assert results[0]["mean"] == {"a": 0.5, "b": 10.5}
    assert results[0]["sum"] == {"a": 1.0, "b": 21.0}
