"""Stripe over HTTP: the only file that imports its library. Plain dictionaries go in and out; three exceptions come out.

The library repeats 500, 409 and lost connections by itself under the same idempotency key; what it does not repeat (429, an outage)
is `Unavailable` here, and the caller's row is tried again later. Never lets a key into an exception or a log line.
"""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
import stripe
from stripe import StripeClient, StripeError, StripeObject

from farmd.config import StripeSettings
from farmd.logs import blot_text

RETRIES = 2
PAGE = 100
_CONFLICT = 409

API_VERSION = str(stripe.api_version)
"""The version of Stripe's API that this library speaks; a webhook endpoint should be created with it."""
Thing = dict[str, Any]


class StripeProblem(Exception):
    """Stripe did not do what was asked; the message is Stripe's own, without any key."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(blot_text(message))
        self.code = code


class Refused(StripeProblem):
    """Stripe will never do this as it was asked."""


class Shut(StripeProblem):
    """Stripe does not take our key, or the key may not do this."""


class Unavailable(StripeProblem):
    """No answer, or none that settles anything; whether it was done is not known."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class StripeApi:
    """The calls that farmd makes. Each raises `Refused`, `Shut` or `Unavailable` and nothing else."""

    def __init__(self, settings: StripeSettings, *, timeout: float = 20.0, retries: int = RETRIES) -> None:
        options: dict[str, Any] = {"base_addresses": {"api": settings.api_base}} if settings.api_base else {}
        self._http = stripe.HTTPXClient(timeout=timeout)
        client = StripeClient(settings.api_key, http_client=self._http, max_network_retries=retries, **options)
        self._client, self._v1 = client, client.v1

    async def close(self) -> None:
        """Let go of the connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call] # the library's own gap

    async def open_session(self, body: Thing, key: str) -> Thing:
        """A new checkout session."""
        return await self._ask(self._v1.checkout.sessions.create_async(_params(body), {"idempotency_key": key}))

    async def session(self, session_id: str) -> Thing:
        """A checkout session as it is now."""
        return await self._ask(self._v1.checkout.sessions.retrieve_async(session_id))

    async def sessions_since(self, created: int, *, only_open: bool = False) -> AsyncIterator[list[Thing]]:
        """Pages of the sessions created since this moment (seconds since 1970), newest first."""
        ask: Thing = {"created": {"gte": created}, "limit": PAGE} | ({"status": "open"} if only_open else {})
        while True:
            page = await self._page("/v1/checkout/sessions", ask)
            things = _data(page)
            yield things
            if not page.get("has_more") or not things or ask.get("starting_after") == things[-1].get("id"):
                return
            ask["starting_after"] = things[-1]["id"]

    async def expire_session(self, session_id: str, key: str) -> Thing:
        """Close an open session. `Refused` when it is not open any more."""
        return await self._ask(self._v1.checkout.sessions.expire_async(session_id, {}, {"idempotency_key": key}))

    async def intent(self, intent_id: str) -> Thing:
        """A payment intent with its latest charge."""
        return await self._ask(self._v1.payment_intents.retrieve_async(intent_id, {"expand": ["latest_charge"]}))

    async def capture(self, intent_id: str, body: Thing, key: str) -> Thing:
        """Collect an authorised payment."""
        return await self._ask(self._v1.payment_intents.capture_async(intent_id, _params(body), {"idempotency_key": key}))

    async def void(self, intent_id: str, body: Thing, key: str) -> Thing:
        """Give an authorisation back."""
        return await self._ask(self._v1.payment_intents.cancel_async(intent_id, _params(body), {"idempotency_key": key}))

    async def refund(self, body: Thing, key: str) -> Thing:
        """Send money back."""
        return await self._ask(self._v1.refunds.create_async(_params(body), {"idempotency_key": key}))

    async def refunds_of(self, intent_id: str) -> list[Thing]:
        """Every refund of a payment, whoever made it."""
        ask: Thing = {"payment_intent": intent_id, "limit": PAGE}
        found: list[Thing] = []
        while True:
            page = await self._ask(self._v1.refunds.list_async(_params(ask)))
            fresh = [thing for thing in _data(page) if thing.get("id") not in {known.get("id") for known in found}]
            found += fresh
            if not page.get("has_more") or not fresh:
                return found
            ask["starting_after"] = fresh[-1]["id"]

    async def disputes_of(self, intent_id: str) -> list[Thing]:
        """Every dispute about a payment."""
        return _data(await self._ask(self._v1.disputes.list_async({"payment_intent": intent_id, "limit": PAGE})))

    async def events(self, types: list[str], *, before: str | None = None, limit: int = PAGE) -> Thing:
        """A page of events of these types: the newest ones, or those that followed the event `before`."""
        ask: Thing = {"types": types, "limit": limit} | ({"ending_before": before} if before else {})
        return await self._ask(self._v1.events.list_async(_params(ask)))

    async def clock(self) -> datetime | None:
        """Stripe's own time, by the smallest question that needs a key; None when the answer does not tell it."""
        headers: Mapping[str, str] | None
        try:
            answer = await self._v1.balance.retrieve_async()
            headers = answer.last_response.headers if answer.last_response else None
        except stripe.PermissionError as error:  # a restricted key need not read the balance; that it is known is all that is asked
            headers = error.headers
        except StripeError as error:
            raise _translated(error) from None
        told = next((value for name, value in (headers or {}).items() if name.lower() == "date"), None)
        try:
            return parsedate_to_datetime(told) if told else None
        except ValueError:
            return None

    async def payments_can_be_read(self) -> None:
        """Raises `Shut` when the key may not read payments."""
        await self._ask(self._v1.payment_intents.list_async({"limit": 1}))

    async def refunds_can_be_read(self) -> None:
        """Raises `Shut` when the key may not read refunds."""
        await self._ask(self._v1.refunds.list_async({"limit": 1}))

    async def disputes_can_be_read(self) -> None:
        """Raises `Shut` when the key may not read disputes."""
        await self._ask(self._v1.disputes.list_async({"limit": 1}))

    async def account(self) -> Thing:
        """Whose key this is."""
        return await self._ask(self._v1.accounts.retrieve_current_async())

    async def endpoints(self) -> list[Thing]:
        """The webhook endpoints of the account."""
        return _data(await self._ask(self._v1.webhook_endpoints.list_async({"limit": PAGE})))

    async def _page(self, path: str, ask: Thing) -> Thing:
        """A long list as plain JSON: to make a hundred objects of the library's own of it would hold the loop up for a while."""
        try:
            answer: Any = await self._client.raw_request_async("get", path, **ask)
        except StripeError as error:
            raise _translated(error) from None
        return answer.data if isinstance(answer.data, dict) else {}

    async def _ask(self, call: Any) -> Thing:
        try:
            answer = await call
        except StripeError as error:
            raise _translated(error) from None
        return answer.to_dict() if isinstance(answer, StripeObject) else {}


