"""The tokenizers of ../tokenizers through Hugging Face's own library: npm's
tokenizers behind published.js, which node finds by NODE_PATH."""
import atexit
import json
import os
import subprocess


class Library:
    """The process that has it."""

    def __init__(self):
        self.process = None

    def ask(self, tokenizer, call, *arguments):
        if self.process is None:
            script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "published.js")
            self.process = subprocess.Popen(["node", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            encoding="utf-8")
            atexit.register(self.process.stdin.close)
        request = {"tokenizer": tokenizer, "call": call, "arguments": arguments}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


LIBRARY = Library()


class PublishedTokenizer:
    """What wordpiece.Tokenizer has, for any tokenizer."""
    def __init__(self, name, special_tokens, continuing_prefix):
        self.name = name
        self.model_max_length = None
        self.continuing_prefix = continuing_prefix
        self.pieces = self._ask("pieces")
        ids = {piece: i for i, piece in enumerate(self.pieces)}
        self.mask_token, self.pad_token = special_tokens["mask_token"], special_tokens["pad_token"]
        self.mask, self.unk = ids[self.mask_token], ids[special_tokens["unk_token"]]

    def _ask(self, call, *arguments):
        return LIBRARY.ask(self.name, call, *arguments)

    def _encode(self, text, pair=None, length=None, strategy="LongestFirst"):
        return self._ask("encode", text, pair, length, strategy)

    def single(self, text, length=None):
        encoding = self._encode(text, None, length)
        return encoding["ids"], encoding["types"]

    def pair(self, first, second, length, strategy="LongestFirst"):
        encoding = self._encode(first, second, length, strategy)
        return encoding["ids"], encoding["types"]

    def offsets(self, text, length=None):
        """Of each token; None for the special tokens around the text."""
        encoding = self._encode(text, None, length)
        return [None if special else offsets for offsets, special in zip(encoding["offsets"], encoding["special"])]

    def windows(self, question, context, length, overlap):
        """Those of the question-answering pipeline, cut as Encoding::truncate does it: (ids, types), and of each
        of the context's tokens its place, and where its word begins and ends, as far as the window has it."""
        whole = self._encode(question, context)
        ids, types = whole["ids"], whole["types"]
        places = [i for i, sequence in enumerate(whole["sequences"]) if sequence == 1]
        before, after = places[0], places[-1] + 1
        room = length - before - (len(ids) - after)
        for begin in range(before, after, room - overlap):
            end = min(begin + room, after)
            words = {}
            for i in range(begin, end):
                start, stop = whole["offsets"][i]
                words[whole["words"][i]] = (words.get(whole["words"][i], (start, stop))[0], stop)
            cut = [(values[:before] + values[begin:end] + values[after:]) for values in (ids, types)]
            yield cut, [(before + i - begin, *words[whole["words"][i]]) for i in range(begin, end)]
            if end == after:
                break

    def decode(self, ids):
        return self._ask("decode", ids)

    def decode_tokens(self, tokens):
        return self._ask("decode_tokens", tokens)
