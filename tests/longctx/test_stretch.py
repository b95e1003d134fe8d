"""A stretched model computes the method's positions, in every family; saved, it does so in plain transformers."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    BertConfig,
    DebertaV2Config,
    EuroBertConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GteConfig,
    LlamaConfig,
    MistralConfig,
    ModernBertConfig,
    NomicBertConfig,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen3Config,
)

from finewise.causal import trained_window
from finewise.errors import InputError
from longctx import rope
from longctx.rope_config import (
    Abf,
    DynamicNtk,
    Linear,
    Llama3,
    LongRope,
    NtkAware,
    NtkByParts,
    RopeConfig,
    StretchConfig,
    Unstretched,
    Yarn,
)
from longctx.stretch import raise_limit, rotary_dimensions, rotations, stretch, stretch_encoder, window

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
    "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "max_position_embeddings": 64,
}  # fmt: skip
LAYERS = ["full_attention", "sliding_attention"]

FAMILIES: dict[str, PretrainedConfig] = {
    "llama": LlamaConfig(**SIZES, num_key_value_heads=1),
    "qwen2": Qwen2Config(**SIZES, num_key_value_heads=1),
    "qwen3": Qwen3Config(**SIZES, num_key_value_heads=1, head_dim=16),
    "phi3": Phi3Config(**SIZES),
    "gpt_neox": GPTNeoXConfig(**SIZES),
    "phi": PhiConfig(**SIZES),
    "gemma3": Gemma3TextConfig(**SIZES, head_dim=16, num_key_value_heads=1, layer_types=LAYERS, sliding_window=16),
    "modernbert": ModernBertConfig(**SIZES, layer_types=LAYERS, local_attention=16, cls_token_id=2, sep_token_id=3),
    "eurobert": EuroBertConfig(**SIZES),
    "nomic_bert": NomicBertConfig(**SIZES),
    "gte": GteConfig(**SIZES, hidden_dropout_prob=0.0),
}  # fmt: skip
NESTED = ("gemma3", "modernbert")
CAUSAL = ("llama", "qwen2", "qwen3", "phi3", "gpt_neox", "phi", "gemma3")


def methods(pairs: int) -> dict[str, RopeConfig]:
    factors = [1 + 7 * pair / pairs for pair in range(pairs)]
    return {
        "none": Unstretched(),
        "linear": Linear(),
        "ntk": NtkAware(),
        "dynamic-paper": DynamicNtk(),
        "dynamic-factor": DynamicNtk(reading="factor"),
        "by_parts": NtkByParts(beta=8),
        "by_parts-rotations": NtkByParts(beta=8, ramp="rotations"),
        "yarn": Yarn(beta=8),
        "yarn-rotations": Yarn(ramp="rotations"),
        "longrope": LongRope(long_factors=factors, short_factors=[1.5] * pairs),
        "llama3": Llama3(),
        "abf": Abf(theta=1e6 if pairs else 0),
    }


NAMES = list(methods(1))


def build(family: str) -> PreTrainedModel:
    torch.manual_seed(0)
    kind = AutoModelForCausalLM if family in CAUSAL else AutoModel
    model: PreTrainedModel = kind.from_config(copy.deepcopy(FAMILIES[family]))
    for weight in model.parameters():  # a fresh model's small weights would hide mistakes in attention
        weight.data.add_(torch.randn(weight.shape) * 0.2)
    return model.float().eval()


def tokens(length: int, rows: int = 1) -> Tensor:
    return torch.randint(5, 50, (rows, length), generator=torch.Generator().manual_seed(length))


@torch.no_grad()
def outcome(model: PreTrainedModel, length: int) -> Tensor:
    found: Tensor = model(input_ids=tokens(length))[0]
    return found


def stretched_part(config: PretrainedConfig, family: str) -> dict[str, Any]:
    found: dict[str, Any] = config.rope_parameters["full_attention"] if family in NESTED else config.rope_parameters
    return found


@pytest.mark.parametrize(
    ("family", "name"),
    [(family, name) for family in FAMILIES for name in NAMES if not (family == "phi3" and name.startswith("dynamic"))],
)
def test_built_models_turn_by_the_equation(family: str, name: str) -> None:
    model = build(family)
    present = stretched_part(model.config, family)
    size, theta = rotary_dimensions(model.config, present), present["rope_theta"]
    method = methods(size // 2)[name]
    made = stretch(model, method, StretchConfig(factor=4))
    dynamic = isinstance(method, DynamicNtk)
    assert made.config.max_position_embeddings == (64 if dynamic else 256)
    assert made.config.original_max_position_embeddings == 64
    assert trained_window(made.config) == 64
    layers = "full_attention" if family in NESTED else None
    for length in (64, 256):  # in this order: dynamic frequencies go up with the length
        outcome(made, length)
        frequencies, scale = rotations(made)[layers]
        wanted, factor = rope.inverse_frequencies(method, size, theta, 64, 256, length=length)
        assert_allclose(frequencies.double().numpy(), wanted, rtol=1e-5)
        assert scale == pytest.approx(factor)
    if layers:
        before, after = (rotations(one)["sliding_attention"][0] for one in (model, made))
        assert torch.equal(before, after)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_factor_of_one_changes_nothing_and_a_larger_one_does(family: str) -> None:
    model = build(family)
    before = outcome(model, 48)
    for name in ("none", "linear", "ntk", "by_parts-rotations", "yarn"):
        method = methods(16)[name]
        made = stretch(model, method, StretchConfig(target=64))
        torch.testing.assert_close(outcome(made, 48), before, rtol=1e-3, atol=1e-4)
        assert made.config.max_position_embeddings == 64
    changed = stretch(model, Linear(), StretchConfig(factor=4))
    assert not torch.allclose(outcome(changed, 48), before, atol=1e-2)
    assert torch.equal(outcome(model, 48), before), "the given model stays as it is"


def test_the_new_model_has_weights_of_its_own() -> None:
    model = build("llama")
    for weight in model.get_input_embeddings().parameters():
        weight.requires_grad_(False)
    before = outcome(model, 32)
    made = stretch(model, Yarn(), StretchConfig(factor=2))
    assert not made.get_input_embeddings().weight.requires_grad
    assert not made.training
    with torch.no_grad():
        made.lm_head.weight.add_(1)  # type: ignore[operator, union-attr]
    assert torch.equal(outcome(model, 32), before)
    half = stretch(build("llama").half(), Yarn(), StretchConfig(factor=2))
    assert half.dtype is torch.float16
    assert rotations(half)[None][0].dtype is torch.float32


def test_a_model_that_is_only_read_may_share_its_weights() -> None:
    model = build("llama")
    before = outcome(model, 64)
    made = stretch(model, Yarn(), StretchConfig(factor=4), share=True)
    assert all(old.data_ptr() == new.data_ptr() for old, new in zip(model.parameters(), made.parameters(), strict=True))
    own = stretch(model, Yarn(), StretchConfig(factor=4))
    assert torch.equal(outcome(made, 256), outcome(own, 256))
    assert torch.equal(outcome(model, 64), before)


def test_tied_weights_stay_tied() -> None:
    config = copy.deepcopy(FAMILIES["llama"])
    config.tie_word_embeddings = True
    made = stretch(AutoModelForCausalLM.from_config(config), Linear(), StretchConfig(factor=2))
    assert made.get_input_embeddings().weight is made.get_output_embeddings().weight


def test_editing_a_live_model_does_nothing_which_is_why_it_is_rebuilt() -> None:
    model = build("llama")
    before = outcome(model, 48)
    model.config.rope_parameters = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
    assert torch.equal(outcome(model, 48), before)
    fresh = build("llama")
    made = stretch(fresh, Linear(), StretchConfig(factor=4))
    assert not torch.allclose(outcome(made, 48), before, atol=1e-2)


READ = """
import json, sys, torch
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM
found = {}
for folder, causal, ids in json.load(sys.stdin):
    model = (AutoModelForCausalLM if causal else AutoModel).from_pretrained(folder).eval()
    with torch.no_grad():
        found[folder] = model(input_ids=torch.tensor(ids))[0].flatten().tolist()
