"""The pictures that the stand-ins make: products, model photos, previews of a try-on, covers, and contact sheets.

All of it is drawn by Pillow, with nothing to install or download, and from its arguments alone: equal arguments give
equal pixels on every machine with the same Pillow.

Garments and people are drawn in one *body frame*: x counts from the middle of the body to its left arm, y from the
picture's top, in pixels of a 768 x 1024 photo. A garment that was drawn therefore fits the people that were drawn;
`try_on` finds both again in pictures that came from elsewhere.
"""

from local.art.covers import draw_cover
from local.art.fitting import try_on
from local.art.frame import MODEL_NAMES, PHOTO_SIZE, PRODUCT_SIZE, Category
from local.art.garments import draw_garment
from local.art.people import draw_model
from local.art.sheet import contact_sheet

__all__ = [
    "MODEL_NAMES",
    "PHOTO_SIZE",
    "PRODUCT_SIZE",
    "Category",
    "contact_sheet",
    "draw_cover",
    "draw_garment",
    "draw_model",
    "try_on",
]
