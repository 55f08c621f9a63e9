import http.client
import io
import random
import socket
import struct
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from centermask_runtime import Predictor
from maskrcnn_benchmark.cli import main
from maskrcnn_benchmark.cli.serve import main as serve
from maskrcnn_benchmark.config.errors import ConfigError, MissingPackageError
from maskrcnn_benchmark.serve.server import allowed_hosts, is_loopback, open_socket
from tests.centermask_runtime.small_export import expected_coco, metadata, write_export
from tests.prediction.small_model import SmallModel, find
from tests.serve.running import HOST, ask, form, photo_bytes, predict, running

# Starlette leaves the file of a form that breaks off to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:Unclosed file:ResourceWarning")


@pytest.fixture(scope="module")
def port():
    with running(num_bytes=200_000, num_pixels=1_000_000) as port:
        yield port


def test_a_photo_is_answered_with_its_objects(port):
    status, content = predict(port, photo_bytes())
    assert status == 200
    assert (content["width"], content["height"], content["score_threshold"]) == (40, 30, 0.4)
    expected = find(Image.new("RGB", (40, 30))).above(0.0)
    assert [one["name"] for one in content["objects"]] == ["person", "cat/dog", "person"]
    assert [one["category_id"] for one in content["objects"]] == [7, 9, 7]
    np.testing.assert_allclose([one["score"] for one in content["objects"]], [0.9, 0.6, 0.2])
    np.testing.assert_allclose([one["box"] for one in content["objects"]], expected.boxes)
    masks = coco_mask.decode([one["segmentation"] for one in content["objects"]])
    np.testing.assert_array_equal(masks.transpose(2, 0, 1), expected.masks)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"])
def test_a_photo_may_be_the_whole_body_and_of_any_common_kind(port, kind):
    status, content = ask(port, "POST", "/predict", photo_bytes(kind=kind))
    assert (status, content["width"]) == (200, 40)


def test_photos_are_turned_upright(port):
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.new("RGB", (40, 30)).save(buffer, "JPEG", exif=exif)
    _, content = predict(port, buffer.getvalue())
    assert (content["width"], content["height"]) == (30, 40)


def test_the_page_asks_nobody_else(port):
    page = ask(port, "GET", "/").content["text"]
    assert "<canvas" in page
    assert "://" not in page
    assert ask(port, "GET", "/about").content["classes"][1]["name"] == "cat/dog"
    assert ask(port, "GET", "/docs").status == 404


def bomb():
    """A PNG of a few bytes that says it has 900 million pixels."""
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


REFUSED = {
    "no image": (form(b"hello"), 415),
    "a program": (form(b"%!PS-Adobe-3.0\n(x) print"), 415),
    "half a photo": (form(photo_bytes()[:60]), 415),
    "a bomb": (form(bomb()), 413),
    "too many pixels": (form(photo_bytes((1001, 1000), "JPEG")), 413),
    "too many bytes": (form(bytes(300_000)), 413),
    "nothing": ((b"", {}), 400),
    "an empty file": (form(b""), 400),
    "two files": (form(photo_bytes(), photo_bytes()), 400),
    "no file": (form(), 400),
    "a broken form": ((b"hello", form()[1]), 400),
    "a form without its boundary": ((b"hello", {"Content-Type": "multipart/form-data"}), 400),
    "another name of the host": ((photo_bytes(), {"Host": "example.com"}), 400),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_photo_is_refused_with_a_reason(port, kind):
    (body, headers), expected = REFUSED[kind]
    status, content = ask(port, "POST", "/predict", body, headers)
    assert status == expected
    assert content.get("detail") or content["text"]
    assert "/tmp" not in str(content)
    assert predict(port, photo_bytes()).status == 200


def test_a_body_without_a_length_is_limited_too(port):
    def chunks():
        for _ in range(50):
            yield bytes(10_000)

    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request("POST", "/predict", chunks(), encode_chunked=True)
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused before all of it was sent
    finally:
        connection.close()
    assert predict(port, photo_bytes()).status == 200


def test_a_failing_model_is_an_answer(port):
    def fail(image):
        if image.width == 41:
            raise RuntimeError("out of memory")

    with running(SmallModel(fail)) as port:
        assert predict(port, photo_bytes((41, 30))).status == 500
        assert predict(port, photo_bytes()).status == 200


def test_who_waits_too_long_or_in_too_long_a_queue_is_told():
    go, begun = threading.Event(), threading.Event()

    def wait(image):
        begun.set()
        assert go.wait(30)

    with running(SmallModel(wait), num_requests=2, seconds=0.5) as port:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(predict, port, photo_bytes())
            assert begun.wait(30)
            second = pool.submit(predict, port, photo_bytes())
            statuses = [first.result().status, second.result().status]
        assert statuses == [504, 504]
        go.set()
        assert predict(port, photo_bytes()).status == 200


def test_who_sends_too_slowly_does_not_keep_a_place():
    with running(num_requests=1, upload_seconds=0.3) as port:
        with socket.create_connection((HOST, port), timeout=30) as slow:
            slow.sendall(
                b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc"
            )
            assert b" 504 " in slow.recv(100)
        assert predict(port, photo_bytes()).status == 200


def test_more_requests_than_may_wait_are_told_to_come_again():
    go, begun = threading.Event(), threading.Event()

    def wait(image):
        begun.set()
        assert go.wait(30)

    with running(SmallModel(wait), num_requests=1) as port, ThreadPoolExecutor(1) as pool:
        first = pool.submit(predict, port, photo_bytes())
        assert begun.wait(30)
        assert predict(port, photo_bytes()).status == 503
        go.set()
        assert first.result().status == 200


@pytest.mark.slow
def test_200_requests_at_a_time_are_answered(port):
    photo = photo_bytes()
    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda _: predict(port, photo), range(200)))
    assert [answer.status for answer in answers] == [200] * 200
    assert all(len(answer.content["objects"]) == 3 for answer in answers)


