"""A managed Triton server from the package index: its packages, its processes, its ONNX Runtime backend."""
