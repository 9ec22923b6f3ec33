"""BERT and its siblings in numpy, in double precision: an implementation apart from
pg_semantic's, written after the papers and transformers' classes, a function a
family.  No batches and no padding: `ids` is one text.

References: Devlin et al., arXiv 1810.04805; Sanh et al., 1910.01108; Liu et al.,
1907.11692; Clark et al., 2003.10555; Song et al., 2004.09297; Lan et al.,
1909.11942; Sun et al., 2004.02984.
"""
import json
import math
import os
import struct

import numpy as np

_erf = np.vectorize(math.erf, otypes=[float])

ACTIVATIONS = {
    "gelu": lambda x: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "gelu_new": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))),
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    None: lambda x: x,
}


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def read_safetensors(path):
    with open(path, "rb") as file:
        data = file.read()
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8:8 + size]), data[8 + size:]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        raw = body[entry["data_offsets"][0]:entry["data_offsets"][1]]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        elif entry["dtype"] in ("F32", "F16"):
            values = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2"}[entry["dtype"]])
        else:
            continue  # position_ids
        tensors[name] = values.astype(np.float64).reshape(entry["shape"])
    return tensors


class Weights:
    """The modules of a checkpoint, whatever its prefix and LayerNorm's names."""

    def __init__(self, directory, config):
        self.eps = config.get("layer_norm_eps", 1e-12)
        self.tensors = {}
        for file in sorted(os.listdir(directory)):
            if file.endswith(".safetensors"):
                self.tensors.update(read_safetensors(os.path.join(directory, file)))
        found = [name for name in self.tensors if name.endswith("embeddings.word_embeddings.weight")]
        self.prefix = found[0][:-len("embeddings.word_embeddings.weight")]

    def get(self, name):
        for candidate in (self.prefix + name, name):
            for old, new in ((".weight", ".weight"), (".weight", ".gamma"), (".bias", ".beta")):
                if candidate.endswith(old) and candidate[:-len(old)] + new in self.tensors:
                    return self.tensors[candidate[:-len(old)] + new]
            if candidate in self.tensors:
                return self.tensors[candidate]
        return None

    def linear(self, name, x):
        return x @ self.get(name + ".weight").T + self.get(name + ".bias")

    def norm(self, name, x, eps=None):
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = (centred ** 2).mean(axis=-1, keepdims=True)
        return (centred / np.sqrt(variance + (self.eps if eps is None else eps)) * self.get(name + ".weight")
                + self.get(name + ".bias"))

    def scale(self, name, x):  # NoNorm
        return x * self.get(name + ".weight") + self.get(name + ".bias")

    def embedding(self, name, rows):
        return self.get(f"embeddings.{name}_embeddings.weight")[np.asarray(rows)]


def attention(query, key, value, heads, bias=None):
    """softmax(q · kᵀ / √d + bias) · v of each head, side by side; bias: [heads, tokens, tokens]."""
    size = query.shape[1] // heads
    contexts = []
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        scores = query[:, part] @ key[:, part].T / math.sqrt(size)
        if bias is not None:
            scores = scores + bias[h]
        contexts.append(softmax(scores) @ value[:, part])
    return np.concatenate(contexts, axis=1)


def offset_positions(ids, padding):
    """create_position_ids_from_input_ids: tokens that are no padding are counted from padding + 1."""
    mask = (np.asarray(ids) != padding).astype(int)
    return np.cumsum(mask) * mask + padding


# ---- BERT, RoBERTa, ELECTRA ------------------------------------------------------

def bert_layers(config, w, x):
    activation = ACTIVATIONS[config.get("hidden_act", "gelu")]
    for i in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{i}"
        q, k, v = (w.linear(f"{name}.attention.self.{part}", x) for part in ("query", "key", "value"))
        context = attention(q, k, v, config["num_attention_heads"])
        x = w.norm(f"{name}.attention.output.LayerNorm", x + w.linear(f"{name}.attention.output.dense", context))
        inner = activation(w.linear(f"{name}.intermediate.dense", x))
        x = w.norm(f"{name}.output.LayerNorm", x + w.linear(f"{name}.output.dense", inner))
    return x


def bert(config, w, ids, types):
    x = w.embedding("word", ids) + w.embedding("position", range(len(ids))) + w.embedding("token_type", types)
    return bert_layers(config, w, w.norm("embeddings.LayerNorm", x))


def roberta(config, w, ids, types):
    """Its tokenizers give no token types: all are 0."""
    positions = offset_positions(ids, config["pad_token_id"])
    x = w.embedding("word", ids) + w.embedding("position", positions) + w.embedding("token_type", [0] * len(ids))
    return bert_layers(config, w, w.norm("embeddings.LayerNorm", x))


