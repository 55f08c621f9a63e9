"""Every operator in a model that is compiled or exported, and under autocast."""

import pytest
import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from maskrcnn_benchmark.layers import _ops
from tests.layers.inputs import example_inputs

OPS = torch.ops.centermask


class Around(nn.Module):
    """A model with one operator; arguments that are no tensors are its settings."""

    def __init__(self, name, arguments):
        super().__init__()
        self.name = name
        self.leaves, self.structure = tree_flatten(list(arguments))
        self.leaves = [Ellipsis if torch.is_tensor(x) else x for x in self.leaves]

    def forward(self, *tensors):
        """Results, through one more operation so that they are not the operator's own."""
        left = iter(tensors)
        called = [next(left) if x is Ellipsis else x for x in self.leaves]
        results = getattr(OPS, self.name)(*tree_unflatten(called, self.structure))
        return tuple(2 * x for x in tree_leaves(results))


def detached(arguments):
    return tree_map(lambda x: x.detach() if torch.is_tensor(x) else x, list(arguments))


def tensors_of(arguments):
    return tuple(x for x in tree_leaves(arguments) if torch.is_tensor(x))


def cut(tensors, count):
    """Fewer rois, boxes or locations; images are not cut."""
    return tuple(x if x.dim() == 4 else x[:count] for x in tensors)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", _ops.SCHEMAS)
def test_compiled_in_one_graph_for_all_sizes(name):
    arguments = detached(example_inputs()[name][0])
    model, tensors = Around(name, arguments), tensors_of(arguments)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*tensors), model(*tensors))
    if name in ("nms_keep", "roi_align", "roi_pool", "sigmoid_focal_loss", "paste_masks_rle"):
        fewer = cut(tensors, 3)
        with torch.compiler.set_stance("fail_on_recompile"):
            torch.testing.assert_close(compiled(*fewer), model(*fewer))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", _ops.SCHEMAS)
def test_exported(name):
    arguments = detached(example_inputs()[name][0])
    model, tensors = Around(name, arguments), tensors_of(arguments)
    exported = torch.export.export(model, tensors)
    torch.testing.assert_close(exported.module()(*tensors), model(*tensors))
    calls = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert f"centermask.{name}.default" in calls


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [each.name for each in _ops.OPERATORS if each.in_float32])
def test_autocast_computes_in_float32(name, dtype):
    arguments = detached(example_inputs()[name][0])
    halves = [x.to(dtype) if torch.is_tensor(x) and x.is_floating_point() else x for x in arguments]
    floats = [x.float() if torch.is_tensor(x) and x.is_floating_point() else x for x in halves]
    operator = getattr(OPS, name)
    with torch.autocast("cpu", dtype):
        results = operator(*halves)
    torch.testing.assert_close(results, operator(*floats))
