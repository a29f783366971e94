"""The custom resources, typed: the one source of the CRDs, of the docs and of what is built."""
