"""Messages of any size, number, order and shape: each request gets its own answer, and none waits."""

from __future__ import annotations

import asyncio
import json

import pytest

from stdiobus import ResourceExhaustedError, StdioBusError, TimeoutError, TransportError

MIB = 1 << 20
# 256 bytes of UTF-8 each. Made here, lest a test that makes it holds the loop meanwhile.
LONG_TEXT = ('quote " backslash \\ tab \t separator \u2028 ' + "x" * 216) * (5 * MIB // 256)


# ---- size ----------------------------------------------------------------------------------


async def test_five_mebibyte_message_goes_there_and_back(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py"))
    result = await bus.request("echo", {"text": LONG_TEXT}, pool="echo")
    same = result["params"]["text"] == LONG_TEXT
    assert same


async def test_five_mebibyte_messages_in_parallel_go_there_and_back(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py", instances=2))
    texts = [str(n) * (5 * MIB) for n in range(4)]
    results = await asyncio.gather(*(bus.request("echo", {"text": text}, pool="echo") for text in texts))
    same = [result["params"]["text"] for result in results] == texts
    assert same


async def test_answer_longer_than_the_limit_is_an_error_that_says_so(make_bus, pool):
    giant = pool("misbehaving_worker.py", "giant", str(2 * MIB))
    bus = await make_bus(giant, limits={"max_input_buffer": MIB})
    with pytest.raises(ResourceExhaustedError) as caught:
        await bus.request("anything", pool="misbehaving")
    assert "misbehaving" in str(caught.value)
    assert bus.get_stats().worker_restarts == 0


async def test_answer_arriving_byte_by_byte_is_one_answer(make_bus, pool):
    bus = await make_bus(pool("misbehaving_worker.py", "drip"))
    assert await bus.request("a", {"text": "drop by drop"}, pool="misbehaving") == {"text": "drop by drop"}


# ---- number and order ----------------------------------------------------------------------


def numbers(answers):
    """The numbers in the echo worker's answers, which a test collects as they arrive."""
    return [json.loads(answer)["result"]["params"]["n"] for answer in answers]


async def test_ten_thousand_pipelined_requests_on_one_worker_all_get_their_own_answer(
    make_bus, pool, backend
):
    count = 10000 if backend != "sync" else 1000  # there each is a thread
    bus = await make_bus(pool("echo_worker.py"))
    answers = []
    bus.on_message(answers.append)

    async def one(n: int) -> None:
        result = await bus.request("echo", {"n": n}, pool="echo", timeout_ms=60000)
        assert result["params"]["n"] == n

    tasks = []
    for n in range(count):
        tasks.append(asyncio.ensure_future(one(n)))
        if n % 100 == 99:  # or else development mode takes too long over one turn of the loop
            await asyncio.sleep(0)
    for task in tasks:  # a gather of so many takes as long
        await task
    assert numbers(answers) == list(range(count))


async def test_answers_out_of_order_reach_their_own_requests(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py"))
    answers = []
    bus.on_message(answers.append)

    async def one(n: int, after: int) -> None:
        result = await bus.request("echo", {"n": n, "after": after}, pool="echo")
        assert result["params"]["n"] == n

    # Reading 3 releases 1; reading 4 answers 4 and releases the rest, oldest first.
    await asyncio.gather(one(0, 4), one(1, 2), one(2, 2), one(3, 1), one(4, 0))
    assert numbers(answers) == [1, 4, 0, 2, 3]


async def test_max_in_flight_holds_requests_back_and_loses_none(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py", max_in_flight=1, instances=2))
    results = await asyncio.gather(*(bus.request("echo", {"n": n}, pool="echo") for n in range(200)))
    assert [result["params"]["n"] for result in results] == list(range(200))
    assert len({result["pid"] for result in results}) == 2


async def test_full_queue_is_refused_as_overloaded(make_bus, pool):
    bus = await make_bus(pool("misbehaving_worker.py", "mute", max_in_flight=1, max_queue=2))
    requests = [asyncio.ensure_future(bus.request("a", pool="misbehaving", timeout_ms=200)) for _ in range(5)]
    errors = await asyncio.gather(*requests, return_exceptions=True)
    assert [type(error) for error in errors] == [TimeoutError] * 3 + [ResourceExhaustedError] * 2
    assert "max_queue" in str(errors[-1])


async def test_session_stays_on_one_worker_in_order(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py", instances=3))
    requests = [bus.request("echo", {"n": n}, pool="echo", session_id=f"s{n % 3}") for n in range(90)]
    results = await asyncio.gather(*requests)
    for session in range(3):
        assert len({result["pid"] for result in results[session::3]}) == 1
    assert len({result["pid"] for result in results}) == 3


# ---- workers that do not keep up, or speak badly ---------------------------------------------


async def test_worker_that_never_reads_does_not_block_the_loop(make_bus, pool):
    bus = await make_bus(pool("misbehaving_worker.py", "deaf", id="deaf"), pool("echo_worker.py"))
    ignored = [bus.request("a", {"text": "x" * MIB}, pool="deaf", timeout_ms=60_000) for _ in range(8)]
    ignored = [asyncio.ensure_future(request) for request in ignored]
    results = await asyncio.gather(*(bus.request("echo", {"n": n}, pool="echo") for n in range(100)))
    assert [result["params"]["n"] for result in results] == list(range(100))
    assert not any(request.done() for request in ignored)
    with pytest.raises(TimeoutError):
        await bus.request("a", pool="deaf", timeout_ms=10)
    await bus.stop(0)
    ends = await asyncio.gather(*ignored, return_exceptions=True)
    assert {type(end) for end in ends} == {TransportError}


async def test_output_queue_of_a_worker_that_never_reads_has_an_end(make_bus, pool):
    bus = await make_bus(
        pool("misbehaving_worker.py", "deaf"), limits={"max_output_queue": MIB, "max_input_buffer": MIB}
    )
    params = {"text": "x" * (MIB // 2)}
    requests = [bus.request("a", params, pool="misbehaving", timeout_ms=500) for _ in range(6)]
    errors = await asyncio.gather(*requests, return_exceptions=True)
    assert {type(error) for error in errors} == {TimeoutError, ResourceExhaustedError}
    assert isinstance(errors[0], TimeoutError)
    assert isinstance(errors[-1], ResourceExhaustedError)


async def test_second_answer_and_answers_to_nothing_are_dropped(make_bus, pool):
    modes = ("twice", "stranger")
    bus = await make_bus(*(pool("misbehaving_worker.py", mode, id=mode) for mode in modes))
    messages = []
    bus.on_message(messages.append)
    for n in range(10):
        assert await bus.request("a", {"n": n}, pool="twice") == {"n": n}
        assert await bus.request("a", {"n": n}, pool="stranger") == {"n": n}
    answers = [json.loads(message) for message in messages]
    assert len(answers) == len({answer["id"] for answer in answers}) == 20


async def test_worker_cannot_speak_in_the_name_of_the_bus(make_bus, pool):
    bus = await make_bus(pool("misbehaving_worker.py", "impostor"))
    events = []
    bus.on_worker_event(events.append)
    for n in range(10):
        assert await bus.request("a", {"n": n}, pool="misbehaving") == {"n": n}
    assert [worker.state for worker in bus.get_workers()] == ["ready"]
    assert events == []


async def test_answer_with_an_integer_too_long_for_python_harms_nobody(make_bus, pool):
    bus = await make_bus(pool("misbehaving_worker.py", "digits"), pool("echo_worker.py"))
    for _ in range(2):
        method, number = await bus.request("a", pool="misbehaving")
        assert (method, number > 1 << 64) == ("stdio_bus/worker_event", True)
        assert (await bus.request("a", {"n": 1}, pool="echo"))["params"] == {"n": 1}


async def test_line_separators_inside_a_string_are_data(make_bus, pool):
    bus = await make_bus(pool("misbehaving_worker.py", "separators"), pool("echo_worker.py"))
    separators = "a\u2028b\u2029c\u0085d"
    assert await bus.request("a", pool="misbehaving") == separators
    assert (await bus.request("a", {"text": separators}, pool="echo"))["params"] == {"text": separators}


# ---- what a client may send ------------------------------------------------------------------


async def test_unknown_pool_is_an_error_that_names_it_and_the_known_ones(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py"))
    with pytest.raises(StdioBusError) as caught:
        await bus.request("tools/list", pool="ehco")
    assert caught.value.code == 1
    assert "ehco" in str(caught.value)
    assert "echo" in str(caught.value)


async def test_plain_worker_sees_no_routing_fields(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py", protocol="jsonrpc"))
    result = await bus.request("echo", {"a": 1}, pool="echo", session_id="s")
    assert result["fields"] == ["id", "jsonrpc", "method", "params"]


async def test_worker_of_our_own_profile_sees_the_routing_fields(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py", protocol="stdiobus"))
    result = await bus.request("echo", {"a": 1}, pool="echo", session_id="s")
    assert {"id", "jsonrpc", "method", "params", "pool", "sessionId"} == set(result["fields"])


async def test_raw_lines_with_ids_of_every_kind_come_back_as_they_were(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py"))
    ids = ['"seven"', "7", "7.5", '"7"', "-1", "9007199254740993", '"\\u0041"']
    answers = []
    bus.on_message(answers.append)
    for n, request_id in enumerate(ids):
        envelope = f'"jsonrpc":"2.0","id":{request_id},"method":"echo","pool":"echo"'
        assert bus.send(f'{{{envelope},"params":{{"n":{n}}}}}')
    await bus.request("echo", pool="echo")  # one worker, in order: the others are answered
    received = {json.loads(answer)["result"]["params"]["n"]: answer for answer in answers[: len(ids)]}
    for n, request_id in enumerate(ids):
        assert f'"id":{request_id},' in received[n].replace(" ", "")


async def test_notification_reaches_the_worker_and_its_own_come_back(make_bus, pool):
    bus = await make_bus(pool("echo_worker.py"))
    received = []
    bus.on_notification(lambda line: received.append(json.loads(line)))
    await bus.notify("greet", {"name": "Ada"}, pool="echo")
    await bus.request("echo", {"emit": 2}, pool="echo")
    assert [(note["method"], note["params"]) for note in received] == [
        ("echo/notified", {"method": "greet", "params": {"name": "Ada"}}),
        ("tick", {"n": 0}),
        ("tick", {"n": 1}),
    ]
