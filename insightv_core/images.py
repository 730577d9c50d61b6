"""Pictures: any of them read safely, and each stored once as a PNG file that is named by its hash."""

import contextlib
import hashlib
import io
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from insightv_core.errors import UserError
from insightv_core.nano.model import LARGEST_AREA, SMALLEST_SIDE, prepare_image
from insightv_core.records import StoredImage

if TYPE_CHECKING:
    from PIL import Image

# Pillow's other plug-ins start programs, draw vectors, or are seldom met and little tested.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")
MAX_MEGABYTES = 50.0
MAX_SIDE = 4096  # pixels
# Level 2 writes a photograph in half the time of level 6 and makes it an eighth larger; drawings cost the same.
COMPRESSION = 2
# A picture of 64 megapixels takes up to 1.2 GB while it is prepared, so threads take such ones in turn.
LARGE_AREA = 8_000_000  # pixels
ONE_LARGE = threading.Lock()

ANIMATED = "animated: its first frame was taken"
DOWNSCALED = "downscaled to at most {} pixels a side"


class PictureError(UserError):
    """Say why a picture is refused; what is wrong lies in the picture alone, so others may still be stored."""


@dataclass(frozen=True)
class EncodedImage:
    """A picture ready to be stored: its PNG file, its size in pixels, and what was changed, in words."""

    png: bytes
    width: int
    height: int
    notes: tuple[str, ...] = ()


def store_image(
    source: "Path | bytes | Image.Image",
    folder: Path,
    *,
    max_megabytes: float = MAX_MEGABYTES,
    max_side: int = MAX_SIDE,
) -> StoredImage:
    """Store a picture at `folder`/ab/<sha256>.png, where it is not there yet; `folder` is the project's `images`.

    Raises `PictureError` for a picture that is refused, `UserError` where the file cannot be written.
    """
    return save_image(encode_image(source, max_megabytes=max_megabytes, max_side=max_side), folder)


def encode_image(
    source: "Path | bytes | Image.Image",
    *,
    max_megabytes: float = MAX_MEGABYTES,
    max_side: int = MAX_SIDE,
    name: str = "",
) -> EncodedImage:
    """Return a picture file, its bytes or an open picture as PNG: upright, RGB, transparent parts on white.

    Of an animated picture the first frame is taken, and a side over `max_side` pixels is scaled down; `notes` say so.
    The same pixels always give the same bytes with the same version of Pillow. Raises `PictureError` for what is too
    large, no picture, damaged, or has less than 8 pixels a side; `name` is what the message calls it.
    """
    from PIL import Image

    name = name or (str(source) if isinstance(source, Path) else "the picture")
    if isinstance(source, Path):
        source = read_file(source, max_megabytes)
    if isinstance(source, bytes):
        check_megabytes(name, len(source), max_megabytes)
    elif not isinstance(source, Image.Image):
        raise PictureError(f"a picture is a Path, bytes or PIL.Image, got {type(source).__name__}: open the file first")
    try:
        image = open_image(source) if isinstance(source, bytes) else source
        # A phone's MPO file holds one photograph and its depth map, so it counts as still.
        animated = getattr(image, "is_animated", False) and image.format != "MPO"
        with ONE_LARGE if image.width * image.height > LARGE_AREA else contextlib.nullcontext():
            image = prepare_image(image)
    except UserError as error:
        raise PictureError(str(error).replace("the picture", name, 1)) from error
    except Exception as error:  # decoders fail in many ways, and all end in the same advice
        raise PictureError(f"{name} cannot be read ({first_line(error)}): save it again or give another") from error
    return encode_pixels(image, name, max_side, (ANIMATED,) if animated else ())


def read_file(file: Path, max_megabytes: float) -> bytes:
    """Return the bytes of a picture file; `PictureError` where it is missing, no plain file or too large."""
    try:
        if not file.is_file():
            raise PictureError(f"{file} {'is no file' if file.exists() else 'does not exist'}: check its path")
        check_megabytes(str(file), file.stat().st_size, max_megabytes)
        return file.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        raise PictureError(f"{str(file)[:200]!r} cannot be read ({first_line(error)}): check its path") from error


def check_megabytes(name: str, size: int, max_megabytes: float) -> None:
    """Raise `PictureError` for more bytes than the limit allows."""
    if size > max_megabytes * 1e6:
        raise PictureError(
            f"{name} has {size / 1e6:.1f} MB, over the limit of {max_megabytes:g} MB: save it smaller or allow more"
        )


def open_image(data: bytes) -> "Image.Image":
    """Open a picture and check its size and, for PNG, its check sums; its pixels are not decoded yet."""
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.format == "PNG":
            image.verify()
            image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise PictureError(f"the picture is of no kind that can be read: give one of {', '.join(FORMATS)}") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = LARGEST_AREA // 1_000_000
        raise PictureError(f"the picture has over {limit} megapixels once unpacked: save it smaller") from error
    return image


def encode_pixels(image: "Image.Image", name: str, max_side: int, notes: tuple[str, ...]) -> EncodedImage:
    """Scale an RGB picture down to the side limit and return it as PNG, without anything but its pixels."""
    from PIL import Image

    if max(image.size) > max_side:
        before = image.size
        image.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
        if min(image.size) < SMALLEST_SIDE:
            raise PictureError(
                f"{name} has {before[0]}x{before[1]} pixels, too narrow to be scaled down to {max_side} a side: crop it"
            )
        notes = (*notes, DOWNSCALED.format(max_side))
    image.info.clear()  # colour profiles and comments would go into the file, and into its hash
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=COMPRESSION)
    return EncodedImage(buffer.getvalue(), *image.size, notes)


def save_image(encoded: EncodedImage, folder: Path) -> StoredImage:
    """Write the PNG file under its hash, whole or not at all; `UserError` where the disk is full or not writable."""
    sha256 = hashlib.sha256(encoded.png).hexdigest()
    file = folder / sha256[:2] / f"{sha256}.png"
    try:
        # A power cut can leave a file of the right name without its content.
        if not file.is_file() or file.stat().st_size != len(encoded.png):
            write_whole(file, encoded.png)
    except OSError as error:
        raise UserError(
            f"the picture {file} cannot be written ({error.strerror}): make room or make its folder writable, "
            "then run the same command again"
        ) from error
    return StoredImage(sha256, encoded.width, encoded.height, len(encoded.png))


def write_whole(file: Path, content: bytes) -> None:
    """Write a file beside its place and move it there, so that nobody ever sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        beside.write_bytes(content)
        beside.replace(file)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, its kind where it says nothing."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error).strip()
    return (said.splitlines() or [type(error).__name__])[0][:200]
