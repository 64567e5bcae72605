"""What is kept of the headers of a DICOM series. Nothing of the server is imported here, for readers know of it too."""

SOURCE_HEADERS = "source_headers.json"
"""The file, in the scan's folder."""
MOST_HEADERS_BYTES = 64 << 20
"""Of that file: of a million slices, which is as many as a volume has."""
