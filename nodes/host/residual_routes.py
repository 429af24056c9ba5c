"""What a page asks about residual files: what is in one, and to keep one that a user has dropped.

`GET /cones2/residual?file=NAME` and `POST /cones2/residual?name=NAME` with the file as the body. Both answer JSON; a
mistake is its sentence under "error". Only the folders that residuals are loaded from are read, and only the first of
them is written.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from ...cones2.concepts.cutout_text import cutout_png
from ...cones2.concepts.residual import Residual
from ...cones2.concepts.residual_file import MAX_FILE_BYTES, load_residual, parse_residual_file
from ...cones2.errors import Cones2Error, ResidualError
from ...cones2.families.family import family_of_key
from ...cones2.messages import shown
from ...cones2.storage.files import read_limited, write_atomically
from .folders import RESIDUAL_EXTENSIONS, find_residual, missing_residual, residual_path
from .running_server import running_server

ADDRESS = "/cones2/residual"

Answer = dict[str, Any]


class _AbsentError(ResidualError):
    """No folder has the file."""


def add_residual_routes() -> None:
    """Answer the page from now on."""
    if running := running_server():
        running.routes.get(ADDRESS)(_get)
        running.routes.post(ADDRESS)(_post)


async def _get(request: web.Request) -> web.Response:
    return await _answered(lambda: residual_facts(request.query.get("file")))


async def _post(request: web.Request) -> web.Response:
    try:
        content = await _body(request)
    except ResidualError as error:
        return _refused(error)
    return await _answered(lambda: {"file": keep_residual(request.query.get("name", ""), content)})


async def _answered(answer: Callable[[], Answer]) -> web.Response:
    """Its answer, worked out beside the server's own loop."""
    try:
        return web.json_response(await asyncio.to_thread(answer))
    except _AbsentError as error:
        return _refused(error, 404)
    except Cones2Error as error:
        return _refused(error)


def _refused(error: Cones2Error, status: int = 400) -> web.Response:
    return web.json_response({"error": str(error)}, status=status)


async def _body(request: web.Request) -> bytes:
    """The body of a request. Raises ResidualError for one larger than a residual, of which no more is read."""
    content = bytearray()
    async for part in request.content.iter_chunked(1 << 16):
        content += part
        if len(content) > MAX_FILE_BYTES:
            raise ResidualError(f"the file is larger than {MAX_FILE_BYTES:,} bytes, the most a residual may have")
    return bytes(content)


def residual_facts(file: object) -> Answer:
    """What the page shows of a residual that Load Residual lists.

    subject: its phrase; empty where the file has none. family: of models, as people name it; empty for an unknown
    width. width: numbers per row. pictures: its cut-outs, as addresses with the picture inside.
    Raises ResidualError for an absent or unusable file.
    """
    path = find_residual(file)
    if path is None:
        raise _AbsentError(missing_residual(file))
    residual = load_residual(path)
    family = family_of_key(residual.family)
    return {
        "subject": "" if residual.named_by_file else residual.label,
        "family": family.label if family else "",
        "width": residual.width,
        "pictures": _pictures(residual),
    }


def _pictures(residual: Residual) -> list[str]:
    return [f"data:image/png;base64,{base64.b64encode(cutout_png(each)).decode()}" for each in residual.cutouts]


def keep_residual(name: str, content: bytes) -> str:
    """Store an uploaded file in the first residual folder; the name under which Load Residual lists it.

    Nothing is replaced: under a name that another file has, it is numbered, and the same file is stored once. Raises
    ResidualError for content that is not a residual and names that cannot be stored, Cones2Error when the disk refuses.
    """
    inside = Path(name.replace("\\", "/").rpartition("/")[2])
    if inside.suffix not in RESIDUAL_EXTENSIONS:
        raise ResidualError(f'"{shown(name)}" is not a residual: choose a .safetensors or .pt file')
    parse_residual_file(content, inside)
    number, free = 2, residual_path(inside.name, inside.suffix)
    path = free
    while free.exists():
        if _has(free, content):
            return free.name
        free, number = path.with_name(f"{path.stem}_{number}{path.suffix}"), number + 1
    write_atomically(free, lambda stream: stream.write(content))
    return free.name


def _has(path: Path, content: bytes) -> bool:
    try:
        return read_limited(path, MAX_FILE_BYTES, "residual") == content
    except Cones2Error:  # larger, or a folder
        return False