def electra(config, w, ids, types):
    x = w.embedding("word", ids) + w.embedding("position", range(len(ids))) + w.embedding("token_type", types)
    x = w.norm("embeddings.LayerNorm", x)
    if config["embedding_size"] != config["hidden_size"]:
        x = w.linear("embeddings_project", x)
    return bert_layers(config, w, x)


def distilbert(config, w, ids, types):
    x = w.norm("embeddings.LayerNorm", w.embedding("word", ids) + w.embedding("position", range(len(ids))), 1e-12)
    activation = ACTIVATIONS[config.get("activation", "gelu")]
    for i in range(config["n_layers"]):
        name = f"transformer.layer.{i}"
        q, k, v = (w.linear(f"{name}.attention.{part}_lin", x) for part in "qkv")
        context = attention(q, k, v, config["n_heads"])
        x = w.norm(f"{name}.sa_layer_norm", x + w.linear(f"{name}.attention.out_lin", context), 1e-12)
        inner = activation(w.linear(f"{name}.ffn.lin1", x))
        x = w.norm(f"{name}.output_layer_norm", x + w.linear(f"{name}.ffn.lin2", inner), 1e-12)
    return x


# ---- MPNet -------------------------------------------------------------------------

def relative_position_bucket(distance, buckets=32, max_distance=128):
    """Of key - query."""
    half = buckets // 2
    bucket = half if distance > 0 else 0
    n = abs(distance)
    exact = half // 2
    if n < exact:
        return bucket + n
    # A power of two makes the logarithms' quotient a whole number, which must not be rounded down.
    large = exact + math.floor(math.log(n / exact) / math.log(max_distance / exact) * (half - exact) + 1e-9)
    return bucket + min(large, half - 1)


def mpnet(config, w, ids, types):
    x = w.embedding("word", ids) + w.embedding("position", offset_positions(ids, 1))
    x = w.norm("embeddings.LayerNorm", x)
    table = w.get("encoder.relative_attention_bias.weight")
    buckets = [[relative_position_bucket(key - query) for key in range(len(ids))] for query in range(len(ids))]
    bias = table[np.array(buckets)].transpose(2, 0, 1)
    activation = ACTIVATIONS[config.get("hidden_act", "gelu")]
    for i in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{i}"
        q, k, v = (w.linear(f"{name}.attention.attn.{part}", x) for part in "qkv")
        context = attention(q, k, v, config["num_attention_heads"], bias)
        x = w.norm(f"{name}.attention.LayerNorm", x + w.linear(f"{name}.attention.attn.o", context))
        inner = activation(w.linear(f"{name}.intermediate.dense", x))
        x = w.norm(f"{name}.output.LayerNorm", x + w.linear(f"{name}.output.dense", inner))
    return x


# ---- ALBERT ------------------------------------------------------------------------

def albert(config, w, ids, types):
    x = w.embedding("word", ids) + w.embedding("token_type", types) + w.embedding("position", range(len(ids)))
    x = w.linear("encoder.embedding_hidden_mapping_in", w.norm("embeddings.LayerNorm", x))
    activation = ACTIVATIONS[config["hidden_act"]]
    layers, groups = config["num_hidden_layers"], config["num_hidden_groups"]
    for i in range(layers):
        for inner_layer in range(config["inner_group_num"]):
            name = f"encoder.albert_layer_groups.{int(i / (layers / groups))}.albert_layers.{inner_layer}"
            q, k, v = (w.linear(f"{name}.attention.{part}", x) for part in ("query", "key", "value"))
            context = attention(q, k, v, config["num_attention_heads"])
            x = w.norm(f"{name}.attention.LayerNorm", x + w.linear(f"{name}.attention.dense", context))
            inner = activation(w.linear(f"{name}.ffn", x))
            x = w.norm(f"{name}.full_layer_layer_norm", x + w.linear(f"{name}.ffn_output", inner))
    return x


# ---- MobileBERT --------------------------------------------------------------------

