"""Which reward models can be served, exactly how each one is read, and proof of what is on disk."""
