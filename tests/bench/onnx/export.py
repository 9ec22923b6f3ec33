"""Exports the encoder bench's checkpoint (encoder_bench --checkpoint DIRECTORY)
to ONNX, for ONNX Runtime as a peer: `export.py DIRECTORY MODEL.onnx`.

DistilBERT as published (Sanh et al., arXiv 1910.01108), mean pooling left to the
caller; inputs input_ids and attention_mask [batch, tokens], output [batch, tokens, width].
Needs Debian's python3-torch."""

import json
import struct
import sys

import torch
from torch import nn


class Layer(nn.Module):
    def __init__(self, width, heads, feed_forward):
        super().__init__()
        self.heads = heads
        self.q_lin, self.k_lin, self.v_lin, self.out_lin = (nn.Linear(width, width) for _ in range(4))
        self.sa_layer_norm = nn.LayerNorm(width, eps=1e-12)
        self.lin1 = nn.Linear(width, feed_forward)
        self.lin2 = nn.Linear(feed_forward, width)
        self.output_layer_norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x, bias):
        batch, tokens, width = x.shape

        def split(y):
            return y.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)

        query = split(self.q_lin(x)) / (width // self.heads) ** 0.5
        scores = torch.matmul(query, split(self.k_lin(x)).transpose(2, 3)) + bias
        context = torch.matmul(torch.softmax(scores, dim=-1), split(self.v_lin(x)))
        context = context.transpose(1, 2).reshape(batch, tokens, width)
        x = self.sa_layer_norm(self.out_lin(context) + x)
        return self.output_layer_norm(self.lin2(nn.functional.gelu(self.lin1(x))) + x)


class DistilBert(nn.Module):
    def __init__(self, vocabulary, width, heads, feed_forward, layers, positions):
        super().__init__()
        self.word_embeddings = nn.Embedding(vocabulary, width)
        self.position_embeddings = nn.Embedding(positions, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(Layer(width, heads, feed_forward) for _ in range(layers))

    def forward(self, input_ids, attention_mask):
        positions = torch.arange(input_ids.shape[1]).unsqueeze(0)
        x = self.norm(self.word_embeddings(input_ids) + self.position_embeddings(positions))
        bias = (1.0 - attention_mask[:, None, None, :].float()) * -1e9
        for layer in self.layers:
            x = layer(x, bias)
        return x


PUBLISHED = {
    "embeddings.word_embeddings.": "word_embeddings.",
    "embeddings.position_embeddings.": "position_embeddings.",
    "embeddings.LayerNorm.": "norm.",
    "transformer.layer.": "layers.",
    ".attention.": ".",
    ".ffn.": ".",
}


def read_safetensors(path):
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        values = torch.frombuffer(bytearray(data[begin:end]), dtype=torch.float32).reshape(entry["shape"])
        for published, own in PUBLISHED.items():
            name = name.replace(published, own)
        tensors[name] = values
    return tensors


def main(directory, output):
    model = DistilBert(30522, 768, 12, 3072, 6, 512)
    model.load_state_dict(read_safetensors(directory + "/model.safetensors"))
    model.eval()
    ids = torch.ones(2, 5, dtype=torch.int64)
    axes = {name: {0: "batch", 1: "tokens"} for name in ("input_ids", "attention_mask", "hidden")}
    torch.onnx.export(model, (ids, torch.ones_like(ids)), output, opset_version=14, do_constant_folding=True,
                      input_names=["input_ids", "attention_mask"], output_names=["hidden"], dynamic_axes=axes)


if __name__ == "__main__":
    main(*sys.argv[1:])
