"""Durations, sizes, rates and addresses."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shopkeeper.settings.values import (
    BYTES,
    LONGEST,
    format_duration,
    format_size,
    parse_duration,
    parse_rate,
    parse_size,
)


class TestDurations:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("1h", 3600),
            ("24h", 86400),
            ("1h30m", 5400),
            ("500ms", 0.5),
            ("30d", 2592000),
            ("1.5h", 5400),
            ("0", 0),
            ("0s", 0),
        ],
    )
    def test_go_durations_and_days_are_read(self, text: str, seconds: float) -> None:
        assert parse_duration(text) == timedelta(seconds=seconds)

    @pytest.mark.parametrize(
        "text", ["", "1", "-1h", "1 h", "h", "1x", "1h 30m", "99999999999h", "1h" * 40, 3600, None, True, "١h"]
    )
    def test_anything_else_is_refused(self, text: object) -> None:
        with pytest.raises(ValueError, match="must be"):
            parse_duration(text)

    def test_a_nanosecond_is_not_rounded_to_nothing(self) -> None:
        assert parse_duration("1ns") == timedelta(microseconds=1)

    @given(st.timedeltas(min_value=timedelta(), max_value=LONGEST))
    def test_what_is_written_is_read_again(self, duration: timedelta) -> None:
        assert parse_duration(format_duration(duration)) == duration


class TestSizes:
    @pytest.mark.parametrize(
        ("text", "size"),
        [("128MB", 128 * 1024**2), ("19MiB", 19 * 1024**2), ("100kB", 102400), ("512B", 512), (7, 7), ("7", 7)],
    )
    def test_sizes_are_read_as_kratos_reads_them(self, text: object, size: int) -> None:
        assert parse_size(text) == size

    @pytest.mark.parametrize("text", ["", "MB", "5 apples", "-5MB", -5, 1.5, True, None])
    def test_anything_else_is_refused(self, text: object) -> None:
        with pytest.raises(ValueError, match="must be a size"):
            parse_size(text)

    @given(st.integers(min_value=0, max_value=900), st.sampled_from(sorted(BYTES)))
    def test_what_is_written_is_read_again(self, amount: int, unit: str) -> None:
        size = amount * BYTES[unit]
        assert parse_size(format_size(size)) == size


class TestRates:
    def test_a_rate_knows_its_period_and_prints_itself(self) -> None:
        rate = parse_rate("30/minute")
        assert (rate.count, rate.per, str(rate)) == (30, timedelta(minutes=1), "30/minute")

    @pytest.mark.parametrize("text", ["30", "30/fortnight", "0/minute", "-1/minute", "a/minute", 30, None])
    def test_anything_else_is_refused(self, text: object) -> None:
        with pytest.raises(ValueError, match="must be a rate"):
            parse_rate(text)
