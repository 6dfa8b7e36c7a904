"""The server's routes: the page, its pictures, what it asks for, and the events that it listens to."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from importlib import resources
from typing import Any

import anyio
import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from munet_jax.runtime.errors import InputError
from munet_jax.runtime.system_errors import tell_system_error
from munet_jax.web.desk import Desk
from munet_jax.web.exporting import FILES, Exporter
from munet_jax.web.footage import as_jpeg
from munet_jax.web.map_pictures import KINDS, draw_legend, draw_map
from munet_jax.web.session import Session
from munet_jax.web.store import NotStoredError
from munet_jax.web.worker import Worker

FOR_EVER = {"cache-control": "private, max-age=31536000, immutable"}
MOST_JSON, MOST_RUNS, MOST_LABELS = 2**16, 2**25, 2**26  # bytes of a request
TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
PAGE = resources.files("munet_jax.web") / "page"
Answer = Callable[..., Any]


def create_application(desk: Desk) -> Starlette:
    """All routes; who may ask is for `Guard` to say."""
    pages = Pages(desk)
    routes = [
        Route("/", pages.page),
        Route("/page/{name}", pages.part),
        Route("/events", pages.events),
        Route("/api/state", pages.state),
        Route("/api/list", pages.listing),
        Route("/api/open", pages.open, methods=["POST"]),
        Route("/api/close", pages.close, methods=["POST"]),
        Route("/api/uploads/{name}", pages.upload, methods=["PUT"]),
        Route("/api/frames/{frame:int}", pages.frame),
        Route("/api/thumbnails/{frame:int}", pages.thumbnail),
        Route("/api/masks/{version:int}", pages.mask),
        Route("/api/before/{frame:int}", pages.before),
        Route("/api/maps/{kind}/{frame:int}", pages.map),
        Route("/api/legends/{kind}", pages.legend),
        Route("/api/strokes/{frame:int}", pages.stroke, methods=["POST"]),
        Route("/api/labels/{frame:int}", pages.labels),
        Route("/api/labels/{frame:int}", pages.import_labels, methods=["PUT"]),
        Route("/api/marks/{frame:int}", pages.unmark, methods=["DELETE"]),
        Route("/api/objects", pages.add_object, methods=["POST"]),
        Route("/api/objects/{identity:int}", pages.change_object, methods=["PATCH"]),
        Route("/api/objects/{identity:int}", pages.remove_object, methods=["DELETE"]),
        Route("/api/here/{frame:int}", pages.here, methods=["POST"]),
        Route("/api/follow", pages.follow, methods=["POST"]),
        Route("/api/stop", pages.stop, methods=["POST"]),
        Route("/api/undo", pages.undo, methods=["POST"]),
        Route("/api/redo", pages.redo, methods=["POST"]),
        Route("/api/exports", pages.export, methods=["POST"]),
        Route("/api/exports/{name}", pages.exported),
    ]
    handlers: dict[Any, Any] = {InputError: _refuse, OSError: _refuse_with_error, Exception: _refuse_with_error}
    application = Starlette(routes=routes, exception_handlers=handlers)
    application.router.redirect_slashes = False
    return application


def _refuse(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 507 if isinstance(error, NotStoredError) else 400)


def _refuse_with_error(_: Request, error: Exception) -> Response:
    told = (
        tell_system_error(error)
        if isinstance(error, OSError)
        else f"an error of the server ({type(error).__name__}: {error})"
    )
    return JSONResponse({"error": told}, 500)


async def _body(request: Request, most: int) -> bytes:
    """A request's content. Raises InputError where it has more than `most` bytes."""
    parts, taken = [], 0
    async for part in request.stream():
        taken += len(part)
        if taken > most:
            raise InputError(f"more than {most / 2**20:.0f} MiB were sent; send less")
        parts.append(part)
    return b"".join(parts)


