"""The Open Inference Protocol v2 (KServe, Triton): what it offers of the models, without HTTP."""
