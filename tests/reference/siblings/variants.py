"""The checkpoints that checkpoints.py writes: a configuration and options each.

Options: style (of the vocabulary's special tokens), prefix (False: the encoder
alone, as AutoModel saves it), tied (False: the projection to the vocabulary has
weights of its own), half (F16), old_names (gamma and beta), unused (tensors that
nothing reads), pooling (a sentence-transformers model), model_max_length, tokenizer
(one of TOKENIZERS; else WordPiece with a vocab.txt).
"""

SPECIAL_TOKENS = {
    "bert": {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]",
             "mask_token": "[MASK]"},
    "roberta": {"cls_token": "<s>", "pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>",
                "mask_token": "<mask>"},
}

WORDS = """the a of and to in is was for on with as by at from it this that not be are or an which you one all her
he she they his its new old city river people music house red green dog cat bread train book war king time water
light play ##ing ##ed ##er ##ly ##s ##es ##tion re un""".split()


def vocabulary(style):
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + [str(i) for i in range(10)]
    return (list(SPECIAL_TOKENS[style].values()) + list(".,?!-'()") + letters + ["##" + x for x in letters] + WORDS)


# Of ../tokenizers: the folder and its files, what tokenizer_config.json says, how many
# tokens there are, the description of the same in generate.js, the special tokens'
# style, how pieces that continue a word begin.
def tokenizer_of(folder, files, config, size, library=None, style="roberta", prefix=""):
    return {"folder": folder, "files": files, "config": config, "size": size, "library": library or folder,
            "style": style, "prefix": prefix}


SPECIAL_TOKENS["albert"] = {**SPECIAL_TOKENS["bert"], "pad_token": "<pad>", "unk_token": "<unk>"}
SPECIAL_TOKENS["mpnet"] = {**SPECIAL_TOKENS["roberta"], "unk_token": "[UNK]"}

TOKENIZERS = {
    "roberta": tokenizer_of("roberta", ["vocab.json", "merges.txt"], {"tokenizer_class": "RobertaTokenizer"}, 411),
    # The class puts no space before texts whatever tokenizer.json says, unless it is told to.
    "roberta-json": tokenizer_of("roberta-prefix", ["tokenizer.json"], {"tokenizer_class": "RobertaTokenizerFast"}, 411,
                                 library="roberta"),
    "roberta-prefix": tokenizer_of("roberta-prefix", ["tokenizer.json"],
                                   {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True}, 411),
    "xlm-roberta": tokenizer_of("xlm-roberta", ["sentencepiece.bpe.model"], {"tokenizer_class": "XLMRobertaTokenizer"},
                                104),
    "xlm-roberta-early": tokenizer_of("xlm-roberta-json-early", ["tokenizer.json"],
                                      {"tokenizer_class": "XLMRobertaTokenizer"}, 104),
    "camembert": tokenizer_of("camembert", ["sentencepiece.bpe.model"], {}, 107),
    "albert": tokenizer_of("albert", ["spiece.model"], {"tokenizer_class": "AlbertTokenizer"}, 107, style="albert"),
    "albert-json": tokenizer_of("albert-json", ["tokenizer.json"], {"tokenizer_class": "AlbertTokenizerFast"}, 107,
                                style="albert"),
    "mpnet": tokenizer_of("mpnet", ["vocab.txt"], {"tokenizer_class": "MPNetTokenizer"}, 161, style="mpnet", prefix="##"),
    "mpnet-json": tokenizer_of("mpnet-json", ["tokenizer.json"], {"tokenizer_class": "MPNetTokenizer"}, 161, style="mpnet",
                               prefix="##"),
}

LABELS = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
CHECKPOINTS = {}


