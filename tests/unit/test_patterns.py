"""Patterns over dotted names: what they take, what they leave out, how odd names are written."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liberator import patterns
from liberator.patterns import Patterns, escape


@pytest.mark.parametrize(
    ("pattern", "name", "taken"),
    [
        ("public.orders", "public.orders", True),
        ("public.orders", "public.orders2", False),
        ("public.orders", "Public.orders", False),
        ("public.*", "public.orders", True),
        ("public.*", "public.", True),
        ("public.*", "public", False),
        ("public.*", "republic.orders", False),
        ("shop.*", "shop.public.orders", True),
        ("*.orders", "shop.public.orders", True),
        ("*", "", True),
        ("*", "line\nbreak", True),
        ("a*c", "abbbc", True),
        ("a*c", "abbbcd", False),
        ("public.[ab]", "public.a", False),
        ("public.[ab]", "public.[ab]", True),
        ("public.a?", "public.ab", False),
        ("public.a+", "public.aa", False),
        (r"public.wild\*card", "public.wild*card", True),
        (r"public.wild\*card", "public.wildercard", False),
        ('public."wild*card"', "public.wild*card", True),
        ('public."wild*card"', "public.wildercard", False),
        ('public."we""ird"', 'public.we"ird', True),
        (r'public."back\slash"', r"public.back\slash", True),
        ('"Order Items".*', "Order Items.x", True),
        (r"\!odd", "!odd", True),
        ("od!d", "od!d", True),
    ],
)
def test_a_pattern_takes_exactly_what_it_says(pattern, name, taken):
    assert Patterns([pattern])(name) is taken


def test_what_is_left_out_stays_out_wherever_it_stands_in_the_list():
    for order in (["!public.tmp_*", "public.*"], ["public.*", "!public.tmp_*"]):
        wanted = Patterns(order)
        assert wanted("public.orders")
        assert not wanted("public.tmp_orders")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "needs at least one pattern that takes something, such as '*'"),
        (["!public.tmp"], "needs at least one pattern that takes something, such as '*'"),
        ([""], "must not be empty"),
        (['""'], "must not be empty"),
        (["*", "!"], "must not be empty"),
        (['public."open'], 'has an opening " without a closing one'),
        (["public.\\"], "ends with a lone backslash"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused_in_plain_words(given, message):
    with pytest.raises(ValueError, match="^" + message.replace("*", r"\*")):
        Patterns(given)


def test_unmatched_patterns_are_those_that_take_nothing():
    wanted = Patterns(["public.orders", "public.ordrs", "audit.*", "!public.tmp"])
    assert wanted.unmatched(["public.orders", "public.tmp"]) == ["public.ordrs", "audit.*"]


@pytest.mark.parametrize(
    ("pattern", "prefix", "possible"),
    [
        ("shop.*", "shop.", True),
        ("sh*", "shop.", True),
        ("*.orders", "shop.", True),
        ("shop.public.orders", "shop.", True),
        ("shopping.*", "shop.", False),
        ("shop", "shop.", False),
        ("crm.*", "shop.", False),
    ],
)
def test_it_is_known_whether_a_pattern_can_take_anything_behind_a_prefix(pattern, prefix, possible):
    assert Patterns([pattern]).may_take(prefix) is possible


@given(st.text(min_size=1))
def test_an_escaped_name_takes_itself(name):
    assert Patterns([escape(name)])(name)


@given(st.text(min_size=1), st.text(min_size=1))
def test_an_escaped_name_takes_no_other(name, other):
    assert Patterns([escape(name)])(other) is (name == other)


@given(st.lists(st.text(alphabet='ab.*!"\\', max_size=8), max_size=4), st.text(alphabet='ab.*!"\\'))
def test_any_list_of_patterns_is_compiled_or_refused(given, name):
    try:
        wanted = Patterns(given)
    except ValueError:
        return
    assert wanted(name) in (True, False)


def test_the_examples_in_the_documentation_are_true():
    result = doctest.testmod(patterns)
    assert result.attempted > 0
    assert result.failed == 0
