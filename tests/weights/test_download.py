import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskrcnn_benchmark.weights import download as model_zoo
from maskrcnn_benchmark.weights.download import cache_dir, cache_url, cached_name
from maskrcnn_benchmark.weights.load_report import CheckpointError

CONTENT = bytes(range(256)) * 20
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT under every name, with what a name says goes wrong."""

    def do_GET(self) -> None:
        self.server.requested.append(self.path)
        if "gone" in self.path:
            self.send_error(404)
            return
        body = b"<!doctype html><p>Log in first" if "login" in self.path else CONTENT
        self.send_response(200)
        if "unsized" not in self.path:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if "broken" in self.path else body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.requested = []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CENTERMASK_CACHE", str(tmp_path / "cache"))
    # A proxy of this machine cannot reach its own servers.
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "cache"


def _url(server: http.server.HTTPServer, name: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{name}"


def test_the_cache_is_in_the_home_folder_unless_said_otherwise(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CENTERMASK_CACHE", "/big/disk")
    assert cache_dir() == Path("/big/disk")
    monkeypatch.setenv("CENTERMASK_CACHE", "")
    assert cache_dir() == Path.home() / ".cache" / "centermask"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://host/a/R-50.pkl", "R-50.pkl"),
        ("https://host/s/x/vovnet39_ese.pth?dl=1", "vovnet39_ese.pth"),
        ("https://host/s/x/download#mobilenet_v2-ecbe2b5.pth", "mobilenet_v2-ecbe2b5.pth"),
        ("https://host/a%20b/my%20model.pth", "my model.pth"),
        ("https://host/x#../../evil.pth", "evil.pth"),
        (
            "https://host/detectron/358/e2e.yaml/coco%3Aminival/model_final.pkl",
            "detectron_358_e2e.yaml_coco%3Aminival_model_final.pkl",
        ),
    ],
)
def test_names_in_the_cache(url: str, name: str):
    assert cached_name(url) == name


@pytest.mark.parametrize("url", ["https://host/", "ftp://host/a.pth", "https://host"])
def test_a_url_that_names_no_file_is_refused(url: str):
    with pytest.raises(CheckpointError, match=r"names no file|expected a URL"):
        cached_name(url)


@pytest.mark.parametrize("name", ["w.pth", "unsized.pth", f"w-{DIGEST[:8]}.pth"])
def test_a_file_is_downloaded_once(name: str, server, cache: Path):
    for _ in range(2):
        path = cache_url(_url(server, name))
        assert path == str(cache / name)
        assert Path(path).read_bytes() == CONTENT
    assert server.requested == [f"/{name}"]
    assert list(cache.iterdir()) == [cache / name]


def test_another_folder_can_be_asked_for(server, tmp_path: Path):
    path = cache_url(_url(server, "w.pth"), tmp_path / "mine", progress=False)
    assert path == str(tmp_path / "mine" / "w.pth")


def test_file_urls_work_without_a_network(tmp_path: Path, cache: Path):
    source = tmp_path / "w.pth"
    source.write_bytes(CONTENT)
    assert Path(cache_url(source.as_uri())).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone.pth", "the server answered 404 Not Found"),
        ("broken.pth", f"the connection broke after 1000 of {len(CONTENT)} bytes"),
        ("login.pth", "the server sent a web page instead of the file"),
    ],
)
def test_a_failed_download_leaves_nothing_and_says_what_to_do(name, reason, server, cache: Path):
    with pytest.raises(CheckpointError) as error:
        cache_url(_url(server, name))
    message = str(error.value)
    assert f"cannot download {_url(server, name)}: {reason}" in message
    assert f"put it at {cache / name}" in message
    assert "MODEL.WEIGHT" in message
    assert not cache.exists() or list(cache.iterdir()) == []


def test_a_server_that_does_not_answer_is_an_error(cache: Path):
    # Port 9 (discard) is not served here.
    with pytest.raises(CheckpointError, match=r"cannot download .* refused"):
        cache_url("http://127.0.0.1:9/w.pth")


def test_a_wrong_hash_leaves_nothing(server, cache: Path):
    with pytest.raises(CheckpointError, match="0123abcd"):
        cache_url(_url(server, "w-0123abcd.pth"))
    assert list(cache.iterdir()) == []


def test_a_cached_file_with_a_wrong_hash_is_not_used(server, cache: Path):
    name = f"w-{DIGEST[:8]}.pth"
    cache.mkdir()
    (cache / name).write_bytes(b"half")
    with pytest.raises(CheckpointError, match=rf"{name}.*{DIGEST[:8]}"):
        cache_url(_url(server, name))


@pytest.mark.parametrize("name", ["R-50.pth", "model-20191224.pth", "v2-final.pth", "a-12345.pth"])
def test_what_is_no_hash_is_not_checked(name: str, server, cache: Path):
    assert cache_url(_url(server, name)) == str(cache / name)


def test_seven_digits_of_a_hash_are_checked(server, cache: Path):
    # The published MobileNetV2's name carries seven.
    url = _url(server, f"download#mobilenet_v2-{DIGEST[:7]}.pth")
    assert Path(cache_url(url)).name == f"mobilenet_v2-{DIGEST[:7]}.pth"
    with pytest.raises(CheckpointError, match="ecbe2b5"):
        cache_url(_url(server, "download#mobilenet_v2-ecbe2b5.pth"))


def test_other_processes_wait_for_the_first(server, cache: Path, monkeypatch: pytest.MonkeyPatch):
    def first_process_downloads() -> None:
        cache.mkdir()
        (cache / "w.pth").write_bytes(CONTENT)

    monkeypatch.setattr(model_zoo, "is_main_process", lambda: False)
    monkeypatch.setattr(model_zoo, "synchronize", first_process_downloads)
    assert Path(cache_url(_url(server, "w.pth"))).read_bytes() == CONTENT
    assert server.requested == []


def test_a_failure_of_the_first_process_does_not_block_the_others(
    server, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    waited = []
    monkeypatch.setattr(model_zoo, "synchronize", lambda: waited.append(True))
    with pytest.raises(CheckpointError, match="404"):
        cache_url(_url(server, "gone.pth"))
    assert waited == [True]