def add(name, family, architecture, config, changes=None, **options):
    style = "roberta" if "padding" in options or family in ("roberta", "xlm-roberta", "camembert", "mpnet") else "bert"
    options = {"style": style, **options}
    options.pop("padding", None)
    size = TOKENIZERS[options["tokenizer"]]["size"] if "tokenizer" in options else len(vocabulary(style))
    config = {"architectures": [architecture], "model_type": family, "vocab_size": size,
              **config, **(changes or {})}
    if config["vocab_size"] is None:  # rows that no token has
        config["vocab_size"] = len(vocabulary(style)) + 5
    if architecture.endswith("ForTokenClassification"):
        config["id2label"] = {str(i): label for i, label in enumerate(LABELS)}
    CHECKPOINTS[name] = {"config": config, "options": options}


def add_heads(name, family, classes, config, changes=None, tokenizers=None):
    """A checkpoint for each head that the family's classes have; with `tokenizers`, for those that it names."""
    three = {"id2label": {"0": "low", "1": "middle", "2": "high"}}
    one = {"id2label": {"0": "LABEL_0"}}
    for kind, suffix, more, options in [
            ("classify", "ForSequenceClassification", three, {}),
            ("rerank", "ForSequenceClassification", one, {}),
            ("ner", "ForTokenClassification", {}, {}),
            ("qa", "ForQuestionAnswering", {"max_position_embeddings": 95}, {}),
            ("choice", "ForMultipleChoice", {}, {}),
            ("mlm", "ForMaskedLM", {}, {}),
            ("mlm-untied", "ForMaskedLM", {}, {"tied": False})]:
        if tokenizers is not None:
            if kind not in tokenizers:
                continue
            options = {**options, "tokenizer": tokenizers[kind]}
        add(f"{name}-{kind}", family, classes + suffix, config, {**(changes or {}), **more}, **options)


BERT = {"hidden_size": 27, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 41,
        "hidden_act": "gelu", "max_position_embeddings": 61, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
        "pad_token_id": 0}

add("minilm", "bert", "BertModel", BERT,
    {"hidden_size": 36, "num_attention_heads": 12, "num_hidden_layers": 3, "vocab_size": None}, prefix=False, half=True)
add("tinybert", "bert", "BertForPreTraining", BERT, {"hidden_size": 26, "num_attention_heads": 1},
    unused={"fit_dense.weight": (31, 26), "fit_dense.bias": (31,), "bert.embeddings.position_ids": (1, 61)})
add("bert-deep", "bert", "BertModel", BERT, {"num_hidden_layers": 9, "hidden_act": "relu", "layer_norm_eps": 1e-3},
    old_names=True)

ROBERTA = {**BERT, "max_position_embeddings": 63, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1}

add("roberta", "roberta", "RobertaModel", ROBERTA, {"vocab_size": None}, prefix=False)
add("roberta-two-types", "roberta", "RobertaModel", ROBERTA, {"type_vocab_size": 2}, model_max_length=33)
# [PAD] is piece 0 of this vocabulary, "<unk>" piece 3 of the other: the padding index is what the configuration says.
add("roberta-padding-0", "roberta", "RobertaForMaskedLM", ROBERTA, {"pad_token_id": 0}, style="bert")
add("roberta-padding-3", "roberta", "RobertaModel", ROBERTA, {"pad_token_id": 3})
add("xlm-roberta", "xlm-roberta", "XLMRobertaModel", ROBERTA, pooling="mean")
add("distilroberta", "roberta", "RobertaForMaskedLM", ROBERTA, {"num_hidden_layers": 1}, pooling="cls")
add("camembert-mlm", "camembert", "CamembertForMaskedLM", ROBERTA)
add("xlm-roberta-ner", "xlm-roberta", "XLMRobertaForTokenClassification", ROBERTA, half=True)
add_heads("roberta", "roberta", "Roberta", ROBERTA)

ELECTRA = {**BERT, "hidden_size": 33, "embedding_size": 17, "summary_type": "first", "summary_use_proj": True,
           "summary_activation": "gelu", "summary_last_dropout": 0.1}

add("electra", "electra", "ElectraForPreTraining", ELECTRA, {"vocab_size": None},
    unused={"discriminator_predictions.dense.weight": (33, 33), "discriminator_predictions.dense.bias": (33,)})
