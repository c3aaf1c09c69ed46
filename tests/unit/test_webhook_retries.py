"""The schedule and what each answer means, as arithmetic."""

from datetime import UTC, datetime, timedelta

import pytest

from farmd.events.retries import SCHEDULE, Answer, judge, pause

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def answer(status: int | None, retry_after: str | None = None) -> Answer:
    return Answer(status, "said so", 12, retry_after)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(status):
    assert judge(answer(status), 1, NOW, 0.5).state == "DELIVERED"


@pytest.mark.parametrize("status", [None, 100, 301, 302, 307, 400, 401, 404, 429, 500, 502, 503])
def test_everything_else_is_tried_again(status):
    settled = judge(answer(status), 1, NOW, 0.5)
    assert (settled.state, settled.gone) == ("PENDING", None)
    assert settled.next_at == NOW + timedelta(seconds=SCHEDULE[1])


def test_gone_ends_the_delivery_and_the_webhook():
    settled = judge(answer(410), 1, NOW, 0.5)
    assert settled.state == "DEAD"
    assert "410" in (settled.gone or "")


def test_the_schedule_lasts_about_three_days_and_then_the_letter_is_dead():
    at, tries = NOW, 0
    while True:
        tries += 1
        settled = judge(answer(500), tries, at, 0.5)
        if settled.state == "DEAD":
            break
        at = settled.next_at
    assert tries == len(SCHEDULE)
    assert timedelta(hours=72) < at - NOW < timedelta(hours=78)


def test_chance_spreads_the_next_try_by_a_tenth():
    waits = [(judge(answer(500), 3, NOW, chance).next_at - NOW).total_seconds() for chance in (0.0, 0.5, 1.0)]
    assert waits == [270.0, 300.0, 330.0]


@pytest.mark.parametrize(
    ("status", "given", "seconds"),
    [
        (429, "120", 120),
        (503, " 7 ", 7),
        (429, "Mon, 23 Nov 2026 12:02:00 GMT", 120),
        (503, "Mon, 23 Nov 2026 11:00:00 GMT", 0),
        (429, "999999999999999999", 86400),
        (429, "soon", 0),
        (429, "-5", 0),
        (429, "²", 0),
        (429, "", 0),
        (429, None, 0),
        (500, "120", 0),
        (200, "120", 0),
    ],
)
def test_a_throttling_receiver_is_left_alone_as_long_as_it_asks_but_a_day_at_most(status, given, seconds):
    assert pause(answer(status, given), NOW) == seconds


def test_retry_after_only_ever_lengthens_the_wait():
    assert judge(answer(429, "60"), 1, NOW, 0.5).next_at == NOW + timedelta(seconds=60)
    assert judge(answer(429, "1"), 3, NOW, 0.5).next_at == NOW + timedelta(seconds=300)
