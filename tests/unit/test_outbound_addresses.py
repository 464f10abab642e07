"""Which addresses and URLs the guarded client may call at all."""

from __future__ import annotations

import json
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.outbound import Outbound, OutboundRefused, forbidden

PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "vectors" / "ssrf" / "addresses.json"


def published(verdict: str) -> list[str]:
    """Addresses of gathered lists, where these lie beside the repository; those below run everywhere."""
    return list(json.loads(PUBLISHED.read_bytes())[verdict]) if PUBLISHED.exists() else []


# First and last of a block, where there is one.
DENIED = [
    *("0.0.0.1", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1"),
    *("127.255.255.255", "168.63.129.16", "169.254.0.0", "169.254.169.254", "172.16.0.0", "172.31.255.255"),
    *("192.0.0.0", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.0.0", "192.168.255.255", "198.18.0.0"),
    *("198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.0", "239.255.255.255", "240.0.0.0", "255.255.255.255"),
    *("::", "::1", "::127.0.0.1", "::8.8.8.8", "::ffff:10.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254"),
    *("64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "100:0:0:1::1", "1fff::1", "2001::1"),
    *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:10::1", "2001:20::1", "2001:1ff:ffff::1", "2001:db8::1"),
    *("2002:7f00:1::", "2002:808:808::1", "3fff::1", "3fff:fff::1", "4000::1", "5f00::1", "fc00::1"),
    *("fd00:ec2::254", "fe80::1", "fe80::1%1", "febf::1", "fec0::1", "ff02::1", "ff0e::1"),
]
ALLOWED = [
    *("1.0.0.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0"),
    *("168.63.129.15", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255"),
    *("198.17.255.255", "198.20.0.0", "223.255.255.255", "::ffff:1.1.1.1", "2001:200::1", "2001:4860:4860::8888"),
    *("2003::1", "2606:4700::1111", "2a00::1", "3ffe:ffff::1"),
]


@pytest.mark.parametrize("address", sorted({*DENIED, *published("deny")}))
def test_an_address_off_the_public_network_is_forbidden(address: str) -> None:
    assert forbidden(ip_address(address))


@pytest.mark.parametrize("address", sorted({*ALLOWED, *published("allow")}))
def test_an_address_of_the_public_network_is_allowed(address: str) -> None:
    assert forbidden(ip_address(address)) is None


@given(st.ip_addresses())
def test_whatever_python_knows_as_not_global_is_forbidden(address: IPv4Address | IPv6Address) -> None:
    inner = address.ipv4_mapped if isinstance(address, IPv6Address) and address.ipv4_mapped else address
    assert inner.is_global or forbidden(address)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_mapped_into_ipv6_is_judged_alike(address: IPv4Address) -> None:
    assert forbidden(IPv6Address(f"::ffff:{address}")) == forbidden(address)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://example.org/", "https"),
        ("ftp://example.org/", "https"),
        ("file:///etc/passwd", "https"),
        ("//example.org/", "https"),
        ("https:///hook", "host"),
        ("https://user@example.org/", "user name"),
        ("https://user:secret@example.org/", "user name"),
        ("https://example.org\\@10.0.0.1/", "user name"),
        ("https://example.org:22/", "port"),
        ("https://example.org:80/", "port"),
        ("https://example.org:99999/", "port"),
        ("https://example.org:0/", "port"),
        ("https://exa mple.org/", "host"),
        ("https://exa%2emple.org/", "host"),
        ("https://.example.org/", "host"),
        ("https://example..org/", "host"),
        (f"https://{'a' * 64}.org/", "host"),
        ("https://999.1.1.1/", "not a URL"),
        ("https://10.0.0.1/", "public network"),
        ("https://169.254.169.254/latest", "public network"),
        ("https://127.0.0.1/", "public network"),
        ("https://[::1]/", "public network"),
        ("https://[::ffff:192.168.0.1]/", "public network"),
        ("https://example.org/\n", "not a URL"),
        (f"https://example.org/{'a' * 2_048}", "longer"),
    ],
)
def test_a_url_that_is_refused_by_its_text_says_why(url: str, says: str) -> None:
    with pytest.raises(OutboundRefused, match=says):
        Outbound().admit(url)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org",
        "https://example.org./hook?a=b#c",
        "https://example.org:443/",
        "https://example.org:8443/",
        "https://Bücher.example/",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]:8443/",
        "HTTPS://EXAMPLE.ORG/",
    ],
)
def test_an_https_url_of_an_allowed_port_is_admitted(url: str) -> None:
    assert Outbound().admit(url).scheme == "https"


def test_the_embedded_mode_admits_http_and_any_real_port_by_text() -> None:
    embedded = Outbound(allow_loopback=True)
    assert embedded.admit("http://127.0.0.1:5000/").port == 5000
    for port in (0, 65_536):
        with pytest.raises(OutboundRefused, match="port"):
            embedded.admit(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://169.254.169.254/", "http://[fe80::1]/"])
def test_the_embedded_mode_refuses_a_private_address_by_text_too(url: str) -> None:
    with pytest.raises(OutboundRefused, match="public network"):
        Outbound(allow_loopback=True).admit(url)
