"""The server: scans come in over HTTP, an ONNX model labels every voxel, masks and organ statistics go out."""
