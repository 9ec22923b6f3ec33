#!/usr/bin/env python3
"""Makes the shipped model from a Hugging Face directory.

usage: compact_model.py SOURCE DESTINATION

Copies the configuration and vocabulary and writes the weights in the compact
form that encoder/safetensors.h reads: a matrix as I8 with an F16 scale for each
group of columns of a row (tensor NAME and NAME.group_scales), everything else as
F16.  Standard library only.
"""

import json
import pathlib
import shutil
import struct
import sys

GROUP = 32  # columns
# The starter's word vectors have eight large "ballast" dimensions at their end,
# which would spoil the scale of every dimension in their group.
WORD_GROUP = 8
FORMATS = {"F32": "f", "F16": "e"}
COPIED = ["config.json", "vocab.txt", "tokenizer_config.json", "modules.json", "sentence_bert_config.json",
          "1_Pooling/config.json"]


def read_tensors(path):
    """Yields (name, shape, values) of a safetensors file."""
    data = path.read_bytes()
    (header_size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + header_size])
    for name, info in sorted(header.items()):
        if name == "__metadata__":
            continue
        letter = FORMATS[info["dtype"]]
        begin, end = (8 + header_size + offset for offset in info["data_offsets"])
        values = struct.unpack(f"<{(end - begin) // struct.calcsize(letter)}{letter}", data[begin:end])
        yield name, info["shape"], values


def half(value):
    """The value as F16 rounds it."""
    return struct.unpack("<e", struct.pack("<e", value))[0]


def compact(shape, values, width):
    """Returns the int8 bytes and the F16 scales of a matrix."""
    rows, columns = shape
    numbers, scales = bytearray(), bytearray()
    for row in range(rows):
        for begin in range(row * columns, (row + 1) * columns, width):
            group = values[begin:min(begin + width, (row + 1) * columns)]
            scale = half(max(map(abs, group)) / 127)
            scales += struct.pack("<e", scale)
            if scale == 0:
                numbers += bytes(len(group))
            else:
                numbers += struct.pack(f"{len(group)}b", *(max(-127, min(127, round(v / scale))) for v in group))
    return bytes(numbers), bytes(scales)


def main():
    source, destination = map(pathlib.Path, sys.argv[1:])
    for name in COPIED:
        (destination / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, destination / name)

    header, parts, offset = {"__metadata__": {"format": "pt"}}, [], 0

    def add(name, dtype, shape, data):
        nonlocal offset
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        parts.append(data)
        offset += len(data)

    for name, shape, values in read_tensors(source / "model.safetensors"):
        if len(shape) == 2:
            width = WORD_GROUP if name.endswith("word_embeddings.weight") else GROUP
            numbers, scales = compact(shape, values, width)
            add(name, "I8", shape, numbers)
            add(name + ".group_scales", "F16", [shape[0], -(-shape[1] // width)], scales)
        else:
            add(name, "F16", shape, struct.pack(f"<{len(values)}e", *values))

    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(destination / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for part in parts:
            out.write(part)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main()