def mobilebert(config, w, ids, types):
    activation = ACTIVATIONS[config["hidden_act"]]

    def norm(name, x, eps=None):
        return w.scale(name, x) if config["normalization_type"] == "no_norm" else w.norm(name, x, eps)

    def feed_forward(name, x, eps=None):
        inner = activation(w.linear(f"{name}.intermediate.dense", x))
        return norm(f"{name}.output.LayerNorm", w.linear(f"{name}.output.dense", inner) + x, eps)

    words = w.embedding("word", ids)
    if config["trigram_input"]:
        nothing = np.zeros((1, words.shape[1]))
        following = np.concatenate([words[1:], nothing])
        preceding = np.concatenate([nothing, words[:-1]])
        words = np.concatenate([following, words, preceding], axis=1)
    if config["trigram_input"] or config["embedding_size"] != config["hidden_size"]:
        words = w.linear("embeddings.embedding_transformation", words)
    hidden = words + w.embedding("position", range(len(ids))) + w.embedding("token_type", types)
    # MobileBertEmbeddings and MobileBertOutput make their LayerNorm without an epsilon: PyTorch's default.
    hidden = norm("embeddings.LayerNorm", hidden, 1e-5)

    for i in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{i}"

        def narrow(part):
            return norm(f"{name}.bottleneck.{part}.LayerNorm", w.linear(f"{name}.bottleneck.{part}.dense", hidden))

        query = value = residual = hidden
        if config["use_bottleneck"]:
            residual = narrow("input")
            if config["use_bottleneck_attention"]:
                query = value = residual
            elif config["key_query_shared_bottleneck"]:
                query = narrow("attention")
        context = attention(w.linear(f"{name}.attention.self.query", query),
                            w.linear(f"{name}.attention.self.key", query),
                            w.linear(f"{name}.attention.self.value", value), config["num_attention_heads"])
        x = norm(f"{name}.attention.output.LayerNorm", w.linear(f"{name}.attention.output.dense", context) + residual)
        for j in range(config["num_feedforward_networks"] - 1):
            x = feed_forward(f"{name}.ffn.{j}", x)
        x = feed_forward(name, x, 1e-5)
        if config["use_bottleneck"]:
            x = norm(f"{name}.output.bottleneck.LayerNorm", w.linear(f"{name}.output.bottleneck.dense", x) + hidden)
        hidden = x
    return hidden


ENCODERS = {"bert": bert, "distilbert": distilbert, "roberta": roberta, "xlm-roberta": roberta, "camembert": roberta,
            "electra": electra, "mpnet": mpnet, "albert": albert, "mobilebert": mobilebert}


# ---- heads -------------------------------------------------------------------------

def pooled(config, w, first):
    """What a classifier of whole texts sees, from the first token's hidden state."""
    family, choice = config["model_type"], config["architectures"][0].endswith("ForMultipleChoice")
    if family == "distilbert":
        return np.maximum(w.linear("pre_classifier", first), 0)
    if family == "electra" and choice:
        return ACTIVATIONS[config["summary_activation"]](w.linear("sequence_summary.summary", first))
    if family == "electra":
        return ACTIVATIONS["gelu"](w.linear("classifier.dense", first))
    if family in ("roberta", "xlm-roberta", "camembert", "mpnet") and not choice:
        return np.tanh(w.linear("classifier.dense", first))
    if family == "albert":
        return np.tanh(w.linear("pooler", first))
    if family == "mobilebert" and not config["classifier_activation"]:
        return first
    return np.tanh(w.linear("pooler.dense", first))


def sequence_logits(config, w, hidden):
    x = pooled(config, w, hidden[0])
    name = "classifier.out_proj" if w.get("classifier.out_proj.weight") is not None else "classifier"
    return w.linear(name, x)


def token_logits(config, w, hidden):
    return w.linear("qa_outputs" if w.get("qa_outputs.weight") is not None else "classifier", hidden)


def vocabulary_logits(config, w, hidden):
    family = config["model_type"]
    own = ACTIVATIONS[config.get("activation" if family == "distilbert" else "hidden_act", "gelu")]
    gelu = ACTIVATIONS["gelu"]
    dense, activation, norm, decoder, bias = {
        "bert": ("cls.predictions.transform.dense", own, "cls.predictions.transform.LayerNorm",
                 "cls.predictions.decoder", "cls.predictions.bias"),
        "distilbert": ("vocab_transform", own, "vocab_layer_norm", "vocab_projector", "vocab_projector.bias"),
        "electra": ("generator_predictions.dense", gelu, "generator_predictions.LayerNorm", "generator_lm_head",
                    "generator_lm_head.bias"),
        "albert": ("predictions.dense", own, "predictions.LayerNorm", "predictions.decoder", "predictions.bias"),
        "mobilebert": ("cls.predictions.transform.dense", own, "cls.predictions.transform.LayerNorm",
                       "cls.predictions.decoder", "cls.predictions.bias"),
    }.get(family, ("lm_head.dense", gelu, "lm_head.layer_norm", "lm_head.decoder", "lm_head.bias"))
    x = w.norm(norm, activation(w.linear(dense, hidden)), 1e-12 if family == "distilbert" else None)
    weight = w.get(decoder + ".weight")
    if weight is None:
        weight = w.get("embeddings.word_embeddings.weight")
    columns = weight.T
    if family == "mobilebert":
        columns = np.concatenate([columns, w.get("cls.predictions.dense.weight")])
    return x @ columns + w.get(bias)
