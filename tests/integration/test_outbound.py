"""The guarded client against real servers on this machine that misbehave."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from services.chassis.outbound import IPAddress, Limits, Outbound, OutboundFailed, OutboundRefused

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nX-Own: 1\r\n\r\nhello"
NAME = "hooks.example"  # reserved (RFC 2606): no lookup of the system's own can find it


class Stranger:
    """A server on a loopback port that answers each request as it was told and keeps what was asked."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.requests: list[bytes] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            await self._answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class Names:
    """A resolver whose answers change: each lookup takes the next one, the last stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.lookups = 0

    async def __call__(self, host: str, port: int) -> Sequence[IPAddress]:
        assert host
        assert port
        self.lookups += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [ip_address(address) for address in answer]


async def unknown(_host: str, _port: int) -> Sequence[IPAddress]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@asynccontextmanager
async def stranger(answer: Answer | bytes, tls: ssl.SSLContext | None = None) -> AsyncIterator[Stranger]:
    async def send(writer: asyncio.StreamWriter) -> None:
        assert isinstance(answer, bytes)
        writer.write(answer)
        await writer.drain()

    there = Stranger(send if isinstance(answer, bytes) else answer)
    server = await asyncio.start_server(there.serve, "127.0.0.1", 0, ssl=tls)
    there.port = server.sockets[0].getsockname()[1]
    async with server:
        yield there


def embedded(*answers: Sequence[str], tls: ssl.SSLContext | None = None) -> Outbound:
    return Outbound(allow_loopback=True, resolver=Names(*(answers or [["127.0.0.1"]])), tls=tls)


def certificate(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A self-signed certificate for `name`: (the server's context, that of a client which trusts it)."""
    key, today = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(secret + made.public_bytes(Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cadata=made.public_bytes(Encoding.PEM).decode())


async def test_an_answer_is_status_kept_headers_and_body() -> None:
    async with stranger(OK) as there:
        answer = await embedded().request(
            "POST",
            f"http://{NAME}:{there.port}/hook?a=b#c",
            headers={"Webhook-Id": "n1", "Host": "else"},
            content=b"{}",
        )
    assert (answer.status, dict(answer.headers), answer.body) == (200, {"content-type": "text/plain"}, b"hello")
    head = there.requests[0].decode().lower()
    assert head.startswith("post /hook?a=b http/1.1\r\n")
    for line in (f"host: {NAME}:{there.port}", "webhook-id: n1", "content-length: 2", "accept-encoding: identity"):
        assert f"\r\n{line}\r\n" in head
    assert head.count("\r\nhost:") == 1


async def test_over_tls_the_name_and_not_the_address_is_asked_for_and_checked(tmp_path: Path) -> None:
    serving, trusting = certificate(tmp_path, NAME)
    asked: list[str | None] = []
    serving.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with stranger(OK, tls=serving) as there:
        answer = await embedded(tls=trusting).request("GET", f"https://{NAME}:{there.port}/")
        assert answer.body == b"hello"
        assert asked == [NAME]
        with pytest.raises(OutboundFailed, match="certificate"):
            await embedded(tls=trusting).request("GET", f"https://other.example:{there.port}/")
        with pytest.raises(OutboundFailed, match="certificate"):
            await embedded().request("GET", f"https://{NAME}:{there.port}/")
    assert len(there.requests) == 1


@pytest.mark.parametrize(
    "addresses", [["10.0.0.5"], ["8.8.8.8", "10.0.0.5"], ["fe80::1"], ["::ffff:192.168.1.1"], ["127.0.0.1"], ["::1"]]
)
async def test_a_name_with_any_private_address_is_refused_without_naming_it(addresses: list[str]) -> None:
    with pytest.raises(OutboundRefused, match="not on the public network") as caught:
        await Outbound(resolver=Names(addresses)).request("GET", f"https://{NAME}/")
    assert not any(address in str(caught.value) for address in addresses)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost", "127.1", "2130706433", "0x7f.1"]
)
async def test_this_machine_under_any_spelling_is_refused_outside_of_the_embedded_mode(host: str) -> None:
    async with stranger(OK) as there:
        with pytest.raises(OutboundRefused, match="public network"):
            await Outbound(ports=frozenset({there.port})).request("GET", f"https://{host}:{there.port}/")
    assert there.requests == []


