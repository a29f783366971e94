"""``python -m analect.cli``."""

from analect.cli import main

main()
