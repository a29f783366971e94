"""The HTTP face: write, read, search, operate."""