assert not [name for name in sys.modules if name.startswith(("longctx", "finewise"))]
json.dump(found, sys.stdout)
"""


def test_saved_models_give_the_same_in_plain_transformers(tmp_path: Path) -> None:
    jobs, wanted = [], {}
    for family in FAMILIES:
        model = build(family)
        size = rotary_dimensions(model.config, stretched_part(model.config, family))
        for name in (
            "ntk",
            "by_parts-rotations",
            "yarn",
            "longrope",
            *(["dynamic-factor"] if family != "phi3" else []),
        ):
            made = stretch(model, methods(size // 2)[name], StretchConfig(factor=4))
            folder = str(tmp_path / f"{family}-{name}")
            made.save_pretrained(folder)
            assert json.loads((Path(folder) / "config.json").read_text())["original_max_position_embeddings"] == 64
            jobs.append((folder, family in CAUSAL, tokens(200).tolist()))
            wanted[folder] = outcome(made, 200).flatten()
    script = tmp_path / "read.py"
    script.write_text(READ)
    done = subprocess.run(  # isolated: neither this folder nor PYTHONPATH is searched
        [sys.executable, "-I", str(script)],
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert "Unrecognized keys" not in done.stderr
    found = json.loads(done.stdout)
    for folder, values in wanted.items():
        torch.testing.assert_close(torch.tensor(found[folder]), values, rtol=1e-4, atol=1e-4, msg=folder)


def test_a_family_that_takes_lists_alone_gets_lists() -> None:
    made = stretch(copy.deepcopy(FAMILIES["phi3"]), Yarn(), StretchConfig(factor=4))
    assert made.rope_parameters["rope_type"] == "longrope"
    assert made.rope_parameters["short_factor"] == made.rope_parameters["long_factor"]
    with pytest.raises(InputError, match=r"rope=dynamic has other frequencies at every length.*rope=ntk"):
        stretch(copy.deepcopy(FAMILIES["phi3"]), DynamicNtk(), StretchConfig(factor=4))


def test_linear_goes_on_from_linear() -> None:
    once = stretch(build("gemma3"), Linear(), StretchConfig(factor=8))
    twice = stretch(once, Linear(), StretchConfig(factor=2))
    assert stretched_part(twice.config, "gemma3")["factor"] == 16
    assert (twice.config.original_max_position_embeddings, twice.config.max_position_embeddings) == (512, 1024)
    with pytest.raises(InputError, match=r"rope_type=linear, factor 8.0.*rope=yarn cannot go on.*or rope=linear"):
        stretch(once, Yarn(), StretchConfig(factor=2))


def test_a_base_is_raised_in_stages() -> None:
    first = stretch(build("llama"), Abf(theta=5e5), StretchConfig(factor=4))
    with pytest.raises(
        InputError, match=r"before, from 64 to 256 tokens.*stretch.original=64, or 256 if it was trained"
    ):
        stretch(first, Abf(theta=8e6), StretchConfig(target=1024))
    second = stretch(first, Abf(theta=8e6), StretchConfig(target=1024, original=256))
    assert second.config.rope_parameters["rope_theta"] == 8e6
    assert second.config.original_max_position_embeddings == 256
    with pytest.raises(InputError, match="would shorten the window"):
        stretch(second, Abf(theta=5e5), StretchConfig(target=1024, original=1024))


def test_a_given_original_window_is_taken() -> None:
    config = stretch(copy.deepcopy(FAMILIES["nomic_bert"]), Yarn(), StretchConfig(target=128, original=32))
    assert config.rope_parameters["original_max_position_embeddings"] == 32
    assert config.rope_parameters["factor"] == 4


@pytest.mark.parametrize(
    ("config", "how", "words"),
    [
        (BertConfig(), {"factor": 2}, "'bert' has no rotary positions.*end at 512 tokens; take .*chunks"),
        (DebertaV2Config(), {"factor": 2}, "'deberta-v2' has no rotary positions"),
        (FAMILIES["llama"], {}, "stretch.factor or stretch.target must say"),
        (FAMILIES["llama"], {"target": 32}, "shorter than the 64 tokens"),
        (FAMILIES["llama"], {"target": 128, "factor": 3}, "give one of the two"),
        (Gemma2Config(), {"factor": 2}, "sliding_attention layers and the others"),
        (Qwen2VLConfig(), {"factor": 2}, "holds several models|multimodal"),
    ],
)
def test_what_cannot_be_stretched_is_refused_with_the_reason(
    config: PretrainedConfig, how: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        stretch(config, Yarn(), StretchConfig(**how))


def test_unknown_layer_types_and_earlier_stretches_are_refused() -> None:
    turned = {"sliding_attention": {"rope_type": "default", "rope_theta": 1e4}}
    config = LlamaConfig(**SIZES, layer_types=["sliding_attention"] * 2, rope_parameters=turned)
    with pytest.raises(InputError, match="layer types sliding_attention; only full_attention"):
        stretch(config, Yarn(), StretchConfig(factor=2))
    config = copy.deepcopy(FAMILIES["llama"])
    config.rope_parameters["mrope_section"] = [4, 6, 6]
    with pytest.raises(InputError, match=r"of its own kind \(mrope_section\)"):
        stretch(config, Yarn(), StretchConfig(factor=2))
    yarn = stretch(copy.deepcopy(FAMILIES["llama"]), Yarn(), StretchConfig(factor=2))
    with pytest.raises(InputError, match=r"already \(rope_type=yarn, factor 2.0\).*take the unstretched checkpoint"):
        stretch(yarn, Linear(), StretchConfig(factor=2))


def test_a_model_whose_code_reads_no_rope_parameters_is_refused() -> None:
    class Deaf(type(build("llama"))):  # type: ignore[misc]
        def __init__(self, config: PretrainedConfig) -> None:
            super().__init__(config)
            self.model.rotary_emb.inv_freq = torch.ones(16)

    with pytest.raises(InputError, match="does not compute its positions from rope_parameters"):
        stretch(Deaf(copy.deepcopy(FAMILIES["llama"])), Yarn(), StretchConfig(factor=2))
    with pytest.raises(InputError, match="before adapters"):
        stretch(torch.nn.Linear(2, 2), Yarn(), StretchConfig(factor=2))  # type: ignore[call-overload]


@pytest.mark.parametrize("method", [Linear(), NtkAware(), DynamicNtk(), NtkByParts(), Yarn(), Llama3(), Unstretched()])
def test_a_factor_of_one_writes_nothing(method: RopeConfig) -> None:
    made = stretch(FAMILIES["llama"], method, StretchConfig(factor=1))
    assert made.to_dict() == FAMILIES["llama"].to_dict()


def test_a_factor_of_one_keeps_what_was_asked_for_besides() -> None:
    made = stretch(FAMILIES["llama"], Yarn(attention_factor=1.2), StretchConfig(factor=1))
    assert made.rope_parameters["attention_factor"] == 1.2


@pytest.mark.parametrize("kind", [MistralConfig, Phi3Config])
def test_a_sliding_window_in_all_layers_is_not_stretched(kind: type[PretrainedConfig]) -> None:
    config = kind(sliding_window=32, max_position_embeddings=64)
    with pytest.raises(InputError, match=r"has a sliding_window of 32 tokens in all layers, which see no farther"):
        stretch(config, Linear() if kind is MistralConfig else Yarn(), StretchConfig(factor=2))
    assert stretch(config, Unstretched(), StretchConfig(factor=2)).max_position_embeddings == 128
    for open_config in (kind(sliding_window=None), kind(sliding_window=8192)):
        open_config.max_position_embeddings = 64
        factors = LongRope(long_factors=[2.0] * (open_config.hidden_size // open_config.num_attention_heads // 2))
        assert stretch(open_config, factors, StretchConfig(factor=2)).max_position_embeddings == 128


def test_an_encoder_is_stretched_where_it_stands(tmp_path: Path, tiny_model: Path, vocabulary: list[str]) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer

    config = copy.deepcopy(FAMILIES["eurobert"])
    config.vocab_size = 100
    torch.manual_seed(0)
    AutoModelForMaskedLM.from_config(config).save_pretrained(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    raise_limit(tokenizer, 64)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.save_pretrained(tmp_path / "base")
    encoder = SentenceTransformer(modules=[Transformer(str(tmp_path / "base")), Pooling(64)], device="cpu")
    assert encoder.max_seq_length == 64
    long, longer = " ".join(vocabulary * 2), " ".join([*vocabulary * 2, vocabulary[3]])
    assert (encoder.encode(long) == encoder.encode(longer)).all(), "cut at 64 tokens"
    stretch_encoder(encoder, Yarn(), StretchConfig(factor=4))
    assert encoder.max_seq_length == 256 == window(config, StretchConfig(factor=4))
    found = encoder.encode(long)
    assert (found != encoder.encode(longer)).any()
    encoder.save_pretrained(str(tmp_path / "saved"))
    again = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert again.max_seq_length == 256
    assert_allclose(again.encode(long), found, rtol=1e-4, atol=1e-5)
    bert = SentenceTransformer(str(tiny_model), device="cpu")
    with pytest.raises(InputError, match="'bert' has no rotary positions"):
        stretch_encoder(bert, Yarn(), StretchConfig(factor=4))
