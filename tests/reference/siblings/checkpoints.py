#!/usr/bin/env python3
"""Writes tiny checkpoints of BERT's siblings, as Hugging Face publishes models.

    checkpoints.py DIRECTORY

makes DIRECTORY/<name>/ for each of CHECKPOINTS (variants.py): config.json,
model.safetensors, tokenizer_config.json and vocab.txt or the files of a tokenizer of
../tokenizers.  The weights are
pseudo-random, the same on every machine; reference.py computes from these files
what is in expected/.  Standard library only.
"""
import array
import json
import os
import random
import shutil
import struct
import sys

from variants import CHECKPOINTS, SPECIAL_TOKENS, TOKENIZERS, vocabulary

FOLDER = os.path.dirname(os.path.abspath(__file__))


# ---- shapes: what each published class stores ------------------------------------

def linear(name, outputs, inputs, bias=True):
    yield name + ".weight", (outputs, inputs)
    if bias:
        yield name + ".bias", (outputs,)


def norm(name, width):
    yield name + ".weight", (width,)
    yield name + ".bias", (width,)


def embeddings(config, word_width, width):
    yield "embeddings.word_embeddings.weight", (config["vocab_size"], word_width)
    yield "embeddings.position_embeddings.weight", (config["max_position_embeddings"], width)
    if config.get("type_vocab_size"):
        yield "embeddings.token_type_embeddings.weight", (config["type_vocab_size"], width)
    yield from norm("embeddings.LayerNorm", width)


def bert_layer(name, config):
    width, inner = config["hidden_size"], config["intermediate_size"]
    for part in ("query", "key", "value"):
        yield from linear(f"{name}.attention.self.{part}", width, width)
    yield from linear(f"{name}.attention.output.dense", width, width)
    yield from norm(f"{name}.attention.output.LayerNorm", width)
    yield from linear(f"{name}.intermediate.dense", inner, width)
    yield from linear(f"{name}.output.dense", width, inner)
    yield from norm(f"{name}.output.LayerNorm", width)


def bert_encoder(config):
    """BERT, RoBERTa and ELECTRA."""
    width = config["hidden_size"]
    word_width = config.get("embedding_size", width)
    yield from embeddings(config, word_width, word_width)
    if word_width != width:
        yield from linear("embeddings_project", width, word_width)
    for i in range(config["num_hidden_layers"]):
        yield from bert_layer(f"encoder.layer.{i}", config)


def mpnet_encoder(config):
    width, inner = config["hidden_size"], config["intermediate_size"]
    yield from embeddings(config, width, width)
    for i in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{i}"
        for part in "qkvo":
            yield from linear(f"{name}.attention.attn.{part}", width, width)
        yield from norm(f"{name}.attention.LayerNorm", width)
        yield from linear(f"{name}.intermediate.dense", inner, width)
        yield from linear(f"{name}.output.dense", width, inner)
        yield from norm(f"{name}.output.LayerNorm", width)
    yield "encoder.relative_attention_bias.weight", (32, config["num_attention_heads"])


def albert_encoder(config):
    width, inner = config["hidden_size"], config["intermediate_size"]
    yield from embeddings(config, config["embedding_size"], config["embedding_size"])
    yield from linear("encoder.embedding_hidden_mapping_in", width, config["embedding_size"])
    for group in range(config["num_hidden_groups"]):
        for i in range(config["inner_group_num"]):
            name = f"encoder.albert_layer_groups.{group}.albert_layers.{i}"
            yield from norm(f"{name}.full_layer_layer_norm", width)
            for part in ("query", "key", "value", "dense"):
                yield from linear(f"{name}.attention.{part}", width, width)
            yield from norm(f"{name}.attention.LayerNorm", width)
            yield from linear(f"{name}.ffn", inner, width)
            yield from linear(f"{name}.ffn_output", width, inner)


