"""The model catalog from outside: retired ids, refused parameters, embedding models, old shapes."""

import pytest
from clients import Http, Socket, standin

RETIRED = [
    ("anthropic.claude-v2", "anthropic.claude-sonnet-4-6"),
    ("anthropic.claude-v2:1", "anthropic.claude-sonnet-4-6"),
    ("anthropic.claude-3-5-sonnet-20240620-v1:0", "anthropic.claude-sonnet-4-6"),
    ("anthropic.claude-instant-v1", "anthropic.claude-haiku-4-5-20251001-v1:0"),
    ("amazon.titan-tg1-large", "amazon.nova-lite-v1:0"),
    ("cohere.command-text-v14", "amazon.nova-pro-v1:0"),
    ("ai21.j2-ultra-v1", "amazon.nova-pro-v1:0"),
]


@pytest.mark.parametrize("old, successor", RETIRED)
def test_a_retired_id_answers_through_its_successor_and_says_so(http, upstream, old, successor):
    prompt = standin("retired")
    reply = http.ask(prompt, model=old)
    assert reply.status == 200
    assert reply.headers["x-model"] == reply.json()["model"] == successor
    assert upstream.asked(prompt)[0]["model"].endswith(successor)


def test_the_ids_of_inference_profiles_are_called_as_they_are(http, upstream):
    for given in (
        "global.anthropic.claude-sonnet-4-6",
        "us.anthropic.claude-sonnet-4-6",
        "openai.gpt-oss-20b-1:0",
    ):
        prompt = standin("profile")
        assert http.ask(prompt, model=given).status == 200
        assert upstream.asked(prompt)[0]["model"] == given


def test_old_clients_of_cohere_and_ai21_find_their_shapes(http):
    cohere = http.ask(standin(tokens=2), model="cohere.command-text-v14").json()
    assert cohere["generations"][0]["text"] == cohere["completion"] == "token0 token1 "
    ai21 = http.ask(standin(tokens=2), model="ai21.j2-mid-v1").json()
    assert ai21["completions"][0]["data"]["text"] == ai21["completion"] == "token0 token1 "
    assert "generations" not in ai21 and "completions" not in cohere
    assert "generations" not in http.ask(standin(tokens=2), model="amazon.nova-pro-v1:0").json()


ALL = {"temperature": 0.2, "top_p": 0.9, "top_k": 250, "max_tokens": 50}


@pytest.mark.parametrize(
    "model, ignored, config",
    [
        ("anthropic.claude-sonnet-4-6", ["top_p"], {"temperature": 0.2, "maxTokens": 50}),
        ("anthropic.claude-opus-5-5", ["temperature", "top_k", "top_p"], {"maxTokens": 50}),
        ("amazon.nova-pro-v1:0", ["top_k"], {"temperature": 0.2, "topP": 0.9, "maxTokens": 50}),
    ],
)
def test_parameters_that_the_model_refuses_are_left_out_and_named(
    target, http, upstream, model, ignored, config
):
    prompt = standin("refused")
    named = [f"parameters.{name}" for name in ignored]
    assert sorted(http.ask(prompt, model=model, parameters=ALL).json()["ignored"]) == named
    sent = upstream.asked(prompt)[0]["body"]
    assert {name: round(value, 3) for name, value in sent["inferenceConfig"].items()} == config
    with Socket(target) as socket:
        last = socket.reply(standin("refused"), model=model, parameters=ALL)[-1]
    assert sorted(last["ignored"]) == named


def test_a_default_temperature_is_left_out_where_the_model_refuses_it(own):
    target = own(env={"DEFAULT_TEMP": "0.5"})
    prompt = standin("default")
    reply = Http(target).ask(prompt, model="anthropic.claude-opus-5-5")
    assert reply.status == 200 and "ignored" not in reply.json(), "the caller did not send it"
    assert "temperature" not in target.standin.asked(prompt)[0]["body"]["inferenceConfig"]


def test_top_p_alone_is_kept(http, upstream):
    prompt = standin("alone")
    assert (
        "ignored"
        not in http.ask(prompt, model="anthropic.claude-sonnet-4-6", parameters={"top_p": 0.5}).json()
    )
    assert upstream.asked(prompt)[0]["body"]["inferenceConfig"]["topP"] == 0.5


@pytest.mark.parametrize(
    "model", ["amazon.titan-embed-text-v1", "amazon.titan-embed-text-v2:0", "cohere.embed-english-v3"]
)
def test_an_embedding_model_is_called_under_its_own_name_and_never_through_another(http, upstream, model):
    reply = http.ask("three little words", model=model)
    assert reply.status == 200 and len(reply.json()["embedding"]) > 200
    assert upstream.seen()["requests"][-1]["model"] == model


@pytest.mark.parametrize(
    "model",
    ["amazon.titan-embed-g1-text-02", "titan-embed", "cohere.embed-english-v2", "amazon.titan-embed-text-v3"],
)
def test_an_unknown_embedding_model_is_not_found_rather_than_replaced(http, model):
    assert http.ask("words", model=model).status == 404


def test_an_embedding_model_cannot_answer_a_conversation(target):
    with Socket(target) as socket:
        [frame] = socket.reply("q", model="amazon.titan-embed-text-v2:0")
    assert frame["error"]["code"] == "invalid_request" and frame["error"]["param"] == "model"


@pytest.mark.local("local models are the command's")
def test_a_local_model_stands_in_for_models_that_answer_but_for_no_embedding_model(own):
    target = own(model="extractive", documents={"a.md": "# A\n\nThe sky is blue.\n"})
    http = Http(target)
    reply = http.ask("sky", model="anthropic.claude-v2")
    assert reply.status == 200 and reply.headers["x-model"] == "local.extractive"
    assert http.ask("sky", model="amazon.titan-embed-text-v2:0").status == 404
    assert len(http.ask("sky", model="local.hashed-embedding-256").json()["embedding"]) == 256


def test_a_token_limit_over_the_models_own_is_lowered(http, upstream):
    prompt = standin("limit")
    assert http.ask(prompt, model="amazon.nova-micro-v1:0", parameters={"max_tokens": 99_999}).status == 200
    assert upstream.asked(prompt)[0]["body"]["inferenceConfig"]["maxTokens"] == 8192
