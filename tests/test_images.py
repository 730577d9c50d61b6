"""Storing pictures: every kind that people bring comes out as a plain upright PNG, or is refused with its reason."""

import errno
import hashlib
import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from insightv_core.errors import UserError
from insightv_core.images import ANIMATED, PictureError, encode_image, store_image
from insightv_core.store import open_store

PIXELS = np.random.default_rng(7).integers(0, 256, (40, 60, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)


def written(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def stored_pixels(source, folder, **options):
    stored = store_image(source, folder, **options)
    file = folder / stored.sha256[:2] / f"{stored.sha256}.png"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == stored.sha256
    assert file.stat().st_size == stored.bytes
    with Image.open(file) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (stored.width, stored.height))
        assert not image.info
        return np.asarray(image).copy()


def test_a_picture_lies_where_the_project_looks_for_it(tmp_path):
    with open_store(tmp_path / "project.db", create=True) as store:
        stored = store_image(written(PICTURE), store.folder / "images")
        assert store.image_file(stored.sha256).is_file()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_the_same_pixels_are_one_file_whatever_the_format(kind, tmp_path):
    drawing = PICTURE.quantize(64)
    first = store_image(drawing, tmp_path / "images")
    file = tmp_path / f"picture.{kind}"
    file.write_bytes(written(drawing if kind == "GIF" else drawing.convert("RGB"), kind))
    assert store_image(file, tmp_path / "images") == first
    assert len(list((tmp_path / "images").rglob("*.png"))) == 1
    assert not [entry for entry in (tmp_path / "images").rglob("*") if entry.is_file() and entry.suffix != ".png"]


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "JPEG2000", "MPO"])
def test_lossy_formats_are_read(kind, tmp_path):
    smooth = Image.linear_gradient("L").convert("RGB")
    found = stored_pixels(written(smooth, kind), tmp_path)
    assert np.abs(found.astype(int) - np.asarray(smooth)).mean() < 4


def test_storing_again_gives_the_same_bytes(tmp_path):
    first = store_image(written(PICTURE), tmp_path)
    file = next(tmp_path.rglob("*.png"))
    made = file.stat().st_mtime_ns
    assert store_image(file.read_bytes(), tmp_path) == first
    assert file.stat().st_mtime_ns == made


def test_a_file_that_a_power_cut_left_empty_is_written_again(tmp_path):
    store_image(PICTURE, tmp_path)
    next(tmp_path.rglob("*.png")).write_bytes(b"")
    assert (stored_pixels(PICTURE, tmp_path) == PIXELS).all()


def test_comments_and_colour_profiles_stay_out_of_the_file(tmp_path):
    data = written(PICTURE, icc_profile=b"profile" * 20, dpi=(300, 300))
    assert Image.open(io.BytesIO(data)).info
    assert store_image(data, tmp_path) == store_image(PICTURE, tmp_path)


def test_a_photograph_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    found = stored_pixels(written(PICTURE, exif=exif), tmp_path)
    assert (found == np.rot90(PIXELS, -1)).all()


def test_cmyk_becomes_rgb(tmp_path):
    flat = Image.new("CMYK", (20, 20), (0, 255, 255, 0))
    red = stored_pixels(written(flat, "TIFF"), tmp_path)[10, 10]
    assert red[0] > 200 and max(red[1:]) < 60


def test_sixteen_bits_a_pixel_keep_their_shades(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(16, 0)
    found = stored_pixels(written(Image.fromarray(ramp)), tmp_path)
    assert np.abs(found[0, :, 0].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_parts_become_white(mode, tmp_path):
    clear = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (0, 0, 8, 16))
    found = stored_pixels(written(clear.convert(mode)), tmp_path)
    assert (found[:, :8] == 0).all() and (found[:, 8:] == 255).all()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animated_picture_is_taken_and_said(kind, tmp_path):
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "blue", "green")]
    data = written(frames[0], kind, save_all=True, append_images=frames[1:], lossless=True)
    assert encode_image(data).notes == (ANIMATED,)
    assert (stored_pixels(data, tmp_path)[5, 5] == (255, 0, 0)).all()
    assert encode_image(written(frames[0], kind)).notes == ()


def test_a_large_side_is_scaled_down_and_said(tmp_path):
    encoded = encode_image(Image.new("RGB", (400, 100), "red"), max_side=200)
    assert (encoded.width, encoded.height) == (200, 50)
    assert "200 pixels" in encoded.notes[0]
    with pytest.raises(PictureError, match="400x9 .*too narrow"):
        encode_image(Image.new("RGB", (400, 9)), max_side=200)