def mobilebert_encoder(config):
    width, feed_forward = config["hidden_size"], config["intermediate_size"]
    bottleneck = config["use_bottleneck"]
    inner = config["intra_bottleneck_size"] if bottleneck else width
    yield from embeddings(config, config["embedding_size"], width)
    yield from linear("embeddings.embedding_transformation", width,
                      config["embedding_size"] * (3 if config["trigram_input"] else 1))
    for i in range(config["num_hidden_layers"]):
        name = f"encoder.layer.{i}"
        yield from linear(f"{name}.attention.self.query", inner, inner)
        yield from linear(f"{name}.attention.self.key", inner, inner)
        yield from linear(f"{name}.attention.self.value", inner,
                          inner if config["use_bottleneck_attention"] else width)
        yield from linear(f"{name}.attention.output.dense", inner, inner)
        yield from norm(f"{name}.attention.output.LayerNorm", inner)
        yield from linear(f"{name}.intermediate.dense", feed_forward, inner)
        yield from linear(f"{name}.output.dense", inner, feed_forward)
        yield from norm(f"{name}.output.LayerNorm", inner)
        if bottleneck:
            yield from linear(f"{name}.output.bottleneck.dense", width, inner)
            yield from norm(f"{name}.output.bottleneck.LayerNorm", width)
            parts = ("input", "attention") if config["key_query_shared_bottleneck"] else ("input",)
            for part in parts:
                yield from linear(f"{name}.bottleneck.{part}.dense", inner, width)
                yield from norm(f"{name}.bottleneck.{part}.LayerNorm", inner)
        for j in range(config["num_feedforward_networks"] - 1):
            yield from linear(f"{name}.ffn.{j}.intermediate.dense", feed_forward, inner)
            yield from linear(f"{name}.ffn.{j}.output.dense", inner, feed_forward)
            yield from norm(f"{name}.ffn.{j}.output.LayerNorm", inner)


ENCODERS = {
    "bert": ("bert.", bert_encoder),
    "roberta": ("roberta.", bert_encoder),
    "xlm-roberta": ("roberta.", bert_encoder),
    "camembert": ("roberta.", bert_encoder),
    "electra": ("electra.", bert_encoder),
    "mpnet": ("mpnet.", mpnet_encoder),
    "albert": ("albert.", albert_encoder),
    "mobilebert": ("mobilebert.", mobilebert_encoder),
}


def masked_lm_head(family, config, tied):
    width, vocab = config["hidden_size"], config["vocab_size"]
    if family in ("roberta", "xlm-roberta", "camembert", "mpnet"):
        yield from linear("lm_head.dense", width, width)
        yield from norm("lm_head.layer_norm", width)
        yield "lm_head.bias", (vocab,)
        output, output_width = "lm_head.decoder", width
    elif family == "electra":
        output_width = config["embedding_size"]
        yield from linear("generator_predictions.dense", output_width, width)
        yield from norm("generator_predictions.LayerNorm", output_width)
        yield "generator_lm_head.bias", (vocab,)
        output = "generator_lm_head"
    elif family == "albert":
        output_width = config["embedding_size"]
        yield from linear("predictions.dense", output_width, width)
        yield from norm("predictions.LayerNorm", output_width)
        yield "predictions.bias", (vocab,)
        output = "predictions.decoder"
    else:
        yield from linear("cls.predictions.transform.dense", width, width)
        yield from norm("cls.predictions.transform.LayerNorm", width)
        yield "cls.predictions.bias", (vocab,)
        output, output_width = "cls.predictions.decoder", width
        if family == "mobilebert":
            output_width = config["embedding_size"]
            yield "cls.predictions.dense.weight", (width - output_width, vocab)
    if not tied:
        yield output + ".weight", (vocab, output_width)


def head(family, prefix, config, tied):
    """The tensors of the class that config["architectures"] names, beside the encoder's."""
    width, name = config["hidden_size"], config["architectures"][0]
    labels = len(config.get("id2label", {}))
    if name.endswith("ForMaskedLM"):
        yield from masked_lm_head(family, config, tied)
    elif name.endswith("ForTokenClassification"):
        yield from linear("classifier", labels, width)
    elif name.endswith("ForQuestionAnswering"):
        yield from linear("qa_outputs", 2, width)
    elif name.endswith(("ForSequenceClassification", "ForMultipleChoice")):
        choice = name.endswith("ForMultipleChoice")
        outputs = 1 if choice else labels
        own_head = family in ("roberta", "xlm-roberta", "camembert", "mpnet", "electra") and not choice
        if own_head:
            yield from linear("classifier.dense", width, width)
            yield from linear("classifier.out_proj", outputs, width)
        else:
            yield from linear("classifier", outputs, width)
            if family == "electra":
                yield from linear("sequence_summary.summary", width, width)
            elif family == "albert":
                yield from linear(prefix + "pooler", width, width)
            elif config.get("classifier_activation", True):
                yield from linear(prefix + "pooler.dense", width, width)


