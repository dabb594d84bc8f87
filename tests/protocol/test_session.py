"""A protocol session: lines of calls out, events of incoming lines in, no I/O."""

from __future__ import annotations

import json

import pytest

from stdiobus import InvalidArgumentError, RemoteError
from stdiobus.protocol.session import EventKind, Session


@pytest.fixture
def session():
    made = Session({"own": "stdiobus", "plain": "jsonrpc", "mcp": "mcp", "agent": "acp"}, "me", 1000, 100)
    made.worker_pools.update({1: "own", 2: "plain", 3: "mcp", 4: "agent"})
    return made


def ask(session, method="m", params=None, pool=None, sid=None, routing=None, stream=False):
    return session.request(method, params, pool, sid, routing, stream)


def receive(session, *messages, worker=1):
    """The events of a batch, without their places."""
    lines = [json.dumps(message, ensure_ascii=False).encode() for message in messages]
    data = b"".join(line + b"\n" for line in lines)
    events = session.receive(data, [(len(line), worker, 0, 0) for line in lines])
    for (*_, start, size), line in zip(events, lines if len(events) == len(lines) else []):
        assert data[start : start + size] == line
    return [event[:3] for event in events]


def kinds(events):
    return [event[0] for event in events]


def update(text, **fields):
    params = {"update": {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}}
    return {"jsonrpc": "2.0", "method": "session/update", "params": params, **fields}


# ---- lines of calls --------------------------------------------------------------------------


def test_ids_count_from_one_and_lines_carry_what_was_given(session):
    first = ask(session, "a", {"x": 1}, pool="plain")
    second = ask(session, "b", [1], pool="plain", sid="s", routing={"agentId": "z"})
    assert json.loads(first.line) == {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "a",
        "pool": "plain",
        "params": {"x": 1},
    }
    rest = {"pool": "plain", "sessionId": "s", "agentId": "z", "params": [1]}
    assert json.loads(second.line) == {"jsonrpc": "2.0", "id": 2, "method": "b", **rest}
    assert first.line.endswith(b"}\n")
    assert first.line.count(b"\n") == 1


def test_call_without_session_to_a_pool_of_our_own_profile_carries_a_fresh_one(session):
    assert json.loads(ask(session).line)["sessionId"] == "me.1"  # the first pool
    assert json.loads(ask(session, pool="own").line)["sessionId"] == "me.2"
    assert "sessionId" not in json.loads(ask(session, pool="mcp").line)


def test_session_without_a_pool_means_the_pool_it_was_used_with(session):
    assert ask(session, sid="s").pool == "own"
    ask(session, sid="t", pool="mcp")
    assert ask(session, sid="t").pool == "mcp"


def test_only_so_many_sessions_are_remembered():
    session = Session({"a": "jsonrpc", "b": "jsonrpc"}, "me", 1000, 2)
    for sid in ("1", "2", "3"):
        ask(session, sid=sid, pool="b")
    assert ask(session, sid="3").pool == "b"
    assert ask(session, sid="1").pool == "a"


def test_notification_has_no_id(session):
    line = session.notify("n", None, "own", None, None)
    assert json.loads(line) == {"jsonrpc": "2.0", "method": "n", "pool": "own"}


@pytest.mark.parametrize(
    "call",
    [
        {"params": {"a": float("nan")}},
        {"params": {"a": "\ud800"}},
        {"params": "text"},
        {"params": 7},
        {"method": "\ud800"},
        {"sid": 7},
        {"pool": "mcp", "stream": True, "params": {"_meta": 7}},
        {"pool": "mcp", "stream": True, "params": {"_meta": {"progressToken": 1.5}}},
    ],
)
def test_refused_call_leaves_no_trace(session, call):
    with pytest.raises(InvalidArgumentError):
        ask(session, **call)
    assert not session.pending
    assert ask(session).id == 1


# ---- answers ---------------------------------------------------------------------------------


def test_answers_end_their_own_requests_in_any_order_of_keys(session):
    first, second = ask(session, pool="plain"), ask(session, pool="plain")
    events = receive(session, {"result": "b", "id": 2, "jsonrpc": "2.0"}, {"id": 1, "result": None})
    assert events == [(EventKind.RESULT, second, "b"), (EventKind.RESULT, first, None)]
    assert not session.pending


