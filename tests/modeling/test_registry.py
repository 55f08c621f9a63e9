import functools

import pytest

from maskrcnn_benchmark.config import ConfigError
from maskrcnn_benchmark.modeling import detector, registry  # noqa: F401  # the detector enters all parts
from maskrcnn_benchmark.modeling.registry import PartRegistry, accepts


@pytest.fixture
def heads() -> PartRegistry:
    return PartRegistry("head (MODEL.HEAD)", ("cfg", "in_channels", "spec"))


class TakesThree:
    def __init__(self, cfg, in_channels, spec):
        self.got = (cfg, in_channels, spec)


def of_the_original(cfg, in_channels):
    return (cfg, in_channels)


def with_its_own_option(cfg, in_channels, depth=4):
    return (cfg, in_channels, depth)


def with_an_optional_spec(cfg, in_channels, spec=None):
    return (cfg, in_channels, spec)


def that_demands_a_third(cfg, in_channels, num_things):
    return (cfg, in_channels, num_things)


@pytest.mark.parametrize(
    ("builder", "got"),
    [
        (lambda: (), ()),
        (lambda cfg: (cfg,), ("cfg",)),
        (of_the_original, ("cfg", 8)),
        (with_its_own_option, ("cfg", 8, 4)),
        (with_an_optional_spec, ("cfg", 8, "spec")),
        (that_demands_a_third, ("cfg", 8, "spec")),
        (lambda *anything: anything, ("cfg", 8, "spec")),
        (lambda cfg, in_channels, *, depth=4: (cfg, in_channels, depth), ("cfg", 8, 4)),
        (functools.partial(with_its_own_option, depth=5), ("cfg", 8, 5)),
        (functools.partial(with_an_optional_spec, spec=5), ("cfg", 8, 5)),
    ],
)
def test_builders_get_the_arguments_that_they_know(heads, builder, got):
    heads.register("Part", builder)
    assert heads.build("Part", "cfg", 8, "spec") == got
    assert heads["Part"] is builder


def test_a_class_is_a_builder_of_its_objects(heads):
    assert heads.register("Part")(TakesThree) is TakesThree
    assert heads.build("Part", "cfg", 8, "spec").got == ("cfg", 8, "spec")


def test_a_builder_that_demands_more_is_no_builder_of_such_parts(heads):
    heads.register("Part", lambda cfg, in_channels, spec, depth: None)
    with pytest.raises(TypeError, match="depth"):
        heads.build("Part", "cfg", 8, "spec")


def test_nothing_is_built_of_an_unknown_name(heads):
    with pytest.raises(ConfigError, match=r"head.*MODEL\.HEAD.*'Part'"):
        heads.build("Part", "cfg", 8, "spec")


def test_arguments_are_counted_without_self_and_with_defaults():
    class Part:
        def __init__(self, cfg, in_channels, num_anchors=3): ...

        def forward(self, features): ...

    assert [accepts(Part, count) for count in range(5)] == [False, False, True, True, False]
    assert accepts(Part.__init__, 4)
    part = Part(0, 0)
    assert accepts(part.forward, 1)
    assert not accepts(part.forward, 2)
    assert accepts(lambda *anything: anything, 7)


@pytest.mark.parametrize(
    "name", sorted(n for n, table in vars(registry).items() if isinstance(table, PartRegistry))
)
def test_every_registry_names_the_key_that_chooses_from_it(name):
    table = getattr(registry, name)
    assert len(table) > 0
    with pytest.raises(ConfigError, match=r"MODEL\.[A-Z_.]+\) 'nonsense'"):
        table["nonsense"]