async def _json(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(await _body(request, MOST_JSON))
    except (ValueError, RecursionError) as error:
        raise InputError(f"not JSON ({error}); load the page again") from error
    if not isinstance(found, dict):
        raise InputError("not a JSON object; load the page again")
    return found


def _field(content: dict[str, Any], name: str, kind: type) -> Any:
    value = content.get(name)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InputError(f"{name} is missing or no {kind.__name__}; load the page again")
    return value


async def _in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    """What may wait for a disk or a decoder, so that nothing else waits."""
    return await anyio.to_thread.run_sync(functools.partial(work, *arguments))


class Pages:
    """The answers to all routes."""

    def __init__(self, desk: Desk) -> None:
        """They speak of what lies on the desk."""
        self.desk, self.exporter = desk, Exporter(desk.hub)
        self._parts = {part.name: part.read_bytes() for part in PAGE.iterdir() if part.is_file()}

    @property
    def session(self) -> Session:
        """The open one."""
        if self.desk.session is None:
            raise InputError("no video is open; open one first")
        return self.desk.session

    @property
    def worker(self) -> Worker:
        """That of the open session."""
        if self.desk.worker is None:
            raise InputError("no video is open; open one first")
        return self.desk.worker

    # The page and what it begins with.

    async def page(self, _: Request) -> Response:
        return Response(self._parts["index.html"], media_type="text/html")

    async def part(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._parts:  # a name among those of the package; no path is made of it
            return Response("404: there is no such part of the page\n", 404, media_type="text/plain")
        return Response(
            self._parts[name], media_type=TYPES[name.rpartition(".")[2]], headers={"cache-control": "no-cache"}
        )

    async def events(self, _: Request) -> Response:
        return StreamingResponse(self.desk.hub.listen(), media_type="text/event-stream")

    async def state(self, _: Request) -> Response:
        return JSONResponse(await _in_thread(self._state))

    def _state(self) -> dict[str, Any]:
        desk = self.desk
        common = {"fixed": desk.fixed, "root": desk.root is not None, "most_bytes": desk.most_bytes}
        if desk.session is None or desk.worker is None:
            return common | {"session": None}
        return common | {
            "session": desk.session.describe(),
            "status": desk.worker.status,
            "exports": self.exporter.status,
        }

    # Opening.

    async def listing(self, request: Request) -> Response:
        return JSONResponse(await _in_thread(self.desk.listing, request.query_params.get("path", "")))

    async def open(self, request: Request) -> Response:
        path = _field(await _json(request), "path", str)
        await _in_thread(self.desk.open_from_root, path)
        return JSONResponse({})

    async def close(self, _: Request) -> Response:
        if self.desk.fixed:
            raise InputError("this video was given on the command line; start munet web without one to open others")
        await _in_thread(self.desk.close)
        self.desk.hub.send("opened", {})
        return JSONResponse({})

    async def upload(self, request: Request) -> Response:
        if self.desk.fixed:
            raise InputError("this video was given on the command line; start munet web without one to open others")
        name = request.path_params["name"]
        await self.desk.upload(name, request.stream())
        await _in_thread(self.desk.open_upload, name)
        return JSONResponse({})

    # Pictures.

    async def frame(self, request: Request) -> Response:
        number = request.path_params["frame"]
        content = await _in_thread(lambda: as_jpeg(self.session.footage.frame(number)))
        return Response(content, media_type="image/jpeg", headers=FOR_EVER)

    async def thumbnail(self, request: Request) -> Response:
        number = request.path_params["frame"]
        content = await _in_thread(lambda: as_jpeg(self.session.footage.frame(number, 2), thumbnail=True))
        return Response(content, media_type="image/jpeg", headers=FOR_EVER)

    async def mask(self, request: Request) -> Response:
        version = await _in_thread(self.session.store.version, request.path_params["version"])
        if version.number is None:
            return JSONResponse({"error": "this mask was replaced"}, 404)
        return Response(version.png, media_type="image/png", headers=FOR_EVER)

    async def before(self, request: Request) -> Response:
        return JSONResponse({"version": await _in_thread(self.session.store.before, request.path_params["frame"])})

    async def map(self, request: Request) -> Response:
        kind, frame = self._kind(request), request.path_params["frame"]
        maps = await _in_thread(self.worker.maps, frame)
        content, scale = await _in_thread(draw_map, kind, maps)
        return Response(content, media_type="image/png", headers={"x-scale": scale})

    async def legend(self, request: Request) -> Response:
        content = await _in_thread(draw_legend, self._kind(request))
        return Response(content, media_type="image/png", headers=FOR_EVER)

    @staticmethod
    def _kind(request: Request) -> str:
        kind: str = request.path_params["kind"]
        if kind not in KINDS:
            raise InputError(f"there is no map {kind!r}; choose one of {', '.join(KINDS)}")
        return kind

    # Painting.

    async def stroke(self, request: Request) -> Response:
        frame, content = request.path_params["frame"], await _body(request, MOST_RUNS)
        if len(content) % 12:
            raise InputError("a stroke that was cut off; load the page again")
        runs = np.frombuffer(content, "<u4").reshape(-1, 3).astype(np.int64)
        label, by = (request.headers.get(name, "")[:40] for name in ("x-label", "x-page"))
        before, version = await _in_thread(self.session.paint, frame, runs, label or "Paint", by)
        self.worker.prepare(frame)
        row = {"version": version.number, "marked": version.marked is not None, "stats": version.stats}
        return JSONResponse({"before": before.number, **row})

    async def labels(self, request: Request) -> Response:
        frame, session = request.path_params["frame"], self.session
        version = await _in_thread(session.store.current, frame)
        if version.number is None:
            raise InputError(f"frame {frame} has no mask yet")
        name = re.sub(r"[^\w.-]", "_", session.footage.name(frame))
        headers = {"content-disposition": f'attachment; filename="{name}.png"'}
        return Response(version.png, media_type="image/png", headers=headers)

    async def import_labels(self, request: Request) -> Response:
        content = await _body(request, MOST_LABELS)
        called = request.query_params.get("name", "label map")[:80]
        frame = request.path_params["frame"]
        version = await _in_thread(self.session.import_labels, frame, content, called)
        self.worker.prepare(frame)
        return JSONResponse({"version": version.number})

    async def unmark(self, request: Request) -> Response:
        await _in_thread(self.session.unmark, request.path_params["frame"])
        return JSONResponse({})

    async def add_object(self, _: Request) -> Response:
        return JSONResponse({"id": await _in_thread(self.session.add_object)})

    async def change_object(self, request: Request) -> Response:
        await _in_thread(self.session.change_object, request.path_params["identity"], await _json(request))
        return JSONResponse({})

    async def remove_object(self, request: Request) -> Response:
        await _in_thread(self.session.remove_object, request.path_params["identity"])
        return JSONResponse({})

    async def undo(self, _: Request) -> Response:
        return JSONResponse({"label": await _in_thread(self.session.undo)})

    async def redo(self, _: Request) -> Response:
        return JSONResponse({"label": await _in_thread(functools.partial(self.session.undo, again=True))})

    # Following and exporting.

    async def here(self, request: Request) -> Response:
        self.worker.prepare(request.path_params["frame"])
        return JSONResponse({})

    async def follow(self, request: Request) -> Response:
        content = await _json(request)
        asked = _field(content, "direction", str), _field(content, "origin", str), _field(content, "frame", int)
        await _in_thread(self.worker.follow, *asked)
        return JSONResponse({})

    async def stop(self, _: Request) -> Response:
        self.worker.stop()
        return JSONResponse({})

    async def export(self, request: Request) -> Response:
        content = await _json(request)
        await _in_thread(self.exporter.start, self.session, _field(content, "kinds", list))
        return JSONResponse({})

    async def exported(self, request: Request) -> Response:
        name = request.path_params["name"]
        path = self.session.out / name if name in FILES.values() else None
        if path is None or not path.is_file():
            return JSONResponse({"error": f"there is no export {name!r} yet"}, 404)
        return FileResponse(path, filename=name, headers={"cache-control": "no-store"})