add("electra-no-prefix", "electra", "ElectraModel", ELECTRA, {"type_vocab_size": 3}, prefix=False)
add("electra-one-width", "electra", "ElectraModel", ELECTRA, {"embedding_size": 33})
add("electra-one-width-mlm", "electra", "ElectraForMaskedLM", ELECTRA, {"embedding_size": 33})
add("electra-wide-embeddings", "electra", "ElectraForMaskedLM", ELECTRA, {"embedding_size": 40, "layer_norm_eps": 1e-3})
add("electra-choice-tanh", "electra", "ElectraForMultipleChoice", ELECTRA, {"summary_activation": "tanh"})
add("electra-choice-linear", "electra", "ElectraForMultipleChoice", ELECTRA, {"summary_activation": None})
add_heads("electra", "electra", "Electra", ELECTRA, {"hidden_act": "relu"})

MPNET = {"hidden_size": 28, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37,
         "hidden_act": "gelu", "max_position_embeddings": 67, "layer_norm_eps": 1e-5, "pad_token_id": 1,
         "relative_attention_num_buckets": 32}

# Distances beyond 128, where the buckets end.
add("mpnet-long", "mpnet", "MPNetModel", MPNET, {"max_position_embeddings": 219, "vocab_size": None}, prefix=False)
add("mpnet", "mpnet", "MPNetForMaskedLM", MPNET, {"num_attention_heads": 2}, pooling="mean")
add_heads("mpnet", "mpnet", "MPNet", MPNET, {"hidden_act": "gelu_new"})

ALBERT = {**BERT, "hidden_size": 21, "embedding_size": 13, "num_hidden_groups": 1, "inner_group_num": 1,
          "num_hidden_layers": 3, "hidden_act": "gelu_new"}

add("albert", "albert", "AlbertForPreTraining", ALBERT, {"vocab_size": None})
add("albert-groups", "albert", "AlbertModel", ALBERT,
    {"num_hidden_layers": 5, "num_hidden_groups": 2, "inner_group_num": 2}, prefix=False)
add("albert-three-groups", "albert", "AlbertModel", ALBERT, {"num_hidden_layers": 4, "num_hidden_groups": 3})
add("albert-one-width", "albert", "AlbertModel", ALBERT, {"embedding_size": 21}, old_names=True)
add("albert-sentences", "albert", "AlbertModel", ALBERT, {"hidden_act": "gelu"}, pooling="mean")
add_heads("albert", "albert", "Albert", ALBERT, {"num_hidden_groups": 2})

MOBILEBERT = {**BERT, "hidden_size": 29, "embedding_size": 11, "intra_bottleneck_size": 15, "hidden_act": "relu",
              "trigram_input": True, "use_bottleneck": True, "use_bottleneck_attention": False,
              "key_query_shared_bottleneck": True, "num_feedforward_networks": 4, "normalization_type": "no_norm",
              "classifier_activation": True, "true_hidden_size": 15}

add("mobilebert", "mobilebert", "MobileBertForPreTraining", MOBILEBERT, {"vocab_size": None})
add("mobilebert-layer-norm", "mobilebert", "MobileBertModel", MOBILEBERT,
    {"normalization_type": "layer_norm", "layer_norm_eps": 1e-2}, prefix=False)
add("mobilebert-bottleneck-attention", "mobilebert", "MobileBertModel", MOBILEBERT,
    {"use_bottleneck_attention": True, "num_feedforward_networks": 1})
add("mobilebert-bottleneck-attention-unshared", "mobilebert", "MobileBertModel", MOBILEBERT,
    {"use_bottleneck_attention": True, "key_query_shared_bottleneck": False, "num_feedforward_networks": 2})
add("mobilebert-unshared", "mobilebert", "MobileBertModel", MOBILEBERT,
    {"key_query_shared_bottleneck": False, "hidden_size": 15, "num_attention_heads": 5})
