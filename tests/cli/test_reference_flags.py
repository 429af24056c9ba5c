"""How pictures of a subject are typed: `--reference "cat=a.jpg,b.jpg@0.8"`."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from cones2.cli.reference_flags import ReferenceFlag, add_reference_flags, reference_options
from cones2.errors import ConfigError


def read(reference: str) -> ReferenceFlag:
    parser = argparse.ArgumentParser()
    add_reference_flags(parser)
    options = reference_options(
        parser.parse_args(["--reference", reference, "--adapter", "a.bin", "--image-encoder", "e"])
    )
    assert options is not None
    return options.flags[0]


def test_a_list_of_files_may_be_longer_than_a_file_name() -> None:
    files = [f"photo_of_my_cat_{number}.jpg" for number in range(14)]
    assert read("cat=" + ",".join(files)) == ReferenceFlag("cat", tuple(map(Path, files)))


def test_a_file_with_a_comma_in_its_name_is_one_file(tmp_path: Path) -> None:
    file = tmp_path / "a,b.jpg"
    file.touch()
    assert read(f"cat={file}@0.5") == ReferenceFlag("cat", (file,), 0.5)


@pytest.mark.parametrize("text", ["cat=,,", "cat=, ,@1", "cat=@1"])
def test_a_list_without_files_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="names no file"):
        read(text)
