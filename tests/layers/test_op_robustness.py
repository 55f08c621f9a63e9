"""Whatever an operator is called with: the twin's result, or both name the argument refused."""

import re

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._pytree import tree_leaves

from maskrcnn_benchmark.layers import _ops, ops_status
from tests.layers.op_fuzz import ARGUMENTS, OPERATORS, Source, names_of_arguments
from tests.layers.op_spoil import spoil

OPS = torch.ops.centermask
# What is rounded to integers may fall to either side of a half.
ROUNDED = {
    "conv_tower": 5e-3,
    "winograd_conv3x3_int16": 5e-3,
    "pointwise_conv_int16": 5e-3,
    "inverted_residual_int16": 5e-3,
}

needs_library = pytest.mark.skipif(not ops_status().compiled, reason=ops_status().reason)
examples = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
many_examples = settings(examples, max_examples=300)


def outcome(name, arguments):
    """The result, or the error that the operator raised."""
    try:
        return getattr(OPS, name)(*arguments)
    except (RuntimeError, ValueError) as error:
        return error


def spoilt_device(arguments):
    return any(torch.is_tensor(x) and x.is_meta for x in tree_leaves(arguments))


def assert_names_an_argument(name, error):
    named = "|".join(names_of_arguments(name))
    assert re.search(rf"\b({named})\b", str(error)), f"{type(error).__name__}: {error}"


def call_and_compare(name, arguments, capfd):
    actual = outcome(name, arguments)
    if isinstance(actual, Exception):
        assert_names_an_argument(name, actual)
        assert capfd.readouterr() == ("", "")
        if not spoilt_device(arguments):
            with pytest.raises((ValueError, RuntimeError)) as caught:
                OPERATORS[name].reference(*arguments)
            assert_names_an_argument(name, caught.value)
        return
    if spoilt_device(arguments):
        return  # every tensor is: a result without values
    expected = OPERATORS[name].reference(*arguments)
    dtypes = {x.dtype for x in tree_leaves(arguments) if torch.is_tensor(x)}
    rtol = 1e-4 if torch.float32 in dtypes else 1e-9
    rtol = ROUNDED.get(name, rtol)
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=rtol, equal_nan=True)


def run(data, name, capfd):
    source = Source(data.draw)
    arguments = ARGUMENTS[name](source)
    if source.choice(True, False):
        spoil(source, arguments)
    call_and_compare(name, arguments, capfd)


def test_every_operator_is_called():
    assert set(ARGUMENTS) == {operator.name for operator in _ops.OPERATORS}


@needs_library
@pytest.mark.parametrize("name", ARGUMENTS)
@given(data=st.data())
@examples
def test_random_calls(name, data, capfd):
    run(data, name, capfd)


@needs_library
@pytest.mark.slow
@pytest.mark.parametrize("name", ARGUMENTS)
@given(data=st.data())
@many_examples
def test_many_random_calls(name, data, capfd):
    run(data, name, capfd)
