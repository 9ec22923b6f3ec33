#!/usr/bin/env python3
"""What a correct implementation says of the checkpoints: expected/*.json, in the
form that conformance tests read (tests/unit/*_conformance_test.cpp).

    reference.py MODELS EXPECTED      computes EXPECTED/<name>.json for each of MODELS/<name>/
    reference.py --validate DIRECTORY compares with DIRECTORY/expected, the BERT and DistilBERT
                                      examples of another reference; says what agrees

Needs numpy, and for tokenizers other than WordPiece node with npm's tokenizers 0.23.2
(npm install tokenizers@0.23.2; NODE_PATH names its node_modules).  Not run by the
tests, which read the committed numbers.
"""
import json
import math
import os
import sys

import numpy as np

from encoders import ENCODERS, Weights, sequence_logits, softmax, token_logits, vocabulary_logits
from entities import find_entities
from published import PublishedTokenizer
from variants import CHECKPOINTS, SPECIAL_TOKENS, TOKENIZERS
from wordpiece import Tokenizer

WORDS = "the old dog and a new cat play music in that red house by the river for all people".split()
LONG_TEXT = " ".join(WORDS[(i * i * 7 + i * 3 + i // 5) % len(WORDS)] + ("s" if i % 11 == 3 else "") for i in range(240))
TEXTS = ["The old house by the river was red.", "", "x", "Playing music in the new city, they re-read 30 books!"]
QUESTION = "Where was the red house?"
CONTEXT = "The red house was by the river. Trains in the city are old, and the people play music at the war."


# Scripts, white space and marks of which wordpiece.py knows nothing.
AWKWARD_TEXTS = ["\u00c9lan: the caf\u00e9 in \u6771\u4eac\u90fd  isn't l'\u00e9t\u00e9, 10,000 \U0001f44d\U0001f3fd apples!",
                 "  hello   world.\nthe <mask>",
                 "\u00e9t\u00e9\u00e9 (inside) <s> na\u00efve</s> \u043d\u043e\u0432\u044b\u0439"]


def awkward_texts(model):
    return AWKWARD_TEXTS if isinstance(model.tokenizer, PublishedTokenizer) else []


def awkward_contexts(model):
    """Of one window and of several."""
    return [*AWKWARD_TEXTS, " ".join([AWKWARD_TEXTS[0], LONG_TEXT, AWKWARD_TEXTS[2]])] if awkward_texts(model) else []


def open_tokenizer(directory):
    """wordpiece.py's for a vocab.txt; the library's for what variants.py says to have another."""
    options = CHECKPOINTS.get(os.path.basename(os.path.normpath(directory)), {}).get("options", {})
    if "tokenizer" not in options:
        return Tokenizer(directory)
    tokenizer = TOKENIZERS[options["tokenizer"]]
    return PublishedTokenizer(tokenizer["library"], SPECIAL_TOKENS[tokenizer["style"]], tokenizer["prefix"])


class Model:
    def __init__(self, directory):
        def read(name):
            path = os.path.join(directory, name)
            if not os.path.exists(path):
                return {}
            with open(path, encoding="utf-8") as file:
                return json.load(file)

        self.config = read("config.json")
        self.weights = Weights(directory, self.config)
        self.tokenizer = open_tokenizer(directory)
        self.architecture = self.config["architectures"][0]
        self.max_tokens = read("sentence_bert_config.json").get("max_seq_length") or self._default_length()
        self.modules = read("modules.json")
        self.pooling = read("1_Pooling/config.json")
        labels = self.config.get("id2label", {})
        self.labels = [labels[str(i)] for i in range(len(labels))]

    def _default_length(self):
        """Positions that a text can use: those of RoBERTa and MPNet begin after the padding's."""
        positions = self.config["max_position_embeddings"]
        if self.config["model_type"] in ("roberta", "xlm-roberta", "camembert"):
            positions -= self.config["pad_token_id"] + 1
        elif self.config["model_type"] == "mpnet":
            positions -= 2
        return min(self.tokenizer.model_max_length or positions, positions)

    def single(self, text):
        return self.tokenizer.single(text, self.max_tokens)

    def pair(self, first, second):
        return self.tokenizer.pair(first, second, self.max_tokens)

    def hidden(self, sequence):
        return ENCODERS[self.config["model_type"]](self.config, self.weights, *sequence)

    # ---- what semantic_… returns -------------------------------------------------

    def embed(self, text):
        hidden = self.hidden(self.single(text))
        embedding = hidden[0] if self.pooling.get("pooling_mode_cls_token") else hidden.mean(axis=0)
        if self.modules:
            embedding = embedding / math.sqrt((embedding ** 2).sum())
        return embedding

    def label_scores(self, sequence):
        logits = sequence_logits(self.config, self.weights, self.hidden(sequence))
        multi = len(logits) == 1 or self.config.get("problem_type") == "multi_label_classification"
        return 1 / (1 + np.exp(-logits)) if multi else softmax(logits)

    def classify(self, text, pair):
        scores = self.label_scores(self.pair(text, pair) if pair is not None else self.single(text))
        return sorted(([label, float(s)] for label, s in zip(self.labels, scores)), key=lambda entry: -entry[1])

    def zero_shot(self, text, labels, template, multi_label):
        """The zero-shot pipeline, for which the entailment's label is the last."""
        logits = np.array([
            sequence_logits(self.config, self.weights, self.hidden(self.tokenizer.pair(
                text, template.replace("{}", label), self.max_tokens, "OnlyFirst"))) for label in labels])
        multi = multi_label or len(labels) == 1
        scores = softmax(logits[:, [0, -1]])[:, 1] if multi else softmax(logits[:, -1])
        return sorted(([label, float(s)] for label, s in zip(labels, scores)), key=lambda entry: -entry[1])

    def rerank(self, query, documents):
        scores = [float(self.label_scores(self.pair(query, document))[0]) for document in documents]
        return sorted(([i + 1, score] for i, score in enumerate(scores)), key=lambda entry: -entry[1])

    def choose(self, prompt, choices):
        logits = [sequence_logits(self.config, self.weights, self.hidden(self.pair(prompt, c)))[0] for c in choices]
        return sorted(([i + 1, float(s)] for i, s in enumerate(softmax(np.array(logits)))), key=lambda entry: -entry[1])

    def entities(self, text, aggregation):
        sequence = self.single(text)
        scores = softmax(token_logits(self.config, self.weights, self.hidden(sequence)))
        offsets = self.tokenizer.offsets(text, self.max_tokens)
        return find_entities(self.tokenizer, self.labels, text, sequence[0], offsets, scores, aggregation)

    def fill_mask(self, text, top_k):
        ids, types = self.single(text)
        place = ids.index(self.tokenizer.mask)
        scores = softmax(vocabulary_logits(self.config, self.weights, self.hidden((ids, types)))[place])
        tokens = []
        for best in np.argsort(-scores)[:top_k]:
            filled = ids[1:place] + [int(best)] + ids[place + 1:-1]
            tokens.append({"token": self.tokenizer.pieces[best], "score": float(scores[best]),
                           "content": self.tokenizer.decode(filled)})
        return tokens

    def answer(self, question, context, top_k, max_answer_tokens):
        """The question-answering pipeline; also how many windows it took."""
        length = min(self.max_tokens, 384)
        answers, windows = {}, 0
        for sequence, tokens in self.tokenizer.windows(question, context, length, min(length // 2, 128)):
            logits = token_logits(self.config, self.weights, self.hidden(sequence))
            windows += 1
            read = [0, *(place for place, _, _ in tokens)]  # [CLS] takes its share, but is no answer
            start, end = (softmax(logits[read, i])[1:] for i in (0, 1))
            spans = sorted(((start[i] * end[j], i, j) for i in range(len(tokens))
                            for j in range(i, min(i + max_answer_tokens, len(tokens)))), key=lambda span: -span[0])
            for score, i, j in spans[:2 * top_k + 10]:
                first, last = tokens[i][1], tokens[j][2]
                text = context[first:last]
                known = answers.setdefault(text.lower(), {"answer": text, "score": 0.0, "char_start": first,
                                                          "char_end": last})
                known["score"] += float(score)
        return sorted(answers.values(), key=lambda a: -a["score"])[:top_k], windows


# ---- expected/*.json --------------------------------------------------------------

TASKS = {"ForSequenceClassification": "sequence-classification", "ForTokenClassification": "token-classification",
         "ForQuestionAnswering": "question-answering", "ForMaskedLM": "fill-mask", "ForMultipleChoice": "multiple-choice"}


def rounded(value):
    if isinstance(value, (float, np.floating)):
        return float(f"{value:.9g}")
    if isinstance(value, np.ndarray):
        return [rounded(x) for x in value.tolist()]
    if isinstance(value, (list, tuple)):
        return [rounded(x) for x in value]
    if isinstance(value, dict):
        return {key: rounded(x) for key, x in value.items()}
    return value


def task_of(model):
    if model.modules:
        return "embedding"
    return next((task for suffix, task in TASKS.items() if model.architecture.endswith(suffix)), "embedding")


def describe_embeddings(model, expected):
    pad, mask = model.tokenizer.pad_token, model.tokenizer.mask_token
    marked = f"a {pad} dog {pad}{pad} and {mask} cats"
    whole = expected["task"] == "embedding"
    texts = (TEXTS + [LONG_TEXT, marked] if whole else TEXTS[:1]) + awkward_texts(model)
    expected["embed"] = [{"text": text, "prompt": None, "embedding": model.embed(text)} for text in texts]
    expected["token_embeddings"] = []
    for text in [TEXTS[3], marked] if whole else []:
        ids, types = model.single(text)
        expected["token_embeddings"].append({"text": text, "tokens": [model.tokenizer.pieces[i] for i in ids],
                                             "embeddings": model.hidden((ids, types))})
    expected["tokenize"] = []
    for text in [marked, *awkward_texts(model)]:
        ids = model.tokenizer.single(text)[0]
        expected["tokenize"].append({"text": text, "ids": ids, "tokens": [model.tokenizer.pieces[i] for i in ids],
                                     "offsets": model.tokenizer.offsets(text)})


def describe_head(model, expected):
    task = expected["task"]
    if task == "sequence-classification":
        expected["labels"] = model.labels
        expected["classify"] = [{"text": text, "pair": pair, "labels": model.classify(text, pair)}
                                for text, pair in [(TEXTS[0], None), ("", None), (TEXTS[0], TEXTS[3]),
                                                   *((text, TEXTS[0]) for text in awkward_texts(model)),
                                                   *((text, LONG_TEXT) for text in awkward_texts(model))]]
        if model.labels[-1] == "ENTAILMENT":
            expected["zero_shot"] = [
                {"text": text, "labels": labels, "template": template, "multi_label": multi,
                 "scores": model.zero_shot(text, labels, template, multi)}
                for text in (TEXTS[0], LONG_TEXT, *awkward_texts(model))
                for labels in (["music", "caf\u00e9 \u6771\u4eac", "  the river"], ["war"])
                for template, multi in (("This example is {}.", False), ("{}", True))]
        if len(model.labels) == 1:
            documents = [TEXTS[0], TEXTS[3], "music", "", "The dog and the cat are in the house."]
            scores = model.rerank(QUESTION, documents)
            expected["rerank"] = [{"query": QUESTION, "documents": documents, "top_k": k, "scores": scores[:k]}
                                  for k in (None, 2)]
    elif task == "token-classification":
        expected["labels"] = model.labels
        aggregations = ["none", "simple", "first", "average", "max"] if awkward_texts(model) else ["none"]
        expected["entities"] = [{"text": text, "aggregation": aggregation,
                                 "entities": model.entities(text, aggregation)}
                                for text in (TEXTS[0], TEXTS[3], *awkward_texts(model)) for aggregation in aggregations]
    elif task == "question-answering":
        expected["answer"] = []
        for context in [CONTEXT, *awkward_contexts(model)]:
            for max_answer_tokens in (15, 4):
                answers, windows = model.answer(QUESTION, context, 3, max_answer_tokens)
                expected["answer"].append({"question": QUESTION, "context": context, "top_k": 3,
                                           "max_answer_tokens": max_answer_tokens, "windows": windows,
                                           "answers": answers})
    elif task == "fill-mask":
        texts = [f"The old {model.tokenizer.mask_token} was by the river"]
        texts += [f"{text} {model.tokenizer.mask_token}!" for text in awkward_texts(model)
                  if model.tokenizer.mask_token not in text]
        expected["fill_mask"] = [{"text": text, "top_k": 7, "tokens": model.fill_mask(text, 7)} for text in texts]
    elif task == "multiple-choice":
        choices = ["music", "a house by the river", "x"]
        expected["choose"] = [{"prompt": TEXTS[0], "choices": choices, "scores": model.choose(TEXTS[0], choices)}]


def describe(name, directory):
    model = Model(directory)
    config = model.config
    expected = {"model": name, "architecture": model.architecture, "task": task_of(model),
                "max_tokens": model.max_tokens, "vocabulary_size": config["vocab_size"],
                "layers": config["num_hidden_layers"], "dimensions": config["hidden_size"],
                "pooling": "cls" if model.pooling.get("pooling_mode_cls_token") else "mean",
                "normalized": bool(model.modules)}
    describe_embeddings(model, expected)
    describe_head(model, expected)
    return rounded(expected)


def write_all(models, expected):
    os.makedirs(expected, exist_ok=True)
    for name in sorted(os.listdir(models)):
        if not os.path.isdir(os.path.join(models, name)):
            continue
        with open(os.path.join(expected, name + ".json"), "w", encoding="utf-8") as file:
            json.dump(describe(name, os.path.join(models, name)), file, separators=(",", ":"))
            file.write("\n")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--validate":
        from validate import validate
        sys.exit(validate(sys.argv[2], Model))
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    write_all(sys.argv[1], sys.argv[2])
