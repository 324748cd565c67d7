"""The evaluator of policies that `test_deploy.py` uses, by cases that IAM's documentation decides."""

import pytest
from iam import allowed, like

pytestmark = pytest.mark.stack("about the evaluator alone")

TABLE = "arn:aws:dynamodb:us-east-1:123456789012:table/state"


def policy(effect="Allow", action="dynamodb:GetItem", resource=TABLE, **more):
    return {"Statement": {"Effect": effect, "Action": action, "Resource": resource} | more}


def test_what_nothing_allows_is_refused_and_a_refusal_wins():
    assert not allowed([], "dynamodb:GetItem", TABLE)
    assert allowed([policy()], "dynamodb:GetItem", TABLE)
    assert not allowed([policy(), policy("Deny", "dynamodb:*", "*")], "dynamodb:GetItem", TABLE)
    assert not allowed([policy()], "dynamodb:PutItem", TABLE)
    assert not allowed([policy()], "dynamodb:GetItem", TABLE + "2")


def test_actions_know_no_case_and_resources_do():
    assert allowed([policy(action="DynamoDB:getitem")], "dynamodb:GetItem", TABLE)
    assert not allowed([policy(resource=TABLE.upper())], "dynamodb:GetItem", TABLE)


def test_a_star_is_any_text_and_a_question_mark_one_character():
    assert like("arn:*:table/s?ate", TABLE) and like("*", "")
    assert not like("table/stat?", "table/stat") and not like("a.c", "abc") and not like("[ab]", "a")


def test_every_condition_must_hold_and_a_key_that_is_not_there_does_not():
    one = policy(Condition={"StringEquals": {"a": ["1", "2"]}, "Bool": {"b": True}})
    assert allowed([one], "dynamodb:GetItem", TABLE, {"a": "2", "b": "true"})
    assert not allowed([one], "dynamodb:GetItem", TABLE, {"a": "3", "b": "true"})
    assert not allowed([one], "dynamodb:GetItem", TABLE, {"a": "1", "b": "false"})
    assert not allowed([one], "dynamodb:GetItem", TABLE, {"a": "1"})


def test_a_condition_s_key_knows_no_case():
    one = policy(Condition={"ArnLike": {"AWS:SourceArn": "arn:aws:execute-api:*:*:api/*"}})
    assert allowed([one], "dynamodb:GetItem", TABLE, {"aws:SourceArn": "arn:aws:execute-api:r:1:api/prod"})
    assert not allowed([one], "dynamodb:GetItem", TABLE, {"aws:SourceArn": "arn:aws:execute-api:r:1:other/prod"})


def test_a_resource_policy_is_for_its_principal():
    one = policy(Principal={"Service": "apigateway.amazonaws.com"})
    assert allowed([one], "dynamodb:GetItem", TABLE, {}, {"Service": "apigateway.amazonaws.com"})
    assert not allowed([one], "dynamodb:GetItem", TABLE, {}, {"Service": "lambda.amazonaws.com"})
    assert not allowed([one], "dynamodb:GetItem", TABLE, {}, {"AWS": "apigateway.amazonaws.com"})
    assert allowed([policy(Principal={"AWS": "*"})], "dynamodb:GetItem", TABLE)


def test_what_is_not_understood_is_not_guessed():
    with pytest.raises(AssertionError):
        allowed([policy(NotAction="x")], "dynamodb:GetItem", TABLE)
    with pytest.raises(KeyError):
        allowed([policy(Condition={"NumericLessThan": {"a": "1"}})], "dynamodb:GetItem", TABLE, {"a": "0"})
