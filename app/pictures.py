"""Pictures over HTTP: by their hash alone, and only those that the project knows."""

import io
import re
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from insightv_core.images import write_whole
from insightv_core.store import open_store
from insightv_core.store.browse import image_known

WIDTHS = (320,)
HEADERS = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'",
}


def picture_route(project: Path) -> Route:
    """Return the route /picture/SHA256[?width=320] over a project's pictures."""

    async def serve(request: Request) -> Response:
        width = request.query_params.get("width")
        found = await run_in_threadpool(find_picture, project, request.path_params["sha256"], width)
        if found is None:
            return PlainTextResponse("There is no such picture in this project.", status_code=404)
        media = "image/png" if found.suffix == ".png" else "image/webp"
        return FileResponse(found, media_type=media, headers=HEADERS)

    return Route("/picture/{sha256}", serve)


def find_picture(project: Path, sha256: str, width: str | None = None) -> Path | None:
    """Return the file of a picture that the project knows by this hash, or of its thumbnail; None for any other."""
    if not re.fullmatch("[0-9a-f]{64}", sha256) or (width is not None and width not in map(str, WIDTHS)):
        return None
    with open_store(project) as store:
        file = store.image_file(sha256) if image_known(store, sha256) else None
        thumbnails = store.folder / "thumbnails"
    if file is None or not file.is_file():
        return None
    return file if width is None else make_thumbnail(file, thumbnails, int(width))


def make_thumbnail(file: Path, folder: Path, width: int) -> Path:
    """Return the thumbnail of a picture, made where it is not there yet."""
    from PIL import Image

    thumbnail = folder / f"{width}" / file.parent.name / f"{file.stem}.webp"
    if not thumbnail.is_file():
        with Image.open(file) as picture:
            picture.thumbnail((width, width))
            buffer = io.BytesIO()
            picture.save(buffer, "WEBP", quality=85, method=2)
        write_whole(thumbnail, buffer.getvalue())
    return thumbnail
