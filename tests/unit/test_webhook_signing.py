"""Signatures, held to the independent package `standardwebhooks`, which is what a receiver would use."""

import base64
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from farmd.events.signing import new_secret, rotated, sign
from farmd.world import SystemWorld

BODY = '{"type":"order.paid","data":{"notes":"dringend – bis Freitag"}}'.encode()


def headers(secret: str, body: bytes = BODY, message: str = "msg_1_a") -> dict[str, str]:
    now = int(datetime.now(UTC).timestamp())
    return {"webhook-id": message, "webhook-timestamp": str(now), "webhook-signature": sign(secret, message, now, body)}


def test_an_independent_receiver_verifies_what_we_sign():
    secret = new_secret(SystemWorld())
    assert Webhook(secret).verify(BODY, headers(secret))["type"] == "order.paid"


def test_a_changed_byte_another_id_or_another_secret_fails():
    secret = new_secret(SystemWorld())
    signed = headers(secret)
    for body, given, key in (
        (BODY + b" ", signed, secret),
        (BODY, signed | {"webhook-id": "msg_2_a"}, secret),
        (BODY, signed, new_secret(SystemWorld())),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(key).verify(body, given)


def test_the_known_vector_of_the_specification():
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    signature = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_secret_decodes_to_text_that_can_be_pasted():
    secret = new_secret(SystemWorld())
    text = base64.b64decode(secret.removeprefix("whsec_"))
    assert len(text) == 32
    assert text.decode("ascii").isalnum()


def test_after_a_rotation_the_new_and_the_old_secret_both_verify_and_an_older_one_does_not():
    first, second, third = (new_secret(SystemWorld()) for _ in range(3))
    kept = rotated(rotated(first, second), third)
    for secret in (third, second):
        assert Webhook(secret).verify(BODY, headers(kept))
    with pytest.raises(WebhookVerificationError):
        Webhook(first).verify(BODY, headers(kept))


def test_a_damaged_secret_says_what_to_do():
    with pytest.raises(ValueError, match="rotateSecret"):
        sign("whsec_%%%", "msg_1", 1, BODY)
