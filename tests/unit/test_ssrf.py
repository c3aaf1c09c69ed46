"""Where webhooks may go and where never. The resolver is the edge we do not own; everything behind it is real."""

import asyncio
import socket

import pytest

from farmd.events.addresses import Policy, Refused

OWN = ("127.0.0.1", 8787)
NAMES = {
    "shop.example": ["93.184.216.34"],
    "both.example": ["2606:2800:220:1::1", "93.184.216.34"],
    "inside.example": ["192.168.1.20"],
    "mixed.example": ["93.184.216.34", "169.254.169.254"],
    "half.example": ["93.184.216.34", "10.0.0.5"],
    "me.example": ["127.0.0.1"],
    "n8n.lan": ["192.168.1.20"],
    "tricky.lan": ["169.254.169.254"],
    "xn--bcher-kva.example": ["93.184.216.34"],
}


async def resolve(host: str, port: int) -> list[str]:
    try:
        return NAMES[host]
    except KeyError:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None


def judge(url: str, allow=("127.0.0.1",), own=OWN):
    return asyncio.run(Policy(allow, own, resolve).target(url))


@pytest.mark.parametrize(
    ("url", "first", "host"),
    [
        ("https://shop.example/hook?a=1&b=%20", "https://93.184.216.34/hook?a=1&b=%20", "shop.example"),
        ("http://shop.example:8080/", "http://93.184.216.34:8080/", "shop.example:8080"),
        ("HTTPS://Shop.Example/x", "https://93.184.216.34/x", "shop.example"),
        ("https://shop.example/x#part", "https://93.184.216.34/x", "shop.example"),
        ("https://both.example/x", "https://[2606:2800:220:1::1]/x", "both.example"),
        ("https://bücher.example/", "https://93.184.216.34/", "xn--bcher-kva.example"),
        ("http://127.0.0.1:5678/webhook/farm", "http://127.0.0.1:5678/webhook/farm", "127.0.0.1:5678"),
        ("http://me.example:5678/", "http://127.0.0.1:5678/", "me.example:5678"),
        ("http://[::1]:5678/", "http://[::1]:5678/", "[::1]:5678"),
        ("http://[::ffff:127.0.0.1]:5678/", None, None),
        ("http://8.8.8.8/", "http://8.8.8.8/", "8.8.8.8"),
    ],
)
def test_allowed_and_pinned_to_the_address_that_was_judged(url, first, host):
    target = judge(url)
    if first is not None:
        assert target.urls[0] == first
        assert target.host == host


@pytest.mark.parametrize(
    "url",
    [
        "",
        "shop.example/hook",
        "/hook",
        "ftp://shop.example/",
        "file:///etc/passwd",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "javascript:alert(1)",
        "http://",
        "http:///hook",
        "http:shop.example/hook",
        "http:/shop.example/hook",
        "http://:8080/",
        "http://user:pass@shop.example/",
        "http://user@shop.example/",
        "http://@shop.example/",
        "http://shop.example\\@127.0.0.1/",
        "http://shop.example/a b",
        "http://shop.example/\r\nHost: evil",
        "http://shop.example/\x00",
        "http://shop.example:0/",
        "http://shop.example:22/",
        "http://127.0.0.1:6379/",
        "http://shop.example:65536/",
        "http://shop.example:-1/",
        "http://shop.example:http/",
        "http://nowhere.example/",
        "https://shop.example/" + "a" * 2100,
        "http://sh*p.example/",
        "http://[::1/",
        "http://[fe80::1%25eth0]:5678/",
    ],
)
def test_malformed_and_foreign_urls_are_refused(url):
    with pytest.raises(Refused):
        judge(url)


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://0x7f000001/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://127.1/",
        "http://127.0.0.1.0x1/",
        "http://017700000001/",
        "http://①②⑦.⓪.⓪.①/",
        "http://0/",
    ],
)
def test_disguised_addresses_are_refused_even_where_the_plain_one_is_allowed(url):
    with pytest.raises(Refused):
        judge(url)


