"""The web application: a page, what it asks for, and the predictions."""

import asyncio
import base64
import hashlib
import logging
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Protocol

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from centermask_runtime.outputs import Found
from centermask_runtime.palette import class_colour
from maskrcnn_benchmark import __version__
from maskrcnn_benchmark.serve.limits import Limits
from maskrcnn_benchmark.serve.photo_upload import decode_photo, receive_photo

logger = logging.getLogger(__name__)

PAGE: Final = Path(__file__).with_name("page.html")
_RETRY_SECONDS: Final = "2"


class Model(Protocol):
    """What is served: ``Predictor``, or another with its attributes."""

    class_names: Any
    class_ids: Any
    score_threshold: float

    def __call__(self, image: Image.Image, /) -> Found:
        """What is found on an RGB photo, in px of it."""
        ...


class Service:
    """Looks at the photos of requests, one at a time.

    Args:
        model: what looks.
        limits: what is taken.
    """

    def __init__(self, model: Model, limits: Limits) -> None:
        self._model = model
        self._limits = limits
        self._num_requests = 0
        # One thread: a model keeps state while it runs, and two at a time would not be faster.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")

    async def predict(self, request: Request) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            HTTPException: 503, too many others wait; 504, it took too long; what
                ``receive_photo`` and ``decode_photo`` raise.
        """
        if self._num_requests >= self._limits.num_requests:
            headers = {"Retry-After": _RETRY_SECONDS}
            raise HTTPException(503, "busy: too many requests are waiting", headers)
        self._num_requests += 1
        try:
            return await asyncio.wait_for(self._answer(request), self._limits.seconds)
        except (TimeoutError, asyncio.TimeoutError):
            raise HTTPException(504, "not received or not answered in time") from None
        except ClientDisconnect:
            raise HTTPException(400, "the connection ended within the request") from None
        except HTTPException:
            raise
        except Exception as error:
            logger.exception("A request failed")
            raise HTTPException(500, f"failed: {type(error).__name__}") from error
        finally:
            self._num_requests -= 1

    async def _answer(self, request: Request) -> dict[str, Any]:
        # On the disk, as many may wait.
        with tempfile.TemporaryDirectory(prefix="centermask-") as folder:
            path = Path(folder, "photo")
            receiving = receive_photo(request, self._limits, path)
            await asyncio.wait_for(receiving, self._limits.upload_seconds)
            loop = asyncio.get_running_loop()
            # Given up while it waits for its turn, it never gets one.
            return await loop.run_in_executor(self._thread, self._look, path)

    def _look(self, path: Path) -> dict[str, Any]:
        image = decode_photo(path, self._limits)
        start = perf_counter()
        found = self._model(image).above(0.0)
        rles = found.encode() if found.has_masks else [None] * len(found)
        return {
            "width": image.width,
            "height": image.height,
            "score_threshold": self._model.score_threshold,
            "seconds": perf_counter() - start,
            "objects": [
                {
                    "name": one.name,
                    "label": one.label,
                    "category_id": one.category_id,
                    "score": one.score,
                    "box": one.box,
                    "segmentation": rle,
                }
                for one, rle in zip(found, rles, strict=True)
            ],
        }


def make_app(model: Model, name: str, limits: Limits, hosts: tuple[str, ...]) -> FastAPI:
    """The application that serves a model.

    Args:
        model: what is served.
        name: what it is called on the page.
        limits: what is taken.
        hosts: names under which it may be asked for; ``("*",)`` allows all.
    """
    # FastAPI's own pages load scripts from elsewhere.
    app = FastAPI(title="CenterMask", version=__version__, docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))
    service = Service(model, limits)
    page = PAGE.read_text(encoding="utf-8")
    headers = {
        "Content-Security-Policy": content_policy(page),
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
    }
    about = {
        "model": name,
        "version": __version__,
        "score_threshold": model.score_threshold,
        "classes": [
            {"label": label, "name": named, "colour": class_colour(label)}
            for label, named in model.class_names.items()
        ],
        "max_bytes": limits.num_bytes,
        "max_pixels": limits.num_pixels,
    }

    @app.get("/", response_class=HTMLResponse)
    async def show_page() -> HTMLResponse:
        return HTMLResponse(page, headers=headers)

    @app.get("/about")
    async def tell_about() -> dict[str, Any]:
        return about

    @app.post("/predict")
    async def predict(request: Request) -> JSONResponse:
        return JSONResponse(await service.predict(request))

    return app


def content_policy(page: str) -> str:
    """The policy that lets a browser run the page's own script, and ask nobody but us."""
    hashes = {
        kind: " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
            for text in re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        )
        for kind in ("script", "style")
    }
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "connect-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
