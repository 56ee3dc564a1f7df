"""Choose the photo in a file with several pictures."""

from PIL import ImageFile, TiffImagePlugin

from qc_lightning.data.decoding.image_file import BadImage

_SUBFILE, _OLD_SUBFILE = 254, 255  # tags of TIFF
_REDUCED, _MASK = 1, 4  # bits of the first; 2 in the second says reduced too
_MOST = 64  # pages that are looked at


def choose_page(image: ImageFile.ImageFile) -> None:
    """Seek the page that is the photo; thumbnails and masks in a TIFF are not photos.

    A page is a thumbnail when its tag says so, or when another page has its shape at more than twice the size.

    Raises:
        BadImage: the file has several photos, or frames of an animation: one verdict cannot stand for all.
    """
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        frames = int(getattr(image, "n_frames", 1)) if image.format in ("GIF", "WEBP", "PNG") else 1
        if frames > 1:
            raise BadImage(f"{frames} frames: save the one to be inspected as a file of its own")
        return
    sizes: dict[int, tuple[int, int]] = {}
    for page in range(_MOST):
        try:
            image.seek(page)
        except EOFError:
            break
        tags = image.tag_v2
        if not (tags.get(_SUBFILE, 0) & (_REDUCED | _MASK) or tags.get(_OLD_SUBFILE) == 2):
            sizes[page] = image.size
    photos = [page for page in sizes if not any(_is_thumbnail(sizes[page], other) for other in sizes.values())]
    if len(photos) > 1:
        raise BadImage(f"{len(photos)} pages: save each as a file of its own")
    image.seek(photos[0] if photos else 0)


def _is_thumbnail(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether a page has the shape of another, to a pixel, at less than half its size."""
    (width, height), (wide, high) = size, other
    return 2 * width < wide and 2 * height < high and abs(width * high - height * wide) <= max(wide, high)
