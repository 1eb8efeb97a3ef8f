"""One reader for all images: what is refused, what is converted, and how much memory it takes."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from swiftprof.cli.app import main
from swiftprof.data.asking import ask, ask_all, shown
from swiftprof.data.base import Dataset, Sample
from swiftprof.data.images import (
    Picture,
    decode_base64,
    looks_like_base64,
    open_image,
    picture,
    shrink_factor,
)
from swiftprof.errors import BadSample
from swiftprof.models.conventions import Conventions


def encoded(image, kind="PNG", **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


class Model:
    conventions = Conventions(image_fit="pad", pad_color=(1, 2, 3))

    def seen_size(self, width, height):
        return width, height


def test_images_are_upright():
    turned = Image.Exif()
    turned[0x0112] = 6
    content = encoded(Image.new("RGB", (64, 48)), "JPEG", exif=turned)
    assert open_image(content, "x").size == (48, 64)


def test_no_program_is_started_for_an_image():
    with pytest.raises(BadSample, match="not a PNG"):
        open_image(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "x")


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_white(mode):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[2:6, 2:6, 3] = 255  # a black square on nothing
    image = Image.fromarray(pixels)
    content = encoded(image.quantize(4) if mode == "P" else image.convert(mode))
    seen = np.asarray(open_image(content, "x"))
    assert (seen[0, 0] > 250).all()
    assert (seen[3, 3] < 5).all()


RAMP = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)


@pytest.mark.parametrize(
    ("pixels", "kind"),
    [
        (RAMP, "TIFF"),
        (RAMP * 255, "TIFF"),
        ((RAMP * 65535).astype(np.uint16), "TIFF"),
        ((RAMP * 65535).astype(np.uint16), "PNG"),
        ((RAMP * 65535).astype(np.int32), "TIFF"),
        ((RAMP * 255).astype(np.int32), "TIFF"),
    ],
)
def test_more_than_eight_bits_are_scaled(pixels, kind):
    seen = np.asarray(open_image(encoded(Image.fromarray(pixels), kind), "x"))
    assert np.abs(seen[..., 0].astype(float) - RAMP * 255).max() <= 1.5


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0, 1e6])
def test_grey_values_without_a_scale_are_refused(value):
    pixels = RAMP.copy()
    pixels[3, 3] = value
    with pytest.raises(BadSample, match=r"grey values|no number"):
        open_image(encoded(Image.fromarray(pixels), "TIFF"), "x")


@pytest.mark.parametrize(
    ("size", "reason"),
    [((13_000, 13_000), "over 67 million"), ((60_000, 20), "too long"), ((600, 3), "too small")],
)
def test_sizes_are_judged_before_anything_is_decoded(size, reason, monkeypatch):
    content = encoded(Image.new("1", size))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda image: pytest.fail("decoded"))
    with pytest.raises(BadSample, match=reason):
        open_image(content, "x")


def test_pipes_and_folders_are_no_images(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.png", "."):
        with pytest.raises(BadSample, match="not a file"):
            open_image(tmp_path / name, "x")
    with pytest.raises(BadSample, match="no such file"):
        open_image(tmp_path / "none.png", "x")


def test_run_opens_images_the_same_way(tmp_path, capsys, monkeypatch):
    from swiftprof.models.registry import ModelInfo
    from swiftprof.planning.plan_file import Plan, Stage

    monkeypatch.chdir(tmp_path)
    info = ModelInfo(name="tiny-llava", id="tiny-llava", num_layers=24, visual_tokens=144)
    Plan(model=info, stages=(Stage(layer=3, keep=0.3),)).save(tmp_path / "plan.json")
    os.mkfifo("pipe.png")
    (tmp_path / "ghost.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "bomb.png").write_bytes(encoded(Image.new("1", (13_000, 13_000))))
    for name, reason in (("pipe", "not a file"), ("ghost", "not a PNG"), ("bomb", "million")):
        assert main(["run", "--image", f"{name}.png", "--prompt", "Is it red?"]) == 2
        error = capsys.readouterr().err
        assert reason in error
        assert f"--image {name}.png" in error


def test_large_images_are_kept_as_files_and_decoded_late():
    small, large = Image.new("RGB", (700, 700)), Image.new("RGB", (2000, 1000), "red")
    assert isinstance(picture(encoded(small), "x"), Image.Image)
    kept = picture(encoded(large), "x")
    assert isinstance(kept, Picture)
    assert isinstance(kept.source, bytes)
    assert kept.size == kept.open().size == (2000, 1000)
    fitted = ask(Huge(large.size), Sample("0", kept, "?", ("x",)), Model())
    assert fitted.image.size == fitted.images[0].size == (2000, 2000)
    assert fitted.images[0].getpixel((0, 0)) == (1, 2, 3)


class Huge(Dataset):
    """Large pictures of next to nothing."""

    name, description, metric, licence = "huge", "", "none", "ours"
    splits = {"train": 8}  # noqa: RUF012

    def __init__(self, size):
        self.content = encoded(Image.new("1", size))

    def sample(self, split, index):
        return Sample(str(index), picture(self.content, "x"), "?", ("x",))

    def score(self, prediction, sample):
        return 0.0


def test_a_unit_of_large_pictures_fits_into_memory():
    samples, skipped = ask_all(Huge((5000, 4000)), "train", range(8), Model())
    assert not skipped
    held = sum(len(s.image.source) for s in samples)
    assert held < 2_000_000  # decoded they would be 640 MB
    assert samples[0].images[0].size == (2500, 2500)


@pytest.mark.parametrize(
    ("size", "square", "factor"),
    [
        ((640, 480), True, 1),
        ((4096, 3072), True, 1),
        ((4096, 4096), False, 1),
        ((8000, 8000), False, 3),
        ((113_000, 566), True, 55),  # padded to a square it would be 50 GB
        ((113_000, 140), False, 1),
    ],
)
def test_only_the_largest_images_are_shrunk(size, square, factor):
    assert shrink_factor(*size, square=square, seen=size) == factor


def test_no_image_is_shrunk_below_what_the_processor_sees():
    assert shrink_factor(8000, 8000, square=False, seen=(3500, 3500)) == 2
    assert shrink_factor(8000, 8000, square=False, seen=(7900, 7900)) == 1


def test_boxes_on_shrunk_images_come_back_to_the_original():
    class Resizing:
        conventions = Conventions(box_units="pixels")

        def seen_size(self, width, height):
            return 1400, 1050

    image = Picture(b"", "x", 8000, 6000)
    sample = ask(
        Huge((8, 8)), Sample("0", image, "?", ("x",), box=(1.0, 1.0, 9.0, 9.0)), Resizing()
    )
    assert sample.image.size == (1600, 1200)
    assert sample.frame.to_pixels((140, 105, 280, 210)) == pytest.approx((800, 600, 1600, 1200))


def test_a_single_image_is_shown_as_samples_are():
    image = Image.new("RGB", (60, 40), "red")
    assert shown(image, Model()).size == (60, 60)
    whole = Model()
    whole.conventions = replace(Model.conventions, image_fit="whole")
    assert shown(image, whole) is image


def test_images_in_text():
    content = encoded(Image.new("RGB", (8, 8)))
    text = base64.b64encode(content).decode()
    assert decode_base64(text, "x") == content
    assert decode_base64("data:image/png;base64," + text, "x") == content
    assert looks_like_base64("data:image/png;base64,AAAA")
    assert looks_like_base64(base64.b64encode(content * 4).decode())
    assert not looks_like_base64("images/" + "a" * 300 + ".png")
    for wrong in ("data:image/png,rawtext", "data:", "data:;base64,!!!"):
        with pytest.raises(BadSample):
            decode_base64(wrong, "x")
