"""The dense part in another program: what goes in and comes out is what the detector expects."""

import copy

import pytest
import torch

from benchmarks.gpu.scenes import Scene, make_images, make_model, read_settings
from benchmarks.int8 import DensePart, put_in, quantise, translate

CPU = torch.device("cpu")
CONFIG = "quickstart/centermask_lite_M_v2_FPN_quickstart"


@pytest.fixture
def images():
    return make_images(Scene(CONFIG, (64, 96)), CPU)


@pytest.fixture
def model(images):
    cfg = read_settings(CONFIG, CPU)
    cfg.merge_from_list(["MODEL.FCOS.INFERENCE_TH", 0.0, "TEST.DETECTIONS_PER_IMG", 10])
    return make_model(cfg, images, CPU).eval()


@torch.no_grad()
def test_a_detector_finds_the_same_through_its_own_dense_part(model, images):
    expected = model(images)[0]
    put_in(model, DensePart(copy.deepcopy(model)).eval())
    found = model(images)[0]
    assert len(found) > 0
    assert torch.equal(found.bbox, expected.bbox)
    assert torch.equal(found.labels, expected.labels)


@pytest.mark.slow
def test_eight_bits_are_near(model, images):
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    from benchmarks.int8 import Compiled

    graph = translate(model)
    with torch.no_grad():
        expected = DensePart(model).eval()(images.tensors)
    for dense, near in (
        (Compiled(graph, "f32"), 1e-3),
        (Compiled(quantise(graph, [images.tensors]), "f32"), 0.2),
    ):
        for mine, reference in zip(dense(images.tensors), expected, strict=True):
            assert (mine - reference).norm() <= near * reference.norm()
