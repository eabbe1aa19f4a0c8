"""The OpenAPI document: what can be asked of this server and its models just now, one file for each protocol."""
