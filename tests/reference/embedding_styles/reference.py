"""What the checkpoints of checkpoints.py give: an implementation of its own, in
double precision, with PyTorch (Debian's python3-torch), padded and masked as the
published code does it.

    checkpoints.py DIRECTORY; reference.py DIRECTORY expected/

Written from: Sanh et al. (arXiv 1910.01108) and Devlin et al. (arXiv 1810.04805)
for the encoders; Formal et al. (arXiv 2107.05720, 2109.10086) and
sentence-transformers' SpladePooling for SPLADE; Khattab and Zaharia (arXiv
2004.12832), colbert/modeling/{colbert,tokenization/*}.py and PyLate's ColBERT
class for late interaction; sentence-transformers' Pooling and Normalize.
"""
import json
import pathlib
import re
import string
import struct
import sys

import torch

torch.set_default_dtype(torch.float64)


def read_safetensors(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    tensors = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        numbers = struct.unpack(f"<{(end - begin) // 4}f", data[begin:end])
        tensors[name] = torch.tensor(numbers).reshape(entry["shape"])
    return tensors


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


class Tokenizer:
    """Uncased WordPiece over ASCII text, with special tokens in the text."""

    def __init__(self, directory):
        published = read_json(directory / "tokenizer.json")
        if published:
            self.ids = dict(published["model"]["vocab"])
            self.added = [t["content"] for t in published["added_tokens"] if not t["special"]]
            self.ids.update((t["content"], t["id"]) for t in published["added_tokens"])
        else:
            lines = (directory / "vocab.txt").read_text(encoding="utf-8").splitlines()
            self.ids = {token: i for i, token in enumerate(lines)}
            self.added = []
        self.tokens = {i: token for token, i in self.ids.items()}
        self.pad, self.unknown, self.cls, self.sep, self.mask = (
            self.ids[token] for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"))

    def word(self, word):
        pieces, begin = [], 0
        while begin < len(word):
            for end in range(len(word), begin, -1):
                piece = ("##" if begin else "") + word[begin:end]
                if piece in self.ids and piece not in self.added:
                    break
            else:
                return [self.unknown]
            pieces.append(self.ids[piece])
            begin = end
        return pieces

    def plain(self, text):
        punctuation = re.escape(string.punctuation)
        return [i for word in re.findall(f"[{punctuation}]|[^{punctuation}\\s]+", text) for i in self.word(word)]

    def text(self, text):
        ids = []
        for part in re.split(r"(\[(?:PAD|UNK|CLS|SEP|MASK)\])", text):
            if re.fullmatch(r"\[(?:PAD|UNK|CLS|SEP|MASK)\]", part):
                ids.append(self.ids[part])
                continue
            # Added tokens that are not special are looked for after normalisation.
            lower = {token.lower(): self.ids[token] for token in self.added}
            pattern = "|".join(re.escape(token) for token in lower)
            for piece in re.split(f"({pattern})", part.lower()) if lower else [part.lower()]:
                ids += [lower[piece]] if piece in lower else self.plain(piece)
        return ids

    def encode(self, text, max_length):
        return [self.cls] + self.text(text)[:max_length - 2] + [self.sep]

    def convert(self, token):
        return self.ids.get(token, self.unknown)


class Encoder:
    def __init__(self, directory):
        self.directory = directory
        self.config = read_json(directory / "config.json")
        self.weights = read_safetensors(directory / "model.safetensors")
        self.tokenizer = Tokenizer(directory)
        self.distilbert = self.config["model_type"] == "distilbert"
        prefix = self.config["model_type"] + "."
        self.prefix = prefix if prefix + "embeddings.word_embeddings.weight" in self.weights else ""
        self.heads = self.config.get("n_heads") or self.config["num_attention_heads"]
        self.layers = self.config.get("n_layers") or self.config["num_hidden_layers"]
        settings = read_json(directory / "sentence_bert_config.json")
        self.max_tokens = settings.get("max_seq_length") or read_json(directory / "tokenizer_config.json")["model_max_length"]

    def linear(self, name, x):
        y = x @ self.weights[name + ".weight"].T
        bias = self.weights.get(name + ".bias")
        return y if bias is None else y + bias

    def norm(self, name, x):
        centered = x - x.mean(-1, keepdim=True)
        scaled = centered / torch.sqrt((centered ** 2).mean(-1, keepdim=True) + 1e-12)
        return scaled * self.weights[name + ".weight"] + self.weights[name + ".bias"]

    def names(self, i):
        if self.distilbert:
            layer = f"{self.prefix}transformer.layer.{i}."
            return [layer + part for part in ("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin",
                                              "sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm")]
        layer = f"{self.prefix}encoder.layer.{i}."
        return [layer + part for part in ("attention.self.query", "attention.self.key", "attention.self.value",
                                          "attention.output.dense", "attention.output.LayerNorm", "intermediate.dense",
                                          "output.dense", "output.LayerNorm")]

    def forward(self, ids, mask):
        """[batch, length, width]; mask as transformers' attention_mask."""
        embeddings = self.prefix + "embeddings."
        x = self.weights[embeddings + "word_embeddings.weight"][ids]
        x = x + self.weights[embeddings + "position_embeddings.weight"][:ids.shape[1]]
        if not self.distilbert:
            x = x + self.weights[embeddings + "token_type_embeddings.weight"][0]
        x = self.norm(embeddings + "LayerNorm", x)
        batch, length, width = x.shape
        split = lambda y: y.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)
        hidden_keys = (mask == 0)[:, None, None, :]
        for i in range(self.layers):
            q, k, v, out, norm1, inner, outer, norm2 = self.names(i)
            scores = split(self.linear(q, x)) @ split(self.linear(k, x)).transpose(2, 3) / (width // self.heads) ** 0.5
            attention = torch.softmax(scores.masked_fill(hidden_keys, float("-inf")), -1) @ split(self.linear(v, x))
            x = self.norm(norm1, x + self.linear(out, attention.transpose(1, 2).reshape(batch, length, width)))
            y = self.linear(inner, x)
            y = y * 0.5 * (1 + torch.erf(y / 2 ** 0.5))
            x = self.norm(norm2, x + self.linear(outer, y))
        return x

    def encode(self, text):
        ids = torch.tensor([self.tokenizer.encode(text, self.max_tokens)])
        return self.forward(ids, torch.ones_like(ids))[0]


def describe(encoder, **more):
    return {"architecture": encoder.config["architectures"][0], "task": "embedding", "max_tokens": encoder.max_tokens,
            "vocabulary_size": encoder.config["vocab_size"], "layers": encoder.layers, "labels": [], **more}


# ---- SPLADE ------------------------------------------------------------------------


def sparse(encoder, text):
    hidden = encoder.encode(text)
    if encoder.distilbert:
        transform, norm, projection, bias = "vocab_transform", "vocab_layer_norm", "vocab_projector", "vocab_projector.bias"
    else:
        transform, norm = "cls.predictions.transform.dense", "cls.predictions.transform.LayerNorm"
        projection, bias = "cls.predictions.decoder", "cls.predictions.bias"
    y = encoder.linear(transform, hidden)
    y = encoder.norm(norm, y * 0.5 * (1 + torch.erf(y / 2 ** 0.5)))
    matrix = encoder.weights.get(projection + ".weight")
    if matrix is None:
        matrix = encoder.weights[encoder.prefix + "embeddings.word_embeddings.weight"]
    values = torch.log1p(torch.relu(y @ matrix.T + encoder.weights[bias]))
    pooling = read_json(encoder.directory / "1_SpladePooling" / "config.json")
    if pooling.get("activation_function") == "log1p_relu":
        values = torch.log1p(values)
    pooled = values.sum(0) if pooling.get("pooling_strategy") == "sum" else values.max(0).values
    order = sorted(pooled.nonzero().flatten().tolist(), key=lambda i: (-pooled[i].item(), i))
    return [[encoder.tokenizer.tokens[i], pooled[i].item()] for i in order]


# ---- late interaction ----------------------------------------------------------------


def unit(x):
    return torch.nn.functional.normalize(x, p=2, dim=-1)


def insert_marker(rows, marker):
    return torch.cat([rows[:, :1], torch.full((rows.shape[0], 1), marker), rows[:, 1:]], 1)


def padded(encoder, text, max_length, pad, fill):
    """ids and attention mask; `fill`: padded up to max_length."""
    ids = encoder.tokenizer.encode(text, max_length)
    missing = max_length - len(ids) if fill else 0
    return torch.tensor([ids + [pad] * missing]), torch.tensor([[1] * len(ids) + [0] * missing])


def colbert(encoder, query, document):
    """QueryTokenizer.tensorize, DocTokenizer.tensorize, ColBERT.query, doc and score."""
    tokenizer = encoder.tokenizer
    metadata = read_json(encoder.directory / "artifact.metadata")
    metadata = metadata.get("config", metadata)
    ids, mask = padded(encoder, query, metadata.get("query_maxlen", 32) - 1, tokenizer.pad, True)
    ids = insert_marker(ids, tokenizer.convert(metadata.get("query_token_id", "[unused0]")))
    mask = insert_marker(mask, 1)
    ids[ids == tokenizer.pad] = tokenizer.mask
    if metadata.get("attend_to_mask_tokens", False):
        mask[ids == tokenizer.mask] = 1
    q = unit(encoder.forward(ids, mask)[0] @ encoder.weights["linear.weight"].T)

    ids, mask = padded(encoder, document, metadata.get("doc_maxlen", 220) - 1, tokenizer.pad, False)
    ids = insert_marker(ids, tokenizer.convert(metadata.get("doc_token_id", "[unused1]")))
    d = unit(encoder.forward(ids, insert_marker(mask, 1))[0] @ encoder.weights["linear.weight"].T)
    skipped = {tokenizer.text(sign)[0] for sign in string.punctuation} if metadata.get("mask_punctuation", True) else set()
    d = d[[i not in skipped and i != tokenizer.pad for i in ids[0].tolist()]]
    if metadata.get("similarity") == "l2":
        return -((q[:, None] - d[None]) ** 2).sum(-1).min(1).values.sum()
    return (q @ d.T).max(1).values.sum()


def pylate(encoder, query, document):
    """ColBERT.tokenize and encode, colbert_scores_pairwise."""
    tokenizer, directory = encoder.tokenizer, encoder.directory
    settings = read_json(directory / "config_sentence_transformers.json")
    matrices = [read_safetensors(path / "model.safetensors")["linear.weight"] for path in sorted(directory.glob("*_Dense"))]
    expand = settings.get("do_query_expansion", True)
    attend = settings.get("attend_to_expansion_tokens", False) and expand

    def embed(text, prefix, length, is_query):
        ids, mask = padded(encoder, text, length - 1 if prefix else length, tokenizer.mask, is_query and expand)
        if prefix:
            ids, mask = insert_marker(ids, tokenizer.convert(prefix)), insert_marker(mask, 1)
        if is_query and attend:
            mask.fill_(1)
        x = encoder.forward(ids, mask)[0]
        for matrix in matrices:
            x = x @ matrix.T
        if is_query:
            return unit(x)
        skipped = {tokenizer.convert(word) for word in settings.get("skiplist_words", list(string.punctuation))}
        return unit(x[[i not in skipped for i in ids[0].tolist()]])

    q = embed(query, settings.get("query_prefix", "[Q] "), settings.get("query_length", 32), True)
    length = min(settings.get("document_length", 180), encoder.config["max_position_embeddings"])
    d = embed(document, settings.get("document_prefix", "[D] "), length, False)
    return (q @ d.T).max(1).values.sum()


def plain(encoder, query, document):
    return (unit(encoder.encode(query)) @ unit(encoder.encode(document)).T).max(1).values.sum()


# ---- sentence encoders -----------------------------------------------------------------


def sentence(encoder, text):
    states = encoder.encode(text)
    pooling = read_json(encoder.directory / "1_Pooling" / "config.json")
    pooled = states[0] if pooling["pooling_mode_cls_token"] else states.mean(0)
    return unit(pooled) if (encoder.directory / "modules.json").read_text().count("Normalize") else pooled


# ---- texts -------------------------------------------------------------------------------

LONG = "the doctor and the nurse treat heart disease; a fast car runs over the bread, and trains leave every ten minutes. "
TEXTS = ["how do i reset my password", "The CAPITAL of France is Paris.", "", "...", "a [MASK] text, with [PAD] and [SEP]!",
         "reseting the walked carly", "zzz 7 \\ qqq", LONG * 12]
PAIRS = [("how do i reset my password", "To change your password, login on the account; it is quick."),
         ("what is the capital of france?", "The capital of France is Paris."),
         ("capital", "the weather in the mountains is lovely!"), ("", ""), ("?", "... , !"),
         ("who [MASK] and [PAD] here", "a [MASK] and a [PAD], then [SEP]."), ("7 signs { | } ~", "7 { | } ~ 8"),
         ("do you [Q] bake", "I do [D] bake bread"), (LONG, LONG), ("the doctor treats heart disease " * 5, "nurse"),
         ("unreset the login", "the. the, the")]


def expectations(directory):
    encoder = Encoder(directory)
    settings = read_json(directory / "config_sentence_transformers.json")
    if encoder.config["architectures"][0].endswith("ForMaskedLM"):
        expected = describe(encoder, task="fill-mask")
        expected["sparse_embed"] = [{"text": text, "tokens": sparse(encoder, text)} for text in TEXTS]
        return expected
    if (directory / "1_Pooling").exists():
        normalized = (directory / "2_Normalize").exists() or "2_Normalize" in (directory / "modules.json").read_text()
        expected = describe(encoder, normalized=normalized, dimensions=encoder.config.get("dim", encoder.config.get("hidden_size")))
        expected["embed"] = [
            {"text": text, "prompt": prompt, "embedding": sentence(encoder, settings.get("prompts", {}).get(prompt, prompt or "") + text)}
            for text in TEXTS for prompt in [None, *settings.get("prompts", {})]]
        return expected
    expected = describe(encoder)
    if encoder.config["architectures"][0] == "HF_ColBERT":
        score = colbert
    else:
        score = pylate if (directory / "modules.json").exists() else plain
    expected["late_interaction"] = [
        {"query": query, "document": document, "score": score(encoder, query, document).item()} for query, document in PAIRS]
    return expected


def rounded(value):
    if isinstance(value, torch.Tensor):
        return rounded(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.8g}")
    if isinstance(value, list):
        return [rounded(entry) for entry in value]
    return {key: rounded(entry) for key, entry in value.items()} if isinstance(value, dict) else value


def main():
    root, output = map(pathlib.Path, sys.argv[1:])
    output.mkdir(exist_ok=True)
    for directory in sorted(path for path in root.iterdir() if path.is_dir()):
        text = json.dumps(rounded(expectations(directory)), ensure_ascii=False)
        text = re.sub(r', (?=\{"(text|query)")', ",\n ", text)
        (output / (directory.name + ".json")).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
