#!/usr/bin/env node
// Writes tiny tokenizers and what Hugging Face's own library makes of awkward
// texts with them: ids, offsets, token types, words, decoded text.
//
//   npm install tokenizers@0.23.2 && node generate.js
//
// The SentencePiece models come from train.py.
const fs = require('fs');
const {Tokenizer} = require('tokenizers');

// ---- texts ---------------------------------------------------------------------

const texts = [
  '', ' ', '  ', '\n', '\t\t', '\r\n', ' \n \t ', '\u00a0', '\u3000', '\u200b', 'a', ' a', 'a ', '  a  ', 'hello world', 'Hello, World!',
  'hello  world', 'hello   world   ', '   leading', 'trailing   ', 'tab\there', 'line\nbreak', 'two\n\nlines', 'crlf\r\nhere', 'a\u00a0b',
  'nbsp\u00a0\u00a0two', 'thin\u2009space', 'ideographic\u3000space', 'zero\u200bwidth', 'joined\u2060word', 'bom\ufeffinside', '\ufeffbom first',
  "don't", "I'm here, we've been there; they'll see she'd go, it's 'tis 'Twas", "it''s", "``quoted''", "''''", "' '", "can't  won't",
  'The cat sees the river.', 'my sister forgets 10,000 apples!', 'der Hund schläft; die Tür', 'le café, un gâteau', 'ÉCOLE École e\u0301cole',
  'naïve façade coöperate', 'STRASSE straße STRAẞE', 'İstanbul ısı I i', 'Ǆ ǅ ǆ ﬁ ﬂ ﬃ ﬀ', 'ﬁsh\u0301', 'A\u030aΩ Ångström Å', 'ΑΣ ΟΔΟΣ σς', '东京 東京都 です', '東京へ行く。カタカナ ｶﾀｶﾅ',
  'カ\u3099 が か\u3099', '한국어 안녕하세요', '\u1112\u1161\u11ab\u1100\u116e\u11a8', 'ㅎㅏㄴ', 'ภาษาไทยไม่มีเว้นวรรค', 'สวัสดี ครับ', 'مرحبا بالعالم', 'السَّلامُ', '\u0627\u0653', 'שלום עולם', 'שָׁלוֹם',
  'हिन्दी में क्षत्रिय', 'தமிழ்', 'မြန်မာ', '👍', '👍🏽', '👨\u200d👩\u200d👧\u200d👦', '🇩🇪🇫🇷', '❤️ ❤', '😀😁 smile 😀', 'a👍b', '☃ ★ ♥', '𝒜𝓁𝓅𝒽𝒶', '𐍈𐌰', '🏴\u{e0067}\u{e0062}\u{e007f}',
  'e\u0301\u0302\u0327x', 'q\u0307\u0323 q\u0323\u0307', '\u0301start', 'Z\u0351\u036b\u0343algo', '\u0344', '\u1e9b\u0323', 'ﷺ', '½ ⅓ ① ② ⑩ ™ ℃', 'Ａ Ｂ １ ２ ｆｕｌｌ', '1/2 3.14 10,000 1e-5 0x1F', '２０２４年',
  '٣ ४ ๕ Ⅷ ² ₃', 'a1b2c3', 'x²+y²=z²', 'C++ C# .NET', 'snake_case CamelCase kebab-case', 'user@example.org', 'https://example.org/a?b=c&d=e#f', '#hash @at $9.99 50% a&b', '¿Qué? ¡Sí!',
  '«guillemets» „quotes“ “curly” ‘single’', '…—–-‐‑', '(parentheses) [brackets] {braces} <angles>', '!!!???...', '. , ; : ! ?', '\\ / | ~ ^ `', '€ £ ¥ ₿ ¢', '\u0000', 'nul\u0000inside', 'ctrl\u0001\u0002\u001f', 'bell\u0007 del\u007f', 'c1\u0085next\u009f',
  '\u2028\u2029', 'line\u2028sep', 'soft\u00adhyphen', 'rtl\u202eoverride\u202c', 'replacement\ufffd', 'noncharacter\uffff', 'private\ue000use', '\u{10ffff}', 'unassigned\u0378', 'combining\u20dd', 'Ꭰꭰ Ა ა', 'ᾳ ᾼ ῼ', 'ŉ ĳ Ŀ',
  '<s>', '</s>', '<mask>', 'a <mask> b', 'a<mask>b', '  <mask>  ', 'say <mask>.', '<mask><mask>', ' <mask> <mask> ', '<MASK>', '<s> hello </s>', '<pad>', '<unk>', '[MASK]', 'a [MASK] b', '[CLS] a [SEP]', 'x[SEP]y', '[mask]', '< mask >', 'Über alles <mask>\n',
  'special  <mask>\u00a0x', '(inside)', '5 € (five)', '▁', 'a▁b', '▁▁a ▁', 'Ġ', 'aĠb Ġ Ċ', '##x ##', '@@ x@@ y', '<0x41>', 'z'.repeat(130), 'ab'.repeat(90), ' '.repeat(40) + 'x', 'the cat '.repeat(30), '好'.repeat(40), '\u0301'.repeat(20), 'aaaaaaaaaaaaaaaaaaaaaaaa', 'Zürich-Örlikon', "l'été d'aujourd'hui",
  'новый год: она подумала', 'Ёжик Йод', 'Ђ ћ', 'ﾊﾝｶｸ', 'ＡＢＣ　１２３', 'ㄱㄴㄷ', '🧑‍🚀 in space', 'mixed 東京 and café №5', 'end.', 'sentence one. Sentence two? Yes!', 'a\u0300b\u0301c\u0302', 'İ', 'I\u0307', '\u0130\u0130', '\r', 'a\rb', '\u000b\u000c', 'x\u000by', '\u1680ogham', '\u180emongol', '\u2581 \u2581',
];
const pairs = [['the cat', 'sees the river'], ['', 'b'], ['a', ''], ['', ''], ['hello <mask>', ' world'], ['Ünïcode', '東京都 👍'], [' leading', 'trailing ']];

