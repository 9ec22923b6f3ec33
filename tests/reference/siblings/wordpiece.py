"""BERT's tokenizer for ASCII text: enough for the texts of reference.py, and
nothing of pg_semantic's own."""
import json
import os
import re
import string


class Tokenizer:
    continuing_prefix = "##"

    def __init__(self, directory):
        with open(os.path.join(directory, "vocab.txt"), encoding="utf-8") as file:
            self.pieces = file.read().split("\n")[:-1]
        self.ids = {piece: i for i, piece in enumerate(self.pieces)}
        with open(os.path.join(directory, "tokenizer_config.json"), encoding="utf-8") as file:
            config = json.load(file)
        self.lower = config.get("do_lower_case", True)
        self.model_max_length = config.get("model_max_length")
        named = {key: config.get(key + "_token", "[" + key.upper() + "]") for key in ("cls", "sep", "pad", "unk", "mask")}
        self.special = {piece for piece in named.values() if piece in self.ids}
        self.cls, self.sep, self.unk, self.mask = (self.ids.get(named[key]) for key in ("cls", "sep", "unk", "mask"))
        self.mask_token = named["mask"]
        self.pad_token = named["pad"]
        self._special_pattern = re.compile("|".join(re.escape(piece) for piece in self.special))

    def single(self, text, length=None):
        """Ids and types of at most `length` tokens."""
        ids = [token[0] for token in self.tokenize(text)]
        ids = [self.cls] + (ids if length is None else ids[:length - 2]) + [self.sep]
        return ids, [0] * len(ids)

    def pair(self, first, second, length, _=None):
        first, second = ([token[0] for token in self.tokenize(text)] for text in (first, second))
        ids = [self.cls] + first + [self.sep]
        types = [0] * len(ids) + [1] * (len(second) + 1)
        ids += second + [self.sep]
        if len(ids) > length:
            raise OverflowError("a pair that has to be cut")
        return ids, types

    def offsets(self, text, length=None):
        """Of each token; None for the special tokens around the text."""
        offsets = [[start, end] for _, start, end, _ in self.tokenize(text)]
        return [None] + (offsets if length is None else offsets[:length - 2]) + [None]

    def windows(self, question, context, length, _):
        """The one that a short context has: (ids, types), and of each of the context's tokens its place,
        and where its word begins and ends."""
        sequence = self.pair(question, context, length)
        tokens = self.tokenize(context)
        place = len(sequence[0]) - 1 - len(tokens)
        words = []
        for _, start, end, continues in tokens:
            if continues:
                words[-1][1] = end
                words.append(words[-1])
            else:
                words.append([start, end])
        yield sequence, [(place + i, *word) for i, word in enumerate(words)]

    def tokenize(self, text):
        """[(id, start, end, continues its word)], without the added special tokens."""
        assert text.isascii()
        tokens, place = [], 0
        for found in self._special_pattern.finditer(text):
            tokens += self._words(text, place, found.start())
            tokens.append((self.ids[found.group()], found.start(), found.end(), False))
            place = found.end()
        return tokens + self._words(text, place, len(text))

    def _words(self, text, begin, end):
        tokens = []
        for word in re.finditer("[" + re.escape(string.punctuation) + "]|[^\\s" + re.escape(string.punctuation) + "]+",
                                text[begin:end]):
            tokens += self._pieces(word.group(), begin + word.start())
        return tokens

    def _pieces(self, word, offset):
        if self.lower:
            word = word.lower()
        if len(word) > 100:
            return [(self.unk, offset, offset + len(word), False)]
        tokens, start = [], 0
        while start < len(word):
            for end in range(len(word), start, -1):
                piece = ("##" if start else "") + word[start:end]
                if piece in self.ids:
                    break
            else:
                return [(self.unk, offset, offset + len(word), False)]
            tokens.append((self.ids[piece], offset + start, offset + end, start > 0))
            start = end
        return tokens

    def decode(self, ids):
        return self.decode_tokens([self.pieces[i] for i in ids])

    @staticmethod
    def decode_tokens(tokens):
        """As the WordPiece decoder, which cleans up the space before punctuation token by token."""
        text = ""
        for token in tokens:
            if text and token.startswith("##"):
                text += token[2:]
            elif text and token not in (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"):
                text += " " + token
            else:
                text += token
        return text
