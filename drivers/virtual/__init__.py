"""Printers that do not exist, speaking the protocols of those that do over real sockets and terminals.

They serve the demo, `farmd virtual` and the tests. A virtual machine must never know the driver that talks to it: what
it answers is measured on the real thing, so that code which works here works there.
"""