@pytest.mark.parametrize("size", [(1, 1), (7, 100), (100, 7)])
def test_tiny_pictures_are_refused(size, tmp_path):
    with pytest.raises(PictureError, match=f"{size[0]}x{size[1]} pixels.*at least 8"):
        store_image(written(Image.new("RGB", size)), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "JPEG2000"])
@pytest.mark.parametrize("part", [0.2, 0.6, 0.95])
def test_truncated_pictures_are_refused(kind, part, tmp_path):
    data = written(PICTURE, kind)
    with pytest.raises(PictureError, match="the picture"):
        store_image(data[: int(len(data) * part)], tmp_path)
    assert not list(tmp_path.iterdir())


def test_damaged_pixels_are_refused(tmp_path):
    data = bytearray(written(PICTURE, compress_level=0))
    data[1000] ^= 1  # one bit of one pixel, which only the check sum tells
    with pytest.raises(PictureError, match="checksum"):
        store_image(bytes(data), tmp_path)


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"],
)
def test_what_is_no_picture_is_refused(data, tmp_path):
    with pytest.raises(PictureError, match="the picture is of no kind that can be read: give one of PNG, JPEG"):
        store_image(data, tmp_path)


def bomb(width, height):
    """A PNG of a few kilobytes that claims a great size."""
    small = written(Image.new("1", (width, 8)))
    header = b"IHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + small[24:29]
    return small[:12] + header + zlib.crc32(header).to_bytes(4, "big") + small[33:]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [8_100, 12_000, 60_000])
def test_decompression_bombs_are_refused_without_being_unpacked(side, tmp_path, monkeypatch):
    data = bomb(side, side)
    monkeypatch.setattr(Image.Image, "load", None)  # it would fail with another reason
    with pytest.raises(PictureError, match="64 megapixels"):
        store_image(data, tmp_path)


def test_a_picture_over_the_limit_is_refused_and_its_file_is_not_read(tmp_path, monkeypatch):
    file = tmp_path / "large.png"
    file.write_bytes(written(PICTURE, compress_level=0))
    with pytest.raises(PictureError, match="over the limit"):
        store_image(file.read_bytes(), tmp_path / "images", max_megabytes=0.001)
    monkeypatch.setattr(Path, "read_bytes", None)
    with pytest.raises(PictureError, match=r"large.png has 0.0 MB, over the limit of 0.001 MB"):
        store_image(file, tmp_path / "images", max_megabytes=0.001)


@pytest.mark.parametrize(("name", "reason"), [("missing.png", "does not exist"), ("", "is no file"), ("a\0b", "path")])
def test_paths_that_lead_to_no_file_are_refused(name, reason, tmp_path):
    with pytest.raises(PictureError, match=reason):
        store_image(tmp_path / name, tmp_path / "images")


def test_a_device_is_not_read(tmp_path):
    with pytest.raises(PictureError, match="is no file"):
        store_image(Path("/dev/zero"), tmp_path)


def test_a_text_is_never_taken_for_a_path(tmp_path):
    file = tmp_path / "picture.png"
    file.write_bytes(written(PICTURE))
    with pytest.raises(PictureError, match="got str"):
        store_image(str(file), tmp_path / "images")


def test_lab_colours_become_rgb(tmp_path):
    grey = stored_pixels(written(Image.new("LAB", (20, 20), (136, 128, 128)), "TIFF"), tmp_path)[10, 10]
    assert np.ptp(grey) <= 2 and 110 < grey[0] < 145


def test_a_full_disk_is_the_users_to_mend_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, content):
        self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left on device.*make room") as caught:
        store_image(PICTURE, tmp_path)
    assert not isinstance(caught.value, PictureError)
    assert not [entry for entry in tmp_path.rglob("*") if entry.is_file()]


def test_a_folder_that_cannot_be_made_is_the_users_to_mend(tmp_path):
    (tmp_path / "images").write_text("a file in the way")
    with pytest.raises(UserError, match="cannot be written"):
        store_image(PICTURE, tmp_path / "images")


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]),
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 5000),
)
def test_whatever_the_bytes_a_picture_is_stored_whole_or_refused(kind, changes, cut, tmp_path):
    data = bytearray(written(PICTURE.resize((16, 16)), kind))
    for place, value in changes:
        data[place % len(data)] = value
    try:
        stored = store_image(bytes(data[: cut or None]), tmp_path)
    except PictureError as error:
        assert str(error)
    else:
        with Image.open(tmp_path / stored.sha256[:2] / f"{stored.sha256}.png") as image:
            image.load()
