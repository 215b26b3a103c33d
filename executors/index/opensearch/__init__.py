"""The index on an OpenSearch cluster: the `Store` contract for collections that need more than one machine."""
