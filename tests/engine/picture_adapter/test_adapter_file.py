"""Adapter files: what they are, what they lack, and that nothing in them is executed."""

from __future__ import annotations

import io
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from cones2.errors import AdapterError, Cones2Error
from cones2.picture_adapter.adapter import PictureAdapter
from cones2.picture_adapter.adapter_file import adapter_of, load_adapter
from tests.support.picture_adapters import Weights, adapter_weights, resampler_weights

WIDTHS = (8, 16)


def saved(folder: Path, content: Any) -> Path:
    torch.save(content, folder / "adapter.bin")
    return folder / "adapter.bin"


def plus_weights() -> Weights:
    return {**adapter_weights(WIDTHS, 12), "image_proj": resampler_weights(12, 20)}


@pytest.mark.parametrize(
    ("weights", "label", "features"),
    [
        (adapter_weights(WIDTHS, 12), "MIP-Adapter", 24),
        (adapter_weights(WIDTHS, 12, "plain"), "IP-Adapter", 24),
        (plus_weights(), "MIP-Adapter plus", 20),
    ],
)
@pytest.mark.parametrize("container", ["bin", "safetensors"])
def test_kinds_are_told_apart_by_their_keys(
    tmp_path: Path, weights: Weights, label: str, features: int, container: str
) -> None:
    path = tmp_path / f"adapter.{container}"
    if container == "bin":
        torch.save(weights, path)
    else:
        save_file({f"{part}.{key}": value for part in weights for key, value in weights[part].items()}, path)
    adapter = load_adapter(path)
    assert (adapter.label, adapter.width, adapter.feature_width) == (label, 12, features)
    assert [len(layer.to_k) for layer in adapter.layers] == list(WIDTHS)


def test_layers_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    weights = adapter_weights([8] * 12, 12)
    weights["ip_adapter"] = dict(reversed(weights["ip_adapter"].items()))
    found = load_adapter(saved(tmp_path, weights)).layers
    torch.testing.assert_close(found[10].to_k, weights["ip_adapter"]["21.to_k_ip.weight"])


def test_half_precision_and_state_dicts_are_read(tmp_path: Path) -> None:
    module = torch.nn.Linear(4, 4).half()
    content = {part: OrderedDict(values) for part, values in adapter_weights(WIDTHS, 12).items()}
    content["image_proj"]._metadata = module.state_dict()._metadata  # type: ignore[attr-defined]
    content = {part: OrderedDict((k, v.half()) for k, v in values.items()) for part, values in content.items()}
    assert load_adapter(saved(tmp_path, content)).layers[0].to_k.dtype == torch.float16


def without(weights: Weights, part: str, *names: str) -> dict[str, Any]:
    return {**weights, part: {key: value for key, value in weights[part].items() if key not in names}}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"image_proj": adapter_weights(WIDTHS, 12)["image_proj"]}, "it lacks ip_adapter (it has image_proj)"),
        ({"state_dict": {"x": torch.ones(1)}}, "it lacks image_proj and ip_adapter (it has none)"),
        (without(adapter_weights(WIDTHS, 12), "ip_adapter", "3.to_v_ip.weight"), "it lacks 3.to_v_ip.weight"),
        (without(adapter_weights(WIDTHS, 12), "ip_adapter", "3.text_to_weight.weight"), "3.text_to_weight.weight"),
        (without(adapter_weights(WIDTHS, 12), "image_proj", "norm.bias"), "it lacks image_proj.norm.bias"),
        (without(plus_weights(), "image_proj", "layers.0.1.3.weight"), "it lacks image_proj.layers.0.1.3.weight"),
        ({"image_proj": {"proj.0.weight": torch.ones(1)}, "ip_adapter": {"1.x": torch.ones(1)}}, "a face adapter"),
        ({**adapter_weights(WIDTHS, 12), "ip_adapter": {"x": torch.ones(2)}}, "has no layers (N.to_k_ip.weight)"),
        ({**adapter_weights(WIDTHS, 12), "ip_adapter": adapter_weights(WIDTHS, 10)["ip_adapter"]}, "10 wide"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, content: Any, sentence: str) -> None:
    with pytest.raises(AdapterError) as caught:
        load_adapter(saved(tmp_path, content))
    assert sentence in str(caught.value) and "adapter.bin" in str(caught.value)


def mip_weights() -> Weights:
    return adapter_weights(WIDTHS, 12)


