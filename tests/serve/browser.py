"""A headless Chromium, spoken to in the DevTools protocol through a pipe."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1280,900", "--remote-debugging-pipe"),
)
# The browser reads commands from descriptor 3 and answers on 4.
_START = """
import fcntl, os, sys
ours = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3]]
for wanted, one in zip((3, 4), ours):
    os.dup2(one, wanted)
os.execv(sys.argv[3], sys.argv[3:])
"""
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


class Browser:
    """One page of a browser.

    Attributes:
        asked: addresses that the page has asked for.
    """

    def __init__(self, to_browser, from_browser):
        self._to, self._from = to_browser, from_browser
        self._number, self._session = 0, None
        self.asked = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Network", "DOM", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        """The result of a command."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _receive(self):
        content = bytearray()
        while (one := self._from.read(1)) != b"\0":
            assert one, "the browser has ended"
            content += one
        message = json.loads(content)
        if message.get("method") == "Network.requestWillBeSent":
            self.asked.append(message["params"]["request"]["url"])
        return message

    def evaluate(self, expression):
        """What a JavaScript expression gives; promises are waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression, seconds=60):
        """Wait until a JavaScript expression is true."""
        condition = f"""new Promise((done, fail) => {{
            const end = Date.now() + {seconds * 1000};
            const look = () => ({expression}) ? done(true)
                : Date.now() > end ? fail(new Error("never: " + {json.dumps(expression)}))
                : setTimeout(look, 20);
            look();
        }})"""
        self.evaluate(condition)

    def open(self, url):
        self.call("Page.navigate", url=url)

    def choose_files(self, selector, *paths):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def mouse(self, kind, x, y):
        pressed = {"button": "left", "clickCount": 1} if kind != "mouseMoved" else {}
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed)

    def click(self, x, y):
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.mouse(kind, x, y)

    def place(self, expression):
        """Left, upper, right and lower end of an element, in px of the window."""
        return self.evaluate(
            f"(() => {{ const r = ({expression}).getBoundingClientRect();"
            "return [r.left, r.top, r.right, r.bottom]; })()"
        )

    def click_on(self, expression):
        left, top, right, bottom = self.place(expression)
        self.click((left + right) / 2, (top + bottom) / 2)

    def save_screenshot(self, path):
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))


@contextmanager
def browser(folder):
    """A browser with a new profile; what it downloads lands in ``folder / "downloads"``."""
    down_read, down_write = os.pipe()
    up_read, up_write = os.pipe()
    flags = [*FLAGS, f"--user-data-dir={folder / 'profile'}"]
    process = subprocess.Popen(
        [sys.executable, "-c", _START, str(down_read), str(up_write), CHROMIUM, *flags],
        pass_fds=(down_read, up_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(down_read)
    os.close(up_write)
    with os.fdopen(down_write, "wb") as to_browser, os.fdopen(up_read, "rb") as from_browser:
        try:
            page = Browser(to_browser, from_browser)
            downloads = str(folder / "downloads")
            page.call("Page.setDownloadBehavior", behavior="allow", downloadPath=downloads)
            yield page
        finally:
            process.terminate()
            process.wait()


def wait_for_files(folder, *names, seconds=60):
    """Wait until a folder has files of these names."""
    end = time.monotonic() + seconds
    while not all((folder / name).is_file() for name in names):
        assert time.monotonic() < end, f"never there: {names}"
        time.sleep(0.02)
