"""Error answers become exceptions that say who, what and what to do."""

from __future__ import annotations

import pytest

from stdiobus import errors
from stdiobus.protocol.failures import ended, from_answer

KINDS = {
    -32700: errors.InvalidArgumentError,
    -32600: errors.InvalidArgumentError,
    -32081: errors.InvalidArgumentError,
    -32082: errors.UnavailableError,
    -32083: errors.TransportError,
    -32084: errors.ResourceExhaustedError,
    -32085: errors.TransportError,
    -32086: errors.ResourceExhaustedError,
    -32088: errors.InternalError,
    -32087: errors.CancelledError,
}


def bus_made(code, **data):
    return {"code": code, "message": "It broke.", "data": {"source": "stdio_bus", **data}}


@pytest.mark.parametrize(("code", "kind"), KINDS.items())
def test_each_code_of_the_bus_is_a_kind_of_error(code, kind):
    error = from_answer(bus_made(code, pool="p"), "tools/list", "p")
    assert type(error) is kind
    assert error.details["rpc_code"] == code


def test_dead_worker_is_described_in_full():
    answer = bus_made(
        -32083, pool="time", worker=3, reason="worker_exited", exit_code=None, signal=9, stderr="one\ntwo\n"
    )
    error = from_answer(answer, "tools/list", "time")
    assert str(error) == (
        "tools/list: It broke (pool 'time', worker 3, signal 9); "
        "send it again only if it is safe to run twice\nlast lines of its stderr:\n  one\n  two"
    )
    assert error.details["worker"] == 3
    assert error.details["signal"] == 9
    assert error.details["stderr"] == "one\ntwo\n"
    assert error.details["reason"] == "worker_exited"


def test_what_the_kernel_says_is_not_said_again():
    answer = bus_made(-32083, pool="time", worker=1, exit_code=3, signal=None, stderr="")
    answer["message"] = 'worker 1 of pool "time" exited with status 3'
    assert str(from_answer(answer, "m", "time")) == (
        'm: worker 1 of pool "time" exited with status 3; send it again only if it is safe to run twice'
    )
    answer["message"] = 'worker 12 of pool "timely" exited with status 30'
    assert "(pool 'time', worker 1, exit code 3)" in str(from_answer(answer, "m", "time"))


def test_error_of_a_worker_is_remote_even_with_a_code_of_the_bus():
    error = from_answer({"code": -32083, "message": "mine", "data": {"a": 1}}, "m", None)
    assert type(error) is errors.RemoteError
    assert (error.rpc_code, error.rpc_data) == (-32083, {"a": 1})
    assert str(error) == "m: mine [-32083]"


def test_error_of_the_bus_with_another_code_is_remote():
    assert type(from_answer(bus_made(-32601), "m", "p")) is errors.RemoteError


@pytest.mark.parametrize("answer", [None, 7, "text", {}, {"code": "x", "message": None}])
def test_malformed_error_is_an_error_too(answer):
    assert isinstance(from_answer(answer, "m", None), errors.InternalError)


def test_each_request_gets_an_exception_of_its_own():
    error = errors.TransportError("gone", {"returncode": 1})
    first, second = ended(error, "a", "p"), ended(error, "b", None)
    assert (str(first), str(second)) == ("a: gone", "b: gone")
    assert first.details == {"returncode": 1, "method": "a", "pool": "p"}
