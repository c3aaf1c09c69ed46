"""The real stripe library, pointed at the double or at Stripe's own test mode. It must never be given a key of live mode."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import stripe


@asynccontextmanager
async def stripe_caller(
    key: str, url: str | None = None, *, retries: int = 0, timeout: float = 20.0
) -> AsyncIterator[stripe.StripeClient]:
    """A client of the library; without `url` it calls Stripe itself."""
    if not key.startswith(("sk_test_", "rk_test_")):
        raise ValueError("only a key of test mode, sk_test_... or rk_test_..., may be used in tests")
    http = stripe.HTTPXClient(timeout=timeout, verify_ssl_certs=url is None)
    addresses = {"api": url} if url else {}
    try:
        yield stripe.StripeClient(key, base_addresses=addresses, http_client=http, max_network_retries=retries)
    finally:
        await http.close_async()
