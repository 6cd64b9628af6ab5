from crypto_updates.local.lines import Lines


def test_lines_may_come_while_those_of_now_are_read() -> None:
    lines = Lines()
    lines.add("first")
    reading = iter(lines)
    lines.add("second")
    assert [*reading] == ["first"]
