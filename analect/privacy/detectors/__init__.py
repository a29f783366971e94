"""The built-in detectors, one module a family."""
