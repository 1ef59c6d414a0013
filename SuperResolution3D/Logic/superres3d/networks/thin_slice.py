"""The generator of Virtual Thin Slice (Kudo 2019, section 3.2), and of Pix2Pix in three dimensions (section 4.2).

Both are encoders and decoders of 4x4x4 kernels with normalisation and leaky ReLU.  The channel widths beyond
the first layer are not printed; they double, as in Pix2Pix (Isola 2017).
"""

from __future__ import annotations

from .blueprint import Drawing, Parts, T

_SLOPE = 0.2
_LEVELS = 4  # to 1/16 of the size
_WIDEST = 8  # times the first layer's channels


def virtual_thin_slice(draw: Drawing[T], image: T, *, filters: int = 64, detail: int = 0) -> T:
    """U-Net with trilinear upsampling.

    Args:
        filters: channels of the first layer (the paper: 64).
        detail: channels of two layers on the full grid, before the first halving and after the last doubling
            (the paper: none, so that all that it adds comes from halved maps).
    """
    fine = _fine(draw, image, detail)
    return _last(draw, fine, _inner(draw, _first(draw, fine, filters), filters), detail)


def thin_slice_parts(*, filters: int = 64, detail: int = 0) -> Parts:
    """The same network cut at its halved map, beyond which nearly all of its reach lies."""
    return Parts(
        filters,
        lambda draw, image: _first(draw, _fine(draw, image, detail), filters),
        lambda draw, halved: _inner(draw, halved, filters),
        lambda draw, image, halved: _last(draw, _fine(draw, image, detail), halved, detail),
    )


def _fine(draw: Drawing[T], image: T, detail: int) -> T:
    return _layer(draw, "detail", draw.conv("detail", image, detail)) if detail else image


def _first(draw: Drawing[T], fine: T, filters: int) -> T:
    return _encode(draw, fine, filters, 1)[0]


def _inner(draw: Drawing[T], halved: T, filters: int) -> T:
    """From halved map to halved map, down to 1/16 in between."""
    levels = [halved, *_encode(draw, halved, filters, _LEVELS, done=1)]
    features = levels.pop()
    for number in reversed(range(_LEVELS - 1)):
        features = draw.concat([draw.upsample(features), levels.pop()])
        features = _layer(draw, f"up{number}", draw.conv(f"up{number}", features, filters * 2**number, kernel=4))
    return features


def _last(draw: Drawing[T], fine: T, halved: T, detail: int) -> T:
    features = draw.concat([draw.upsample(halved), fine])
    if not detail:
        return draw.conv("output", features, 1, kernel=4)
    return draw.conv("output", _layer(draw, "fusion", draw.conv("fusion", features, detail)), 1)


def pix2pix(draw: Drawing[T], image: T, *, filters: int = 64, levels: int = 6) -> T:
    """Halved ``levels`` times (to one voxel of a training crop), then restored by transposed convolutions."""
    kept = _encode(draw, image, filters, levels)
    features = kept.pop()
    for number in reversed(range(levels - 1)):
        outputs = filters * min(2**number, _WIDEST)
        features = _layer(draw, f"up{number}", draw.transposed(f"up{number}", features, outputs))
        features = draw.concat([features, kept.pop()])
    return draw.transposed("output", features, 1)


def _encode(draw: Drawing[T], image: T, filters: int, levels: int, done: int = 0) -> list[T]:
    """The maps after each convolution of stride 2; ``done`` of the ``levels`` lie before the image."""
    maps, features = [], image
    for number in range(done, levels):
        outputs = filters * min(2**number, _WIDEST)
        features = _layer(draw, f"down{number}", draw.conv(f"down{number}", features, outputs, kernel=4, stride=2))
        maps.append(features)
    return maps


def _layer(draw: Drawing[T], name: str, features: T) -> T:
    return draw.leaky_relu(draw.norm(f"{name}-norm", features), _SLOPE)
