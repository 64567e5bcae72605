"""ONNX Runtime, which only this package imports: a session of a model, and what may go wrong with it."""
