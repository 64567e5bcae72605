"""Export: ONNX graphs and files, checked against torch, in several precisions, with a golden slice."""
