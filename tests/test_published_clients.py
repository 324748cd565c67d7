"""Clients as the older systems published them, run as they stand: curl lines, wscat, client loops."""

import hashlib
import json
import os
import shutil
import subprocess

import pytest
from clients import Http, new_id, standin
from websockets.sync.client import connect

from target import ROOT, until

WSCAT = ROOT / "tests/node_modules/.bin/wscat"


def run(*command, limit=30):
    """Runs a command as at a terminal: its standard input stays open (wscat leaves at its end)."""
    read, write = os.pipe()
    try:
        done = subprocess.run(
            [str(part) for part in command], stdin=read, capture_output=True, text=True, timeout=limit
        )
    finally:
        os.close(read)
        os.close(write)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_door_2s_client_loop_prints_the_answer_and_goes_on_with_its_chat(target, upstream):
    def client(websocket, prompt, chat_id):
        """The published loop: send, print what is not empty, remember the chat, stop at the end."""
        message = {"action": "sendmessage", "prompt": prompt, "parameters": {"temperature": 0.0}}
        websocket.send(json.dumps({**message, **({"chat_id": chat_id} if chat_id else {})}))
        printed = ""
        while True:
            reply = json.loads(websocket.recv(20))
            if reply["completion"] != "":
                printed += reply["completion"]
            chat_id = reply["chat_id"]
            if reply["has_more_messages"] == "false":
                return printed, chat_id

    first, second = standin("first"), standin("second")
    with connect(f"{target.stage_url}?name=Ryan", proxy=None) as websocket:
        printed, chat = client(websocket, first, None)
        again, same = client(websocket, second, chat)
        wrong, _ = client(websocket, " ", None)
    assert (printed, again) == (f"[stand-in] {first}", f"[stand-in] {second}")
    assert chat == same and len(upstream.asked(second)[0]["body"]["messages"]) == 3
    assert wrong.startswith("[error invalid_request: ")


@pytest.mark.parametrize("asks, wanted", [(True, "token0 token1 token2 token3 token4 "), (False, "Error: ")])
def test_door_3s_python_client_ends_and_prints_the_answer(target, asks, wanted):
    prompt = standin(tokens=5, gap_ms=10) if asks else ""
    ask = {"modelId": "anthropic.claude-v2:1", "temperature": 0.0, "maxTokens": 4096}
    framed = f"\n\nHuman:{prompt}\n\nAssistant:" if prompt else ""
    printed = ""
    with connect(target.stage_url, proxy=None) as websocket:
        websocket.send(json.dumps({"action": "invokeModel", "prompt": framed, "parameters": ask}))
        while (text := websocket.recv(20)) != "<End of LLM response>":
            printed += text
    assert printed.startswith(wanted)


def test_door_4s_page_replaces_its_bubble_and_keeps_its_connection_alive(target):
    bubbles, pongs = {}, 0
    given = new_id()
    body = {
        "user_id": "u",
        "request_id": given,
        "request_time": "2023-10-08 18:01:45",
        "type": "text",
        "convType": "normal",
    }
    with connect(target.ws_url, proxy=None) as websocket:
        websocket.send("__ping__")
        websocket.send(json.dumps({**body, "body": standin(tokens=10, gap_ms=20)}))
        while True:
            text = websocket.recv(20)
            if text[1:9] == "__pong__":
                pongs += 1
                continue
            response = json.loads(text)
            if response["request_id"]:
                bubbles[response["request_id"]] = response["msg"]
            if response["status"] == "completed":
                break
    assert bubbles == {given: "".join(f"token{n} " for n in range(10))} and pongs == 1


