"""Number formats in which variants of a model keep their weights."""

from typing import Literal

Precision = Literal["int8", "float16"]
"""Of a variant of a model; the model itself is float32."""
