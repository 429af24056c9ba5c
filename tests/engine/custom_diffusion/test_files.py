"""Custom Diffusion files of every format in use are read by their keys, and written so that they are read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from cones2.custom_diffusion.changes import Difference, LowRank
from cones2.custom_diffusion.delta import Delta, make_delta, renamed_apart, token_names, whole_weights
from cones2.custom_diffusion.files import export_delta, load_delta, read_delta_file, save_delta
from cones2.custom_diffusion.fit import as_difference
from cones2.errors import Cones2Error, DeltaError
from cones2.storage.names import check_file_name
from tests.support import deltas
from tests.support.deltas import LAYER, WIDTH, token, weights, write_formats


def same_weights(one: Delta, other: Delta) -> bool:
    return one.weights.keys() == other.weights.keys() and all(
        torch.equal(part, other.weights[name].parts()[kind])
        for name, change in one.weights.items()
        for kind, part in change.parts().items()
    )


@pytest.mark.parametrize(
    ("name", "format", "tokens"),
    [
        ("delta.bin", "repository", ["<new1>"]),
        ("delta_epoch=000004.ckpt", "compvis", ["<new1>"]),
        ("flat_embed.ckpt", "compvis", ["<new1>", "<new2>"]),
        ("compressed_delta.bin", "repository", ["<new1>"]),
        ("pytorch_custom_diffusion_weights.bin", "diffusers", []),
        ("token.bin", "token", ["<new1>"]),
        ("sdxl.bin", "repository", ["<new1>"]),
    ],
)
def test_every_format_is_recognized_by_its_keys(tmp_path: Path, name: str, format: str, tokens: list[str]) -> None:
    file = read_delta_file(write_formats(tmp_path)[name])
    assert (file.format, token_names(file.delta)) == (format, tokens)
    assert file.delta.layers == (0 if format == "token" else 2)


def test_the_formats_hold_the_same_weights(tmp_path: Path) -> None:
    paths = write_formats(tmp_path)
    wanted = load_delta(paths["delta.bin"])
    for name in ("delta_epoch=000004.ckpt", "pytorch_custom_diffusion_weights.bin", "sdxl.bin"):
        assert same_weights(load_delta(paths[name]), wanted), name


def test_two_vectors_are_those_of_two_text_encoders(tmp_path: Path) -> None:
    (only,) = load_delta(write_formats(tmp_path)["sdxl.bin"]).tokens
    assert [len(vector) for vector in only.vectors] == [3, 5]


def test_a_folder_of_diffusers_brings_its_tokens(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_formats(tmp_path)["pytorch_custom_diffusion_weights.bin"].rename(
        (folder.mkdir(), folder / "pytorch_custom_diffusion_weights.bin")[1]
    )
    torch.save({"<new1>": token().vectors[0]}, folder / "<new1>.bin")
    file = read_delta_file(folder)
    assert token_names(file.delta) == ["<new1>"] and not file.notes


def test_a_missing_token_is_said(tmp_path: Path) -> None:
    (note,) = read_delta_file(write_formats(tmp_path)["pytorch_custom_diffusion_weights.bin"]).notes
    assert "no modifier token" in note


def test_a_token_alone_says_what_is_missing(tmp_path: Path) -> None:
    (note,) = read_delta_file(write_formats(tmp_path)["token.bin"]).notes
    assert "a token alone" in note


def test_a_row_saved_as_a_view_of_the_whole_table_is_the_row(tmp_path: Path) -> None:
    table = torch.randn(5000, WIDTH)
    torch.save({"unet": weights(), "modifier_token": {"<new1>": table[7]}}, tmp_path / "delta.bin")
    assert torch.equal(load_delta(tmp_path / "delta.bin").tokens[0].vectors[0], table[7])


def test_a_file_from_before_torch_1_6_is_read(tmp_path: Path) -> None:
    path = tmp_path / "delta.bin"
    content = {"unet": weights(), "modifier_token": {"<new1>": token().vectors[0]}}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    assert same_weights(load_delta(path), deltas.delta())


def test_a_whole_checkpoint_gives_its_attention_and_the_rows_behind_the_vocabulary(tmp_path: Path) -> None:
    state = {f"unet.{name}": tensor for name, tensor in weights(parts=("to_q", "to_k", "to_v", "to_out.0")).items()}
    state["unet.down_blocks.0.resnets.0.conv1.weight"] = torch.zeros(2, 2)
    table = torch.randn(49_410, WIDTH)
    state["cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"] = table
    torch.save({"state_dict": state}, tmp_path / "last.ckpt")
    file = read_delta_file(tmp_path / "last.ckpt")
    assert file.format == "checkpoint" and token_names(file.delta) == ["<new1>", "<new2>"]
    base = {name: tensor.clone() for name, tensor in weights(parts=("to_q", "to_k", "to_v", "to_out.0")).items()}
    base[f"{LAYER}.to_k.weight"] += 1
    assert list(as_difference(file.delta, base, drop_unchanged=True).weights) == [f"{LAYER}.to_k.weight"]


@pytest.mark.parametrize("target", ["cones2", "repository", "compvis", "diffusers"])
def test_what_is_written_is_read_again(tmp_path: Path, target: str) -> None:
    delta = deltas.delta(0, "<new1>", "<new2>")
    paths = export_delta(delta, tmp_path / "again", target)  # type: ignore[arg-type]
    again = load_delta(paths[0], paths[1:])
    assert same_weights(again, delta) and len(again.tokens) == 2
    assert all(torch.equal(one.vectors[0], two.vectors[0]) for one, two in zip(again.tokens, delta.tokens, strict=True))


def test_our_own_file_keeps_class_words_kinds_and_facts(tmp_path: Path) -> None:
    whole = weights()
    mixed = {
        f"{LAYER}.to_k.weight": LowRank(torch.randn(6, 2), torch.randn(2, WIDTH)),
        f"{LAYER}.to_v.weight": Difference(whole[f"{LAYER}.to_v.weight"]),
    }
    delta = make_delta(mixed, [token(class_word="cat")], {"base_model": "sd14"}, 1)
    again = load_delta(save_delta(delta, tmp_path / "cat"))
    assert same_weights(again, delta) and again.tokens[0].class_word == "cat"
    assert (again.metadata["base_model"], again.layers_per_block) == ("sd14", 1)
    with safe_open(tmp_path / "cat.safetensors", "pt") as file:
        assert file.metadata()["stored"] == "differences and low rank"


def test_a_lora_holds_the_exact_differences(tmp_path: Path) -> None:
    base = {name: torch.zeros_like(tensor) for name, tensor in weights().items()}
    moved = as_difference(deltas.delta(), base)
    (path,) = export_delta(moved, tmp_path / "lora", "lora")
    lora = load_file(path)
    name = "lora_unet_" + f"{LAYER}.to_k".replace(".", "_")
    product = lora[f"{name}.lora_up.weight"] @ lora[f"{name}.lora_down.weight"]
    assert torch.allclose(product, weights()[f"{LAYER}.to_k.weight"], atol=1e-5)
    assert float(lora[f"{name}.alpha"]) == len(lora[f"{name}.lora_down.weight"])


def test_a_lora_of_whole_weights_asks_for_the_base(tmp_path: Path) -> None:
    with pytest.raises(DeltaError, match="give the base model"):
        export_delta(deltas.delta(), tmp_path / "lora", "lora")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def on_a_full_disk(path: Path, write: Callable[[BinaryIO], object], overwrite: bool) -> None:
        try:
            with open("/dev/full", "wb") as stream:
                write(stream)
        except OSError as error:
            raise Cones2Error(f"{path.name} cannot be written: {error.strerror}") from error

    monkeypatch.setattr("cones2.custom_diffusion.files.write_atomically", on_a_full_disk)
    with pytest.raises(DeltaError, match="cannot be written: No space left"):
        export_delta(deltas.delta(), tmp_path / "cat", "repository")


def test_a_file_that_exists_is_left_alone(tmp_path: Path) -> None:
    save_delta(deltas.delta(), tmp_path / "cat")
    with pytest.raises(DeltaError, match="exists already"):
        save_delta(deltas.delta(1), tmp_path / "cat")


def test_tokens_of_one_name_are_renamed_in_the_order_of_files() -> None:
    apart = renamed_apart([deltas.delta(0), deltas.delta(1, "<new1>", "<new2>"), deltas.delta(2, "sks")])
    assert [token_names(each) for each in apart] == [["<new1>"], ["<new3>", "<new2>"], ["sks"]]


def test_tokens_files_are_called_so_that_every_system_takes_them(tmp_path: Path) -> None:
    delta = deltas.delta(0, "<new1>", "<<new1>>", "<NEW1>", "<con>", f"<{'猫' * 90}>")
    weights_path, *beside = export_delta(delta, tmp_path / "cat", "diffusers")
    assert len({path.name.casefold() for path in beside}) == 5
    assert all(check_file_name(path.stem, DeltaError) for path in beside)
    assert token_names(load_delta(weights_path, beside)) == token_names(delta)


def test_an_export_that_would_replace_a_token_s_file_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "new2.bin").touch()
    with pytest.raises(DeltaError, match="exists already"):
        export_delta(deltas.delta(0, "<new1>", "<new2>"), tmp_path / "cat", "diffusers")
    assert [path.name for path in tmp_path.iterdir()] == ["new2.bin"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"unet": {"conv_in.weight": torch.zeros(2)}}, "neither attention weights"),
        ({"unet": {f"{LAYER}.to_k.weight": "text"}}, "is neither a tensor|neither attention weights"),
        ({"unet": {f"{LAYER}.to_k.weight": torch.full((6, 8), float("nan"))}}, "not numbers"),
        ({"unet": {f"{LAYER}.to_k.weight": torch.zeros(6, 8, 2)}}, "has shape"),
        ({"unet": {f"{LAYER}.to_k.weight": torch.zeros(6, 8, dtype=torch.int32)}}, "expected floating point"),
        ({"unet": {**weights(), f"{LAYER}.to_k.weight": torch.zeros(6, 9)}}, "different widths"),
        ({"unet": weights(), "modifier_token": {"<new1>": torch.zeros(3)}}, "<new1> has 3 numbers"),
        ({"unet": weights(), "modifier_token": {"two words": torch.zeros(8)}}, "cannot be a token"),
        ({"unet": {f"{LAYER}.to_k.weight": {"u": torch.zeros(6, 2), "v": torch.zeros(3, 8)}}}, "product"),
        (torch.zeros(3), "dictionaries of tensors"),
        ({f"{LAYER}.to_k.weight": torch.zeros(8), "embed": torch.zeros(1, 8)}, "has shape"),
        ({f"{LAYER}.to_out.0.weight": torch.zeros(6, 6), "embed": torch.tensor(1.0)}, "not a table of token vectors"),
        ({"<new1>": torch.zeros(8, dtype=torch.complex64)}, "not a vector of floating point"),
        ({"<new1>": torch.zeros(8, dtype=torch.uint8)}, "not a vector of floating point"),
        ({"embed": torch.zeros(1, 8, dtype=torch.int64)}, "not a table of token vectors"),
    ],
)
def test_a_wrong_file_is_one_sentence(tmp_path: Path, content: object, sentence: str) -> None:
    torch.save(content, tmp_path / "delta.bin")
    with pytest.raises(DeltaError, match=sentence):
        load_delta(tmp_path / "delta.bin")


def test_an_output_weight_alone_is_a_delta(tmp_path: Path) -> None:
    save_file({f"{LAYER}.to_out.0.weight": torch.zeros(6, 6)}, tmp_path / "out.safetensors")
    assert load_delta(tmp_path / "out.safetensors").width is None


def test_code_in_a_file_is_refused_unread(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> object:
            return (Path.touch, (tmp_path / "executed",))

    torch.save({"unet": weights(), "modifier_token": {"<new1>": Evil()}}, tmp_path / "delta.bin")
    with pytest.raises(DeltaError, match="refused without running it"):
        load_delta(tmp_path / "delta.bin")
    assert not (tmp_path / "executed").exists()


def test_views_of_one_storage_are_no_way_to_more_memory(tmp_path: Path) -> None:
    row = torch.zeros(1)
    many = {f"{LAYER}.to_k.weight": row.expand(16_000, 8)}
    torch.save({"unet": many}, tmp_path / "delta.bin")
    with pytest.raises(DeltaError, match="claim"):
        load_delta(tmp_path / "delta.bin")


def test_keys_from_a_flat_safetensors_file_are_enough(tmp_path: Path) -> None:
    save_file({f"module.{name}": tensor for name, tensor in weights().items()}, tmp_path / "flat.safetensors")
    assert read_delta_file(tmp_path / "flat.safetensors").delta.layers == 2


def test_long_metadata_of_others_does_not_keep_a_delta_from_being_saved(tmp_path: Path) -> None:
    facts = {"short": "kept", "ss_tag_frequency": "x" * 70_000, **{f"fact {n}": "y" * 900 for n in range(99)}}
    save_file(weights(), tmp_path / "cat.safetensors", facts)
    delta = load_delta(tmp_path / "cat.safetensors")
    assert delta.metadata["short"] == "kept" and "ss_tag_frequency" not in delta.metadata
    assert same_weights(load_delta(save_delta(delta, tmp_path / "again")), delta)


@pytest.mark.parametrize("content", [b"junk", None])
def test_token_files_of_others_are_left_alone_beside_a_named_file(tmp_path: Path, content: bytes | None) -> None:
    save_file(weights(), tmp_path / "cat.safetensors")
    torch.save({"<other>": token().vectors[0]}, tmp_path / "<other>.bin")
    if content:
        (tmp_path / "<other>.bin").write_bytes(content)
    assert not load_delta(tmp_path / "cat.safetensors").tokens


def test_the_message_for_a_damaged_file_has_one_article(tmp_path: Path) -> None:
    (tmp_path / "delta.bin").write_bytes(b"junk")
    with pytest.raises(DeltaError, match="is not a readable Custom Diffusion file"):
        load_delta(tmp_path / "delta.bin")


def test_weights_that_compvis_would_call_the_same_are_refused(tmp_path: Path) -> None:
    places = ("down_blocks.0.attentions.3", "down_blocks.1.attentions.0")
    both = {f"{place}.transformer_blocks.0.attn2.to_k.weight": torch.ones(6, WIDTH) for place in places}
    with pytest.raises(DeltaError, match="several of its weights"):
        export_delta(make_delta(whole_weights(both)), tmp_path / "cat", "compvis")


def test_a_lora_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeltaError, match="there are none"):
        export_delta(make_delta({}, [token()]), tmp_path / "lora", "lora")
