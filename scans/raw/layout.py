"""Raw layout: where in a raw data set what lies, as those agree who add to it and who learn from it.

organs.yaml                  class index to organ name; 255: not_labelled, where labels are of parts
labelled/images/NAME.*       scans
labelled/labels/NAME.*       their labels, under the same name
unlabelled/images/*          scans without labels, or
unlabelled/EXPERIMENT/*      the same, by beam time or facility
provenance.csv               of those that a server handed out, from where they are
"""

from __future__ import annotations

ORGANS_FILE = "organs.yaml"
PROVENANCE_FILE = "provenance.csv"
LABELLED_IMAGES = "labelled/images"
LABELLED_LABELS = "labelled/labels"
UNLABELLED = "unlabelled"
NO_EXPERIMENT = "images"
"""The folder under `unlabelled` of scans that are of no experiment."""


def unlabelled_dir(experiment: str) -> str:
    """Where scans of an experiment lie; "" for none."""
    return f"{UNLABELLED}/{experiment or NO_EXPERIMENT}"


def experiment_of(folder: str) -> str:
    """The experiment of a folder under `unlabelled`; "" for none."""
    return "" if folder == NO_EXPERIMENT else folder