def _params(body: Mapping[str, Any]) -> Any:
    """A request body as the library's own types; rows hold it as plain JSON."""
    return dict(body)


def _data(page: Thing) -> list[Thing]:
    found = page.get("data")
    return [thing for thing in found if isinstance(thing, dict)] if isinstance(found, list) else []


def _translated(error: StripeError) -> StripeProblem:
    words = error.user_message or str(error) or type(error).__name__
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return Shut(words, error.code)
    final = isinstance(error, stripe.InvalidRequestError | stripe.CardError | stripe.IdempotencyError)
    if final and error.http_status != _CONFLICT:
        return Refused(words, error.code)
    return Unavailable(words, _retry_after(error.headers))  # also an answer that is no JSON: something else stands before Stripe


def _retry_after(headers: Mapping[str, str] | None) -> float | None:
    text = next((value for name, value in (headers or {}).items() if name.lower() == "retry-after"), "")
    return float(text) if text.isdecimal() else None


def read_event(payload: bytes, signature: str, secrets: tuple[str, ...], now: float) -> Thing:
    """The event in a webhook, if one of these secrets signed these very bytes at most five minutes before `now` (seconds since
    1970); a signer's clock may be ahead. Raises `Refused`."""
    genuine = signature.isascii() and any(_signed_by(secret, payload, signature) for secret in secrets)
    if not genuine:
        raise Refused("no signature of this webhook is genuine: compare webhook_secrets with the endpoint's signing secret")
    if _signed_at(signature) < now - stripe.Webhook.DEFAULT_TOLERANCE:
        raise Refused("this webhook was signed over five minutes ago, or this machine's clock is wrong: ask farmd doctor")
    return parse_event(payload)


def _signed_by(secret: str, payload: bytes, signature: str) -> bool:
    try:
        stripe.WebhookSignature.verify_header(payload.decode(), signature, secret, None)  # its age is judged by our own clock
    except (stripe.SignatureVerificationError, UnicodeDecodeError):
        return False
    return True


def _signed_at(signature: str) -> int:
    """The moment in a genuine header. Of several only the first is part of what was signed; anybody can add another."""
    return next(int(words[1]) for words in (part.split("=") for part in signature.split(",")) if words[0] == "t")


def parse_event(payload: bytes) -> Thing:
    """A signed payload as a dictionary. Raises `Refused` for one that is no snapshot event."""
    try:
        event = orjson.loads(payload)
    except orjson.JSONDecodeError:
        raise Refused("the signed body is not JSON") from None
    if not isinstance(event, dict) or event.get("object", "event") != "event" or not isinstance(event.get("id"), str):
        raise Refused("this is no snapshot event of Stripe; create the endpoint with snapshot payloads")
    return event
