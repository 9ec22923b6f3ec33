"""transformers' token-classification pipeline after the model: which tokens are words,
which words are entities (gather_pre_entities, aggregate, group_entities)."""


def starts_inside_word(tokenizer, text, piece, start, end):
    """is_subword: told by the length of pieces such as "##x", else by the space before the token."""
    if tokenizer.continuing_prefix:
        return len(piece) != len(text[start:end])
    return start > 0 and " " not in text[start - 1:start + 1]


def scored_tokens(tokenizer, text, ids, offsets, scores):
    tokens = []
    for token, span, row in zip(ids, offsets, scores):
        if span is None:
            continue
        start, end = span
        known = token != tokenizer.unk
        piece = tokenizer.pieces[token]
        tokens.append({"word": piece if known else text[start:end], "scores": row, "start": start, "end": end,
                       "is_subword": known and starts_inside_word(tokenizer, text, piece, start, end)})
    return tokens


def labelled(labels, scores, word, start, end):
    best = int(scores.argmax())
    return {"entity": labels[best], "score": float(scores[best]), "word": word, "char_start": start, "char_end": end}


def label_words(tokenizer, labels, tokens, aggregation):
    groups = []
    for token in tokens:
        if groups and token["is_subword"]:
            groups[-1].append(token)
        else:
            groups.append([token])
    words = []
    for group in groups:
        if aggregation == "first":
            scores = group[0]["scores"]
        elif aggregation == "max":
            scores = max((token["scores"] for token in group), key=lambda row: row.max())
        else:
            scores = sum(token["scores"] for token in group) / len(group)
        word = tokenizer.decode_tokens([token["word"] for token in group])
        words.append(labelled(labels, scores, word, group[0]["start"], group[-1]["end"]))
    return words


def tag_of(label):
    """Whether it begins an entity, and of what kind."""
    return label.startswith("B-"), label[2:] if label.startswith(("B-", "I-")) else label


def group_entities(tokenizer, parts):
    groups = []
    for part in parts:
        begins, tag = tag_of(part["entity"])
        if groups and not begins and tag == tag_of(groups[-1][-1]["entity"])[1]:
            groups[-1].append(part)
        else:
            groups.append([part])
    return [{"entity": group[0]["entity"].split("-", 1)[-1],
             "score": sum(part["score"] for part in group) / len(group),
             "word": tokenizer.decode_tokens([part["word"] for part in group]),
             "char_start": group[0]["char_start"], "char_end": group[-1]["char_end"]} for group in groups]


def find_entities(tokenizer, labels, text, ids, offsets, scores, aggregation):
    """Of each token its id, its offsets (None: a special token around the text) and its labels' probabilities."""
    tokens = scored_tokens(tokenizer, text, ids, offsets, scores)
    if aggregation in ("none", "simple"):
        parts = [labelled(labels, token["scores"], token["word"], token["start"], token["end"]) for token in tokens]
    else:
        parts = label_words(tokenizer, labels, tokens, aggregation)
    found = parts if aggregation == "none" else group_entities(tokenizer, parts)
    return [entity for entity in found if entity["entity"] != "O"]
