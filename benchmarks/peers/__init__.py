"""Ricefish beside other servers of the same ONNX file; `python -m benchmarks.peers`."""