add("mobilebert-no-bottleneck", "mobilebert", "MobileBertModel", MOBILEBERT,
    {"use_bottleneck": False, "hidden_size": 30, "true_hidden_size": 30, "normalization_type": "layer_norm"})
add("mobilebert-no-trigrams", "mobilebert", "MobileBertModel", MOBILEBERT, {"trigram_input": False})
add("mobilebert-words-as-wide", "mobilebert", "MobileBertForMaskedLM", MOBILEBERT,
    {"trigram_input": False, "embedding_size": 29})
add("mobilebert-classify-plain", "mobilebert", "MobileBertForSequenceClassification", MOBILEBERT,
    {"classifier_activation": False, "id2label": {"0": "no", "1": "yes"}})
add_heads("mobilebert", "mobilebert", "MobileBert", MOBILEBERT, {"normalization_type": "layer_norm"})

# ---- with the tokenizers that the families are published with --------------------

add("tokenizer-roberta", "roberta", "RobertaModel", ROBERTA, tokenizer="roberta")
add("tokenizer-distilroberta-sentences", "roberta", "RobertaModel", ROBERTA, pooling="mean", tokenizer="roberta-json")
add("tokenizer-xlm-roberta-sentences", "xlm-roberta", "XLMRobertaModel", ROBERTA, pooling="mean",
    tokenizer="xlm-roberta")
# The multilingual MiniLMs: BERT that reads XLM-RoBERTa's tokens, whose pairs have no types.
add("tokenizer-minilm-sentences", "bert", "BertModel", BERT, {"vocab_size": 109}, pooling="mean",
    tokenizer="xlm-roberta-early")
add("tokenizer-camembert", "camembert", "CamembertModel", ROBERTA, tokenizer="camembert")
add("tokenizer-albert", "albert", "AlbertModel", ALBERT, tokenizer="albert")
add("tokenizer-mpnet-sentences", "mpnet", "MPNetModel", MPNET, pooling="mean", tokenizer="mpnet-json")
add("tokenizer-roberta-nli", "roberta", "RobertaForSequenceClassification", ROBERTA,
    {"id2label": {"0": "CONTRADICTION", "1": "NEUTRAL", "2": "ENTAILMENT"}}, tokenizer="roberta-json")

for _name, _family, _classes, _config, _tokenizers in [
        ("tokenizer-roberta", "roberta", "Roberta", ROBERTA,
         {"classify": "roberta", "rerank": "roberta-json", "qa": "roberta-json", "mlm": "roberta"}),
        ("tokenizer-distilroberta", "roberta", "Roberta", {**ROBERTA, "num_hidden_layers": 1}, {"ner": "roberta"}),
        ("tokenizer-roberta-prefix", "roberta", "Roberta", ROBERTA, {"ner": "roberta-prefix", "mlm": "roberta-prefix"}),
        ("tokenizer-xlm-roberta", "xlm-roberta", "XLMRoberta", ROBERTA,
         {"classify": "xlm-roberta", "ner": "xlm-roberta", "qa": "xlm-roberta"}),
        ("tokenizer-minilm", "bert", "Bert", BERT,
         {"classify": "xlm-roberta-early", "rerank": "xlm-roberta", "qa": "xlm-roberta-early"}),
        ("tokenizer-camembert", "camembert", "Camembert", ROBERTA, {"mlm": "camembert"}),
        ("tokenizer-albert", "albert", "Albert", ALBERT,
         {"classify": "albert", "rerank": "albert-json", "ner": "albert-json", "qa": "albert", "mlm": "albert"}),
        ("tokenizer-albert-json", "albert", "Albert", ALBERT, {"mlm": "albert-json"}),
        ("tokenizer-mpnet", "mpnet", "MPNet", MPNET,
         {"classify": "mpnet", "rerank": "mpnet-json", "ner": "mpnet-json", "qa": "mpnet", "mlm": "mpnet"})]:
    add_heads(_name, _family, _classes, _config, tokenizers=_tokenizers)