// ---- byte pair encoding --------------------------------------------------------------

const corpus = [];
for (const a of ['the cat', 'a small dog', 'my sister', 'the old house', 'hello world', 'der Hund', 'le café', 'она', "I don't know", "we've", '10,000 apples'])
  for (const b of ['sees', 'carries', 'forgets', 'is looking for', 'hello', 'schläft', 'mange', 'подумала', "it's"])
    for (const c of ['the river', 'its hat', 'nothing at all', 'die Tür', 'un gâteau', '東京都', '3.14'])
      corpus.push(`${a} ${b} ${c}${'.!?;'[corpus.length % 4]}`);

function byteAlphabet() {
  const alphabet = [];
  let next = 0x100;
  for (let byte = 0; byte < 256; ++byte) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    alphabet.push(String.fromCodePoint(printable ? byte : next++));
  }
  return alphabet;
}

// The usual training: the most frequent pair becomes one symbol, again and again.
function trainBpe(words, count, prefix = '') {
  const merges = [];
  for (let round = 0; round < count; ++round) {
    const counts = new Map();
    for (const [symbols, times] of words)
      for (let i = 0; i + 1 < symbols.length; ++i) {
        const key = symbols[i] + ' ' + symbols[i + 1];
        counts.set(key, (counts.get(key) || 0) + times);
      }
    let best = null;
    for (const [key, times] of counts) if (best === null || times > counts.get(best) || (times === counts.get(best) && key < best)) best = key;
    if (best === null) break;
    const [left, right] = best.split(' ');
    merges.push([left, right]);
    for (const [symbols] of words)
      for (let i = 0; i + 1 < symbols.length; ++i)
        if (symbols[i] === left && symbols[i + 1] === right) symbols.splice(i, 2, left + right.slice(prefix.length));
  }
  return merges;
}

