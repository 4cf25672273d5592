"""Pictures of strangers: of few formats, of a bounded number of pixels, and with `ValueError` alone."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from labelgen.errors import LabelgenError
from labelgen.threads import without_warning
from labelgen.untrusted.limits import MOST_PIXELS

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["FORMATS", "opened_picture"]

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
"""What files named .jpg and .png are found to be. Left out is what would start another program, such as EPS."""


PNG = re.compile(rb"\x89PNG\r\n\x1a\n....IHDR", re.DOTALL)
SMALL_SIDE = 2**13
"""Pictures of at most so many pixels a side are none that Pillow warns of."""


@contextmanager
def opened_picture(source: Path | str | bytes, formats: tuple[str, ...] = FORMATS) -> "Iterator[Image]":
    """Open a picture for the length of a `with`, in which it is decoded as well.

    Raises
    ------
    OSError
        When the file is missing or may not be read.
    ValueError
        When it is no picture, is damaged, or has more than `MOST_PIXELS`; nothing is decoded then.

    Examples
    --------
    >>> with opened_picture(b"no picture"):
    ...     pass
    Traceback (most recent call last):
    ...
    ValueError: no kind of picture
    """
    from PIL import Image, UnidentifiedImageError

    try:
        stream = io.BytesIO(source) if isinstance(source, bytes) else Path(source).open("rb")  # noqa: SIM115
        with stream:
            if isinstance(stream, io.BufferedReader):
                stream.peek(1)  # a slow disk is waited for here, not while others wait for the filters of warnings
            with nullcontext() if _is_small_png(source) else without_warning(Image.DecompressionBombWarning):
                picture = Image.open(stream, formats=formats)
            with picture:
                _check_size(picture.size)
                yield picture
    except LabelgenError:
        raise
    except UnidentifiedImageError as error:
        raise ValueError("no kind of picture") from error
    except Image.DecompressionBombError as error:
        raise ValueError(f"it has more than {MOST_PIXELS:,} pixels") from error
    except OSError as error:
        if error.errno is not None:  # of the file system; what Pillow says of the content has none
            raise
        raise ValueError(str(error)) from error
    except MemoryError as error:
        raise ValueError("it needs more memory than there is") from error
    except Exception as error:  # Pillow raises another type for each way to be damaged
        raise ValueError(str(error) or type(error).__name__) from error


def _check_size(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MOST_PIXELS:
        raise ValueError(f"it has {width} x {height} pixels, more than {MOST_PIXELS:,}")


def _is_small_png(source: Path | str | bytes) -> bool:
    """Whether the header says so, which spares masks, the pictures read most often, the filters of warnings."""
    if not isinstance(source, bytes) or PNG.match(source) is None or len(source) < 24:
        return False
    return max(int.from_bytes(source[16:20], "big"), int.from_bytes(source[20:24], "big")) <= SMALL_SIDE
