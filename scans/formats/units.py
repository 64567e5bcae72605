"""Units of length, the one table of them: each name that a file may have for one, and the names that say nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from scans.formats.errors import NoSpacing


@dataclass(frozen=True)
class LengthUnit:
    """A unit of length."""

    symbol: str
    """What headers of few letters call it, in ASCII."""
    word: str
    """What OME calls it."""
    mm: float
    names: tuple[str, ...] = ()
    """Others that files have for it, in lower case, `u` standing for the sign of micro."""


_TABLE = (
    LengthUnit("mm", "millimeter", 1.0),
    LengthUnit("um", "micrometer", 1e-3, ("micron", "microns", "u", "micro-meter", "micro-metre", "mum", "mu")),
    LengthUnit("nm", "nanometer", 1e-6),
    LengthUnit("cm", "centimeter", 10.0),
    LengthUnit("m", "meter", 1e3),
    LengthUnit("dm", "decimeter", 1e2),
    LengthUnit("km", "kilometer", 1e6),
    LengthUnit("pm", "picometer", 1e-9),
    LengthUnit("angstrom", "angstrom", 1e-7, ("å", "ångstrom", "ångström", "ångstroms", "ångströms")),
    LengthUnit("inch", "inch", 25.4, ("in", "inches")),
    LengthUnit("foot", "foot", 304.8, ("ft", "feet")),
    LengthUnit("yard", "yard", 914.4, ("yd",)),
    LengthUnit("thou", "thou", 0.0254, ("mil", "mils")),
)


def _names(unit: LengthUnit) -> set[str]:
    spelled = {unit.word, unit.word.replace("meter", "metre")}
    return {unit.symbol, *unit.names, *spelled, *(f"{word}s" for word in spelled)}


_BY_NAME = {name: unit for unit in _TABLE for name in _names(unit)}

_SAY_NOTHING = frozenset({
    "", "pixel", "pixels", "px", "pxl", "pix", "voxel", "voxels", "vx", "vox", "none", "null", "nan", "unknown",
    "undefined", "unspecified", "unit", "units", "unitless", "dimensionless", "arbitrary", "reference frame",
    "reference_frame", "referenceframe", "n/a", "na", "-", "?", "??", "???", "1",
})  # fmt: skip

_MICRO = ("âµ", "µ", "μ", "\\u00b5", "\\u03bc", "\\xb5", "&#181;", "&#xb5;", "&micro;", "\ufffd")
"""The two code points of the sign, how ImageJ and XML write it, and what is left of it in another encoding."""

_LONGEST = 64

UNITS: Final[Mapping[str, LengthUnit]] = MappingProxyType({unit.symbol: unit for unit in _TABLE})
"""The units by their symbols."""

MM = UNITS["mm"]


def unit_of(name: str) -> LengthUnit:
    """The unit that a file calls so. Raises NoSpacing for a name that says nothing of length, or is not known."""
    plain = _plain(name)
    if plain in _SAY_NOTHING:
        raise NoSpacing(f"lengths in {name.strip()!r}, which says nothing of their size")
    if plain not in _BY_NAME:
        raise NoSpacing(f"lengths in {name.strip()[:_LONGEST]!r}, which is no unit that is known: {', '.join(UNITS)}")
    return _BY_NAME[plain]


def _plain(name: str) -> str:
    plain = name[: 2 * _LONGEST].strip().strip("\"'[]()").strip().lower()
    for sign in _MICRO:
        plain = plain.replace(sign, "u")
    return " ".join(plain.split())


def in_unit(length_mm: float, unit: LengthUnit) -> float:
    """A length in a unit: the shortest number that is the very same length when it is read again, if there is one."""
    exact = length_mm / unit.mm
    short = float(f"{exact:.15g}")
    return short if short * unit.mm == length_mm else exact
