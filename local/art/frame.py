"""What all drawings share: the photo's frame and the plainest types."""

from typing import Literal, TypeVar

from PIL import Image

Category = Literal["upper", "lower", "overall"]
Colour = tuple[int, int, int]
Point = tuple[float, float]
Outline = list[Point]
Paint = Colour | Image.Image
Choice = TypeVar("Choice")

PHOTO_SIZE = (768, 1024)  # pixels; what CatVTON makes
PRODUCT_SIZE = (800, 1000)
MODEL_NAMES = ("woman_25_latina", "woman_45_caucasian", "man_30_black")

SMOOTH = 3  # polygons are drawn this many times larger and averaged, for smooth edges
WHITE: Colour = (255, 255, 255)
INK: Colour = (38, 36, 40)