# ---- files -----------------------------------------------------------------------

def fill(name, shape, rng):
    """Norms near 1, biases small, matrices such that what they make is near 1."""
    count = 1
    for size in shape:
        count *= size
    centre, scale = 0.0, 0.3
    if len(shape) == 2:
        scale = 1.0 if "_embeddings" in name or "relative" in name else 1.6 / shape[1] ** 0.5
        if name.startswith(("classifier", "qa_outputs")):
            scale *= 2
    elif name.endswith(("LayerNorm.weight", "norm.weight", "LayerNorm.gamma")):
        centre = 1.0
    draw = rng.random
    # The sum of three uniform numbers has a standard deviation of 1/2.
    return array.array("f", [centre + 2 * scale * (draw() + draw() + draw() - 1.5) for _ in range(count)])


def half_precision(values):
    return struct.pack(f"<{len(values)}e", *values)


def write_safetensors(path, tensors, half):
    header, blobs, offset = {}, [], 0
    for name, (shape, values) in tensors.items():
        if sys.byteorder == "big":
            values.byteswap()
        blob = half_precision(values) if half else values.tobytes()
        header[name] = {"dtype": "F16" if half else "F32", "shape": list(shape),
                        "data_offsets": [offset, offset + len(blob)]}
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)


def write_checkpoint(directory, name, checkpoint):
    config, options = checkpoint["config"], checkpoint["options"]
    family = config["model_type"]
    prefix, encoder = ENCODERS[family]
    if not options.get("prefix", True):
        prefix = ""
    shapes = {prefix + tensor: shape for tensor, shape in encoder(config)}
    shapes.update(head(family, prefix, config, options.get("tied", True)))
    shapes.update(options.get("unused", {}))
    tensors = {}
    for tensor, shape in shapes.items():
        values = fill(tensor, shape, random.Random(f"{name} {tensor}"))
        if options.get("old_names"):
            tensor = tensor.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        tensors[tensor] = (shape, values)

    root = os.path.join(directory, name)
    os.makedirs(root, exist_ok=True)
    write_json(os.path.join(root, "config.json"), config)
    write_safetensors(os.path.join(root, "model.safetensors"), tensors, options.get("half", False))
    tokenizer = write_tokenizer(root, options)
    if options.get("model_max_length"):
        tokenizer["model_max_length"] = options["model_max_length"]
    write_json(os.path.join(root, "tokenizer_config.json"), tokenizer)
    if "pooling" in options:
        write_sentence_modules(root, config, options["pooling"])


def write_tokenizer(root, options):
    """Its files but tokenizer_config.json, which is returned."""
    if "tokenizer" in options:
        tokenizer = TOKENIZERS[options["tokenizer"]]
        for file in tokenizer["files"]:
            shutil.copyfile(os.path.join(FOLDER, "../tokenizers", tokenizer["folder"], file), os.path.join(root, file))
        return dict(tokenizer["config"])
    with open(os.path.join(root, "vocab.txt"), "w", encoding="utf-8") as file:
        file.write("".join(piece + "\n" for piece in vocabulary(options["style"])))
    return {"do_lower_case": True, "tokenizer_class": "BertTokenizer", **SPECIAL_TOKENS[options["style"]]}


def write_sentence_modules(root, config, pooling):
    """sentence-transformers' modules: pooling by one mode, then a norm of 1."""
    package = "sentence_transformers.models."
    write_json(os.path.join(root, "modules.json"),
               [{"idx": i, "name": str(i), "path": path, "type": package + kind}
                for i, (path, kind) in enumerate([("", "Transformer"), ("1_Pooling", "Pooling"),
                                                  ("2_Normalize", "Normalize")])])
    os.makedirs(os.path.join(root, "1_Pooling"), exist_ok=True)
    os.makedirs(os.path.join(root, "2_Normalize"), exist_ok=True)
    write_json(os.path.join(root, "1_Pooling", "config.json"),
               {"word_embedding_dimension": config["hidden_size"],
                "pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean",
                "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False})
    write_json(os.path.join(root, "sentence_bert_config.json"), {"max_seq_length": 24, "do_lower_case": False})


def main():
    for name, checkpoint in CHECKPOINTS.items():
        write_checkpoint(sys.argv[1], name, checkpoint)


if __name__ == "__main__":
    main()
