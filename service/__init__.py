"""The HTTP service: the tree reads as the request's path (docs/architecture.md)."""