def malformed(seed):
    """Bytes that are no request, or one of nonsense."""
    rng = random.Random(seed)
    noise, photo = rng.randbytes(rng.randrange(1, 2000)), bytearray(photo_bytes())
    for _ in range(rng.randrange(1, 30)):
        photo[rng.randrange(len(photo))] = rng.randrange(256)
    body, headers = form(rng.choice([noise, bytes(photo), bytes(photo[: len(photo) // 2])]))
    damaged = bytearray(body)
    for _ in range(rng.randrange(20)):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    length = rng.choice([len(damaged), len(damaged) + 50, 10**12, -5, "x"])
    kind = rng.choice([headers["Content-Type"], "multipart/form-data", "image/png", "\xff"])
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n"
    whole = head.encode() + b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + damaged
    return rng.choice([noise, whole, whole, whole, whole[: rng.randrange(1, len(whole))]])


def send(port, content):
    """Send bytes, and take what comes back until the server closes or a moment has passed."""
    with socket.create_connection((HOST, port), timeout=0.2) as connection:
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except OSError:
            return


@pytest.mark.slow
def test_1000_malformed_requests_do_not_harm_it(port):
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda seed: send(port, malformed(seed)), range(1000)))
    status, content = predict(port, photo_bytes())
    assert (status, len(content["objects"])) == (200, 3)


def test_some_malformed_requests_do_not_harm_it(port):
    for seed in range(25):
        send(port, malformed(seed))
    assert predict(port, photo_bytes()).status == 200


def test_addresses():
    assert all(is_loopback(host) for host in ("127.0.0.1", "localhost", "::1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "192.168.0.2", "example.com"))
    assert allowed_hosts("0.0.0.0") == ("*",)
    assert "*" not in allowed_hosts("127.0.0.1")


def test_a_port_that_is_taken_is_said():
    with open_socket(HOST, 0) as taken:
        taken.listen()
        with pytest.raises(ConfigError, match="--port"):
            open_socket(HOST, taken.getsockname()[1])


@pytest.mark.parametrize("words", [["--port", "70000"], ["--max-mb", "0"], ["--max-seconds", "-1"]])
def test_wrong_words_are_named(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["serve", "model.pth", *words])
    assert words[0] in capsys.readouterr().err


def test_without_its_packages_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r"centermask\[serve\]"):
        serve(["model.pth"])


def test_an_exported_model_is_served(tmp_path):
    exported = Predictor.from_onnx(write_export(tmp_path / "model.onnx", metadata()))
    with running(exported) as port:
        status, content = predict(port, photo_bytes())
    assert status == 200
    assert [one["name"] for one in content["objects"]] == ["cat", "dog"]
    expected = [one["segmentation"] for one in expected_coco((40, 30))]
    assert [one["segmentation"] for one in content["objects"]] == expected
