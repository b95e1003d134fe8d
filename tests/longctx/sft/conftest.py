"""A tokenizer of bytes, chat templates after well-known families, and a tiny random language model."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

SPECIAL = ["<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<s>", "</s>"]

CHATML = (  # SmolLM2's and Qwen 2.5's form, with a system turn of its own
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (  # begins with <s>, trims, and ends a turn without a line break
    "{% for message in messages %}{% if loop.first %}{{ '<s>' }}{% endif %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA2 = (  # has no words to ask for an answer, and refuses two turns of one side
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('turns must alternate') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '<s>[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + ' </s>' }}{% endif %}{% endfor %}"
)
THINKING = (  # Qwen 3's habit: reasoning is written in the last turn alone
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['role'] == 'assistant' and loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{{ message['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
MARKED = (  # the same, with marks
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}{% if message['role'] == 'assistant' %}"
    "{% generation %}{% if loop.last %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ message['content'] + '<|im_end|>' }}"
    "{% endgeneration %}{{ '\n' }}{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
BARE = (  # asks for no answer, and writes the side's name before each turn
    "{% for message in messages %}{{ message['role'] | upper + ': ' + message['content'] + '</s>\n' }}{% endfor %}"
)
STRICT = "{% if messages[0]['role'] != 'system' %}{{ raise_exception('begin with a system turn') }}{% endif %}"
TEMPLATES = {
    "chatml": CHATML,
    "llama3": LLAMA3,
    "llama2": LLAMA2,
    "thinking": THINKING,
    "marked": MARKED,
    "bare": BARE,
    "strict": STRICT + CHATML,
    "strict marked": STRICT + MARKED,
    "none": None,
}


def build_tokenizer(template: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer with a token for every byte."""
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(models.BPE(vocab=letters, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    end = {"llama3": "<|eot_id|>", "llama2": "</s>", "bare": "</s>"}.get(template, "<|im_end|>")
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token=end, chat_template=TEMPLATES[template]
    )


@pytest.fixture
def tokenizer() -> Callable[[str], PreTrainedTokenizerFast]:
    """Gives the tokenizer with one of TEMPLATES."""
    return build_tokenizer


@pytest.fixture
def language_model() -> PreTrainedModel:
    """A random Llama of a few thousand weights."""
    return build_model()


def build_model() -> PreTrainedModel:
    """See `language_model`."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=263,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config)


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the model with its ChatML tokenizer."""
    folder = tmp_path_factory.mktemp("models") / "model"
    build_model().save_pretrained(folder)
    build_tokenizer("chatml").save_pretrained(folder)
    return folder