async def test_the_embedded_mode_opens_loopback_and_nothing_else() -> None:
    for address in ("10.0.0.5", "169.254.169.254", "0.0.0.1", "::"):
        with pytest.raises(OutboundRefused, match="public network"):
            await embedded([address]).request("GET", f"http://{NAME}/")
    with pytest.raises(OutboundRefused, match="https"):
        await embedded(["8.8.8.8"]).request("GET", f"http://{NAME}/")
    with pytest.raises(OutboundRefused, match="port"):
        await embedded(["8.8.8.8"]).request("GET", f"https://{NAME}:22/")


async def test_a_dns_answer_that_changes_after_the_check_changes_nothing_and_the_next_attempt_checks_anew() -> None:
    names = Names(["127.0.0.1"], ["10.0.0.5"])
    client = Outbound(allow_loopback=True, resolver=names)
    async with stranger(OK) as there:
        assert (await client.request("GET", f"http://{NAME}:{there.port}/")).status == 200
        assert names.lookups == 1
        with pytest.raises(OutboundRefused, match="public network"):
            await client.request("GET", f"http://{NAME}:{there.port}/")
    assert len(there.requests) == 1


async def test_a_dead_first_address_leaves_the_next_one() -> None:
    async with stranger(OK) as there:
        answer = await embedded(["127.0.0.9", "127.0.0.1"]).request("GET", f"http://{NAME}:{there.port}/")
    assert answer.status == 200


async def test_no_connection_no_name_and_no_answer_are_failures_that_may_be_retried() -> None:
    async with stranger(OK) as there:
        pass
    with pytest.raises(OutboundFailed, match="cannot connect"):
        await embedded().request("GET", f"http://{NAME}:{there.port}/")
    with pytest.raises(OutboundFailed, match="no address"):
        await embedded([]).request("GET", f"http://{NAME}/")
    with pytest.raises(OutboundFailed, match="cannot be resolved"):
        await Outbound(resolver=unknown).request("GET", f"https://{NAME}/")
    for broken in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel", b"SSH-2.0-OpenSSH\r\n\r\n"):
        async with stranger(broken) as there:
            with pytest.raises(OutboundFailed, match="broke off") as caught:
                await embedded().request("GET", f"http://{NAME}:{there.port}/")
            assert "SSH" not in str(caught.value)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_a_drip_of_one_byte_a_second_is_ended_by_the_deadline(start: bytes) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(1)

    async with stranger(drip) as there, asyncio.timeout(3):
        with pytest.raises(OutboundFailed, match=r"within 1\.2 s"):
            await embedded().request("GET", f"http://{NAME}:{there.port}/", limits=Limits(deadline=1.2))


async def test_a_name_server_that_never_answers_is_ended_by_the_deadline() -> None:
    async def silent(_host: str, _port: int) -> Sequence[IPAddress]:
        await asyncio.Event().wait()
        return []

    async with asyncio.timeout(2):
        with pytest.raises(OutboundFailed, match=r"within 0\.2 s"):
            await Outbound(resolver=silent).request("GET", f"https://{NAME}/", limits=Limits(deadline=0.2))


