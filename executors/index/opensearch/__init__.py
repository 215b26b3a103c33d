"""The index on an OpenSearch cluster: the contract of `Store` where one machine is not enough."""
