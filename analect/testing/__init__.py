"""What a new adapter is checked with: contract suites, to be run with pytest."""
