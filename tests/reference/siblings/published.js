#!/usr/bin/env node
// Hugging Face's own library behind published.py: a request a line, its answer a line.
//
//   {"tokenizer": NAME of ../tokenizers, "call": …, "arguments": […]}
const path = require('path');
const readline = require('readline');
const {Tokenizer} = require('tokenizers');

// It reads files of its folder.
process.chdir(path.join(__dirname, '../tokenizers'));
const {families} = require('../tokenizers/generate.js');

const opened = new Map();
function open(name) {
  if (!opened.has(name)) opened.set(name, Tokenizer.fromString(JSON.stringify(families[name]())));
  return opened.get(name);
}

const describe = encoding => ({
  ids: encoding.getIds(), types: encoding.getTypeIds(), offsets: encoding.getOffsets(),
  sequences: encoding.getSequenceIds(), words: encoding.getWordIds(), special: encoding.getSpecialTokensMask(),
});

const calls = {
  pieces: tokenizer => Array.from({length: tokenizer.getVocabSize(true)}, (_, id) => tokenizer.idToToken(id)),
  decode: (tokenizer, ids) => ids.length > 0 ? tokenizer.decode(ids, false) : '',
  decode_tokens: (tokenizer, tokens) => tokenizer.getDecoder().decode(tokens),
  // Of one text or two, together of `length` tokens at most.  (What overflows is no use: of a
  // long text, this version makes no more tokens than `length`.)
  async encode(tokenizer, text, pair, length, strategy) {
    if (length === null) tokenizer.disableTruncation();
    else tokenizer.setTruncation(length, {strategy, stride: 0, direction: 'right'});
    return describe(await tokenizer.encode(text, pair));
  },
};

async function main() {
  for await (const line of readline.createInterface({input: process.stdin})) {
    const request = JSON.parse(line);
    const answer = await calls[request.call](open(request.tokenizer), ...request.arguments);
    process.stdout.write(JSON.stringify(answer) + '\n');
  }
}

main();
