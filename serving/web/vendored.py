"""Vendored: what others wrote and the page is made with: name, version, file and SHA-256 of its bytes, as published.

Each has its licence in static/vendor/licences. Of Neuroglancer it is the client as built for its Python package,
without source maps, each file packed by gzip; the SHA-256 is that of what is in it.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Vendored(NamedTuple):
    """A file."""

    name: str
    """Of the package it comes from, and of its licence's file."""
    version: str
    file: str
    """Below `static`."""
    sha256: str
    """Of its bytes, unpacked where its name ends in .gz."""


_CLIENT: Final = ("neuroglancer", "2.41.2")

VENDORED: Final = (
    Vendored(
        "htmx",
        "2.0.11",
        "vendor/htmx-2.0.11.min.js",
        "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
    ),
    Vendored(
        "htmx-ext-sse",
        "2.2.4",
        "vendor/htmx-ext-sse-2.2.4.min.js",
        "98a46496de0c3605fbffdce9167ba427bdd9553184f83f149c261891a92c0136",
    ),
    Vendored(
        "tus-js-client",
        "4.3.1",
        "vendor/tus-js-client-4.3.1.min.js",
        "8cbb1b63fccc3bba0ae73ad1deb160ce046c3750851d0c3e94921ae3ef070eb8",
    ),
    Vendored(
        "client-zip",
        "2.5.1",
        "vendor/client-zip-2.5.1.js",
        "28c957c53d8e5290951d4b45ccff8ab8c9c37219da08b9d537bbdd595a75706d",
    ),
    Vendored(
        "pico",
        "2.1.1",
        "vendor/pico-2.1.1.classless.blue.min.css",
        "80a092a10b6a844e37c12a1eca4211e82701fc5df2142ee8aad4908cfa562990",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/09f21dcf7b4f13e8.wasm.gz",
        "3201adf1c140cc636008290a727b59360ec3d228d2fb8a2b46fc7ac652f87122",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/174.50e353543e20d218.js.gz",
        "6d6dfd330fe1743386c14a8e43c086a48499f5ce7643e1fd611dda8cca629538",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/191.746a2dd720c8bead.js.gz",
        "6499b370d285e020ad735a07445f6f73a9e78f2b03c3c00daa7b97ce5a6bebd0",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/205.6bc228e2e1fdba68.js.gz",
        "d6304540519f760f2eb254ce61da0be8de2e7625ad16133d78700adc22d4acdc",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/213.57c390ab08d910be.js.gz",
        "3f064e731efbfea4094689fda7dac0c1b547c40ed2d20a778b006a0b983bafa4",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/412.4af3eaa266e16091.js.gz",
        "84f8878bbb7a7c9533003739836ff17481c255b8cb5efb953e7202b1afea3053",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/451.f4a0ec14850e18f3.js.gz",
        "fdcadb96eae3449e4e8fd93134ee5340ab44e90b47fd7042ac3514981417db12",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/5b383a2480cdc3ac.wasm.gz",
        "9e1048423419df1c0a049ebde744c9b372bfbb3232c6c5a01525c2ee08ff62d6",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/733.3e4d41581f5b1eae.js.gz",
        "a3d90f2c9e8ef022ff0e68ba0ebaca18e160150f75ebc6b1546f7d3af5878e79",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/790.ccf548b371b08271.js.gz",
        "7d8438eacf3b8ad31ac98074dbbb32af42f6f74914b596f0007537a7344e26b0",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/822.a6ba03f3494c48e3.js.gz",
        "f4a8dbe0c36165597c2fb315329950ea168ad8aa129757fff361c337fbf0897f",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/def6161ec2354b02.wasm.gz",
        "c6bbfc556e2527a5ef41895514ddff94c3c5fe05637bd78b769a69fcd22a0941",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/e431fe7ba8d0a870.wasm.gz",
        "feb7db04f4ee19884c2486caa80b6c88418e86d881ba101085bdc27825fcc8b8",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/index.html.gz",
        "7588309339b4a41f4ee59243edf3c153814aa6b81defd47278b97ba0ee264fdd",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/main.8608d1fc21b22785.css.gz",
        "b757452e668716186a0caf856a291f8d911b54448383dfa24b9a2606478725b8",
    ),
    Vendored(
        *_CLIENT,
        "neuroglancer/main.8608d1fc21b22785.js.gz",
        "8c47fe1319ac9cccac67083eb81ad42eabc8cce720e5a35564a74b8a00038c0e",
    ),
)