SHAPES: list[tuple[Callable[[], Weights], str, str, tuple[int, ...]]] = [
    (mip_weights, "ip_adapter", "1.to_k_ip.weight", ()),
    (mip_weights, "ip_adapter", "1.to_k_ip.weight", (16, 0)),
    (mip_weights, "ip_adapter", "1.text_to_weight.weight", (3,)),
    (mip_weights, "image_proj", "proj.weight", ()),
    (mip_weights, "image_proj", "proj.weight", (0, 24)),
    (mip_weights, "image_proj", "proj.bias", (12,)),
    (mip_weights, "image_proj", "norm.weight", (1, 12)),
    (mip_weights, "image_proj", "norm.bias", (11,)),
    *((plus_weights, "image_proj", name, ()) for name in plus_weights()["image_proj"]),
    *((plus_weights, "image_proj", name, (2, 3, 5)) for name in plus_weights()["image_proj"]),
    (plus_weights, "image_proj", "layers.0.0.to_q.bias", (3,)),
]


@pytest.mark.parametrize(("weights", "part", "name", "shape"), SHAPES)
def test_a_weight_of_another_shape_is_refused(
    weights: Callable[[], Weights], part: str, name: str, shape: tuple[int, ...]
) -> None:
    content = weights()
    content[part][name] = torch.ones(shape)
    with pytest.raises(AdapterError):
        adapter_of(content)


@pytest.mark.parametrize("value", [torch.nan, -torch.inf, 1])
@pytest.mark.parametrize(("part", "name"), [("ip_adapter", "3.to_v_ip.weight"), ("image_proj", "norm.bias")])
def test_a_weight_that_is_not_of_finite_numbers_is_named(part: str, name: str, value: float) -> None:
    content = mip_weights()
    content[part][name] = torch.full(content[part][name].shape, value)  # 1 makes whole numbers
    with pytest.raises(AdapterError, match=f"{name} holds"):
        adapter_of(content)


class Hostile:
    def __reduce__(self) -> Any:
        return print, ("executed",)


def test_nothing_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AdapterError, match=r"refers to .*print.*refused"):
        load_adapter(saved(tmp_path, {**adapter_weights(WIDTHS, 12), "more": Hostile()}))
    assert capsys.readouterr().out == ""


def test_a_view_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    weights = adapter_weights(WIDTHS, 12)
    weights["ip_adapter"]["1.to_k_ip.weight"] = torch.ones(1, 1).expand(40_000, 40_000)
    with pytest.raises(AdapterError, match=r"1\.to_k_ip\.weight: .* claims"):
        load_adapter(saved(tmp_path, weights))


def test_many_views_of_the_same_numbers_are_refused(tmp_path: Path) -> None:
    shared = torch.ones(200, 200)
    content = {"image_proj": {str(number): shared[:] for number in range(50)}, "ip_adapter": {}}
    with pytest.raises(AdapterError, match="claim more bytes than the file holds"):
        load_adapter(saved(tmp_path, content))


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(adapter_weights(WIDTHS, 12), buffer)
    with (
        zipfile.ZipFile(buffer) as source,
        zipfile.ZipFile(tmp_path / "a.bin", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for member in source.infolist():
            target.writestr(member.filename, source.read(member) + bytes(1_000_000))
    with pytest.raises(AdapterError, match="unpacks to more than its size"):
        load_adapter(tmp_path / "a.bin")


@pytest.mark.parametrize("content", [b"", b"PK", b"{}", b"\x00" * 100, b"\xff" * 8 + b"{"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(AdapterError, match=r"a\.bin"):
        load_adapter(tmp_path / "a.bin")


def test_a_missing_file_names_its_neighbors(tmp_path: Path) -> None:
    saved(tmp_path, {})
    with pytest.raises(AdapterError, match=r"there is no image adapter at .*other\.bin; the folder has adapter\.bin"):
        load_adapter(tmp_path / "other.bin")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files_give_one_sentence(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(saved(tmp_path, adapter_weights(WIDTHS, 12)).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    damaged = tmp_path / "damaged.bin"
    damaged.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        assert isinstance(load_adapter(damaged), PictureAdapter)
    except Cones2Error as error:
        assert len(str(error)) <= 2000


def test_a_model_of_other_layers_is_named() -> None:
    from cones2.picture_adapter.adapter_file import adapter_of

    adapter = adapter_of(adapter_weights(WIDTHS, 12))
    adapter.check_layers(WIDTHS)
    with pytest.raises(AdapterError, match=r"has 2 layers .* but the model has 16 cross-attentions"):
        adapter.check_layers([8] * 16)
    with pytest.raises(AdapterError, match="layer 2 of this MIP-Adapter is 16 wide but the model's is 8 wide"):
        adapter.check_layers([8, 8])
