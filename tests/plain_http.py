"""HTTP to a server on this machine, which speaks no TLS: a client of its own would first read every certificate authority there is,
for longer than the whole test's requests take."""

import ssl

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody; to be handed to `httpx` as `verify`."""
