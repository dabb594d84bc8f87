"""The way to a running bus: where it is, its token, and what is said when something is wrong."""

from __future__ import annotations

import json
import socket
import threading

import click
import pytest

from stdiobus.cli import connection as connection_module
from stdiobus.cli.configuration import ConfigFile
from stdiobus.cli.connection import Address, Connection, find_address, find_token
from stdiobus.cli.status import NoBusError


@pytest.fixture
def file(config):
    return ConfigFile(config({"id": "a", "command": "c"}, token="from the configuration"))


def test_addresses(file, tmp_path):
    beside = str(tmp_path / "bus.sock")
    assert find_address(file, None, None) == Address(beside, beside, f"stdiobus run {file.path} --listen")
    assert find_address(file, "/s", None) == Address("/s", "/s", f"stdiobus run {file.path} --unix /s")
    assert find_address(None, None, "[::1]:80").target == ("::1", 80)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((None, None), "give CONFIG, --unix or --tcp"),
        (("/s", "x:1"), "at most one"),
        ((None, "x"), "'x' is not of the form HOST:PORT"),
        ((None, ":1"), "not of the form"),
        ((None, "x:65536"), "not of the form"),
    ],
)
def test_address_that_is_none(arguments, problem):
    with pytest.raises(click.UsageError) as caught:
        find_address(None, *arguments)
    assert problem in str(caught.value)


def test_token_is_found_as_the_program_finds_it(file, tmp_path, monkeypatch):
    path = tmp_path / "token"
    path.write_text("from the file\r\n")
    assert find_token(None, None) is None
    assert find_token(file, None) == "from the configuration"
    monkeypatch.setenv("STDIO_BUS_TOKEN", "from the environment")
    assert find_token(file, None) == "from the environment"
    assert find_token(file, str(path)) == "from the file"


@pytest.mark.parametrize("path", ["none.sock", "x" * 200])
def test_nobody_listens(tmp_path, path):
    with pytest.raises(NoBusError, match=r"no bus listens on .*; start one: stdiobus run it$"):
        Connection(Address(path, str(tmp_path / path), "stdiobus run it"), None)


@pytest.fixture
def peer():
    """`peer(b"...")`: the address of somebody on TCP who answers the first line with that, and closes."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads = []

    def answer(text: bytes) -> Address:
        def serve() -> None:
            accepted, _ = listener.accept()
            with accepted, accepted.makefile("rb") as lines:
                lines.readline()
                accepted.sendall(text)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return Address("there", listener.getsockname(), "")

    yield answer
    for thread in threads:
        thread.join(30)
    listener.close()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 400 Bad Request\n", "what listens on there is no bus: it said b'HTTP"),
        (b"{}\n", "is no bus"),
        (b"[]\n", "is no bus"),
        (b"", "does not answer: it has closed the connection"),
        (b'{"error": {"message": "the right params.token"}}\n', "--token-file or STDIO_BUS_TOKEN"),
    ],
)
def test_peer_that_does_not_answer_as_a_bus(peer, answer, problem):
    connection = Connection(peer(answer), None)
    with pytest.raises(NoBusError) as caught:
        connection.request("stdio_bus/ping")
    assert problem in str(caught.value)
    connection.close()


def test_silence_has_an_end(monkeypatch):
    monkeypatch.setattr(connection_module, "PATIENCE_SEC", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address("there", listener.getsockname(), "")
        with pytest.raises(NoBusError, match="does not answer: timed out"):
            Connection(address, "token")


def test_what_comes_behind_an_answer_is_kept(peer):
    connection = Connection(peer(b'{"result": 1}\n{"more"'), None)
    assert connection.request("stdio_bus/ping") == 1
    rest = bytes(connection.rest) + connection.socket.recv(100)
    assert b'{"more"'.startswith(rest)
    connection.close()


def test_token_of_the_configuration_opens_a_real_bus(serve, config, worker):
    path = config(worker("echo_worker.py"), token="secret")
    serve(path)
    file = ConfigFile(path)
    with pytest.raises(NoBusError, match=r"refuses stdio_bus/hello: .*; give it with --token-file"):
        Connection(find_address(file, None, None), "wrong")
    connection = Connection(find_address(file, None, None), find_token(file, None))
    assert json.dumps(connection.request("stdio_bus/ping")) == "{}"
    connection.close()