async def test_endless_headers_and_interim_answers_end() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-More: " + b"a" * 1_000 + b"\r\n")
            await writer.drain()

    async def interim(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            await writer.drain()

    for answer in (endless, interim):
        async with stranger(answer) as there, asyncio.timeout(5):
            with pytest.raises(OutboundFailed):
                await embedded().request("GET", f"http://{NAME}:{there.port}/", limits=Limits(deadline=1))


@pytest.mark.parametrize("head", [b"Content-Length: 100000000\r\n\r\n", b"\r\n"])
async def test_a_body_over_the_cap_is_cut_off(head: bytes) -> None:
    sent = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n" + head)
        while sent < 100_000_000:
            writer.write(bytes(65_536))
            await writer.drain()
            sent += 65_536

    async with stranger(flood) as there:
        with pytest.raises(OutboundRefused, match="longer than 1000 bytes"):
            await embedded().request("GET", f"http://{NAME}:{there.port}/", limits=Limits(max_body=1_000))
        await asyncio.sleep(0.1)
    assert sent < 20_000_000


async def test_a_body_as_long_as_the_cap_is_taken() -> None:
    async with stranger(OK) as there:
        answer = await embedded().request("GET", f"http://{NAME}:{there.port}/", limits=Limits(max_body=5))
    assert answer.body == b"hello"


async def test_who_asks_for_the_beginning_of_a_body_gets_that_and_of_a_compressed_one_nothing() -> None:
    limits = Limits(max_body=3, cut=True)
    async with stranger(OK) as there:
        answer = await embedded().request("GET", f"http://{NAME}:{there.port}/", limits=limits)
    assert answer.body == b"hel"
    packed = OK.replace(b"X-Own: 1", b"Content-Encoding: gzip")
    async with stranger(packed) as there:
        answer = await embedded().request("GET", f"http://{NAME}:{there.port}/", limits=limits)
    assert (answer.status, answer.body) == (200, b"")


async def test_a_gzip_bomb_is_never_unpacked() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode()
    async with stranger(head + bomb) as there:
        with pytest.raises(OutboundRefused, match="compressed"):
            await embedded().request("GET", f"http://{NAME}:{there.port}/")


async def test_with_the_body_unread_a_compressed_or_endless_answer_still_has_its_status() -> None:
    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 410 Gone\r\nContent-Encoding: gzip\r\nRetry-After: 60\r\n\r\n")
        await asyncio.sleep(3)

    async with stranger(endless) as there, asyncio.timeout(2):
        answer = await embedded().request("POST", f"http://{NAME}:{there.port}/", limits=Limits(max_body=0))
    assert (answer.status, answer.headers["retry-after"], answer.body) == (410, "60", b"")


async def test_a_redirect_is_an_answer_unless_following_was_asked_for() -> None:
    async with stranger(OK) as inside:
        moved = f"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:{inside.port}/\r\nContent-Length: 0\r\n\r\n"
        async with stranger(moved.encode()) as there:
            answer = await embedded().request("POST", f"http://{NAME}:{there.port}/", content=b"{}")
            assert answer.status == 307
            assert inside.requests == []
            with pytest.raises(ValueError, match="GET and HEAD only"):
                await embedded().request("POST", f"http://{NAME}/", limits=Limits(redirects=1))
            followed = await embedded().request(
                "GET", f"http://{NAME}:{there.port}/", headers={"Authorization": "x"}, limits=Limits(redirects=1)
            )
    assert followed.body == b"hello"
    assert b"authorization" in there.requests[1].lower()
    assert b"authorization" not in inside.requests[0].lower()


@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.5/",
        "https://169.254.169.254/",
        "//192.168.0.1/",
        "file:///etc/passwd",
        "https://u:p@example.org/",
    ],
)
async def test_every_hop_of_a_redirect_is_judged_anew(target: str) -> None:
    async with stranger(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\n\r\n".encode()) as there:
        with pytest.raises(OutboundRefused):
            await embedded().request("GET", f"http://{NAME}:{there.port}/", limits=Limits(redirects=3))


async def test_a_redirect_loop_ends() -> None:
    async with stranger(b"HTTP/1.1 302 Found\r\nLocation: /again\r\n\r\n") as there:
        with pytest.raises(OutboundRefused, match="more than 3 redirects"):
            await embedded().request("GET", f"http://{NAME}:{there.port}/", limits=Limits(redirects=3))
    assert len(there.requests) == 4


async def test_proxies_and_trust_of_the_environment_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    serving, _ = certificate(tmp_path, NAME)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "server.pem"))
    async with stranger(OK) as there:
        assert (await embedded().request("GET", f"http://{NAME}:{there.port}/")).status == 200
    async with stranger(OK, tls=serving) as there:
        with pytest.raises(OutboundFailed, match="certificate"):
            await embedded().request("GET", f"https://{NAME}:{there.port}/")


async def test_many_calls_at_once_stay_apart() -> None:
    async with stranger(OK) as there:
        client = embedded()
        answers = await asyncio.gather(
            *(client.request("GET", f"http://n{index}.example:{there.port}/") for index in range(50))
        )
    assert {answer.status for answer in answers} == {200}
    hosts = {
        line for head in there.requests for line in head.decode().split("\r\n") if line.lower().startswith("host:")
    }
    assert len(hosts) == 50
