"""Door 3: `invokeModel` over WebSocket: plain text frames, then the end frame."""

import pytest
from clients import END, Socket, standin

CLAUDE = "anthropic.claude-v2"


@pytest.fixture
def socket(target):
    with Socket(target) as socket:
        yield socket


def ask(socket, prompt, **parameters):
    framed = f"\n\nHuman:{prompt}\n\nAssistant:"
    parameters = {"modelId": CLAUDE, "temperature": 0, "maxTokens": 256, **parameters}
    socket.send({"action": "invokeModel", "prompt": framed, "parameters": parameters})
    return socket.texts()


def test_an_answer_is_its_text_in_frames_and_then_the_end_frame(socket):
    texts = ask(socket, standin(tokens=8, gap_ms=20))
    assert len(texts) > 1
    assert "".join(texts) == "".join(f"token{n} " for n in range(8))


def test_the_framed_prompt_and_the_old_parameters_reach_the_model(socket, upstream):
    prompt = standin("framed")
    ask(socket, prompt)
    [asked] = upstream.asked(prompt)
    assert asked["body"]["messages"] == [{"role": "user", "content": [{"text": prompt}]}]
    assert asked["body"]["inferenceConfig"] == {"temperature": 0.0, "maxTokens": 256}


def test_an_answer_from_the_cache_looks_the_same(socket, upstream):
    prompt = standin("again", tokens=3)
    assert "".join(ask(socket, prompt)) == "".join(ask(socket, prompt)) == "token0 token1 token2 "
    assert len(upstream.asked(prompt)) == 1


@pytest.mark.parametrize(
    "message",
    [
        {"action": "invokeModel"},
        {"action": "invokeModel", "prompt": ""},
        {"action": "invokeModel", "prompt": 7},
        {"action": "invokeModel", "prompt": "q", "parameters": {"temperature": 9}},
        {"action": "invokeModel", "prompt": "q", "parameters": {"modelId": "no.such"}},
    ],
)
def test_a_wrong_request_gets_one_error_frame_and_the_end(socket, message):
    socket.send(message)
    [text] = socket.texts()
    assert text.startswith("Error: ")


def test_a_broken_answer_keeps_its_text_and_says_so_before_the_end(socket):
    texts = ask(socket, standin(tokens=9, fault={"kind": "cut_inside", "after": 2}))
    assert "".join(texts[:-1]) == "token0 token1 "
    assert texts[-1].startswith("Error: ")


def test_requests_of_this_door_remember_nothing(socket, upstream):
    ask(socket, standin("first"))
    second = standin("second")
    ask(socket, second)
    assert len(upstream.asked(second)[0]["body"]["messages"]) == 1


def test_the_end_frame_stands_alone_even_for_an_empty_answer(socket):
    assert ask(socket, standin(text="")) == []
    assert END == "<End of LLM response>"
