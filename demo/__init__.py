"""A first look at Analect: ``python -m demo``."""
