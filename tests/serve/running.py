"""A server in this process, on a port of its own, and plain requests to it."""

import http.client
import io
import json
import threading
from contextlib import contextmanager
from typing import NamedTuple

from PIL import Image

from maskrcnn_benchmark.serve.app import make_app
from maskrcnn_benchmark.serve.limits import Limits
from maskrcnn_benchmark.serve.server import allowed_hosts, make_server, open_socket
from tests.prediction.small_model import SmallModel

HOST = "127.0.0.1"
BOUNDARY = "b0undary"


class Answer(NamedTuple):
    status: int
    content: dict


@contextmanager
def running(model=None, **limits):
    """The port of a server that runs while the block does."""
    listening = open_socket(HOST, 0)
    app = make_app(model or SmallModel(), "small.pth", Limits(**limits), allowed_hosts(HOST))
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def ask(port, method, path, body=None, headers=None, timeout=60):
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    is_json = response.getheader("content-type") == "application/json"
    return Answer(response.status, json.loads(content) if is_json else {"text": content.decode()})


def photo_bytes(size_wh=(40, 30), kind="PNG"):
    buffer = io.BytesIO()
    Image.effect_noise(size_wh, 60).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def form(*files, name="file"):
    """Body and headers of a form with files."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="a.png"\r\n\r\n'
    ).encode()
    body = b"".join(head + content + b"\r\n" for content in files)
    body += f"--{BOUNDARY}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def predict(port, content):
    return ask(port, "POST", "/predict", *form(content))
