"""HTTP and gRPC in one gateway process; `door.py` lets every request in."""