def test_error_answer_is_an_exception(session):
    pending = ask(session, "tools/call", pool="mcp")
    [(kind, subject, error)] = receive(session, {"id": 1, "error": {"code": -5, "message": "no"}}, worker=3)
    assert (kind, subject) == (EventKind.ERROR, pending)
    assert isinstance(error, RemoteError)
    assert str(error) == "tools/call (pool 'mcp'): no [-5]"


@pytest.mark.parametrize("text", ["plain", "é", "\u2028 😀"])
def test_places_of_lines_are_right_whatever_the_characters(session, text):
    ask(session), ask(session)
    events = receive(session, {"id": 1, "result": text}, {"id": 2, "result": text})
    assert [value for _, _, value in events] == [text, text]


@pytest.mark.parametrize("number", [7, "1", 1.0, True, None, [1], {"a": 1}])
def test_answer_to_nothing_is_counted_and_dropped(session, number):
    ask(session)
    assert receive(session, {"id": number, "result": 1}) == []
    assert session.late_answers == 1
    assert len(session.pending) == 1


def test_cancelled_request_is_forgotten_and_its_late_answer_dropped(session):
    pending = ask(session, sid="s")
    assert json.loads(session.cancel(pending)) == {
        "jsonrpc": "2.0",
        "method": "stdio_bus/cancel",
        "params": {"id": 1},
    }
    confirmation = {"code": -32087, "message": "cancelled", "data": {"source": "stdio_bus"}}
    assert receive(session, {"id": 1, "error": confirmation}) == []
    assert session.late_answers == 0
    assert receive(session, {"id": 1, "result": 1}) == []
    assert session.late_answers == 1


def test_line_that_is_not_json_does_not_lose_the_others(session):
    ask(session)
    good = b'{"id":1,"result":1}'
    events = session.receive(b"{oops\n" + good + b"\n", [(5, 1, 0, 0), (len(good), 1, 0, 0)])
    assert kinds(events) == [EventKind.BROKEN, EventKind.RESULT]


def test_drained_session_has_no_pending_requests(session):
    asked = [ask(session, sid="s"), ask(session, pool="mcp", stream=True)]
    assert session.drain() == asked
    assert receive(session, update("late", sessionId="s"))[1:] == []


# ---- calls of workers ------------------------------------------------------------------------


def test_request_of_a_worker_names_the_worker(session):
    message = {"jsonrpc": "2.0", "id": 7, "method": "roots/list"}
    assert receive(session, message, worker=3) == [(EventKind.REQUEST, message, 3)]


def test_line_for_a_worker_of_this_process_is_unwrapped(session):
    inner = {"jsonrpc": "2.0", "id": 7, "method": "m"}
    outer = {"jsonrpc": "2.0", "method": "stdio_bus/to_worker", "params": {"worker": 9, "message": inner}}
    assert receive(session, outer, worker=9) == [(EventKind.ATTACHED, inner, 9)]


def test_notification_comes_with_its_pool(session):
    message = {"jsonrpc": "2.0", "method": "tick"}
    assert receive(session, message, worker=2) == [(EventKind.NOTIFICATION, message, "plain")]
    assert receive(session, message, worker=9) == [(EventKind.NOTIFICATION, message, None)]


# ---- chunks ----------------------------------------------------------------------------------


def chunks(events):
    return [(subject.id, value) for kind, subject, value in events if kind is EventKind.CHUNK]


def test_chunk_goes_to_the_stream_of_its_fresh_session(session):
    ask(session, stream=True), ask(session, stream=True)
    events = receive(session, update("b", sessionId="me.2"), update("a", sessionId="me.1"))
    assert chunks(events) == [(2, "b"), (1, "a")]
    assert kinds(events).count(EventKind.NOTIFICATION) == 2


def test_chunk_of_a_named_session_goes_to_its_oldest_request_or_the_one_it_names(session):
    ask(session, sid="s", stream=True), ask(session, sid="s", stream=True)
    assert chunks(receive(session, update("a", sessionId="s"))) == [(1, "a")]
    assert chunks(receive(session, update("b", sessionId="s", requestId=2))) == [(2, "b")]
    receive(session, {"id": 1, "result": 1})
    assert chunks(receive(session, update("c", sessionId="s"))) == [(2, "c")]


