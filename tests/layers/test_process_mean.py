import torch
import torch.distributed as dist

from maskrcnn_benchmark.layers import mean_over_processes


def test_one_process_has_its_own_mean():
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    mean = mean_over_processes(values)
    assert mean.tolist() == [1.0, 2.0]
    assert not mean.requires_grad
    assert mean.data_ptr() != values.data_ptr()


def test_several_processes_have_one_mean(monkeypatch):
    """The other process has (3, 0)."""
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    monkeypatch.setattr(dist, "all_reduce", lambda values: values.add_(torch.tensor([3.0, 0.0])))
    values = torch.tensor([1.0, 2.0])
    assert mean_over_processes(values).tolist() == [2.0, 1.0]
    assert values.tolist() == [1.0, 2.0]
