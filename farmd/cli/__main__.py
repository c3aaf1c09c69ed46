"""`python -m farmd.cli`: how the demo starts the daemon with the very Python it runs under."""

from farmd.cli import main

main()
