"""Exports the encoder bench's checkpoint (`encoder_bench make DIRECTORY`) to ONNX, for
ONNX Runtime as a peer: `export.py DIRECTORY MODEL.onnx [int8]`.

With int8 the linear layers are what onnxruntime's quantize_dynamic makes of them:
DynamicQuantizeLinear of the input, MatMulInteger with int8 weights (a scale for
each output), and the scales and the bias after it.

DistilBERT as published (Sanh et al., arXiv 1910.01108), mean pooling left to the
caller; inputs input_ids and attention_mask [batch, tokens], output [batch, tokens, width].
Needs Debian's python3-torch."""

import json
import struct
import sys

import torch
from torch import nn


class DynamicLinear(torch.autograd.Function):
    """x · weight · scale + bias with x quantised to uint8 as it comes; weight: int8 [inputs, outputs]."""

    @staticmethod
    def forward(ctx, x, weight, zero, scale, bias):
        low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
        step = max((high - low) / 255, 1e-30)
        offset = round(-low / step)
        integers = torch.clamp(torch.round(x / step) + offset, 0, 255) - offset
        return torch.matmul(integers, weight.float()) * (step * scale) + bias

    @staticmethod
    def symbolic(g, x, weight, zero, scale, bias):
        integers, step, offset = g.op("DynamicQuantizeLinear", x, outputs=3)
        products = g.op("MatMulInteger", integers, weight, offset, zero)
        sums = g.op("Cast", products, to_i=1)
        return g.op("Add", g.op("Mul", sums, g.op("Mul", step, scale)), bias)


class QuantizedLinear(nn.Module):
    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach().t()
        scale = weight.abs().max(dim=0).values / 127
        self.register_buffer("weight", torch.round(weight / scale).to(torch.int8))
        self.register_buffer("zero", torch.zeros(weight.shape[1], dtype=torch.int8))
        self.register_buffer("scale", scale)
        self.register_buffer("bias", linear.bias.detach())

    def forward(self, x):
        return DynamicLinear.apply(x, self.weight, self.zero, self.scale, self.bias)


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


def cosine(a, b):
    return torch.nn.functional.cosine_similarity(a.mean(1), b.mean(1)).min().item()


def main(directory, output, precision="fp32"):
    model = DistilBert(30522, 768, 12, 3072, 6, 512)
    model.load_state_dict(read_safetensors(directory + "/model.safetensors"))
    model.eval()
    ids = torch.randint(5, 30522, (2, 9), generator=torch.Generator().manual_seed(1))
    if precision == "int8":
        with torch.no_grad():
            expected = model(ids, torch.ones_like(ids))
        for layer in model.layers:
            for name in ("q_lin", "k_lin", "v_lin", "out_lin", "lin1", "lin2"):
                setattr(layer, name, QuantizedLinear(getattr(layer, name)))
        with torch.no_grad():
            found = model(ids, torch.ones_like(ids))
        if cosine(expected, found) < 0.99:
            sys.exit("the quantised model computes something else")
    axes = {name: {0: "batch", 1: "tokens"} for name in ("input_ids", "attention_mask", "hidden")}
    torch.onnx.export(model, (ids, torch.ones_like(ids)), output, opset_version=14, do_constant_folding=True,
                      input_names=["input_ids", "attention_mask"], output_names=["hidden"], dynamic_axes=axes,
                      operator_export_type=torch.onnx.OperatorExportTypes.ONNX)


if __name__ == "__main__":
    main(*sys.argv[1:])