function wordCounts(split) {
  const counts = new Map();
  for (const line of corpus) for (const word of split(line)) counts.set(word, (counts.get(word) || 0) + 1);
  return counts;
}

const alphabet = byteAlphabet();
const gpt2 = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
const byteWords = [...wordCounts(line => (' ' + line).match(gpt2))].map(([word, times]) => [[...Buffer.from(word)].map(byte => alphabet[byte]), times]);
const byteMerges = trainBpe(byteWords, 150);
const byteVocabulary = {'<s>': 0, '<pad>': 1, '</s>': 2, '<unk>': 3};
for (const token of [...alphabet].sort().concat(byteMerges.map(merge => merge.join('')))) if (!(token in byteVocabulary)) byteVocabulary[token] = Object.keys(byteVocabulary).length;
byteVocabulary['<mask>'] = Object.keys(byteVocabulary).length;

const added = (id, content, more = {}) => ({id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true, ...more});
const robertaAdded = ['<s>', '<pad>', '</s>', '<unk>'].map(token => added(byteVocabulary[token], token)).concat([added(byteVocabulary['<mask>'], '<mask>', {lstrip: true})]);
const robertaProcessing = prefix => ({type: 'RobertaProcessing', sep: ['</s>', 2], cls: ['<s>', 0], trim_offsets: true, add_prefix_space: prefix});
const byteModel = {type: 'BPE', dropout: null, unk_token: null, continuing_subword_prefix: '', end_of_word_suffix: '', fuse_unk: false, byte_fallback: false, vocab: byteVocabulary, merges: byteMerges.map(merge => merge.join(' '))};
const document = parts => ({version: '1.0', truncation: null, padding: null, added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null, ...parts});
const byteLevel = prefix => ({type: 'ByteLevel', add_prefix_space: prefix, trim_offsets: true, use_regex: true});
const roberta = prefix => document({added_tokens: robertaAdded, pre_tokenizer: byteLevel(prefix), post_processor: robertaProcessing(prefix), decoder: byteLevel(true), model: byteModel});

// ---- SentencePiece ---------------------------------------------------------------------

function fields(bytes) {
  const found = [];
  let at = 0;
  const varint = () => { let value = 0, scale = 1; for (;;) { const byte = bytes[at++]; value += (byte & 127) * scale; if (byte < 128) return value; scale *= 128; } };
  while (at < bytes.length) {
    const key = varint(), number = Math.floor(key / 8), type = key % 8;
    if (type === 0) found.push([number, varint()]);
    else if (type === 2) { const size = varint(); found.push([number, bytes.subarray(at, at + size)]); at += size; }
    else if (type === 5) { found.push([number, bytes.readFloatLE(at)]); at += 4; }
    else { found.push([number, bytes.subarray(at, at + 8)]); at += 8; }
  }
  return found;
}

function readSentencePiece(path) {
  const model = {pieces: [], charsmap: '', unknown: 0};
  for (const [number, value] of fields(fs.readFileSync(path))) {
    if (number === 1) { const piece = Object.fromEntries(fields(value)); model.pieces.push([piece[1].toString('utf8'), piece[2] || 0, piece[3] || 1]); }
    if (number === 2) for (const [key, item] of fields(value)) if (key === 40) model.unknown = item;
    if (number === 3) for (const [key, item] of fields(value)) if (key === 2) model.charsmap = item.toString('base64');
  }
  return model;
}

const metaspace = {type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true};
const replaceSpaces = content => ({type: 'Replace', pattern: {Regex: ' {2,}'}, content});
const template = (single, pair, special) => ({type: 'TemplateProcessing', single: single.map(piece), pair: pair.map(piece), special_tokens: Object.fromEntries(special.map(([name, id]) => [name, {id: name, ids: [id], tokens: [name]}]))});
function piece(text) {
  const [name, type] = text.split(':');
  return name === '$A' || name === '$B' ? {Sequence: {id: name[1], type_id: Number(type)}} : {SpecialToken: {id: name, type_id: Number(type)}};
}

