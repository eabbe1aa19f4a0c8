"""Pictures as tensors: what image_input.json says, what is decided of odd pictures, and what is hostile."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from serving.errors import FailedPrecondition, InvalidArgument, PayloadTooLarge, ServingError
from serving.inputs.image_spec import read_image_input, understand
from serving.inputs.pictures import decode_pictures
from serving.tensors.spec import TensorSpec
from tests.inputs.pictures import bare_png, chunk, encoded

MEBI = 1024 * 1024
GRAY, RGB = (None, 2, 3), (None, 2, 3, 3)


def signatures(shape: Any, dtype: str = "float") -> dict[str, dict[str, TensorSpec]]:
    return {"serving_default": {"x": TensorSpec("x", f"DT_{dtype.upper()}", shape)}}


def decode(
    data: bytes | list[bytes], shape: Any = GRAY, dtype: str = "float", max_bytes: int = MEBI, **spec: Any
) -> Any:
    color = "rgb" if len(shape) == 4 and shape[3] == 3 else "gray"
    wanted = understand({"color": color, "resize": "nearest", **spec}, signatures(shape, dtype), "serving_default")
    pictures = data if isinstance(data, list) else [data]
    return decode_pictures(pictures, wanted, max_bytes)["x"]


def error(data: bytes | list[bytes], shape: Any = GRAY, **options: Any) -> str:
    with pytest.raises(InvalidArgument) as raised:
        decode(data, shape, **options)
    return raised.value.message


PIXELS = np.arange(6, dtype=np.uint8).reshape(2, 3) * 50
COLORS = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14


class TestPictures:
    @pytest.mark.parametrize(("shape", "rows"), [(GRAY, PIXELS), ((None, 2, 3, 1), PIXELS[..., None]), (RGB, COLORS)])
    @pytest.mark.parametrize("dtype", ["float", "half", "bfloat16", "double", "uint8", "int32"])
    def test_pixels_are_the_values_in_the_shape_of_the_input(self, shape: Any, rows: Any, dtype: str) -> None:
        found = decode(encoded(rows.squeeze(-1) if rows.shape[-1] == 1 else rows), shape, dtype)
        assert found.dtype == TensorSpec("", f"DT_{dtype.upper()}", ()).dtype.numpy  # type: ignore[union-attr]
        np.testing.assert_array_equal(found.astype(np.float64), rows[None])

    def test_several_pictures_are_rows(self) -> None:
        found = decode([encoded(PIXELS), encoded(PIXELS.T), encoded(PIXELS, "JPEG", quality=100)])
        np.testing.assert_array_equal(found[0], PIXELS)
        np.testing.assert_allclose(found[2], PIXELS, atol=3)

    def test_scale_offset_mean_and_std_are_applied_in_this_order(self) -> None:
        found = decode(encoded(PIXELS), scale=0.5, offset=10, mean=4, std=2)
        np.testing.assert_allclose(found[0], (PIXELS * 0.5 + 10 - 4) / 2)
        found = decode(encoded(COLORS), RGB, mean=[1, 2, 3], std=[2, 4, 8])
        np.testing.assert_allclose(found[0], (COLORS - np.array([1, 2, 3])) / [2, 4, 8])

    def test_dark_and_light_change_places(self) -> None:
        np.testing.assert_array_equal(decode(encoded(PIXELS), dtype="uint8", invert=True)[0], 255 - PIXELS)

    def test_pictures_are_resized(self) -> None:
        large = np.kron(PIXELS, np.ones((4, 4), np.uint8))
        np.testing.assert_array_equal(decode(encoded(large), resize="box")[0], PIXELS)
        for method in ("bilinear", "hamming", "bicubic", "lanczos"):
            assert decode(encoded(large), resize=method).shape == (1, 2, 3)

    def test_a_crop_keeps_the_proportions(self) -> None:
        wide = np.concatenate([np.zeros((2, 3)), PIXELS, np.zeros((2, 3))], axis=1)
        np.testing.assert_array_equal(decode(encoded(wide), fit="crop")[0], PIXELS)
        assert (decode(encoded(wide))[0] != PIXELS).any()

    def test_a_size_fills_in_what_the_signature_leaves_open(self) -> None:
        np.testing.assert_array_equal(decode(encoded(PIXELS), (None, None, None), size=[2, 3])[0], PIXELS)


class TestOddPictures:
    def test_colors_become_gray_by_their_brightness_and_gray_becomes_color(self) -> None:
        gray = decode(encoded(COLORS))[0]
        np.testing.assert_allclose(gray, COLORS @ [0.299, 0.587, 0.114], atol=1)
        np.testing.assert_array_equal(decode(encoded(PIXELS), RGB)[0], np.repeat(PIXELS[..., None], 3, axis=2))

    def test_what_is_transparent_lies_on_white(self) -> None:
        pixels = np.zeros((2, 3, 4), np.uint8)
        pixels[0, :, 3] = 255
        np.testing.assert_array_equal(decode(encoded(pixels))[0], [[0, 0, 0], [255, 255, 255]])
        palette = Image.fromarray(PIXELS).convert("P")
        np.testing.assert_array_equal(decode(encoded(palette, transparency=50))[0][0], [0, 255, 100])

    def test_black_and_white_and_palettes_are_read(self) -> None:
        np.testing.assert_array_equal(decode(encoded(Image.fromarray(PIXELS > 100)))[0], (PIXELS > 100) * 255)
        np.testing.assert_array_equal(decode(encoded(Image.fromarray(PIXELS).convert("P")))[0], PIXELS)

    @pytest.mark.parametrize("form", ["PNG", "JPEG"])
    def test_a_picture_is_turned_as_its_camera_was(self, form: str) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # the camera was turned to the left: turn it to the right
        lying = np.kron(np.rot90(PIXELS), np.ones((8, 8), np.uint8))
        found = decode(encoded(lying, form, exif=exif), resize="box")[0]
        np.testing.assert_allclose(found, PIXELS, atol=3)

    @pytest.mark.parametrize(
        "picture",
        [
            encoded(Image.fromarray(PIXELS.astype(np.uint16) * 256)),
            bare_png(3, 2, 16, 2),
            bare_png(3, 2, 16, 6),
            encoded(Image.new("CMYK", (3, 2)), "JPEG"),
        ],
    )
    def test_what_would_lose_values_is_refused(self, picture: bytes) -> None:
        assert error(picture) == "picture 1 has 16 bits a channel or colors for print; send gray or RGB of 8 bits"

    def test_an_animation_is_refused(self) -> None:
        frames = [Image.fromarray(PIXELS + shift) for shift in (1, 2)]
        animation = encoded(frames[0], save_all=True, append_images=frames[1:])
        assert error([encoded(PIXELS), animation]) == "picture 2 is an animation of 2 pictures"

    def test_a_jpeg_with_a_preview_is_its_first_picture(self) -> None:
        image = Image.fromarray(np.full((2, 3), 200, np.uint8))
        album = encoded(image, "MPO", save_all=True, append_images=[Image.fromarray(PIXELS)])
        np.testing.assert_allclose(decode(album)[0], 200, atol=3)


class TestHostilePictures:
    @pytest.mark.parametrize(
        "data", [b"", b"no picture", b"GIF89a" + b"\0" * 100, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]
    )
    def test_what_is_no_picture_is_refused(self, data: bytes) -> None:
        assert error([encoded(PIXELS), data]).startswith("picture 2 is ")

    @pytest.mark.parametrize("form", ["PNG", "JPEG"])
    def test_a_truncated_picture_is_damaged(self, form: str) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8)
        whole = encoded(noise, form)
        assert error(whole[: len(whole) // 2]).startswith("picture 1 is damaged: ")

    def test_a_picture_with_a_wrong_checksum_is_damaged(self) -> None:
        data = bytearray(encoded(PIXELS))
        data[data.index(b"IDAT") + 8] ^= 255
        assert error(bytes(data)).startswith("picture 1 is damaged: ")

    @pytest.mark.parametrize("size", [(30_000, 30_000), (2**31 - 1, 2**31 - 1)])
    def test_a_bomb_is_refused_before_it_is_decoded(self, size: tuple[int, int]) -> None:
        with pytest.raises(PayloadTooLarge) as raised:
            decode(bare_png(*size), max_bytes=64 * MEBI)
        assert raised.value.message.startswith(f"picture 1 of {size[0]} x {size[1]} pixels would have ")

    def test_the_limit_is_for_all_pictures_of_a_request(self) -> None:
        pictures = [encoded(np.zeros((100, 100)))] * 3
        assert decode(pictures, max_bytes=100_000).shape == (3, 2, 3)
        with pytest.raises(
            PayloadTooLarge, match="picture 3 of 100 x 100 pixels would have 30000 bytes, 20000 are left"
        ):
            decode(pictures, max_bytes=80_000)

    def test_the_limit_is_for_the_tensor_too(self) -> None:
        with pytest.raises(PayloadTooLarge, match="the tensor of 2 pictures would have 8000000 bytes"):
            decode([encoded(PIXELS)] * 2, (None, 1000, 1000))

    def test_text_that_grows_when_it_is_unpacked_is_refused(self) -> None:
        import zlib

        bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 8 * MEBI))
        assert error(bare_png(3, 2, 8, 0, bomb)).startswith("picture 1 is ")

    def test_a_picture_of_endless_passes_is_refused(self) -> None:
        data = encoded(np.zeros((16, 16)), "JPEG", progressive=True)
        last = data.rindex(b"\xff\xda")
        assert error(data[:-2] + data[last:-2] * 100 + b"\xff\xd9") == "picture 1 is drawn in more than 64 passes"

    def test_reading_can_be_stopped(self) -> None:
        def stop() -> None:
            raise ServingError("enough")

        wanted = understand({"color": "gray"}, signatures(GRAY), "serving_default")
        with pytest.raises(ServingError, match="enough"):
            decode_pictures([encoded(PIXELS)], wanted, MEBI, stop)

    @settings(max_examples=150, deadline=None)
    @given(data=st.data(), form=st.sampled_from(["PNG", "JPEG"]))
    def test_any_damage_is_an_error_of_the_request_or_a_picture(self, data: st.DataObject, form: str) -> None:
        picture = bytearray(encoded(np.arange(60).reshape(6, 10), form))
        for _ in range(data.draw(st.integers(1, 4))):
            picture[data.draw(st.integers(0, len(picture) - 1))] = data.draw(st.integers(0, 255))
        try:
            decode(bytes(picture))
        except (InvalidArgument, PayloadTooLarge):
            return


class TestTheFile:
    def message(self, document: Any, shape: Any = GRAY, dtype: str = "float") -> str:
        with pytest.raises(InvalidArgument) as raised:
            understand(document, signatures(shape, dtype), "serving_default")
        return raised.value.message

    @pytest.mark.parametrize(
        ("document", "message"),
        [
            ([], "it is not a JSON object"),
            ({}, '"color" is missing: "gray" or "rgb"'),
            ({"color": "grey"}, '"color" is "grey", "gray" or "rgb" is expected'),
            ({"color": ["gray"]}, '"color" is ["gray"], "gray" or "rgb" is expected'),
            ({"color": "gray", "colour": 1}, '"colour" is not known; known are color, signature, size, resize, fit'),
            ({"color": "gray", "resize": "best"}, '"resize" is "best", one of nearest, box, bilinear, hamming'),
            ({"color": "gray", "fit": ["crop"]}, '"fit" is ["crop"], one of stretch, crop is expected'),
            ({"color": "gray", "invert": 1}, '"invert" is 1, true or false is expected'),
            ({"color": "gray", "scale": True}, '"scale" is true, a number is expected'),
            ({"color": "gray", "offset": float("nan")}, '"offset" is NaN, a number is expected'),
            ({"color": "gray", "std": 0}, '"std" is 0, a number other than 0'),
            ({"color": "gray", "std": [1, 1]}, '"std" has 2 numbers, but gray has 1 colors'),
            ({"color": "gray", "mean": []}, '"mean" is [], a number, or a list of one for each color, is expected'),
            ({"color": "gray", "scale": 1e300}, "pixels become values that float does not hold"),
            ({"color": "gray", "size": [2]}, '"size" is [2], [height, width] of 1 to 8192 is expected'),
            ({"color": "gray", "size": [3, 2]}, '"size" is [3, 2], but input "x" has shape [-1,2,3]'),
            ({"color": "rgb"}, 'input "x" has shape [-1,2,3]; rgb pictures need [-1,h,w,3]'),
            ({"color": "gray", "signature": "other"}, 'the model has no signature "other"; it has serving_default'),
        ],
    )
    def test_what_is_wrong_is_named(self, document: Any, message: str) -> None:
        assert self.message(document).startswith(message)

    @pytest.mark.parametrize(
        ("shape", "dtype", "color", "message"),
        [
            ((None, 2), "float", "gray", 'input "x" has shape [-1,2]; gray pictures need [-1,h,w] or [-1,h,w,1]'),
            (None, "float", "gray", 'input "x" has shape [?]; gray'),
            ((None, 2, 3, 4), "float", "rgb", 'input "x" has shape [-1,2,3,4]; rgb pictures need [-1,h,w,3]'),
            ((None, None, 3), "float", "gray", '"size" is missing: input "x" has shape [-1,-1,3]'),
            ((None, 2, 3), "string", "gray", 'input "x" is of DT_STRING; pictures are numbers'),
            ((None, 2, 3), "int8", "gray", 'input "x" is of int8, which does not hold 0 to 255'),
        ],
    )
    def test_a_signature_that_takes_no_pictures_is_named(
        self, shape: Any, dtype: str, color: str, message: str
    ) -> None:
        assert self.message({"color": color}, shape, dtype).startswith(message)

    def test_integers_take_pixels_as_they_are(self) -> None:
        assert self.message({"color": "gray", "scale": 0.5}, dtype="uint8").startswith(
            'input "x" is of uint8, which takes pixels as they are'
        )

    def test_two_inputs_take_no_picture(self) -> None:
        specs = {"a": TensorSpec("a", "DT_FLOAT", GRAY), "b": TensorSpec("b", "DT_FLOAT", GRAY)}
        with pytest.raises(InvalidArgument, match="has 2 inputs; pictures need a single one"):
            understand({"color": "gray"}, {"serving_default": specs}, "serving_default")

    def test_a_version_without_one_takes_no_pictures(self, tmp_path: Path) -> None:
        assert read_image_input(tmp_path, signatures(GRAY), "serving_default") is None

    @pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"color": "gray", "std": 0}', " " * 70_000])
    def test_a_file_that_cannot_be_used_says_so(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "image_input.json").write_text(text)
        with pytest.raises(FailedPrecondition, match=r"image_input\.json: "):
            read_image_input(tmp_path, signatures(GRAY), "serving_default")

    def test_all_of_it_is_told_with_its_defaults(self, tmp_path: Path) -> None:
        (tmp_path / "image_input.json").write_text(json.dumps({"color": "gray", "scale": 0.1}))
        found = read_image_input(tmp_path, signatures(GRAY), "serving_default")
        assert found is not None
        assert found.document == {
            "signature": "serving_default", "input": "x", "color": "gray", "size": [2, 3], "resize": "bilinear",
            "fit": "stretch", "invert": False, "scale": 0.1, "offset": 0, "mean": 0, "std": 1,
        }  # fmt: skip
