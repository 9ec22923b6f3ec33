"""Proves reference.py on examples of another reference: every entry that it can
compute (ASCII text, no prompt, no module but pooling, a pair that need not be cut)."""
import collections
import json
import os

import numpy as np


def close(found, expected, tolerance):
    found, expected = np.asarray(found, float), np.asarray(expected, float)
    return found.shape == expected.shape and bool(
        np.all(np.abs(found - expected) <= tolerance * max(1, np.abs(expected).max(initial=0))))


def rankings_agree(found, expected):
    return [entry[0] for entry in found] == [entry[0] for entry in expected] and close(
        [entry[1] for entry in found], [entry[1] for entry in expected], 1e-7)


def entry_agrees(model, key, entry):
    """None: not an entry that reference.py computes."""
    texts = json.dumps(entry, ensure_ascii=False)
    if not texts.isascii() or "\\u00" in texts:  # control characters, which BERT's tokenizer drops
        return None
    if key == "tokenize":
        return model.tokenizer.single(entry["text"])[0] == entry["ids"]
    if key == "embed":
        return close(model.embed(entry["text"]), entry["embedding"], 1e-7) if entry["prompt"] is None else None
    if key == "token_embeddings":
        return close(model.hidden(model.single(entry["text"])), entry["embeddings"], 1e-7)
    if key == "classify":
        return rankings_agree(model.classify(entry["text"], entry["pair"]), entry["labels"])
    if key == "rerank":
        return rankings_agree(model.rerank(entry["query"], entry["documents"])[:entry["top_k"]], entry["scores"])
    if key == "choose":
        return rankings_agree(model.choose(entry["prompt"], entry["choices"]), entry["scores"])
    if key == "entities":
        found = model.entities(entry["text"], entry["aggregation"])
        scores = [[e["score"] for e in entities] for entities in (found, entry["entities"])]
        return close(*scores, 1e-7) and all(
            {**a, "score": 0} == {**b, "score": 0} for a, b in zip(found, entry["entities"]))
    if key == "answer" and entry["windows"] == 1:
        found, _ = model.answer(entry["question"], entry["context"], entry["top_k"], entry["max_answer_tokens"])
        return rankings_agree([[[a["answer"], a["char_start"]], a["score"]] for a in found],
                              [[[a["answer"], a["char_start"]], a["score"]] for a in entry["answers"]])
    if key == "fill_mask":
        found = model.fill_mask(entry["text"], entry["top_k"])
        return rankings_agree([[[t["token"], t["content"]], t["score"]] for t in found],
                              [[[t["token"], t["content"]], t["score"]] for t in entry["tokens"]])
    return None


def validate(root, model_class):
    """Of the directories that have a vocab.txt and no more modules than pooling and a norm."""
    counts, failures = collections.Counter(), []
    for file in sorted(os.listdir(os.path.join(root, "expected"))):
        name = file[:-len(".json")]
        directory = os.path.join(root, "models", name)
        readable = os.path.exists(os.path.join(directory, "vocab.txt"))
        if not readable or name.startswith("st-") or "sinusoidal" in name:
            continue
        with open(os.path.join(root, "expected", file), encoding="utf-8") as handle:
            expected = json.load(handle)
        model = model_class(directory)
        for key, entries in expected.items():
            for i, entry in enumerate(entries if isinstance(entries, list) and key != "labels" else []):
                try:
                    agrees = entry_agrees(model, key, entry)
                except OverflowError:
                    continue
                if agrees is not None:
                    counts[key, agrees] += 1
                if agrees is False:
                    failures.append(f"{name}: {key} {i}")
    for (key, agrees), count in sorted(counts.items()):
        print(f"{key}: {count} {'agree' if agrees else 'DISAGREE'}")
    print("\n".join(failures))
    return 1 if failures or not counts else 0
