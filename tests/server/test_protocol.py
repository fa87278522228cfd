"""What goes over the wire: types, errors, clients that go away, clients that wait, pages of other sites."""

import json
import threading
import time

import httpx
import pytest

LONG = {
    "model": "smollm2",
    "prompt": "Once upon a time",
    "raw": True,
    "options": {"num_predict": 3000, "temperature": 0},
}
SHORT = {"model": "smollm2", "prompt": "Hello", "raw": True, "stream": False, "options": {"num_predict": 1}}
AT_ONCE_S = 10
"""LONG takes a minute and more; whoever has not to wait for its end is answered in a fraction of this."""


def test_lines_and_objects(http):
    told = http.post("/api/generate", json={**SHORT, "stream": True})
    assert told.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in told.text.splitlines()]
    assert all(set(line) == {"model", "created_at", "response", "done"} for line in lines[:-1])
    assert lines[-1]["response"] == ""
    told = http.post("/api/generate", json=SHORT)
    assert told.headers["content-type"] == "application/json; charset=utf-8"
    assert set(told.json()) == {
        "model", "created_at", "response", "done", "done_reason", "total_duration", "load_duration",
        "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration",
    }  # fmt: skip
    assert all(isinstance(v, int) for k, v in told.json().items() if k.endswith(("_duration", "_count")))


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat", "/api/show"])
@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b'"x"', b"\xff\xfe\x00", b'{"model": NaN}', b"[" * 100_000])
def test_a_body_that_is_no_object_is_400(http, path, body):
    told = http.post(path, content=body)
    assert told.status_code == 400
    assert set(told.json()) == {"error"}
    assert "\n" not in told.json()["error"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": None}, "model is missing"),
        ({"images": ["aGk="]}, "images is not supported: the model reads text only"),
        ({"format": "yaml"}, 'format is "yaml"; wanted "json" or a JSON Schema'),
        ({"format": ["json"]}, 'format is ["json"]; wanted "json" or a JSON Schema'),
        ({"format": {"type": "nonsense"}}, "the schema cannot be used: Invalid type: nonsense"),
        ({"prompt": 5}, "prompt is 5"),
        ({"prompt": "\ud800"}, "lone surrogate"),
        ({"prompt": "word " * 9000}, "room for 8191"),
        ({"options": {"temperature": "hot"}}, 'temperature is "hot"'),
        ({"options": {"temperature": -1}}, "temperature is -1"),
        ({"options": {"top_p": 2}}, "top_p is 2"),
        ({"options": {"stop": [""]}}, "stop string is empty"),
        ({"options": {"mirostat": 1}}, "mirostat is not supported"),
        ({"options": {"min_p": 2}}, "min_p is 2"),
        ({"options": {"repeat_penalty": 0}}, "repetition_penalty is 0"),
        ({"options": {"temprature": 0}}, "no option temprature"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_question_is_400_before_anything_is_sent(http, fields, said, stream):
    told = http.post("/api/generate", content=json.dumps({**SHORT, "stream": stream, **fields}))
    assert told.status_code == 400
    assert said in told.json()["error"]


def test_tools_are_400(http):
    ask = {"model": "smollm2", "messages": [{"role": "user", "content": "x"}], "tools": [{"type": "function"}]}
    told = http.post("/api/chat", json=ask)
    assert (told.status_code, told.json()["error"]) == (400, "tools is not supported: the model calls no tools")


def test_no_such_endpoint(http):
    for told, status in ((http.get("/api/bogus"), 404), (http.get("/api/generate"), 405)):
        assert told.status_code == status
        assert set(told.json()) == {"error"}


def test_a_client_that_goes_away_ends_its_generation(http):
    with http.stream("POST", "/api/generate", json=LONG) as told:
        next(told.iter_lines())
    begun = time.monotonic()
    assert http.post("/api/generate", json=SHORT).json()["eval_count"] == 1
    assert time.monotonic() - begun < AT_ONCE_S


def test_so_does_one_that_waits_for_the_whole(http):
    with pytest.raises(httpx.ReadTimeout):
        http.post("/api/generate", json={**LONG, "stream": False}, timeout=0.5)
    begun = time.monotonic()
    assert http.post("/api/generate", json=SHORT).json()["eval_count"] == 1
    assert time.monotonic() - begun < AT_ONCE_S


def test_so_does_one_whose_prompt_is_still_being_read(http):
    """Eight thousand words are some thirty pieces; it ends with the piece that is read when the client goes."""
    http.post("/api/generate", json=SHORT)  # the model is in memory
    with pytest.raises(httpx.ReadTimeout):
        http.post("/api/generate", json={**SHORT, "prompt": "word " * 8000}, timeout=0.5)
    begun = time.monotonic()
    assert http.post("/api/generate", json=SHORT).json()["eval_count"] == 1
    assert time.monotonic() - begun < AT_ONCE_S


def test_one_generation_at_a_time_and_others_are_answered_meanwhile(http, url):
    """The second has one token to make, but gets it only when the first is done."""
    done: dict[str, float] = {}

    def second() -> None:
        assert httpx.post(f"{url}/api/generate", json=SHORT, timeout=60).json()["eval_count"] == 1
        done["second"] = time.monotonic()

    waiting = threading.Thread(target=second)
    options = {"num_predict": 60, "temperature": 0}
    with http.stream("POST", "/api/generate", json={**LONG, "options": options}) as told:
        lines = told.iter_lines()
        next(lines)
        waiting.start()
        assert httpx.get(f"{url}/api/ps").json()["models"]
        assert "second" not in done
        last = json.loads(list(lines)[-1])
    done["first"] = time.monotonic()
    waiting.join(60)
    assert last["eval_count"] == 60
    assert last["done"]
    assert done["second"] > done["first"] - 0.2  # the first one's last line and the second's answer cross


def test_a_long_prompt_stops_nobody_else(http, url):
    """While it is read, which yields nothing for a while, other questions are answered at once."""
    told: list[httpx.Response] = []

    def read() -> None:
        told.append(httpx.post(f"{url}/api/generate", json={**SHORT, "prompt": "word " * 250}, timeout=60))

    http.post("/api/generate", json=SHORT)  # the model is in memory
    reading = threading.Thread(target=read)
    reading.start()
    slowest_s = 0.0
    while reading.is_alive():
        begun = time.monotonic()
        assert http.get("/api/version").status_code == 200
        slowest_s = max(slowest_s, time.monotonic() - begun)
        time.sleep(0.005)
    took_s = told[0].json()["prompt_eval_duration"] / 1e9
    assert slowest_s < took_s / 2


def test_a_client_that_goes_away_while_it_waits(http, url):
    """It leaves the queue: the next one's turn comes as if it had never been there."""
    with http.stream("POST", "/api/generate", json=LONG) as told:
        next(told.iter_lines())
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{url}/api/generate", json={**LONG, "stream": False}, timeout=0.3)
    begun = time.monotonic()
    assert http.post("/api/generate", json=SHORT).status_code == 200
    assert time.monotonic() - begun < AT_ONCE_S


def test_stopping_ends_what_is_being_generated(running, workbench):
    with running(workbench) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        waited: list[httpx.Response] = []

        def wait() -> None:
            waited.append(httpx.post(f"{server.url}/api/generate", json=SHORT, timeout=60))

        waiting = threading.Thread(target=wait)
        with http.stream("POST", "/api/generate", json=LONG) as told:
            lines = told.iter_lines()
            next(lines)
            waiting.start()
            time.sleep(0.3)
            server.stop()
            assert "being shut down" in json.loads(list(lines)[-1])["error"]
        waiting.join(30)
        assert (waited[0].status_code, set(waited[0].json())) == (503, {"error"})
        server.thread.join(AT_ONCE_S)
        assert not server.thread.is_alive()


def test_pages_of_other_sites_are_refused(http):
    for headers in ({"Origin": "https://example.org"}, {"Origin": "null"}, {"Host": "example.org"}):
        for told in (
            http.get("/api/tags", headers=headers),
            http.post("/api/generate", json=SHORT, headers=headers),
        ):
            assert told.status_code == 403
            assert set(told.json()) == {"error"}


def test_pages_of_this_machine_are_not(http):
    origin = {"Origin": "http://localhost:3000"}
    told = http.get("/api/tags", headers=origin)
    assert told.status_code == 200
    assert told.headers["access-control-allow-origin"] == origin["Origin"]
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    assert http.options("/api/chat", headers=asked).status_code == 200
