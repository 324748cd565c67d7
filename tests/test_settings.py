"""Settings that both the command and the functions take from the environment."""

from clients import Http, Socket, new_id, standin


def test_default_settings_reach_the_model(own):
    target = own(
        env={"DEFAULT_TEMP": "0.3", "DEFAULT_MAX_TOKENS": "123", "DEFAULT_MODEL": "amazon.nova-lite-v1:0"}
    )
    prompt = standin("defaults")
    with Socket(target) as socket:
        socket.reply(prompt)
    [asked] = target.standin.asked(prompt)
    assert asked["model"].endswith("amazon.nova-lite-v1:0")
    assert asked["body"]["inferenceConfig"]["maxTokens"] == 123
    assert abs(asked["body"]["inferenceConfig"]["temperature"] - 0.3) < 1e-6


def test_only_allowed_models_answer(own):
    allowed = "amazon.nova-lite-v1:0"
    target = own(env={"ALLOWED_MODELS": allowed, "DEFAULT_MODEL": allowed})
    assert Http(target).ask(standin("yes"), model=allowed).status == 200
    reply = Http(target).ask("no", model="amazon.nova-pro-v1:0")
    assert reply.status == 404 and reply.error["message"].count("amazon.") == 2
    with Socket(target) as socket:
        assert socket.chatbot("list models", user_id=new_id())[-1]["msg"] == allowed


def test_a_push_interval_gathers_frames(own):
    target = own(env={"PUSH_INTERVAL_MS": "400"})
    with Socket(target) as socket:
        frames = socket.reply(standin(tokens=50, gap_ms=20))
    assert 2 < len(frames) < 8


def test_no_prompt_and_no_answer_is_ever_logged(own):
    target = own(env={"LLM_GATEWAY_LOG": "debug"})
    Http(target).ask(standin("very private words"))
    Http(target).ask(standin("very private words", tokens=5, fault={"kind": "cut", "after": 2}))
    assert "private" not in target.log and "token0" not in target.log
