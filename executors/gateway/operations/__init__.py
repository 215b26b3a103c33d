"""The operations of the API, one module per endpoint, the same for HTTP and gRPC."""
