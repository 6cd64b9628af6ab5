"""The traceparent: what the worker writes, and which of others' it keeps."""

import pytest

from crypto_updates.bus import trace

# The example of https://www.w3.org/TR/trace-context/#examples-of-http-traceparent-headers
ONE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def test_a_fresh_one_is_valid_sampled_and_new_each_time() -> None:
    found = [trace.fresh() for _ in range(100)]
    assert [trace.given({"traceparent": one}) for one in found] == found
    assert len({one[3:35] for one in found}) == len({one[36:52] for one in found}) == 100
    assert {one[:3] + one[53:] for one in found} == {"00-01"}


@pytest.mark.parametrize("name", ["traceparent", "Traceparent", "TraceParent"])
def test_a_name_may_have_capitals(name: str) -> None:
    assert trace.given({"other": "x", name: ONE}) == ONE


def test_the_name_in_small_letters_comes_first() -> None:
    assert trace.given({"Traceparent": ONE.replace("4bf9", "0000"), "traceparent": ONE}) == ONE


@pytest.mark.parametrize("flags", ["00", "01", "03", "ff"])
def test_any_flags_are_kept(flags: str) -> None:
    assert trace.given({"traceparent": ONE[:-2] + flags}) == ONE[:-2] + flags


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x",
        ONE.upper(),
        f" {ONE}",
        f"{ONE}\n",
        f"{ONE}-00",
        ONE.replace("00-4", "ff-4"),
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-4bf92f3577b34da6a3ce929d0e0e4736-{'0' * 16}-01",
        ONE.replace("4bf9", "4bg9"),
        "00-" + "0" * 100_000,
    ],
)
def test_what_is_none_is_not_kept(bad: str) -> None:
    assert trace.given({"traceparent": bad}) is None
    assert trace.given({}) is None
