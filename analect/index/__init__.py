"""Derived, disposable indexes over the truth: text, vectors and graph, behind Protocols."""
