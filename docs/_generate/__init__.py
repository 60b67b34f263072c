"""What `docs.generate` is made of: marked blocks of a page, and one renderer for each kind of block."""
