"""Names and colours of labels, in the words of programs that show them: Connectome Workbench, ITK-SNAP, ImageJ."""

from __future__ import annotations

from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from scans.organs import OrganMap

COLOURS = 256
"""Of the palette of an 8-bit picture."""

LABELS_HEAD = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    MSH:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
    0     0    0    0        0  0  0    "Clear Label"
"""
"""How a description of labels begins, ours as ITK-SNAP's own."""


def caret_labels(organs: OrganMap) -> str:
    """The table of labels of a NIfTI as Connectome Workbench has it in an extension, XML; others read it too."""
    labels = [_caret_label(0, "background", (0, 0, 0), alpha=0)]
    labels += [_caret_label(organ.index, organ.name, organ.colour, alpha=1) for organ in organs.organs]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<CaretExtension>\n<VolumeInformation Index="0">\n<LabelTable>\n'
        + "".join(labels)
        + "</LabelTable>\n<StudyMetaDataLinkSet>\n</StudyMetaDataLinkSet>\n<VolumeType><![CDATA[Label]]></VolumeType>\n"
        "</VolumeInformation>\n</CaretExtension>\n"
    )


def _caret_label(index: int, name: str, colour: tuple[int, int, int], *, alpha: int) -> str:
    red, green, blue = (f"{value / 255:.6g}" for value in colour)
    return f'<Label Key="{index}" Red="{red}" Green="{green}" Blue="{blue}" Alpha="{alpha}">{escape(name)}</Label>\n'


def itk_snap_labels(organs: OrganMap) -> str:
    """The text of a label description that ITK-SNAP imports, and FSLeyes and MRIcroGL too."""
    lines = []
    for organ in organs.organs:
        red, green, blue = organ.colour
        name = organ.name.replace('"', "'")
        lines.append(f'{organ.index:5} {red:5} {green:4} {blue:4}        1  1  1    "{name}"\n')
    return LABELS_HEAD + "".join(lines)


def tiff_palette(organs: OrganMap) -> NDArray[np.uint16]:
    """uint16 (3, 256): red, green and blue of each value of a pixel, as TIFF's ColorMap has them."""
    palette = np.zeros((3, COLOURS), dtype=np.uint16)
    palette[:, : organs.classes] = organs.palette.T.astype(np.uint16) * 257
    return palette
