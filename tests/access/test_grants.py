"""Rights, grants and the decision."""

import pytest

from serving.access.grants import Caller, Grant, Need, Right, decide


def grant(models: str = "fraud-*", may: str = "predict,metadata", name: str = "key") -> Grant:
    return Grant(name, tuple(models.split(",")), frozenset(Right(right) for right in may.split(",")))


def caller(*grants: Grant) -> Caller:
    return Caller("somebody", grants)


PREDICT, METADATA, METRICS, ADMIN = Right.PREDICT, Right.METADATA, Right.METRICS, Right.ADMIN


@pytest.mark.parametrize(
    ("models", "model", "covered"),
    [
        ("fraud-*", "fraud-cards", True),
        ("fraud-*", "fraud-", True),
        ("fraud-*", "fraud", False),
        ("fraud-*", "not-fraud-cards", False),
        ("fraud-*", "FRAUD-cards", False),
        ("fraud-*", "fraud-a\nb", True),
        ("fraud", "fraud\n", False),
        ("a,b", "b", True),
        ("a,b", "ab", False),
        ("m[12]", "m2", True),
        ("m[12]", "m3", False),
        ("m?", "m3", True),
        ("*", "", True),
        ("a.c", "abc", False),
        ("a|b", "a", False),
    ],
)
def test_a_grant_covers_the_models_that_its_patterns_match(models: str, model: str, covered: bool) -> None:
    assert grant(models).covers(model) is covered


def test_a_grant_without_models_covers_none() -> None:
    assert not Grant("key", (), frozenset(Right)).covers("")
    assert not Grant("key", (), frozenset(Right)).covers("m")


@pytest.mark.parametrize("need", [Need(PREDICT, "fraud-a"), Need(METADATA, "fraud-a"), Need(METADATA)])
def test_what_was_granted_is_admitted_and_charged_to_its_grant(need: Need) -> None:
    given = grant()
    admission = decide(caller(given), need)
    assert admission is not None
    assert admission.grant is given


@pytest.mark.parametrize(
    "need", [Need(ADMIN, "fraud-a"), Need(METRICS), Need(ADMIN), Need(METADATA, "fraud-a"), Need(METADATA)]
)
def test_what_was_not_granted_on_a_model_that_one_knows_of_is_refused(need: Need) -> None:
    assert decide(caller(grant(may="predict")), need) is None


@pytest.mark.parametrize("right", Right)
@pytest.mark.parametrize("grants", [(), (grant(),), (grant("other", "admin"),)])
def test_a_model_that_one_may_not_know_of_is_let_through_to_be_not_found(
    right: Right, grants: tuple[Grant, ...]
) -> None:
    admission = decide(caller(*grants), Need(right, "secret"))
    assert admission is not None
    assert admission.grant is None
    assert not admission.sees("secret")


@pytest.mark.parametrize("right", Right)
def test_nobody_without_grants_gets_what_names_no_model(right: Right) -> None:
    assert decide(caller(), Need(right)) is None


def test_each_grant_counts_for_its_own_models_only() -> None:
    two = caller(grant("a", "predict"), grant("b", "metadata"))
    assert decide(two, Need(PREDICT, "a"))
    assert decide(two, Need(METADATA, "b"))
    assert decide(two, Need(PREDICT, "b")) is None
    assert decide(two, Need(METADATA, "a")) is None


def test_only_the_model_that_was_decided_on_exists_for_the_request() -> None:
    admission = decide(caller(grant()), Need(PREDICT, "fraud-a"))
    assert admission is not None
    assert admission.sees("fraud-a")
    assert not admission.sees("fraud-b")


def test_a_list_shows_the_models_on_which_its_right_was_granted() -> None:
    admission = decide(caller(grant("a", "metadata"), grant("b", "predict")), Need(METADATA))
    assert admission is not None
    assert [name for name in "abc" if admission.sees(name)] == ["a"]


def test_metrics_alone_do_not_show_that_a_model_exists() -> None:
    assert not caller(grant("a", "metrics")).sees("a")