// As transformers' AlbertConverter makes it.
function albert() {
  const model = readSentencePiece('albert/spiece.model');
  const vocab = model.pieces.map(([text, score]) => [text, /\p{Nd},$/u.test(text) ? score - 100 : score]);
  const id = token => vocab.findIndex(([text]) => text === token);
  // The class adds its [MASK], which takes the white space before it, over SentencePiece's.
  const spm = model.pieces.filter(([, , type]) => type === 3 || type === 4).map(([text, , type]) => added(id(text), text, {special: type === 3, lstrip: text === '[MASK]'}));
  return document({
    added_tokens: spm.concat([added(id('<unk>'), '<unk>')]),
    normalizer: {type: 'Sequence', normalizers: [{type: 'Replace', pattern: {String: '``'}, content: '"'}, {type: 'Replace', pattern: {String: "''"}, content: '"'}, {type: 'NFKD'}, {type: 'StripAccents'}, {type: 'Lowercase'}, {type: 'Precompiled', precompiled_charsmap: model.charsmap}, replaceSpaces(' ')]},
    pre_tokenizer: metaspace, decoder: metaspace, model: {type: 'Unigram', unk_id: model.unknown, vocab, byte_fallback: false},
    post_processor: template(['[CLS]:0', '$A:0', '[SEP]:0'], ['[CLS]:0', '$A:0', '[SEP]:0', '$B:1', '[SEP]:1'], [['[CLS]', id('[CLS]')], ['[SEP]', id('[SEP]')]]),
  });
}

// As XLMRobertaConverter makes it.
function xlmRoberta() {
  const model = readSentencePiece('xlm-roberta/sentencepiece.bpe.model');
  const vocab = [['<s>', 0], ['<pad>', 0], ['</s>', 0], ['<unk>', 0], ...model.pieces.slice(3).map(([text, score]) => [text, score]), ['<mask>', 0]];
  return document({
    added_tokens: [added(0, '<s>'), added(1, '<pad>'), added(2, '</s>'), added(3, '<unk>'), added(vocab.length - 1, '<mask>', {lstrip: true})],
    normalizer: {type: 'Sequence', normalizers: [{type: 'Precompiled', precompiled_charsmap: model.charsmap}, {type: 'Strip', strip_left: false, strip_right: true}, replaceSpaces('▁')]},
    pre_tokenizer: metaspace, decoder: metaspace, model: {type: 'Unigram', unk_id: 3, vocab, byte_fallback: false},
    post_processor: template(['<s>:0', '$A:0', '</s>:0'], ['<s>:0', '$A:0', '</s>:0', '</s>:0', '$B:0', '</s>:0'], [['<s>', 0], ['</s>', 2]]),
  });
}

// As CamembertConverter makes it.
function camembert() {
  const model = readSentencePiece('camembert/sentencepiece.bpe.model');
  const vocab = [['<s>NOTUSED', 0], ['<pad>', 0], ['</s>NOTUSED', 0], ['<unk>', 0], ['<unk>NOTUSED', -100], ...model.pieces.slice(1).map(([text, score]) => [text, score]), ['<mask>', 0]];
  const id = token => vocab.findIndex(([text]) => text === token);
  const like = xlmRoberta();
  return {...like, model: {...like.model, vocab},
          added_tokens: ['<s>', '<pad>', '</s>', '<unk>'].map(token => added(id(token), token)).concat([added(id('<mask>'), '<mask>', {lstrip: true})]),
          post_processor: template(['<s>:0', '$A:0', '</s>:0'], ['<s>:0', '$A:0', '</s>:0', '</s>:0', '$B:0', '</s>:0'], [['<s>', id('<s>')], ['</s>', id('</s>')]])};
}

// ---- MPNet -----------------------------------------------------------------------------

