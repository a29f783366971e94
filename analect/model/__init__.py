"""What Analect holds and what can go wrong, with no I/O and nothing from outside the standard library."""