def test_door_5s_curl_line_works_signed_and_streams(target, tmp_path):
    event = {
        "bedrockParams": {
            "modelId": "anthropic.claude-v2",
            "contentType": "application/json",
            "accept": "*/*",
        },
        "modelParams": {
            "max_tokens_to_sample": 2048,
            "temperature": 0.5,
            "top_k": 250,
            "top_p": 0.5,
            "prompt": standin(tokens=30, gap_ms=20),
        },
    }
    file, netrc = tmp_path / "event.json", tmp_path / "netrc"
    file.write_text(json.dumps(event))
    netrc.write_text("machine 127.0.0.1 login AKIDEXAMPLE password secret\n")
    line = [
        "curl",
        "-s",
        "-XPOST",
        "-d",
        f"@{file}",
        target.url,
        "--netrc-file",
        netrc,
        "--aws-sigv4",
        "aws:amz:us-east-1:lambda",
        "--no-buffer",
    ]
    assert run(*line) == "".join(f"token{n} " for n in range(30))


def test_door_6s_curl_line_gets_the_answer_of_sqs(target):
    body = json.dumps({"prompt": standin("Why do LLMs hallucinate?.")})
    printed = run(
        "curl",
        "-s",
        "-X",
        "POST",
        f"{target.url}/prod/invokeModel",
        "-d",
        body,
        "-H",
        "Content-Type: application/json",
    )
    result = json.loads(printed)["SendMessageResponse"]["SendMessageResult"]
    assert result["MD5OfMessageBody"] == hashlib.md5(body.encode()).hexdigest()
    http = Http(target)
    until(lambda: http.get(f"/jobs/{result['MessageId']}").json()["status"] == "completed", what="the job")


def test_door_1s_curl_lines_answer_whole_and_streamed(target):
    prompt = standin(tokens=3)
    whole = run("curl", "-s", f"{target.url}/anthropic.claude-v2", "-d", json.dumps({"prompt": prompt}))
    assert json.loads(whole)["completion"] == "token0 token1 token2 "
    stream = run(
        "curl",
        "-sN",
        f"{target.url}/anthropic.claude-v2",
        "-d",
        json.dumps({"prompt": standin(tokens=3), "stream": True}),
    )
    assert stream.count("data: ") == 4


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")
def test_wscat_sends_a_line_and_prints_the_frames(target):
    ask = json.dumps({"action": "sendmessage", "prompt": standin(tokens=3)})
    frames = [
        json.loads(line)
        for line in run(WSCAT, "-c", target.ws_url, "-x", ask, "-w", "2").splitlines()
        if line
    ]
    assert "".join(frame["completion"] for frame in frames) == "token0 token1 token2 "
    assert frames[-1]["has_more_messages"] == "false"


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")
def test_wscat_shows_door_3_and_ends_with_its_end_frame(target):
    ask = json.dumps(
        {
            "action": "invokeModel",
            "parameters": {"modelId": "anthropic.claude-v2", "temperature": 0},
            "prompt": f"\n\nHuman:{standin(tokens=4)}\n\nAssistant:",
        }
    )
    printed = run(WSCAT, "-c", target.ws_url, "-x", ask, "-w", "2").rstrip("\n")
    text, end = printed.rsplit("\n", 1)
    assert text.replace("\n", "") == "token0 token1 token2 token3 " and end == "<End of LLM response>"


@pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")
def test_wscat_with_a_key_in_its_subprotocols_is_let_in(own):
    target = own(keys={"alice": "secret"})
    line = [
        WSCAT,
        "-c",
        target.ws_url,
        "-s",
        "llm-gateway",
        "-s",
        "llm-gateway.key.c2VjcmV0",
        "-x",
        "__ping__",
        "-w",
        "1",
    ]
    assert run(*line).strip() == '"__pong__"'


@pytest.mark.local("the command prints them")
def test_the_lines_that_the_gateway_prints_work_when_pasted(own):
    target = own(model="extractive")
    lines = [line.strip() for line in target.log.splitlines() if line.startswith("  ")]
    curl = next(line for line in lines if line.startswith("curl"))
    assert "completion" in json.loads(run("bash", "-c", curl))
    wscat = next(line for line in lines if "wscat" in line).replace("npx -y wscat@6.1.0", str(WSCAT))
    assert '"has_more_messages":"false"' in run("bash", "-c", wscat)
