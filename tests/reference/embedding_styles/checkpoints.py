"""The checkpoints of reference.py: sparse encoders, models for late interaction,
and sentence encoders as multi-qa and msmarco ones are published.

    checkpoints.py DIRECTORY
"""
import pathlib
import sys

from checkpoint_writer import Directory, Weights

WORDS = """a an the of to in is it for on with how do i my you your what when where who reset password account login
change bread wants forty minutes oven hot bake water trains airport leave every ten city capital france paris river
weather mountains lovely dog cat runs fast quick slow car automobile doctor nurse heart disease symptoms treatment
##s ##ed ##ing ##er ##ly ##tion ##ness un re pre over""".split()
LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
PUNCTUATION = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
UNUSED = ["[unused0]", "[unused1]", "[unused2]"]


def vocabulary(extra_words=(), punctuation=tuple(PUNCTUATION)):
    tokens = ["[PAD]"] + UNUSED + ["[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    for token in list(punctuation) + LETTERS + ["##" + letter for letter in LETTERS] + WORDS + list(extra_words):
        if token not in tokens:
            tokens.append(token)
    return tokens


SIZES = dict(width=36, heads=3, layers=2, feed_forward=52, positions=64)


def distilbert(weights, tokens, prefix="distilbert.", positions=SIZES["positions"]):
    width, inner = SIZES["width"], SIZES["feed_forward"]
    weights.add(prefix + "embeddings.word_embeddings.weight", [tokens, width], 1.0)
    weights.add(prefix + "embeddings.position_embeddings.weight", [positions, width], 0.5)
    weights.norm(prefix + "embeddings.LayerNorm", width)
    for i in range(SIZES["layers"]):
        layer = f"{prefix}transformer.layer.{i}."
        for part in ("q_lin", "k_lin", "v_lin", "out_lin"):
            weights.linear(layer + "attention." + part, width, width)
        weights.norm(layer + "sa_layer_norm", width)
        weights.linear(layer + "ffn.lin1", inner, width)
        weights.linear(layer + "ffn.lin2", width, inner)
        weights.norm(layer + "output_layer_norm", width)


def bert(weights, tokens, prefix="bert.", positions=SIZES["positions"]):
    width, inner = SIZES["width"], SIZES["feed_forward"]
    weights.add(prefix + "embeddings.word_embeddings.weight", [tokens, width], 1.0)
    weights.add(prefix + "embeddings.position_embeddings.weight", [positions, width], 0.5)
    weights.add(prefix + "embeddings.token_type_embeddings.weight", [2, width], 0.5)
    weights.norm(prefix + "embeddings.LayerNorm", width)
    for i in range(SIZES["layers"]):
        layer = f"{prefix}encoder.layer.{i}."
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            weights.linear(layer + "attention." + part, width, width)
        weights.norm(layer + "attention.output.LayerNorm", width)
        weights.linear(layer + "intermediate.dense", inner, width)
        weights.linear(layer + "output.dense", width, inner)
        weights.norm(layer + "output.LayerNorm", width)


def config(kind, architecture, tokens, positions=SIZES["positions"]):
    if kind == "distilbert":
        return {"model_type": "distilbert", "architectures": [architecture], "vocab_size": tokens, "dim": SIZES["width"],
                "n_layers": SIZES["layers"], "n_heads": SIZES["heads"], "hidden_dim": SIZES["feed_forward"],
                "max_position_embeddings": positions, "activation": "gelu", "pad_token_id": 0,
                "sinusoidal_pos_embds": False}
    return {"model_type": "bert", "architectures": [architecture], "vocab_size": tokens, "hidden_size": SIZES["width"],
            "num_hidden_layers": SIZES["layers"], "num_attention_heads": SIZES["heads"],
            "intermediate_size": SIZES["feed_forward"], "max_position_embeddings": positions, "type_vocab_size": 2,
            "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0}


def encoder(directory, kind, architecture, tokens, prefix=None, positions=SIZES["positions"]):
    """config.json, vocab.txt and the encoder's weights, which are returned."""
    weights = Weights(directory.path.name)
    make = {"distilbert": distilbert, "bert": bert}[kind]
    make(weights, len(tokens), kind + "." if prefix is None else prefix, positions)
    directory.json("config.json", config(kind, architecture, len(tokens), positions))
    directory.json("tokenizer_config.json", {"do_lower_case": True, "model_max_length": positions})
    directory.vocabulary(tokens)
    return weights


def masked_lm(weights, kind, tokens, tied, bias_center):
    """The bias decides how many entries of the vocabulary have a weight."""
    width = SIZES["width"]
    if kind == "distilbert":
        weights.linear("vocab_transform", width, width)
        weights.norm("vocab_layer_norm", width)
        projection, bias = "vocab_projector.weight", "vocab_projector.bias"
    else:
        weights.linear("cls.predictions.transform.dense", width, width)
        weights.norm("cls.predictions.transform.LayerNorm", width)
        projection, bias = "cls.predictions.decoder.weight", "cls.predictions.bias"
    if not tied:
        weights.add(projection, [tokens, width])
    weights.add(bias, [tokens], 0.2, bias_center)


def modules(directory, entries):
    directory.json("modules.json", [
        {"idx": i, "name": str(i), "path": path, "type": kind} for i, (path, kind) in enumerate(entries)])


def dense(directory, folder, inputs, outputs, weights, kind="pylate.models.Dense.Dense"):
    directory.json(folder + "/config.json", {
        "in_features": inputs, "out_features": outputs, "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity", "use_residual": False})
    linear = Weights(weights.checkpoint + "/" + folder)
    linear.add("linear.weight", [outputs, inputs])
    directory.weights(linear, folder)
    return folder, kind


def make_sparse(root):
    # A vocabulary of more than one block, and a text longer than one.
    many = vocabulary(f"word{i}" for i in range(1500))
    directory = Directory(root / "splade-distilbert")
    weights = encoder(directory, "distilbert", "DistilBertForMaskedLM", many, positions=300)
    masked_lm(weights, "distilbert", len(many), tied=True, bias_center=-8.0)
    directory.weights(weights)

    tokens = vocabulary()
    directory = Directory(root / "splade-bert-untied")
    weights = encoder(directory, "bert", "BertForMaskedLM", tokens)
    masked_lm(weights, "bert", len(tokens), tied=False, bias_center=-1.0)
    directory.weights(weights)

    for name, kind, transformer, pooling in (
            ("sparse-encoder-max", "bert", "sentence_transformers.sparse_encoder.models.MLMTransformer",
             {"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": len(tokens)}),
            ("sparse-encoder-sum", "distilbert", "sentence_transformers.base.modules.transformer.Transformer",
             {"pooling_strategy": "sum", "activation_function": "log1p_relu", "embedding_dimension": None}),
            ("sparse-encoder-log1p", "bert", "sentence_transformers.sparse_encoder.models.MLMTransformer",
             {"pooling_strategy": "max", "activation_function": "log1p_relu", "word_embedding_dimension": len(tokens)})):
        directory = Directory(root / name)
        architecture = {"bert": "BertForMaskedLM", "distilbert": "DistilBertForMaskedLM"}[kind]
        weights = encoder(directory, kind, architecture, tokens)
        masked_lm(weights, kind, len(tokens), tied=True, bias_center=-6.0)
        directory.weights(weights)
        modules(directory, [("", transformer), ("1_SpladePooling",
                            "sentence_transformers.sparse_encoder.models.SpladePooling")])
        directory.json("1_SpladePooling/config.json", pooling)
        directory.json("sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": False})
        directory.json("config_sentence_transformers.json", {
            "model_type": "SparseEncoder", "prompts": {"query": "", "document": ""}, "default_prompt_name": None,
            "similarity_fn_name": "dot"})


def make_colbert(root):
    tokens = vocabulary()
    variants = (
        ("colbert-v2", {"query_maxlen": 20, "doc_maxlen": 24, "dim": 16, "mask_punctuation": True,
                        "query_token_id": "[unused0]", "doc_token_id": "[unused1]", "attend_to_mask_tokens": False,
                        "similarity": "cosine", "interaction": "colbert", "checkpoint": "somewhere"}),
        ("colbert-attends-l2", {"config": {"query_maxlen": 17, "doc_maxlen": 30, "dim": 21, "mask_punctuation": False,
                                           "query_token_id": "[unused2]", "attend_to_mask_tokens": True,
                                           "similarity": "l2"}}),
        ("colbert-defaults", None))
    for name, metadata in variants:
        directory = Directory(root / name)
        weights = encoder(directory, "bert", "HF_ColBERT", tokens)
        dim = 128 if metadata is None else metadata.get("config", metadata)["dim"]
        weights.add("linear.weight", [dim, SIZES["width"]])
        directory.weights(weights)
        if metadata is not None:
            directory.json("artifact.metadata", metadata)


def make_pylate(root):
    base = "sentence_transformers.models.Transformer"
    defaults = {"model_type": "ColBERT", "prompts": {"query": "", "document": ""}, "default_prompt_name": None,
                "similarity_fn_name": "MaxSim"}
    # Two signs are no tokens: PyLate takes the unknown token for them.
    tokens = vocabulary(punctuation=PUNCTUATION[:-2])
    variants = (
        # As ColBERT.save() writes it.
        ("pylate", "distilbert", [16], {"query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 20,
                                        "document_length": 25, "attend_to_expansion_tokens": False,
                                        "skiplist_words": PUNCTUATION, "do_query_expansion": True}),
        ("pylate-attends", "bert", [24, 12], {"query_length": 18, "attend_to_expansion_tokens": True,
                                              "skiplist_words": ["the", "."]}),
        ("pylate-no-expansion", "bert", [16], {"query_prefix": "", "document_prefix": "[unused1]", "query_length": 12,
                                               "document_length": 400, "do_query_expansion": False,
                                               "attend_to_expansion_tokens": True}),
        ("pylate-defaults", "distilbert", [16], {}))
    for name, kind, outputs, settings in variants:
        directory = Directory(root / name)
        added = ["[Q] ", "[D] "]
        architecture = {"bert": "BertModel", "distilbert": "DistilBertModel"}[kind]
        weights = encoder(directory, kind, architecture, tokens + added, prefix="")
        directory.wordpiece_tokenizer(tokens, added)
        (directory.path / "vocab.txt").unlink()
        directory.weights(weights)
        entries, inputs = [("", base)], SIZES["width"]
        for i, size in enumerate(outputs, 1):
            entries.append(dense(directory, f"{i}_Dense", inputs, size, weights))
            inputs = size
        modules(directory, entries)
        directory.json("sentence_bert_config.json", {"max_seq_length": 31, "do_lower_case": False})
        directory.json("config_sentence_transformers.json", {**defaults, **settings})


def make_sentence_encoders(root):
    """Directory layouts of the published models of these names."""
    tokens = vocabulary()
    cls = {"word_embedding_dimension": SIZES["width"], "pooling_mode_cls_token": True,
           "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False,
           "pooling_mode_mean_sqrt_len_tokens": False}
    mean = {**cls, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    old = {"__version__": {"sentence_transformers": "2.0.0", "transformers": "4.7.0", "pytorch": "1.9.0"}}
    prompts = {"prompts": {"query": "what is ", "document": "", "passage": "the river: "}, "default_prompt_name": None,
               "similarity_fn_name": "dot"}
    variants = (("multi-qa-distilbert-cos-v1", "distilbert", mean, True, old),
                ("multi-qa-distilbert-dot-v1", "distilbert", cls, False, old),
                ("multi-qa-MiniLM-L6-cos-v1", "bert", mean, True, old),
                ("msmarco-distilbert-base-tas-b", "distilbert", cls, False, None),
                ("msmarco-distilbert-dot-v5", "distilbert", mean, False, old),
                ("msmarco-distilbert-cos-v5", "distilbert", mean, True, old),
                ("retriever-with-prompts", "distilbert", cls, False, prompts))
    for name, kind, pooling, normalize, settings in variants:
        directory = Directory(root / name)
        architecture = {"bert": "BertModel", "distilbert": "DistilBertModel"}[kind]
        weights = encoder(directory, kind, architecture, tokens, prefix="")
        directory.weights(weights)
        entries = [("", "sentence_transformers.models.Transformer"),
                   ("1_Pooling", "sentence_transformers.models.Pooling")]
        if normalize:
            entries.append(("2_Normalize", "sentence_transformers.models.Normalize"))
        modules(directory, entries)
        directory.json("1_Pooling/config.json", pooling)
        directory.json("sentence_bert_config.json", {"max_seq_length": 40, "do_lower_case": False})
        if settings is not None:
            directory.json("config_sentence_transformers.json", settings)


def main():
    root = pathlib.Path(sys.argv[1])
    root.mkdir(parents=True)
    make_sparse(root)
    make_colbert(root)
    make_pylate(root)
    make_sentence_encoders(root)
    # A plain encoder, for late interaction without any settings.
    directory = Directory(root / "plain-encoder")
    directory.weights(encoder(directory, "distilbert", "DistilBertModel", vocabulary()))


if __name__ == "__main__":
    main()
