"""Color and subject tables as users type them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cones2.errors import LayoutError
from cones2.layout.painted import ColorEntry
from cones2.layout.tables import SubjectLine, parse_color_lines, parse_subject_lines

PHRASES = st.text(
    st.characters(blacklist_categories=["Cc", "Cs", "Zl", "Zp", "Zs"], blacklist_characters="@"), min_size=1
)


def test_color_lines_take_every_form() -> None:
    text = '255,0,0 = dog\n\n  #0f0: hot dog @ 3 \n"255, 192, 0" = mug#2\nblue=a cat @ -1.5'
    assert parse_color_lines(text, 2.0) == [
        ColorEntry((255, 0, 0), "dog", 2.0),
        ColorEntry((0, 255, 0), "hot dog", 3.0),
        ColorEntry((255, 192, 0), "mug#2", 2.0),
        ColorEntry((0, 0, 255), "a cat", -1.5),
    ]


def test_blank_text_is_an_empty_table() -> None:
    assert parse_color_lines("\n  \n") == [] and parse_subject_lines("") == []


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("red = dog\nred dog", 'line 2 of the color table is "red dog"'),
        ("red =", "line 1 names no subject"),
        ("red = @ 2", "line 1 names no subject"),
        ("red = dog @", 'line 1 has the weight ""'),
        ("red = dog @ much", 'line 1 has the weight "much"'),
        ("red = dog @ nan", 'line 1 has the weight "nan"'),
        ("red = dog @ inf", 'line 1 has the weight "inf"'),
        ("red = dog @ 1e39", 'line 1 has the weight "1e39": write a number from -1e+06 to 1e+06'),
        ("\n".join(f"red = dog{index}" for index in range(1000)), "the layout has 1000 regions: 32 is the limit"),
        ("reddish = dog", '"reddish" is not a color'),
        ("300,0,0 = dog", '"300,0,0" is not a color'),
    ],
)
def test_errors_name_the_line(text: str, part: str) -> None:
    with pytest.raises(LayoutError) as error:
        parse_color_lines(text)
    assert part in str(error.value)


@given(PHRASES, st.floats(-1e6, 1e6))
def test_a_written_line_is_read_back(subject: str, weight: float) -> None:
    assert parse_subject_lines(f"{subject} @ {weight!r}") == [SubjectLine(subject, weight)]
    assert parse_subject_lines(f"  {subject}  ", 7) == [SubjectLine(subject, 7)]


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for parse in (parse_color_lines, parse_subject_lines):
        try:
            parse(text)
        except LayoutError as error:
            assert str(error)
