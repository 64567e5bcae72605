"""ONNX Runtime and OpenVINO, which only this package imports: a loaded model, and what may go wrong with it."""
