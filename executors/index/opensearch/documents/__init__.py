"""Documents as OpenSearch holds them."""
