"""Images for a model: opened with care, and brought to its size by a rule that has a name.

    crop      scale until the size is covered, cut out the centre (as the models were trained)
    pad       scale until the whole image fits, black bars beside it
    stretch   scale each side by itself

What would have to be guessed is refused: transparency without a `background` to lay it on, colours
that are not RGB or grey, pictures that are hardly pictures.
"""

import os
import warnings
from typing import Any

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from dynamicrafter.errors import InputError, MediaError
from dynamicrafter.media import decode
from dynamicrafter.media.sampling import center_crop, resize

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
FORMATS = ("PNG", "JPEG", "WEBP", "BMP")  # decoders that may see a file, whatever its name is
LARGEST = 64_000_000  # pixels; larger files are refused before they are decoded
FITS = ("crop", "pad", "stretch")
PLAIN_MODES = ("RGB", "L", "1", "P")
_BROKEN = (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError)


def open_image(path: str | os.PathLike[str], background: str | None = None) -> np.ndarray:
    """Read an image file, upright as its EXIF orientation says: uint8 `[h, w, 3]`.

    Args:
        path: PNG, JPEG, WebP or BMP; of an animation the first picture.
        background: colour (a name or #rrggbb) under transparent parts; None refuses an image with
            an alpha channel.

    Raises:
        InputError: it is no such image, or would have to be guessed; see above.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # check_size refuses it
            image = Image.open(path, formats=FORMATS)
        with image:
            check_size(image.width, image.height, path)
            return _to_rgb(image, background, path)
    except Image.DecompressionBombError:
        raise InputError(f"{path}: far more pixels than the {LARGEST} allowed") from None
    except _BROKEN as error:
        raise InputError(f"{path} is no readable image: {error}") from None


def as_image(image: Any, background: str | None = None) -> np.ndarray:
    """An image as people have it (a path, a PIL image, an array): uint8 `[h, w, 3]`.

    Raises:
        InputError: as `open_image`; an array that is not uint8 `[h, w, 3]`.
    """
    if isinstance(image, str | os.PathLike):
        return open_image(image, background)
    if isinstance(image, Image.Image):
        check_size(image.width, image.height, "the image")
        return _to_rgb(image, background, "the image")
    if not (isinstance(image, np.ndarray) and image.dtype == np.uint8):
        raise InputError(f"the image is a {type(image).__name__}; pass a path, PIL or uint8 array")
    if image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"the image is an array {image.shape}; expected (height, width, 3)")
    check_size(image.shape[1], image.shape[0], "the image")
    return image


def check_size(width: int, height: int, name: str | os.PathLike[str]) -> None:
    """Refuse what is too small, too narrow or too large to be a picture.

    Raises:
        InputError: it is.
    """
    try:
        decode.check_size(width, height)
    except MediaError as error:
        raise InputError(f"{name}: {error}") from None
    if width * height > LARGEST:
        raise InputError(f"{name}: {width}x{height} pixels are more than the {LARGEST} allowed")


def check_rule(rule: str, background: str | None) -> None:
    """Refuse a rule or a background that is none.

    Raises:
        InputError: it is none.
    """
    if rule not in FITS:
        raise InputError(f"fit={rule}; choose {', '.join(FITS)}")
    if background is not None:
        _colour(background)


def fit(image: np.ndarray, size: tuple[int, int], rule: str = "crop") -> np.ndarray:
    """Bring uint8 `[h, w, 3]` to `size` (height, width) by a rule of this module.

    Raises:
        InputError: there is no such rule.
    """
    check_rule(rule, None)
    if rule == "crop":
        return center_crop(image[None], size)[0]
    if rule == "stretch":
        return resize(image[None], size)[0]
    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    inner = tuple(max(min(round(side * scale), limit), 1) for side, limit in
                  ((height, size[0]), (width, size[1])))  # fmt: skip
    padded = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    padded[top : top + inner[0], left : left + inner[1]] = resize(image[None], inner)[0]
    return padded


def _to_rgb(image: Image.Image, background: str | None, name: str | os.PathLike[str]) -> np.ndarray:
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        if background is None:
            raise InputError(
                f"{name} has an alpha channel; pass background=white (or another colour) to lay "
                "it on, or remove the channel"
            )
        laid = Image.new("RGBA", image.size, (*_colour(background), 255))
        laid.alpha_composite(image.convert("RGBA"))
        image = laid
    elif image.mode not in PLAIN_MODES:
        raise InputError(
            f"{name} has colours of mode {image.mode}, which look as their profile says; convert "
            "it to 8-bit RGB"
        )
    return np.array(image.convert("RGB"))


def _colour(name: str) -> tuple[int, int, int]:
    try:
        return ImageColor.getrgb(str(name))[:3]
    except ValueError:
        raise InputError(f"background={name} is no colour; try white or '#808080'") from None
