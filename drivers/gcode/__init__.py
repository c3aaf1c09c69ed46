"""Printers on a serial line, each driven by a process of its own that outlives the daemon.

That process imports this package: nothing is loaded here, so that it carries only what it needs.
"""
