"""Every error Lookbook raises on purpose; borders translate other libraries' errors into these."""


class LookbookError(Exception):
    """Base of all of them. Its text is fit for a user: plain words, what to do, no secrets."""


class InputError(LookbookError):
    """What was given cannot be used; nothing was paid and nothing was lost."""


class SourceImageError(InputError):
    """A product's picture cannot be fetched or used."""


class ImageError(InputError):
    """Some bytes are not a picture Lookbook accepts."""


class NotFoundError(LookbookError):
    """No such run, product, image or model photo."""


class ConflictError(LookbookError):
    """What was asked for does not go together with how things stand."""


class ProviderError(LookbookError):
    """An image provider answered with something other than what its protocol promises."""
