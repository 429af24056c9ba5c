"""Reading the pickle of a tensor without running it."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cones2.errors import Cones2Error
from cones2.storage.pickle_tree import MAX_BYTES, Call, Name, Pairs, read_pickle

_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=20,
)


def plain(value: Any) -> Any:
    """The value with its pairs as dictionaries again."""
    if isinstance(value, Pairs):
        return {key: plain(item) for key, item in value.items}
    return type(value)(map(plain, value)) if isinstance(value, list | tuple) else value


def untied(value: Any) -> Any:
    """The value with no container in it twice, as pickling equal constants could make it."""
    if isinstance(value, dict):
        return {key: untied(item) for key, item in value.items()}
    return type(value)([untied(item) for item in value]) if isinstance(value, list | tuple) else value


@given(_values)
def test_plain_values_are_read_as_they_were(value: Any) -> None:
    content = pickle.dumps(untied(value), 2)
    found, end = read_pickle(b"before" + content + b"behind", 6)
    assert plain(found) == value and end == 6 + len(content)


def test_a_call_is_not_made() -> None:
    content = b"\x80\x02ctorch._utils\n_rebuild_parameter\nK\x01\x85R."
    found, _ = read_pickle(content)
    assert isinstance(found, Call) and isinstance(found.function, Name)
    assert (found.function.text, found.arguments) == ("torch._utils _rebuild_parameter", (1,))


def test_an_ordered_dictionary_is_a_dictionary() -> None:
    saved = OrderedDict(dog=1)
    saved._metadata = {"version": 1}  # type: ignore[attr-defined]  # as state dicts have it
    assert plain(read_pickle(pickle.dumps(saved, 2))[0]) == {"dog": 1}


@pytest.mark.parametrize("value", [print, pickle.Pickler, range(3), {1, 2}, b"bytes", 1j, Cones2Error("x")])
@pytest.mark.parametrize("protocol", range(2, 6))
def test_names_of_other_things_are_refused(value: Any, protocol: int) -> None:
    with pytest.raises(Cones2Error, match=r"refers to|uses the pickle instruction"):
        read_pickle(pickle.dumps(value, protocol))


def test_a_value_in_two_places_is_refused() -> None:
    shared = ["dog"]
    with pytest.raises(Cones2Error, match="uses a value twice"):
        read_pickle(pickle.dumps((shared, shared), 2))


def test_texts_in_two_places_are_read() -> None:
    text = "".join(["d", "og"])
    assert read_pickle(pickle.dumps((text, text), 2))[0] == ("dog", "dog")


def test_no_more_than_the_limit_is_read() -> None:
    with pytest.raises(Cones2Error, match="damaged"):
        read_pickle(b"\x80\x02" + b"N" * MAX_BYTES + b".")


@given(st.lists(st.sampled_from([bytes([code]) for code in b"(.)012]}aebcGhjIJKLMNqrQRstuXz\x80\x85\x86\x87\x88\x8a"])))
def test_random_instructions_never_surprise(instructions: list[bytes]) -> None:
    try:
        read_pickle(b"".join(instructions) + b"\x00\x00\x00\x00.")
    except Cones2Error as error:
        assert str(error)
