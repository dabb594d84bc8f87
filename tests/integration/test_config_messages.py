"""Every field of a configuration wrong once: Python, the library and the program say the same.

The rules are kernel.md section 4's; the table below is the text that users see. Only JSON
documents here: what the configuration classes add is tested in tests/test_config.py.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from typing import Any

import pytest

from stdiobus import BusConfig, InvalidArgumentError
from stdiobus.native import bindings, library

POOL_KEYS = (
    "id, command, args, instances, env, inherit_env, cwd, protocol, max_in_flight, max_queue, "
    "startup_timeout_sec, handshake, embedded"
)
LIMITS = {
    "max_input_buffer": (1024, 1 << 30),
    "max_output_queue": (1024, 1 << 32),
    "max_restarts": (0, 1000000),
    "restart_window_sec": (1, 86400),
    "drain_timeout_sec": (0, 3600),
    "backpressure_timeout_sec": (1, 3600),
    "max_clients": (1, 65536),
    "max_sessions": (1, 10000000),
}
POOL_RANGES = {
    "instances": (1, 1024),
    "max_in_flight": (0, 1000000),
    "max_queue": (0, 1000000),
    "startup_timeout_sec": (1, 3600),
}
ENV_NAME = 'pools[0].env: variable name "{}" must be non-empty, without "=" and NUL'


def pool(**fields: Any) -> dict:
    """A document with one right pool, changed by `fields`; `...` removes one."""
    fields = {"id": "a", "command": "true", **fields}
    return {"pools": [{name: value for name, value in fields.items() if value is not ...}]}


def limits(**fields: Any) -> dict:
    return {**pool(), "limits": fields}


def whole_numbers(key: str, low: int, high: int, where: str, document: Any) -> list:
    no_integers, out_of_range = (True, 2.0, "2", []), (low - 1, high + 1, 10**30)
    return [
        *((document(**{key: wrong}), f"{where}.{key}: must be an integer") for wrong in no_integers),
        *((document(**{key: wrong}), f"{where}.{key}: must be {low}..{high}") for wrong in out_of_range),
    ]


WRONG = [
    ([], "config: must be an object"),
    ({}, "pools: is required"),
    ({"pools": {}}, "pools: must be an array"),
    ({"pools": None}, "pools: must be an array"),
    ({"pools": []}, "pools: must not be empty"),
    ({"pools": ["a"]}, "pools[0]: must be an object"),
    ({**pool(), "pool": []}, "pool: unknown key, expected one of pools, limits, token"),
    ({**pool(), "token": 7}, "token: must be a string"),
    ({**pool(), "token": ""}, "token: must not be empty"),
    ({**pool(), "token": "x" * 1025}, "token: must be at most 1024 bytes"),
    (pool(instnces=2), f"pools[0].instnces: unknown key, expected one of {POOL_KEYS}"),
    ({"pools": [*pool()["pools"], {"id": "b"}]}, "pools[1].command: is required"),
    ({"pools": pool()["pools"] * 2}, 'pools[1].id: "a" is used twice'),
    (pool(id=...), "pools[0].id: is required"),
    (pool(id=7), "pools[0].id: must be a string"),
    (pool(id=None), "pools[0].id: must be a string"),
    (pool(id=""), "pools[0].id: must not be empty"),
    (pool(id="a\0b"), "pools[0].id: must not contain a NUL character"),
    (pool(id="\u00e9" * 65), "pools[0].id: must be at most 128 bytes"),
    (pool(command=...), "pools[0].command: is required"),
    (pool(command=["true"]), "pools[0].command: must be a string"),
    (pool(command=""), "pools[0].command: must not be empty"),
    (pool(command="tr\0ue"), "pools[0].command: must not contain a NUL character"),
    (pool(args="-x"), "pools[0].args: must be an array of strings"),
    (pool(args=["-x", 7]), "pools[0].args: must be an array of strings"),
    (pool(args=["-x", "a\0b"]), "pools[0].args: must not contain a NUL character"),
    (pool(env=["A=b"]), "pools[0].env: must be an object"),
    (pool(env={"NAME": 7}), "pools[0].env.NAME: must be a string or null"),
    (pool(env={"NAME": "a\0b"}), "pools[0].env.NAME: must not contain a NUL character"),
    (pool(env={"": "b"}), ENV_NAME.format("")),
    (pool(env={"A=B": "c"}), ENV_NAME.format("A=B")),
    (pool(inherit_env=1), "pools[0].inherit_env: must be true or false"),
    (pool(inherit_env="yes"), "pools[0].inherit_env: must be true or false"),
    (pool(cwd=7), "pools[0].cwd: must be a string"),
    (pool(cwd=""), "pools[0].cwd: must not be empty"),
    (pool(cwd="a\0b"), "pools[0].cwd: must not contain a NUL character"),
    (pool(protocol=7), "pools[0].protocol: must be a string"),
    (pool(protocol="MCP"), "pools[0].protocol: must be one of stdiobus, jsonrpc, mcp, mcp-stateless, acp"),
    (pool(embedded=1), "pools[0].embedded: must be true or false"),
    (pool(embedded=True), "pools[0].command: must not be given for an embedded pool"),
    (pool(handshake="initialize"), "pools[0].handshake: must be an object"),
    (pool(handshake={}), "pools[0].handshake.request: is required"),
    (
        pool(handshake={"answer": {}}),
        "pools[0].handshake.answer: unknown key, expected one of request, notification",
    ),
    (pool(handshake={"request": []}), "pools[0].handshake.request: must be an object"),
    (pool(handshake={"request": {}}), "pools[0].handshake.request.method: is required"),
    (pool(handshake={"request": {"method": 7}}), "pools[0].handshake.request.method: must be a string"),
    (
        pool(handshake={"request": {"method": "a", "params": []}}),
        "pools[0].handshake.request.params: must be an object",
    ),
    (
        pool(handshake={"request": {"method": "a", "id": 1}}),
        "pools[0].handshake.request.id: unknown key, expected one of method, params",
    ),
    (
        pool(handshake={"request": {"method": "a"}, "notification": {}}),
        "pools[0].handshake.notification.method: is required",
    ),
    ({**pool(), "limits": []}, "limits: must be an object"),
    ({**pool(), "limits": None}, "limits: must be an object"),
    (limits(max_clients=None), "limits.max_clients: must be an integer"),
    (limits(max_input=1), f"limits.max_input: unknown key, expected one of {', '.join(LIMITS)}"),
]
for name, (low, high) in POOL_RANGES.items():
    WRONG += whole_numbers(name, low, high, "pools[0]", pool)
for name, (low, high) in LIMITS.items():
    WRONG += whole_numbers(name, low, high, "limits", limits)

RIGHT = [
    pool(),
    pool(args=[], env={}, inherit_env=False, cwd="/", protocol="mcp", max_in_flight=1, max_queue=0),
    pool(**dict.fromkeys(POOL_KEYS.split(", ")[2:])),
    pool(env={"KEPT": "v", "EMPTY": "", "DROPPED": None}, id="\u00e9" * 64),
    pool(handshake={"request": {"method": "a", "params": None}, "notification": None}),
    *(pool(**{name: bound}) for name, bounds in POOL_RANGES.items() for bound in bounds),
    *(limits(**{name: bound}) for name, bounds in LIMITS.items() for bound in bounds),
]

BROKEN_TEXTS = ["", "{", '{"a": [}', '{"a": [],}', '{"a": []} x', '{"a": \x01}', "{'a': []}", "\ufeff{}"]


@pytest.fixture(scope="session")
def library_says():
    """`library_says(text)`: what on_error was told when a bus was made of this text, or None."""
    functions = library.load().functions

    def says(text: str):
        messages = []

        @bindings.OnText
        def on_error(bus, code, message, user):
            messages.append((code, message.decode()))

        options = bindings.Options(config_json=text.encode(), on_error=on_error)
        bus = functions.stdio_bus_create(ctypes.byref(options))
        assert bool(bus) == (not messages), "an error has exactly one report, and a bus has none"
        functions.stdio_bus_destroy(bus)
        if messages:
            assert [code for code, _ in messages] == [-10]
            return messages[0][1]
        return None

    return says


def program_says(root: Any, text: str) -> str:
    """What the program writes to stderr about a configuration, after exit code 3."""
    descriptor, writer = os.pipe()
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(text.encode())
    try:
        run = subprocess.run(
            [root / "kernel" / "dist" / "stdio_bus", "--config-fd", str(descriptor), "--stdio"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=[descriptor],
            timeout=10,
            check=False,
        )
    finally:
        os.close(descriptor)
    assert (run.returncode, run.stdout) == (3, b""), run.stderr
    return run.stderr.decode()


@pytest.mark.parametrize(("document", "message"), WRONG, ids=[message[:60] for _, message in WRONG])
def test_python_and_library_refuse_each_wrong_field_in_the_same_words(library_says, document, message):
    with pytest.raises(InvalidArgumentError) as caught:
        BusConfig.from_dict(document)
    assert str(caught.value) == message
    assert library_says(json.dumps(document)) == message


def test_program_says_the_same_and_exits_with_3(root):
    for document, message in WRONG[::4]:
        assert program_says(root, json.dumps(document)).rstrip("\n").endswith(f": {message}")


def test_python_and_library_accept_every_bound(library_says):
    for document in RIGHT:
        BusConfig.from_dict(document)
        assert library_says(json.dumps(document)) is None


@pytest.mark.parametrize("text", BROKEN_TEXTS)
def test_text_that_is_not_json_is_refused_with_line_and_column(library_says, text):
    with pytest.raises(InvalidArgumentError, match=r"line \d+, column \d+"):
        BusConfig.from_json(text)
    assert "line 1, column" in library_says(text)