const mpnetPieces = [...new Set(['<s>', '<pad>', '</s>', '<unk>', '[UNK]', ...[...'.,?!-\'()"<>/«»¿¡€½', ...'abcdefghijklmnopqrstuvwxyz0123456789ßœµ東京都次γδ'].flatMap(c => [c, '##' + c]),
                     ...'the a of and to in was for his new old city river people music house red dog cat book hello world sister apples ##ing ##ed ##er ##s ##llo strasse cafe'.split(' '), '<mask>'])];

// As MPNetConverter makes it; the files that are published have RobertaProcessing, which does the same to ids.
function mpnet(postProcessor) {
  const vocab = Object.fromEntries(mpnetPieces.map((token, id) => [token, id]));
  return document({
    added_tokens: ['<s>', '<pad>', '</s>', '[UNK]'].map(token => added(vocab[token], token)).concat([added(vocab['<mask>'], '<mask>', {lstrip: true})]),
    normalizer: {type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true}, pre_tokenizer: {type: 'BertPreTokenizer'},
    post_processor: postProcessor, decoder: {type: 'WordPiece', prefix: '##', cleanup: true}, model: {type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab},
  });
}
const mpnetTemplate = template(['<s>:0', '$A:0', '</s>:0'], ['<s>:0', '$A:0', '</s>:0', '</s>:0', '$B:1', '</s>:1'], [['<s>', 0], ['</s>', 2]]);

// ---- pipelines of every part ---------------------------------------------------------------

const words = [...wordCounts(line => line.match(/[\p{L}\p{M}\p{N}_]+|[^\s\p{L}\p{M}\p{N}_]+/gu)).keys()];
const wordLevelVocabulary = Object.fromEntries(['[UNK]', '[CLS]', '[SEP]', ...new Set(words.concat([...'abcdexyz0123456789.,!?()▁-_Ġ'], ['hello', 'world', 'Hello', 'one', 'two']))].map((word, id) => [word, id]));
const wordLevel = {type: 'WordLevel', vocab: wordLevelVocabulary, unk_token: '[UNK]'};
const bertProcessing = {type: 'BertProcessing', sep: ['[SEP]', 2], cls: ['[CLS]', 1]};
const characters = [...new Set(corpus.join('') + "abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789.,!?'()-_ éüñß▁")];
const charBpe = (options, suffix = '', prefix = '') => {
  const vocab = {'<unk>': 0};
  const put = token => { if (!(token in vocab)) vocab[token] = Object.keys(vocab).length; };
  for (const c of characters) for (const token of [c, prefix + c, c + suffix, prefix + c + suffix]) put(token);
  const counted = [...wordCounts(line => line.split(' '))].map(([word, times]) => [[...word].map((c, i, all) => (i > 0 ? prefix : '') + c + (i + 1 === all.length ? suffix : '')), times]);
  const merges = trainBpe(counted, 60, prefix);
  for (const [left, right] of merges) put(left + right.slice(prefix.length));
  for (let byte = 0; options.byte_fallback && byte < 256; ++byte) put(`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  return {type: 'BPE', dropout: null, unk_token: '<unk>', continuing_subword_prefix: prefix || null, end_of_word_suffix: suffix || null, fuse_unk: false, byte_fallback: false, vocab, merges, ...options};
};
const unigram = (extra = [], options = {}) => ({type: 'Unigram', unk_id: 0, vocab: [['<unk>', 0], ['▁', -2], ...characters.filter(c => c !== '▁' && c !== ' ').slice(0, 60).map((c, i) => [c, -4 - i / 100]), ['▁the', -1.5], ['▁hello', -2.5], ['cat', -2], ['er', -2.2], ['ll', -3], ...extra], byte_fallback: false, ...options});
const bytes = Array.from({length: 256}, (_, byte) => [`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, -20]);
const wordPiece = {type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab: Object.fromEntries(['[UNK]', '[CLS]', '[SEP]', ...new Set(characters.flatMap(c => [c, '##' + c])), 'the', 'hel', '##lo', 'cat'].map((token, id) => [token, id]))};
const sequence = (key, ...parts) => ({type: 'Sequence', [key]: parts});
const split = (pattern, behavior, invert = false) => ({type: 'Split', pattern, behavior, invert});
const simple = type => ({type});
const level = parts => document({model: wordLevel, post_processor: bertProcessing, pre_tokenizer: simple('Whitespace'), ...parts});