def test_chunk_without_session_goes_to_the_request_it_names(session):
    ask(session, stream=True), ask(session, stream=True)
    assert chunks(receive(session, update("a", requestId=2))) == [(2, "a")]
    message = update("b")
    message["params"]["progressToken"] = 1
    assert chunks(receive(session, message)) == [(1, "b")]


def test_chunk_that_names_nothing_goes_to_the_only_request_or_to_nobody(session):
    ask(session, pool="plain")
    ask(session, pool="own", stream=True)
    assert chunks(receive(session, update("a"))) == [(2, "a")]
    ask(session, pool="own", stream=True)
    assert chunks(receive(session, update("b"))) == []


@pytest.mark.parametrize("sid", ["other", "me.9", "me.", "me.x", "me." + "9" * 5000, "you.1"])
def test_chunk_of_a_strange_session_is_only_a_notification(session, sid):
    ask(session, stream=True)
    assert kinds(receive(session, update("a", sessionId=sid))) == [EventKind.NOTIFICATION]


def test_chunk_of_an_ended_request_is_only_a_notification(session):
    ask(session, stream=True)
    receive(session, {"id": 1, "result": 1})
    assert kinds(receive(session, update("a", sessionId="me.1"))) == [EventKind.NOTIFICATION]


def test_plain_request_gets_the_joined_text(session):
    ask(session), ask(session), ask(session)
    receive(session, update("a", sessionId="me.1"), update("b", sessionId="me.1"))
    receive(session, update("x", sessionId="me.2"), update("y", sessionId="me.3"))
    events = receive(session, {"id": 1, "result": {"n": 1}}, {"id": 2, "result": {"text": "own"}})
    assert [value for _, _, value in events] == [{"n": 1, "text": "ab"}, {"text": "own"}]
    assert receive(session, {"id": 3, "result": [1]})[0][2] == [1]


def test_streamed_mcp_request_carries_a_token_and_gets_its_progress(session):
    params = {"name": "tool", "_meta": {"k": 1}}
    asked = ask(session, "tools/call", params, pool="mcp", stream=True)
    sent = json.loads(asked.line)
    assert sent["params"] == {"name": "tool", "_meta": {"k": 1, "progressToken": sent["id"]}}
    assert params == {"name": "tool", "_meta": {"k": 1}}
    progress = {
        "method": "notifications/progress",
        "params": {"progressToken": sent["id"], "message": "half"},
    }
    assert chunks(receive(session, progress, worker=3)) == [(sent["id"], "half")]


def test_token_of_the_callers_own_is_kept_and_matched(session):
    asked = ask(session, "m", {"_meta": {"progressToken": "mine"}}, pool="mcp", stream=True)
    progress = {"method": "notifications/progress", "params": {"progressToken": "mine", "progress": 1}}
    assert chunks(receive(session, progress, worker=3)) == [(asked.id, progress["params"])]
    with pytest.raises(InvalidArgumentError, match="another stream"):
        ask(session, "m", {"_meta": {"progressToken": "mine"}}, pool="mcp", stream=True)
    receive(session, {"id": asked.id, "result": 1}, worker=3)
    ask(session, "m", {"_meta": {"progressToken": "mine"}}, pool="mcp", stream=True)


@pytest.mark.parametrize("token", ["1", True, 1.0, None, [1], {"a": 1}])
def test_progress_with_a_strange_token_is_only_a_notification(session, token):
    ask(session, pool="mcp", stream=True)
    progress = {"method": "notifications/progress", "params": {"progressToken": token}}
    assert kinds(receive(session, progress, worker=3)) == [EventKind.NOTIFICATION]


def test_plain_mcp_request_has_no_token(session):
    assert "params" not in json.loads(ask(session, pool="mcp").line)


def agent_update(text, session):
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}}
    return {"method": "session/update", "params": {"sessionId": session, "update": update}}


def test_agents_chunks_are_found_by_the_session_in_params(session):
    asked = [ask(session, "session/prompt", {"sessionId": sid}, pool="agent", stream=True) for sid in "ab"]
    assert all("sessionId" not in json.loads(pending.line) for pending in asked)
    events = receive(
        session, agent_update("1", "b"), agent_update("2", "a"), agent_update("x", "c"), worker=4
    )
    assert chunks(events) == [(2, "1"), (1, "2")]
    assert chunks(receive(session, agent_update("x", "a"), worker=1)) == []  # another pool


