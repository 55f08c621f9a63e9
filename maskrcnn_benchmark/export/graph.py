"""ONNX graphs written down as expressions.

A value of a graph under construction knows its element type, so that Python's numbers take it:
``(x2 - x1 + 1) * height`` adds three nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any, Final

import numpy as np
import onnx
from onnx import helper, numpy_helper

from maskrcnn_benchmark.export.formats import OPSET

Scalar = int | float | bool
Array = np.ndarray[Any, Any]

_IR_VERSION: Final = 9
"""The oldest of these that knows the opset: older runtimes refuse newer ones."""


class Value:
    """A value of a graph.

    Args:
        graph: in which it is computed.
        name: of it there.
        dtype: of its elements.
    """

    def __init__(self, graph: Graph, name: str, dtype: np.dtype[Any]) -> None:
        self.graph = graph
        self.name = name
        self.dtype = dtype

    def __add__(self, other: Value | Scalar) -> Value:
        return self.graph.op("Add", self, other)

    def __sub__(self, other: Value | Scalar) -> Value:
        return self.graph.op("Sub", self, other)

    def __rsub__(self, other: Value | Scalar) -> Value:
        return self.graph.op("Sub", other, self, dtype=self.dtype)

    def __mul__(self, other: Value | Scalar) -> Value:
        return self.graph.op("Mul", self, other)

    def __truediv__(self, other: Value | Scalar) -> Value:
        """The quotient; of whole numbers that are not negative it is cut to a whole number."""
        return self.graph.op("Div", self, other)

    def __rtruediv__(self, other: Value | Scalar) -> Value:
        return self.graph.op("Div", other, self, dtype=self.dtype)

    def __mod__(self, other: Value | Scalar) -> Value:
        return self.graph.op("Mod", self, other)

    def __gt__(self, other: Value | Scalar) -> Value:
        return self.graph.op("Greater", self, other, dtype=np.bool_)

    def __ge__(self, other: Value | Scalar) -> Value:
        return self.graph.op("GreaterOrEqual", self, other, dtype=np.bool_)

    def __lt__(self, other: Value | Scalar) -> Value:
        return self.graph.op("Less", self, other, dtype=np.bool_)

    def equals(self, other: Value | Scalar) -> Value:
        """Where the two are equal."""
        return self.graph.op("Equal", self, other, dtype=np.bool_)

    def to(self, dtype: Any) -> Value:  # noqa: ANN401 - anything that NumPy takes for a type
        """The same in another type."""
        kind = np.dtype(dtype)
        if kind == self.dtype:
            return self
        return self.graph.op("Cast", self, dtype=kind, to=helper.np_dtype_to_tensor_dtype(kind))

    def reshape(self, *shape: int) -> Value:
        """With other dimensions; one may be -1, and 0 keeps what is there."""
        return self.graph.op("Reshape", self, self.graph.constant(shape, np.int64))

    def take(self, indices: Value | Sequence[int] | int, axis: int = 0) -> Value:
        """Entries along an axis, which a single number takes away."""
        if not isinstance(indices, Value):
            indices = self.graph.constant(indices, np.int64)
        return self.graph.op("Gather", self, indices, axis=axis)

    def clamp(self, least: Value | Scalar | None, most: Value | Scalar | None = None) -> Value:
        """Limited to a range."""
        result = self
        if least is not None:
            result = self.graph.op("Max", result, least)
        return result if most is None else self.graph.op("Min", result, most)

    def size(self, axis: int) -> Value:
        """The length of a dimension, an int64 scalar."""
        return self.graph.op("Shape", self, dtype=np.int64).take(axis)


class Graph:
    """An ONNX graph under construction.

    Args:
        narrow: it is for a runtime that computes whole numbers as 32-bit floats (OpenVINO).
    """

    def __init__(self, *, narrow: bool = False) -> None:
        self.narrow = narrow
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Value] = {}
        self._initializers: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._numbers = count()

    def input(self, name: str, dtype: Any, shape: Sequence[int | str | None] | None) -> Value:  # noqa: ANN401 - as NumPy has it
        """An input; text in a shape names a length that is open."""
        kind = np.dtype(dtype)
        element = helper.np_dtype_to_tensor_dtype(kind)
        self._inputs.append(helper.make_tensor_value_info(name, element, shape))
        return Value(self, name, kind)

    def output(self, name: str, value: Value, shape: Sequence[int | str | None] | None) -> None:
        """Make the value an output of this name."""
        self._nodes.append(helper.make_node("Identity", [value.name], [name]))
        element = helper.np_dtype_to_tensor_dtype(value.dtype)
        self._outputs.append(helper.make_tensor_value_info(name, element, shape))

    def constant(self, content: Any, dtype: Any) -> Value:  # noqa: ANN401 - as NumPy has it
        """A constant; equal ones are one."""
        array = np.asarray(content, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._initializer(f"constant_{next(self._numbers)}", array)
        return self._constants[key]

    def _initializer(self, name: str, array: Array) -> Value:
        self._initializers.append(numpy_helper.from_array(array, name))
        return Value(self, name, array.dtype)

    def op(
        self,
        kind: str,
        *inputs: Value | Scalar | None,
        dtype: Any = None,  # noqa: ANN401 - as NumPy has it
        **attributes: Any,
    ) -> Value:
        """The only result of a node.

        Args:
            kind: of the operator.
            inputs: None: one that is left out; numbers take the type of the first value.
            dtype: of the result; None: of the first value.
            attributes: of the node.
        """
        first = next(value for value in inputs if isinstance(value, Value))
        result = np.dtype(dtype or first.dtype)
        return self.ops(kind, inputs, (result,), **attributes)[0]

    def ops(
        self,
        kind: str,
        inputs: Sequence[Value | Scalar | None],
        dtypes: Sequence[Any],
        **attributes: Any,
    ) -> tuple[Value, ...]:
        """The results of a node, of these types."""
        first = next(value for value in inputs if isinstance(value, Value))
        names = [
            ""
            if value is None
            else (value if isinstance(value, Value) else self.constant(value, first.dtype)).name
            for value in inputs
        ]
        results = [
            Value(self, f"{kind.lower()}_{next(self._numbers)}", np.dtype(each)) for each in dtypes
        ]
        node = helper.make_node(kind, names, [each.name for each in results], **attributes)
        self._nodes.append(node)
        return tuple(results)

    def concat(self, values: Sequence[Value], axis: int = 0) -> Value:
        """The values, one after the other."""
        return values[0] if len(values) == 1 else self.op("Concat", *values, axis=axis)

    def where(self, condition: Value, value: Value, other: Value | Scalar) -> Value:
        """The value where the condition holds, elsewhere the other."""
        if not isinstance(other, Value):
            other = self.constant(other, value.dtype)
        return self.op("Where", condition, value, other, dtype=value.dtype)

    def range(self, stop: Value) -> Value:
        """0, 1, ... below an int64 scalar."""
        return self.op("Range", self.constant(0, np.int64), stop, self.constant(1, np.int64))

    def nonzero(self, condition: Value) -> Value:
        """Ascending indices of what holds in a vector."""
        return self.op("NonZero", condition, dtype=np.int64).reshape(-1)

    def top(self, values: Value, number: Value) -> tuple[Value, Value]:
        """The greatest values of a vector with their indices, best first; of equal ones the first.

        Args:
            values: (n,).
            number: int64 scalar, at most n.
        """
        best, indices = self.ops("TopK", (values, number.reshape(1)), (values.dtype, np.int64))
        return best, indices

    def repeat(
        self, times: Value, start: Value, step: Callable[[Graph, Value, Value], Value]
    ) -> Value:
        """What becomes of a value by so many steps (graph of the step, number, value) -> value."""
        body, number = self._body()
        state = body.input(f"state_{next(self._numbers)}", start.dtype, None)
        result = step(body, number, state)
        body.output(f"state_{next(self._numbers)}", result, None)
        loop = body._proto("step")
        return self.op(
            "Loop", times, self.constant(True, np.bool_), start, dtype=start.dtype, body=loop
        )

    def each(
        self,
        times: Value,
        step: Callable[[Graph, Value], Sequence[Value]],
        results: Sequence[tuple[Any, Sequence[int]]],
    ) -> tuple[Value, ...]:
        """What each of so many steps (graph of the step, number) -> values gives, stacked.

        Args:
            times: int64 scalar.
            step: takes values of this graph by operators of its own alone.
            results: type and shape of its values.
        """
        body, number = self._body()
        for value, (dtype, shape) in zip(step(body, number), results, strict=True):
            assert value.dtype == np.dtype(dtype)
            body.output(f"each_{next(self._numbers)}", value, shape)
        dtypes = [dtype for dtype, _ in results]
        goes_on = self.constant(True, np.bool_)
        return self.ops("Loop", (times, goes_on), dtypes, body=body._proto("step"))

    def _body(self) -> tuple[Graph, Value]:
        """The graph of the steps of a loop, which never ends early, and the number of the step."""
        body = Graph(narrow=self.narrow)
        body._numbers = self._numbers  # names of values are unique over both
        number = body.input(f"step_{next(self._numbers)}", np.int64, ())
        goes_on = body.input(f"goes_on_{next(self._numbers)}", np.bool_, ())
        body.output(f"goes_on_{next(self._numbers)}", goes_on, ())
        return body, number

    def inline(self, model: onnx.ModelProto, inputs: Sequence[Value], prefix: str) -> list[Value]:
        """The outputs of another model, whose nodes become nodes of this graph.

        Args:
            model: without functions of its own, of the same opset.
            inputs: for those of the model, in their order.
            prefix: of the names of its values here.
        """
        inner = model.graph
        names = {given.name: value.name for given, value in zip(inner.input, inputs, strict=True)}
        names[""] = ""

        def renamed(name: str) -> str:
            return names.setdefault(name, f"{prefix}.{name}")

        for tensor in inner.initializer:
            copied = onnx.TensorProto()
            copied.CopyFrom(tensor)
            copied.name = renamed(tensor.name)
            self._initializers.append(copied)
        for node in inner.node:
            copied_node = onnx.NodeProto()
            copied_node.CopyFrom(node)
            copied_node.name = ""
            copied_node.input[:] = map(renamed, node.input)
            copied_node.output[:] = map(renamed, node.output)
            del copied_node.metadata_props[:]
            self._nodes.append(copied_node)
        return [
            Value(
                self,
                renamed(each.name),
                helper.tensor_dtype_to_np_dtype(each.type.tensor_type.elem_type),
            )
            for each in inner.output
        ]

    def _proto(self, name: str) -> onnx.GraphProto:
        return helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, initializer=self._initializers
        )

    def model(self, name: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """The whole as a model.

        Args:
            name: of the graph.
            metadata: texts that stand in the file.
        """
        used = _names_used(self._nodes)
        self._initializers = [each for each in self._initializers if each.name in used]
        model = helper.make_model(
            self._proto(name),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="centermask",
        )
        helper.set_model_props(model, metadata)
        return model


def _names_used(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    """What some nodes take, and those of the graphs inside them."""
    names: set[str] = set()
    for node in nodes:
        names.update(node.input)
        for attribute in node.attribute:
            names |= _names_used(attribute.g.node)
    return names
