"""What a daemon loads until it has spoken to everybody, loaded at once: for processes that are forked into daemons afterwards.

The heap is frozen too, so that a fork's collections do not touch, and thereby copy, every page it shares.
"""

# ruff: noqa: F401 - to be loaded is all that is wanted of them
import gc
import platform
import sqlite3

import anyio._backends._asyncio
import apscheduler.executors.asyncio
import apscheduler.triggers.interval
import httpcore
import stripe
import uvicorn.lifespan.off
import uvicorn.protocols.http.auto

import drivers.gcode.driver
import drivers.octoprint.driver
import farmd.cli.app
import farmd.cli.talk
import farmd.cli.virtual
import farmd.daemon

_client = stripe.StripeClient("sk_test_nobody")
_client.v1.checkout.sessions, _client.v1.payment_intents, _client.v1.refunds, _client.v1.events  # noqa: B018
stripe.checkout.Session, stripe.PaymentIntent, stripe.Refund, stripe.Charge  # noqa: B018
stripe.Event.construct_from({"object": "event", "data": {"object": {"object": "charge"}}}, None)
platform.platform()  # asks another program, once
gc.collect()
gc.freeze()
