"""HTTP and gRPC in one gateway, with one function that admits every request."""
