"""What runs in the environments of the others: one script for each, which knows numpy, onnxruntime and its framework.

The scripts are started by path, never imported by Ricefish; beside them lies what they share.
"""
