import pytest

from maskrcnn_benchmark.config.coerce import coerce, decode
from maskrcnn_benchmark.config.errors import ConfigError


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("(0.125, 0.0625)", (0.125, 0.0625)),
        ('("coco_2014_minival",)', ("coco_2014_minival",)),
        ("1e5", 1e5),
        ("True", True),
        ("None", None),
        ("R-50-C4", "R-50-C4"),
        ("a/b.pth", "a/b.pth"),
        ("{[]: 1}", "{[]: 1}"),
        ("(" * 500, "(" * 500),
        (3, 3),
        ([1], [1]),
    ],
)
def test_decode_reads_literals_and_leaves_the_rest(raw, expected):
    assert decode(raw) == expected
    assert type(decode(raw)) is type(expected)


@pytest.mark.parametrize(
    ("raw", "default", "expected"),
    [
        # strings stay what was written, quotes of a literal aside
        ("R-50-C4", "", "R-50-C4"),
        ("123", "", "123"),
        ("1e5", "", "1e5"),
        ('"quoted"', "", "quoted"),
        ("''", "x", ""),
        ("'", "", "'"),
        ("'a'.b", "", "'a'.b"),
        ('{"a": 1}', "", '{"a": 1}'),
        (None, "x", ""),
        # flags
        (True, False, True),
        ("False", True, False),
        ("true", False, True),
        # whole numbers
        (90000, 1, 90000),
        ("90000", 1, 90000),
        ("9e4", 1, 90000),
        (9e4, 1, 90000),
        (-1, 0, -1),
        # any number
        (1, 0.5, 1.0),
        ("1e-4", 0.5, 1e-4),
        (0.25, 0.5, 0.25),
        # sequences take the kind of the default
        ("(1, 2)", (3,), (1, 2)),
        ([1, 2], (3,), (1, 2)),
        ((1.0, 2), [3.0], [1.0, 2]),
        ("[1, 2]", [0.0], [1, 2]),
        (["1e3", 2], (3,), (1e3, 2)),
        (["False", True], (True,), (False, True)),
        ([[-1, 64], [64, 128]], [[0, 1]], [[-1, 64], [64, 128]]),
        (["a", "b"], (), ("a", "b")),
        ("()", (1,), ()),
        (None, (1,), ()),
        (None, [], []),
    ],
)
def test_coerce_gives_values_of_the_type_of_the_default(raw, default, expected):
    result = coerce(raw, default, "SOME.KEY")
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("raw", "default", "expected_text"),
    [
        (3, "", "string.* 3"),
        (1, False, "True or False.* 1"),
        ("yes", False, "True or False.*'yes'"),
        (None, False, "True or False.*None"),
        (True, 1, "number.*True"),
        ("many", 1, "number.*'many'"),
        (None, 0.5, "number.*None"),
        ([1.0], 0.5, r"number.*\[1.0\]"),
        (1.5, 1, "whole number.*1.5"),
        (float("inf"), 1, "whole number.*inf"),
        (800, (800,), r"\(800,\).* 800"),
        ({"a": 1}, (800,), r"\(800,\).*dict"),
        ((1, "x"), (800,), "number.*'x'"),
        ((1, True), (800,), "number.*True"),
        ((1, True), (False,), "True or False.* 1"),
    ],
)
def test_coerce_refuses_values_that_do_not_fit(raw, default, expected_text):
    with pytest.raises(ConfigError, match=rf"SOME\.KEY.*{expected_text}"):
        coerce(raw, default, "SOME.KEY")


@pytest.mark.parametrize("raw", [640, "640", (640,), "(640,)"])
def test_one_training_size_may_stand_alone(raw):
    """Old scripts write INPUT.MIN_SIZE_TRAIN 640."""
    assert coerce(raw, (800,), "INPUT.MIN_SIZE_TRAIN") == (640,)


def test_sizes_of_anchors_may_be_nested():
    key = "MODEL.RPN.ANCHOR_SIZES"
    assert coerce("((32, 45), [64, 90])", (32, 64), key) == ((32, 45), (64, 90))
    assert coerce([[32], 64], (32, 64), key) == ((32,), 64)
    with pytest.raises(ConfigError, match=f"{key}.*'x'"):
        coerce(((32, "x"),), (32, 64), key)
    with pytest.raises(ConfigError, match=r"OTHER\.KEY.*tuple"):
        coerce(((32,),), (32, 64), "OTHER.KEY")


def test_a_forgotten_comma_is_pointed_out():
    with pytest.raises(ConfigError, match=r'DATASETS\.TEST.*\("name",\)'):
        coerce('("coco_2014_minival")', (), "DATASETS.TEST")


@pytest.mark.parametrize("name", ["BIAS_LR_FACTOR", "WEIGHT_DECAY_BIAS", "STRADDLE_THRESH"])
def test_numbers_whose_default_happens_to_be_whole_take_fractions(name):
    assert coerce("0.0001", 0, f"SECTION.{name}") == 0.0001
    assert type(coerce(2.0, 2, f"SECTION.{name}")) is int


@pytest.mark.parametrize(
    ("raw", "expected"),
    [("auto", "auto"), ("True", True), (False, False), ("true", True)],
)
def test_some_flags_may_be_left_to_the_program(raw, expected):
    assert coerce(raw, "auto", "MODEL.CHANNELS_LAST") == expected


def test_such_a_flag_is_nothing_else():
    with pytest.raises(ConfigError, match=r"MODEL\.CHANNELS_LAST.*True, False or 'auto'.*'NHWC'"):
        coerce("NHWC", True, "MODEL.CHANNELS_LAST")