EVERYTHING = ("0.0.0.0/0", "::/0", "tricky.lan", "metadata.google.internal")


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "169.254.1.1",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:a9fe:a9fe::1]",
        "[fd00:ec2::254]",
        "100.100.100.200",
        "168.63.129.16",
        "metadata.google.internal",
        "metadata.google.internal.",
        "METADATA",
        "tricky.lan",
        "mixed.example",
        "0.0.0.0",  # noqa: S104 - refused, not bound
        "[::]",
        "[::ffff:0.0.0.0]",
        "224.0.0.1",
        "239.1.2.3",
        "[ff02::1]",
        "127.0.0.1:8787",
        "localhost:8787",
        "me.example:8787",
        "[::1]:8787",
        "[::ffff:127.0.0.1]:8787",
    ],
)
def test_never_however_wide_the_owner_opens_the_door(host):
    with pytest.raises(Refused):
        asyncio.run(Policy(EVERYTHING, OWN, _with_localhost).target(f"http://{host}/latest/meta-data"))


async def _with_localhost(host: str, port: int) -> list[str]:
    return ["127.0.0.1"] if host == "localhost" else await resolve(host, port)


@pytest.mark.parametrize(
    "host",
    [
        "10.0.0.1",
        "172.16.5.4",
        "192.168.1.20",
        "100.64.0.1",
        "127.0.0.2",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "0.1.2.3",
        "[fc00::1]",
        "[fd12::1]",
        "[fec0::1]",
        "[::127.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::1]",
        "[2001:db8::1]",
        "inside.example",
        "half.example",
    ],
)
def test_private_and_reserved_addresses_need_the_owners_word(host):
    with pytest.raises(Refused, match="private address"):
        judge(f"http://{host}/")


def test_the_owner_may_name_hosts_addresses_and_networks():
    assert judge("http://n8n.lan:5678/", allow=["n8n.lan"]).urls == ("http://192.168.1.20:5678/",)
    assert judge("http://N8N.lan./", allow=["N8N.LAN"]).urls == ("http://192.168.1.20/",)
    assert judge("http://192.168.1.20/", allow=["192.168.1.0/24"]).urls == ("http://192.168.1.20/",)
    assert judge("http://[::ffff:192.168.1.20]/", allow=["192.168.1.20"])
    with pytest.raises(Refused):
        judge("http://inside.example/", allow=["n8n.lan"])
    with pytest.raises(Refused):
        judge("http://127.0.0.1:5678/", allow=[])


def test_a_mistyped_network_in_the_settings_is_told():
    with pytest.raises(ValueError, match=r"webhooks\.allow"):
        Policy(["192.168.1.0/33"], OWN)


def test_farmd_itself_is_refused_on_every_address_of_the_machine_when_it_listens_on_all():
    own = ("0.0.0.0", 8787)  # noqa: S104 - compared, not bound
    with pytest.raises(Refused, match="farmd itself"):
        judge("http://127.0.0.1:8787/", own=own)
    assert judge("http://127.0.0.1:8788/", own=own)
    assert judge("http://8.8.8.8:8787/", own=own)


def test_the_system_resolver_answers_and_refuses():
    policy = Policy(["127.0.0.1"], OWN)
    target = asyncio.run(policy.target("http://localhost:5678/"))
    assert "http://127.0.0.1:5678/" in target.urls
    assert target.server_name == "localhost"
    with pytest.raises(Refused, match="does not resolve"):
        asyncio.run(policy.target("http://no-such-host.invalid/"))


def test_a_name_that_changes_its_mind_is_refused_at_the_next_look():
    answers = iter([["93.184.216.34"], ["169.254.169.254"]])

    async def rebinding(host: str, port: int) -> list[str]:
        return next(answers)

    async def scenario() -> None:
        policy = Policy(["127.0.0.1"], OWN, rebinding)
        assert (await policy.target("http://evil.example/")).urls == ("http://93.184.216.34/",)
        with pytest.raises(Refused):
            await policy.target("http://evil.example/")

    asyncio.run(scenario())
