"""Writes small checkpoints in the published directory layout, with weights that
are the same on every machine.  Standard library only.

A checkpoints.py beside each set of expected numbers uses it; the checkpoints are
made into the build directory when the tests are built and never committed.
"""
import array
import json
import math
import pathlib
import random
import struct
import sys

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


class Weights:
    """Tensors of one checkpoint.  A tensor's numbers depend on the checkpoint's
    and the tensor's names only, so that adding one changes no other."""

    def __init__(self, checkpoint):
        self.checkpoint = checkpoint
        self.tensors = {}  # name: (shape, array of float)

    def add(self, name, shape, scale=None, center=0.0):
        """Uniform in center ± scale; by default what keeps a product's size."""
        if scale is None:
            scale = math.sqrt(3.0 / shape[-1])
        # Seeding by text and random() give the same numbers in every Python 3.
        number = random.Random(self.checkpoint + "/" + name).random
        count = math.prod(shape)
        self.tensors[name] = (list(shape), array.array("f", (center + scale * (2 * number() - 1) for _ in range(count))))

    def linear(self, name, outputs, inputs, bias=True):
        self.add(name + ".weight", [outputs, inputs])
        if bias:
            self.add(name + ".bias", [outputs], 0.2)

    def norm(self, name, width):
        self.add(name + ".weight", [width], 0.3, 1.0)
        self.add(name + ".bias", [width], 0.2)

    def write(self, path):
        """As safetensors, F32."""
        header, offset = {}, 0
        for name, (shape, values) in self.tensors.items():
            size = 4 * len(values)
            header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps(header).encode()
        with open(path, "wb") as out:
            out.write(struct.pack("<Q", len(text)))
            out.write(text)
            for _, values in self.tensors.values():
                if sys.byteorder == "big":
                    values = array.array("f", values)
                    values.byteswap()
                out.write(values.tobytes())


class Directory:
    """A checkpoint's directory, made anew."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.path.mkdir(parents=True)

    def json(self, name, value):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")

    def weights(self, weights, folder="."):
        (self.path / folder).mkdir(parents=True, exist_ok=True)
        weights.write(self.path / folder / "model.safetensors")

    def vocabulary(self, tokens):
        (self.path / "vocab.txt").write_text("".join(token + "\n" for token in tokens), encoding="utf-8")

    def wordpiece_tokenizer(self, tokens, added=()):
        """tokenizer.json of an uncased BERT tokenizer; `added` tokens follow the vocabulary's ids."""
        entries = [_added_token(tokens.index(token), token, True) for token in SPECIAL_TOKENS]
        entries += [_added_token(len(tokens) + i, token, False) for i, token in enumerate(added)]
        cls, sep = tokens.index("[CLS]"), tokens.index("[SEP]")
        self.json("tokenizer.json", {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": entries,
            "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                           "strip_accents": None, "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                           {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
                "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                         {"SpecialToken": {"id": "[SEP]", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}},
                         {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
                "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [cls], "tokens": ["[CLS]"]},
                                   "[SEP]": {"id": "[SEP]", "ids": [sep], "tokens": ["[SEP]"]}}},
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 100, "vocab": {token: i for i, token in enumerate(tokens)}}})


def _added_token(identifier, content, special):
    return {"id": identifier, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": not special, "special": special}
