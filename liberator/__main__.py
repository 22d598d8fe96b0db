"""``python -m liberator`` is the command ``liberator``."""

from liberator.cli import main

main()