const pipelines = {
  'wordlevel': level({added_tokens: [added(wordLevelVocabulary.hello, 'hello', {special: false, normalized: true, single_word: true}), added(1, '[CLS]'), added(2, '[SEP]', {rstrip: true})]}),
  'normalizer-nfc': level({normalizer: simple('NFC'), pre_tokenizer: split({Regex: '.'}, 'Isolated')}),
  'normalizer-nfkc': document({model: charBpe({}), normalizer: simple('NFKC'), post_processor: bertProcessing}),
  'normalizer-nfd-strip': document({model: charBpe({fuse_unk: true}), normalizer: sequence('normalizers', {type: 'Strip', strip_left: true, strip_right: true}, simple('NFD'), simple('StripAccents'), simple('Lowercase')), post_processor: bertProcessing}),
  'normalizer-nfkd-lower': document({model: charBpe({}), normalizer: sequence('normalizers', simple('NFKD'), simple('Lowercase'), {type: 'Prepend', prepend: '_-'}), pre_tokenizer: simple('WhitespaceSplit'), post_processor: bertProcessing}),
  'normalizer-nmt-replace': document({model: charBpe({}), normalizer: sequence('normalizers', simple('Nmt'), {type: 'Replace', pattern: {Regex: '\\s+'}, content: '▁'}, {type: 'Replace', pattern: {String: 'l'}, content: 'LL'}, {type: 'Replace', pattern: {Regex: '[0-9]'}, content: ''}), post_processor: bertProcessing}),
  'normalizer-bytelevel': document({model: {...byteModel, ignore_merges: true}, normalizer: sequence('normalizers', simple('NFC'), simple('ByteLevel')), pre_tokenizer: split({Regex: 'Ġ?[^Ġ]+'}, 'Isolated'), post_processor: robertaProcessing(false), decoder: byteLevel(true)}),
  'normalizer-bert': document({model: wordPiece, normalizer: {type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true}, pre_tokenizer: sequence('pretokenizers', simple('BertPreTokenizer'), {type: 'Digits', individual_digits: true}), post_processor: template(['[CLS]:0', '$A:0', '[SEP]:0'], ['[CLS]:0', '$A:0', '[SEP]:0', '[SEP]:0', '$B:1', '[SEP]:1'], [['[CLS]', 1], ['[SEP]', 2]]), decoder: {type: 'WordPiece', prefix: '##', cleanup: true}}),
  'normalizer-bert-roberta': document({model: wordPiece, added_tokens: [added(0, '[UNK]'), added(2, '[SEP]', {lstrip: true})], normalizer: {type: 'BertNormalizer', clean_text: false, handle_chinese_chars: false, strip_accents: false, lowercase: true}, pre_tokenizer: simple('BertPreTokenizer'), post_processor: {type: 'RobertaProcessing', sep: ['[SEP]', 2], cls: ['[CLS]', 1], trim_offsets: true, add_prefix_space: false}, decoder: {type: 'WordPiece', prefix: '##', cleanup: false}}),
  'pre-punctuation': level({pre_tokenizer: sequence('pretokenizers', simple('WhitespaceSplit'), {type: 'Punctuation', behavior: 'MergedWithPrevious'})}),
  'pre-digits': level({pre_tokenizer: sequence('pretokenizers', {type: 'Digits', individual_digits: false}, {type: 'CharDelimiterSplit', delimiter: ' '})}),
  'pre-fixed': level({pre_tokenizer: {type: 'FixedLength', length: 3}}),
  'pre-metaspace-first': document({model: unigram(), added_tokens: [added(3, '<mask>', {normalized: true, special: false})], pre_tokenizer: {type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: true}, post_processor: bertProcessing, decoder: {type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: true}}),
  'pre-metaspace-never': document({model: unigram(bytes, {byte_fallback: true}), pre_tokenizer: {type: 'Metaspace', replacement: '▁', prepend_scheme: 'never', split: false}, post_processor: bertProcessing, decoder: sequence('decoders', simple('ByteFallback'), {type: 'Metaspace', replacement: '▁', prepend_scheme: 'never', split: false}, simple('Fuse'), {type: 'Strip', content: ' ', start: 1, stop: 0})}),
  'pre-bytelevel-sequence': document({model: {...byteModel, merges: byteMerges}, pre_tokenizer: sequence('pretokenizers', split({Regex: "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}, 'Isolated'), {type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false}), post_processor: sequence('processors', {type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true}, template(['<s>:0', '$A:0', '</s>:0'], ['<s>:0', '$A:0', '</s>:0', '$B:1', '</s>:1'], [['<s>', 0], ['</s>', 2]])), decoder: byteLevel(true)}),
  'bpe-suffix': document({model: charBpe({}, '</w>'), normalizer: simple('Lowercase'), pre_tokenizer: simple('BertPreTokenizer'), post_processor: bertProcessing, decoder: {type: 'BPEDecoder', suffix: '</w>'}}),
  'bpe-prefix': document({model: charBpe({fuse_unk: true}, '', '@@'), pre_tokenizer: simple('WhitespaceSplit'), post_processor: bertProcessing, decoder: {type: 'WordPiece', prefix: '@@', cleanup: true}}),
  'bpe-fallback': document({model: charBpe({byte_fallback: true, fuse_unk: true}), normalizer: sequence('normalizers', {type: 'Prepend', prepend: '▁'}, {type: 'Replace', pattern: {String: ' '}, content: '▁'}), post_processor: template(['<unk>:0', '$A:0'], ['<unk>:0', '$A:0', '<unk>:1', '$B:1'], [['<unk>', 0]]), decoder: sequence('decoders', {type: 'Replace', pattern: {String: '▁'}, content: ' '}, simple('ByteFallback'), simple('Fuse'), {type: 'Strip', content: ' ', start: 1, stop: 0})}),
};
// Files that were published with the first models: as earlier versions of the converters made them.
const earlyMetaspace = {type: 'Metaspace', replacement: '▁', add_prefix_space: true, str_rep: '▁'};
const earlyParts = {pre_tokenizer: sequence('pretokenizers', simple('WhitespaceSplit'), earlyMetaspace), decoder: earlyMetaspace};
const firstOf = (description, count) => ({...description, ...earlyParts, normalizer: sequence('normalizers', ...description.normalizer.normalizers.slice(0, count))});
pipelines['albert-json-early'] = firstOf(albert(), 6);
pipelines['xlm-roberta-json-early'] = {...firstOf(xlmRoberta(), 1), normalizer: xlmRoberta().normalizer.normalizers[0]};
for (const [behavior, invert] of [['Removed', false], ['Isolated', true], ['MergedWithPrevious', false], ['MergedWithNext', false], ['Contiguous', false]])
  pipelines[`split-${behavior.toLowerCase()}`] = level({pre_tokenizer: split(invert ? {Regex: '\\w+'} : {String: ' '}, behavior, invert)});

// ---- writing --------------------------------------------------------------------------------

const write = (path, value) => { fs.mkdirSync(path.replace(/\/[^/]*$/, ''), {recursive: true}); fs.writeFileSync(path, typeof value === 'string' ? value : JSON.stringify(value) + '\n'); };

async function expectations(description, chosen) {
  const tokenizer = Tokenizer.fromString(JSON.stringify(description));
  const encode = async (text, pair) => {
    const encoding = await tokenizer.encode(text, pair);
    const plain = await tokenizer.encode(text, null, {addSpecialTokens: false});
    return {text, ...(pair === null ? {} : {pair}), ids: encoding.getIds(), types: encoding.getTypeIds(), offsets: encoding.getOffsets(), special: encoding.getSpecialTokensMask(), words: plain.getWordIds(),
            ...(pair === null ? {decoded: plain.getIds().length > 0 ? await tokenizer.decode(plain.getIds(), false) : ''} : {})};
  };
  const lines = [];
  for (const text of chosen) lines.push(JSON.stringify(await encode(text, null)));
  for (const [first, second] of pairs) lines.push(JSON.stringify(await encode(first, second)));
  return lines.join('\n') + '\n';
}

async function main() {
  write('roberta/vocab.json', byteVocabulary);
  write('roberta/merges.txt', '#version: 0.2\n' + byteMerges.map(merge => merge.join(' ')).join('\n') + '\n');
  write('roberta/config.json', {model_type: 'roberta'});
  write('roberta/expected.jsonl', await expectations(roberta(false), texts));
  write('roberta-prefix/tokenizer.json', {...roberta(true), model: {...byteModel, merges: byteMerges}});
  write('roberta-prefix/tokenizer_config.json', {tokenizer_class: 'RobertaTokenizer', add_prefix_space: true});
  write('roberta-prefix/expected.jsonl', await expectations(roberta(true), texts));
  write('albert/config.json', {model_type: 'albert'});
  write('albert/expected.jsonl', await expectations(albert(), texts));
  write('albert-json/tokenizer.json', albert());
  write('albert-json/tokenizer_config.json', {tokenizer_class: 'PreTrainedTokenizerFast'});
  write('albert-json/expected.jsonl', await expectations(albert(), texts));
  write('xlm-roberta/tokenizer_config.json', {tokenizer_class: 'XLMRobertaTokenizer'});
  write('xlm-roberta/expected.jsonl', await expectations(xlmRoberta(), texts));
  fs.mkdirSync('camembert', {recursive: true});
  fs.copyFileSync('xlm-roberta/sentencepiece.bpe.model', 'camembert/sentencepiece.bpe.model');
  write('camembert/config.json', {model_type: 'camembert'});
  write('camembert/expected.jsonl', await expectations(camembert(), texts));
  write('mpnet/vocab.txt', mpnetPieces.join('\n') + '\n');
  write('mpnet/tokenizer_config.json', {tokenizer_class: 'MPNetTokenizer', do_lower_case: true});
  write('mpnet/expected.jsonl', await expectations(mpnet(mpnetTemplate), texts));
  write('mpnet-json/tokenizer.json', mpnet(robertaProcessing(false)));
  write('mpnet-json/tokenizer_config.json', {tokenizer_class: 'MPNetTokenizer', do_lower_case: true, strip_accents: null, tokenize_chinese_chars: true});
  write('mpnet-json/expected.jsonl', await expectations(mpnet(robertaProcessing(false)), texts));
  const some = texts.filter((text, i) => i % 2 === 0 || /[<[]/.test(text));
  for (const [name, description] of Object.entries(pipelines)) {
    write(`${name}/tokenizer.json`, description);
    // The class leaves a top-level ByteLevel's add_prefix_space alone only where it is told the same.
    write(`${name}/tokenizer_config.json`, {tokenizer_class: 'PreTrainedTokenizerFast'});
    try {
      write(`${name}/expected.jsonl`, await expectations(description, some));
    } catch (error) {
      throw new Error(`${name}: ${error.message}`);
    }
  }
}

// What transformers makes of each folder's files, for tests of whole checkpoints.
const families = {
  'roberta': () => roberta(false), 'roberta-prefix': () => roberta(true), 'xlm-roberta': xlmRoberta, camembert, albert,
  'xlm-roberta-json-early': () => pipelines['xlm-roberta-json-early'], 'albert-json': albert, 'mpnet': () => mpnet(mpnetTemplate), 'mpnet-json': () => mpnet(robertaProcessing(false)),
};
module.exports = {families};

if (require.main === module) main();
