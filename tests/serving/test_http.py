"""A real server and OpenAI's own client: what is answered, and what is refused."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import httpx2
import openai
import pytest

from tests.serving.conftest import Running, alone

PROMPT = "In the beginning"
SETTINGS: dict[str, Any] = {"temperature": 0.9, "top_p": 0.9, "seed": 7}


@pytest.fixture(scope="module")
def client(server: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["small"]
    assert client.models.retrieve("small").id == "small"
    with pytest.raises(openai.NotFoundError, match="no model 'other'"):
        client.models.retrieve("other")


def test_a_completion_is_the_run_alone(client: openai.OpenAI) -> None:
    found = client.completions.create(model="small", prompt=PROMPT, max_tokens=30, **SETTINGS)
    expected = alone(PROMPT, 30, **SETTINGS)
    assert found.choices[0].text == expected.text
    assert found.choices[0].finish_reason == "length"
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (16, 30)
    both = expected.prompt + expected.completion
    events = found.usage.events  # type: ignore[attr-defined]
    assert events["synaptic_operations"] == both.total("synaptic_operations")
    assert found.usage.energy["kind"] == "estimate"  # type: ignore[attr-defined]


def test_a_stream_is_the_same_and_ends_as_it_should(client: openai.OpenAI, server: Running) -> None:
    chunks = list(
        client.completions.create(
            model="small",
            prompt=PROMPT,
            max_tokens=30,
            stream=True,
            stream_options={"include_usage": True},
            **SETTINGS,
        )
    )
    expected = alone(PROMPT, 30, **SETTINGS)
    texts = [choice.text for chunk in chunks for choice in chunk.choices]
    assert "".join(texts) == expected.text and len(texts) > 20
    assert [c.finish_reason for chunk in chunks for c in chunk.choices][-1] == "length"
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 30
    assert len({chunk.id for chunk in chunks}) == 1
    raw = server.post(prompt=PROMPT, max_tokens=3, stream=True)
    assert raw.headers["content-type"].startswith("text/event-stream")
    assert raw.text.endswith("data: [DONE]\n\n")
    assert "usage" not in raw.text


def test_many_at_once_are_each_what_they_are_alone(server: Running) -> None:
    found: dict[int, str] = {}

    def ask(i: int) -> None:
        answer = server.post(
            prompt=PROMPT[: i + 1], max_tokens=60 + i, temperature=1.0, seed=i, stream=i % 2 == 0
        )
        assert answer.status_code == 200, answer.text
        if i % 2:
            found[i] = answer.json()["choices"][0]["text"]
        else:
            lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
            chunks = [json.loads(line) for line in lines]
            found[i] = "".join(c["text"] for chunk in chunks for c in chunk["choices"])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(12):
        assert found[i] == alone(PROMPT[: i + 1], 60 + i, temperature=1.0, seed=i).text


def test_several_prompts_and_choices(client: openai.OpenAI) -> None:
    found = client.completions.create(
        model="small", prompt=["One", "Two"], n=2, max_tokens=8, temperature=1.0, seed=5
    )
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    for choice, (prompt, seed) in zip(
        found.choices, [("One", 5), ("One", 6), ("Two", 5), ("Two", 6)], strict=True
    ):
        assert choice.text == alone(prompt, 8, temperature=1.0, seed=seed).text
    assert found.usage is not None and found.usage.prompt_tokens == 6


def test_a_seed_that_was_drawn_is_told_and_repeats_the_text(server: Running) -> None:
    first, second = (server.post(prompt="Go", max_tokens=20).json() for _ in range(2))
    assert first["seed"] != second["seed"]
    again = server.post(prompt="Go", max_tokens=20, seed=first["seed"]).json()
    assert again["choices"] == first["choices"]


def test_tokens_echo_stop_and_probabilities(client: openai.OpenAI) -> None:
    text = alone(PROMPT, 30).text
    found = client.completions.create(
        model="small", prompt=PROMPT, max_tokens=30, temperature=0, echo=True, logprobs=2,
        stop=[text[12:15]],
    )  # fmt: skip
    choice = found.choices[0]
    end = text.find(text[12:15])
    assert choice.text == PROMPT + text[:end] and choice.finish_reason == "stop"
    logprobs = choice.logprobs
    assert logprobs is not None and logprobs.tokens is not None
    assert "".join(logprobs.tokens) == choice.text
    assert logprobs.text_offset == list(range(len(choice.text)))
    assert logprobs.token_logprobs is not None and logprobs.token_logprobs[0] is None
    only_read = client.completions.create(
        model="small", prompt=PROMPT, max_tokens=0, echo=True, logprobs=0
    )
    assert only_read.choices[0].text == PROMPT
    read = only_read.choices[0].logprobs
    assert read is not None and read.token_logprobs is not None
    assert read.token_logprobs == logprobs.token_logprobs[: len(PROMPT)]
    by_tokens = client.completions.create(
        model="small", prompt=[0, 1, 2], max_tokens=5, temperature=0
    )
    assert by_tokens.choices[0].text == alone("abc", 5).text


def test_chat_writes_the_conversation_out(client: openai.OpenAI) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": [{"type": "text", "text": "Who?"}]},
    ]
    text = "System: Be brief\n\nUser: Who?\n\nAssistant:"
    found = client.chat.completions.create(
        model="small", messages=messages, max_completion_tokens=20, temperature=0, logprobs=True,
        top_logprobs=2,
    )  # fmt: skip
    choice = found.choices[0]
    assert choice.message.content == alone(text, 20).text
    assert choice.logprobs is not None and choice.logprobs.content is not None
    assert len(choice.logprobs.content) == 20 and len(choice.logprobs.content[0].top_logprobs) == 2
    streamed = list(
        client.chat.completions.create(
            model="small", messages=messages, max_tokens=20, temperature=0, stream=True
        )
    )
    deltas = [chunk.choices[0].delta for chunk in streamed if chunk.choices]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == choice.message.content


def test_a_session_goes_on_and_is_dropped_clearly(server: Running) -> None:
    whole = alone("Once", 20, temperature=1.0, seed=2).text
    first = server.post(prompt="Once", max_tokens=8, temperature=1.0, seed=2, session="s1").json()
    assert first["session"] == {"id": "s1", "resumed": False, "tokens_before": 0}
    second = server.post(max_tokens=12, temperature=1.0, session="s1", stream=True)
    chunks = [json.loads(line[6:]) for line in second.text.splitlines() if "{" in line]
    assert chunks[0]["session"] == {"id": "s1", "resumed": True, "tokens_before": 12}
    assert "seed" not in chunks[0]
    text = "".join(c["text"] for chunk in chunks for c in chunk["choices"])
    assert first["choices"][0]["text"] + text == whole
    found = httpx2.get(f"{server.url}/v1/sessions/s1").json()
    assert found == {"id": "s1", "object": "session", "tokens_seen": 24}
    for name in ("s2", "s3"):  # two are kept
        assert server.post(prompt="x", max_tokens=1, session=name).status_code == 200
    gone = server.post(max_tokens=1, session="s1")
    assert gone.status_code == 410 and "was dropped" in gone.json()["error"]["message"]
    assert httpx2.get(f"{server.url}/v1/sessions/s1").status_code == 410
    assert httpx2.delete(f"{server.url}/v1/sessions/s1").status_code == 200
    assert httpx2.delete(f"{server.url}/v1/sessions/s1").status_code == 404
    assert server.post(max_tokens=1, session="s1").status_code == 400  # new, and no text
    assert server.post(prompt=["a", "b"], session="s2").status_code == 400


BAD: list[tuple[str, dict[str, Any], int, str]] = [
    ("/v1/completions", {"temperature": -1}, 400, "temperature -1"),
    ("/v1/completions", {"temperature": "1"}, 400, "temperature"),
    ("/v1/completions", {"top_p": 0}, 400, "top-p"),
    ("/v1/completions", {"seed": -1}, 400, "seed"),
    ("/v1/completions", {"n": 0}, 400, "n: "),
    ("/v1/completions", {"n": 13}, 400, "12 in one request"),
    ("/v1/completions", {"best_of": 3}, 400, "best_of"),
    ("/v1/completions", {"logprobs": 6}, 400, "logprobs"),
    ("/v1/completions", {"max_tokens": 3000}, 400, "3001"),
    ("/v1/completions", {"max_tokens": True}, 400, "max_tokens"),
    ("/v1/completions", {"prompt": ""}, 400, "no tokens"),
    ("/v1/completions", {"prompt": []}, 400, "empty"),
    ("/v1/completions", {"prompt": [99]}, 400, "outside the vocabulary"),
    ("/v1/completions", {"prompt": "a%b"}, 400, "no token for '%'"),
    ("/v1/completions", {"stop": ["a"] * 5}, 400, "stop"),
    ("/v1/completions", {"stop": ""}, 400, "stop"),
    ("/v1/completions", {"suffix": "x"}, 400, "suffix: is not known here"),
    ("/v1/completions", {"logit_bias": {"1": 2}}, 400, "logit_bias: is not known"),
    ("/v1/completions", {"\ud800": 2}, 400, "one JSON object"),
    ("/v1/completions", {"prompt": "\ud800"}, 400, "prompt"),
    ("/v1/completions", {"model": "other"}, 404, "no model 'other'"),
    ("/v1/completions", {"session": "../x"}, 400, "no name"),
    ("/v1/chat/completions", {"messages": []}, 400, "messages"),
    ("/v1/chat/completions", {"messages": [{"role": "tool", "content": "x"}]}, 400, "role"),
    ("/v1/chat/completions", {"tools": []}, 400, "tools: is not known"),
    ("/v1/chat/completions", {"response_format": {"type": "json_object"}}, 400, "response_format"),
    ("/v1/chat/completions", {"max_tokens": 3, "max_completion_tokens": 4}, 400, "differ"),
    ("/v1/chat/completions", {"top_logprobs": 2}, 400, "needs logprobs"),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), BAD)
def test_what_is_not_understood_is_refused(
    server: Running, path: str, body: dict[str, Any], status: int, words: str
) -> None:
    chat: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}]}
    base = chat if "chat" in path else {"prompt": "a", "max_tokens": 1}
    content = json.dumps({"model": "small", **base, **body})
    answer = httpx2.post(
        server.url + path, content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert words in error["message"]


def test_null_means_not_given_and_some_change_nothing(server: Running) -> None:
    answer = server.post(
        prompt="a", max_tokens=4, temperature=0, suffix=None, logit_bias=None, best_of=1, stop=None,
        user="me", metadata={"a": "b"},
    )  # fmt: skip
    assert answer.json()["choices"][0]["text"] == alone("a", 4).text


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b'{"model": ', "application/json", 400),
        (b'{"model": "small", "prompt": "a", "temperature": NaN}', "application/json", 400),
        (b'{"model": "small", "prompt": "a", "temperature": 1e999}', "application/json", 400),
        (b'{"model": "small", "prompt": "a", "seed": 1e400}', "application/json", 400),
        (b"[1]", "application/json", 400),
        (b"", "application/json", 400),
        (b"\xff\xfe\x00", "application/json", 400),
        (b"[" * 300_000, "application/json", 400),
        (b'{"model": "small", "prompt": "a"}', "text/plain", 400),
        (b'{"prompt": "' + b"a" * (1 << 20) + b'"}', "application/json", 413),
        (iter([b"a" * 65536] * 40), "application/json", 413),
    ],
    ids=[
        "cut", "NaN", "infinite", "huge seed", "list", "empty", "bytes", "deep", "text", "large",
        "chunks",
    ],
)  # fmt: skip
def test_bodies_that_are_not_read(server: Running, content: Any, kind: str, status: int) -> None:
    try:
        answer = httpx2.post(
            f"{server.url}/v1/completions", content=content, headers={"content-type": kind}
        )
    except (httpx2.WriteError, httpx2.ReadError):
        # the server closes a connection that still sends; it must go on answering others
        assert status == 413
    else:
        assert answer.status_code == status, answer.text
        assert set(answer.json()) == {"error"}
    assert httpx2.get(f"{server.url}/health").json()["status"] == "ok"


def test_other_paths_and_hosts(server: Running) -> None:
    assert httpx2.get(f"{server.url}/v1/nothing").json()["error"]["type"] == "not_found_error"
    assert httpx2.put(f"{server.url}/v1/completions").status_code == 405
    other = httpx2.get(f"{server.url}/v1/models", headers={"host": "elsewhere.example:8000"})
    assert other.status_code == 421 and other.json()["error"]["code"] == "wrong_host"
    schema = httpx2.get(f"{server.url}/openapi.json").json()
    assert "session" in schema["components"]["schemas"]["CompletionRequest"]["properties"]


def _request(url: str, **body: Any) -> socket.socket:
    """A request sent by hand, so that its client can vanish at any moment."""
    host, port = url.removeprefix("http://").split(":")
    content = json.dumps({"model": "small", "prompt": "a", **body}).encode()
    raw = socket.create_connection((host, int(port)))
    raw.sendall(
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(content), content)
    )
    return raw


def _until(server: Running, **wanted: float) -> None:
    end = time.monotonic() + 60
    while True:
        found = server.metrics()
        if all(found[name] == value for name, value in wanted.items()):
            return
        assert time.monotonic() < end, found
        time.sleep(0.02)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_its_stream_and_its_place_in_the_queue(
    server: Running, stream: bool
) -> None:
    before = server.metrics()
    running = [_request(server.url, max_tokens=2999, stream=stream) for _ in range(4)]
    _until(server, streams_active=4)
    waiting = [_request(server.url, max_tokens=2999, stream=stream) for _ in range(8)]
    _until(server, streams_waiting=8)
    full = server.post(prompt="a")
    assert full.status_code == 429 and int(full.headers["retry-after"]) >= 1
    assert full.json()["error"]["type"] == "rate_limit_error"
    for client in [*running, *waiting]:
        client.close()
    _until(server, streams_active=0, streams_waiting=0)
    after = server.metrics()
    assert after["streams_abandoned_total"] - before["streams_abandoned_total"] >= 8
    assert after["requests_refused_total"] - before["requests_refused_total"] == 1
    answer = server.post(prompt=PROMPT, max_tokens=5, temperature=0)
    assert answer.json()["choices"][0]["text"] == alone(PROMPT, 5).text


def test_a_session_whose_client_leaves_stands_where_it_stood(server: Running) -> None:
    assert server.post(prompt="ab", max_tokens=3, session="left").status_code == 200
    client = _request(server.url, max_tokens=2999, session="left", stream=True)
    _until(server, streams_active=1)
    assert server.post(prompt="c", session="left").status_code == 409
    client.close()
    _until(server, streams_active=0)
    answer: Any = None
    for _ in range(100):  # the request ends a moment after its stream
        answer = server.post(prompt="c", max_tokens=1, session="left")
        if answer.status_code == 200:
            break
        time.sleep(0.02)
    assert answer.json()["session"]["tokens_before"] == 5


def test_figures(server: Running) -> None:
    server.post(prompt=PROMPT, max_tokens=5)
    found = server.metrics()
    assert found["streams"] == 4 and found["completion_tokens_total"] >= 5
    assert found['responses_total{status="200"}'] >= 1
