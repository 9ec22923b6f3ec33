#!/usr/bin/env python3
"""Trains the tiny SentencePiece models of this folder, on text of its own.

Needs Debian's python3-sentencepiece.  Their rules of normalisation are a few of
Unicode's, so that the files stay small.
"""
import itertools
import tempfile

import sentencepiece

SUBJECTS = "the cat|a small dog|my sister|the old house|one thousand birds|der Hund|die Straße|le café|el niño|она".split("|")
VERBS = "sees|carries|forgets|is looking for|bought|was painting|schläft|mange|подумала".split("|")
OBJECTS = "the river|10,000 apples|a letter from Tōkyō|its hat|nothing at all|die Tür|un gâteau|東京都|3.14|ничего".split("|")
ENDS = ". ! ? ; ...".split()
RULES = {"ﬁ": "fi", "Ａ": "A", "Ｂ": "B", "１": "1", "é": "é", "①": "1", "\u00a0": " ", "\u3000": " ",
         "\t": " ", "\n": " ", "\r": " ", "\u200b": " ", "\u0007": "", "™": "TM", "ㅏ": "ᅡ", "½": "1/2"}


def rules_file(folder):
    path = folder + "/rules.tsv"
    with open(path, "w", encoding="utf-8") as file:
        for old, new in RULES.items():
            codes = [" ".join(format(ord(c), "X") for c in text) for text in (old, new)]
            file.write("\t".join(codes) + "\n")
    return path


def sentences():
    for number, (subject, verb, thing) in enumerate(itertools.product(SUBJECTS, VERBS, OBJECTS)):
        yield f"{subject} {verb} {thing}{ENDS[number % len(ENDS)]}"


def train(name, **options):
    with tempfile.TemporaryDirectory() as folder:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=sentences(), model_prefix=folder + "/tiny", model_type="unigram", vocab_size=220,
            normalization_rule_tsv=rules_file(folder), hard_vocab_limit=False, num_threads=1, **options)
        with open(folder + "/tiny.model", "rb") as model, open(name, "wb") as copy:
            copy.write(model.read())


train("albert/spiece.model", pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=["[CLS]", "[SEP]", "[MASK]"],
      user_defined_symbols=["(", ")", "€"])
train("xlm-roberta/sentencepiece.bpe.model")
