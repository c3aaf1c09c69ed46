"""Standard Webhooks signatures: how a receiver knows that a message is farmd's and was not changed on the way.

A webhook's secret may be two during a rotation, newest first and parted by a space; both sign, as the header allows, so that a
receiver can change over when it likes. A secret is never logged.
"""

import base64
import binascii
import hashlib
import hmac

from farmd.domain.ports import World

_PREFIX = "whsec_"


def new_secret(world: World) -> str:
    """A fresh secret. Its decoded form is 32 letters and digits, so that it can be pasted where a tool wants plain text."""
    return _PREFIX + base64.b64encode(world.secret(32).encode("ascii")).decode("ascii")


def rotated(secret: str, fresh: str) -> str:
    """The secrets to sign with after a rotation: the fresh one and the one before it."""
    return f"{fresh} {secret.split(' ', 1)[0]}"


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The value of `webhook-signature`: one `v1,<base64 HMAC-SHA256 of id.timestamp.body>` per secret. `timestamp` is in Unix
    seconds, of this try. Raises `ValueError` on a secret that is not one."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join(f"v1,{_mac(one, signed)}" for one in secret.split(" "))


def _mac(secret: str, signed: bytes) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("the webhook's secret is not base64; rotate it: PATCH the webhook with rotateSecret = true") from error
    return base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode("ascii")