def test_stream_without_a_session_gets_an_agents_chunks_only_while_it_is_alone(session):
    ask(session, "session/new", {"cwd": "/"}, pool="agent")
    assert chunks(receive(session, agent_update("x", "a"), worker=4)) == []  # no stream
    receive(session, {"id": 1, "result": {}}, worker=4)
    ask(session, "agent", {"prompt": "hi"}, pool="agent", stream=True)
    assert chunks(receive(session, agent_update("y", "a"), worker=4)) == [(2, "y")]
    ask(session, "agent", {"prompt": "ho"}, pool="agent", stream=True)
    assert chunks(receive(session, agent_update("z", "a"), worker=4)) == []


def test_plain_prompt_gets_the_joined_text_and_other_requests_of_its_session_do_not(session):
    mode = ask(session, "session/set_mode", {"sessionId": "a"}, pool="agent")
    prompt = ask(session, "session/prompt", {"sessionId": "a"}, pool="agent")
    receive(session, agent_update("x", "a"), agent_update("y", "a"), worker=4)
    answers = [{"id": mode.id, "result": {}}, {"id": prompt.id, "result": {"stopReason": "end_turn"}}]
    events = receive(session, *answers, worker=4)
    assert [event[2] for event in events] == [{}, {"stopReason": "end_turn", "text": "xy"}]


def test_session_that_an_agent_made_is_remembered_with_its_pool(session):
    made = ask(session, "session/new", {"cwd": "/"}, pool="agent")
    receive(session, {"id": made.id, "result": {"sessionId": "a"}}, worker=4)
    assert ask(session, "session/prompt", {"sessionId": "a"}).pool == "agent"
    assert ask(session, "session/prompt", {"sessionId": "b"}).pool == "own"
    ask(session, pool="plain", sid="c")
    assert ask(session, "m", {"sessionId": "c"}).pool == "own"  # not named in params there


def test_chunks_beyond_the_limit_overflow_and_read_ones_do_not_count(session):
    for stream in (True, False):
        pending = ask(session, stream=stream)
        session.held(pending, accepted=False)
        line = update("x" * 400, sessionId=f"me.{pending.id}")
        assert EventKind.OVERFLOW not in kinds(receive(session, line))
        session.consumed(pending, pending.buffered)
        assert EventKind.OVERFLOW not in kinds(receive(session, line))
        assert EventKind.OVERFLOW in kinds(receive(session, line))


def test_stream_that_is_not_read_holds_its_worker_and_does_not_overflow(session):
    pending = ask(session, stream=True)
    line = update("x" * 600, sessionId=f"me.{pending.id}")
    events = receive(session, line, worker=1)
    assert events[1:] == [(EventKind.CHUNK, pending, "x" * 600), (EventKind.FULL, pending, 1)]
    asked = json.loads(session.hold(pending, 1).line)
    assert (asked["method"], asked["params"]) == ("stdio_bus/pause", {"worker": 1})
    session.held(pending, accepted=True)
    # What was on its way still comes; reading resumes when most of it has been consumed.
    assert EventKind.OVERFLOW not in kinds(receive(session, line, line, worker=1))
    size = pending.buffered // 3
    assert [session.consumed(pending, size) for _ in range(3)] == [False, False, True]
    assert json.loads(session.release(pending))["params"] == {"worker": 1}
    assert session.release(pending) == b""


def test_cancelled_stream_releases_its_worker(session):
    pending = ask(session, stream=True)
    session.hold(pending, 2)
    lines = session.cancel(pending).splitlines()
    assert [json.loads(line)["method"] for line in lines] == ["stdio_bus/cancel", "stdio_bus/resume"]


def test_request_to_the_bus_itself_is_nobodys_chunk_owner(session):
    stream = ask(session, stream=True)
    session.control("stdio_bus/pause", {"worker": 1})
    assert receive(session, update("alone"))[1:] == [(EventKind.CHUNK, stream, "alone")]


def test_many_methods_are_sent_right_and_not_all_kept(session):
    for n in range(1000):
        assert json.loads(ask(session, f"m{n}", pool="mcp").line)["method"] == f"m{n}"
    assert len(session._heads) <= 256
