// How fast tokenizers read English text on one core, family by family: texts of 100
// to 500 bytes one by one, and the same as one long text.
//
// Usage: tokenizer_bench TEXT VOCABULARIES REFERENCES
//   TEXT          lines, of which the ASCII ones of 100 to 500 bytes are taken
//   VOCABULARIES  folder with BERT's vocabularies (shared/data/tokenizer)
//   REFERENCES    tests/reference/tokenizers
// No published vocabulary of BPE or unigram models lies beside the repository: those
// of realistic size here are made of BERT's words.  Prints the median of rounds that
// take turns, MB (10^6 bytes) of text a second, and the bytes that a token has.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "encoder/file_reader.h"
#include "encoder/tokenizer.h"
#include "encoder/tokenizer_byte_level.h"
#include "encoder/tokenizer_config.h"
#include "encoder/unicode.h"

namespace {

namespace fs = std::filesystem;
using namespace pg_semantic;
using namespace pg_semantic::encoder;
using nlohmann::json;

constexpr size_t kTextBytes = 2'000'000;
constexpr int kRounds = 9;
constexpr char kMetaspace[] = "\xE2\x96\x81";

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::exit(1);
}

void require(const Status& status) {
  if (!status.is_ok()) fail(status.message() + "\n" + status.detail());
}

// Files that are made here, before those of a directory.
class LayeredReader final : public FileReader {
 public:
  LayeredReader(std::map<std::string, std::string> made, std::string directory)
      : made_(std::move(made)), directory_(std::move(directory)) {}

  Result<std::optional<std::string>> read_small_file(const std::string& name, size_t max_bytes) const override {
    if (const auto found = made_.find(name); found != made_.end()) return std::optional<std::string>(found->second);
    return directory_.read_small_file(name, max_bytes);
  }

 private:
  const std::map<std::string, std::string> made_;
  const DirectoryReader directory_;
};

std::vector<std::string> read_lines(const fs::path& path) {
  std::ifstream file(path);
  if (!file) fail(path.string() + " cannot be read");
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

// ---- vocabularies of realistic size ---------------------------------------------------

constexpr bool is_ascii(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// BERT's vocabulary in SentencePiece's form, "▁play" and "ing"; less likely one by one, as by Zipf's law.
json unigram_model(const json& model, const std::vector<std::string>& words) {
  json changed = model;
  json& vocabulary = changed["vocab"];
  std::unordered_map<std::string, bool> known;
  for (const json& entry : vocabulary) known[entry[0]] = true;
  for (const std::string& word : words) {
    const std::string piece = word.starts_with("##") ? word.substr(2) : kMetaspace + word;
    if (word.starts_with("[") || !is_ascii(word) || known[piece]) continue;
    known[piece] = true;
    vocabulary.push_back({piece, -std::log(static_cast<double>(vocabulary.size())) - 2});
  }
  return changed;
}

// Merges that make BERT's words, each by those that are there already and, for what they leave, new ones.
class MergeMaker {
 public:
  MergeMaker() {
    for (const char* special : {"<s>", "<pad>", "</s>", "<unk>", "<mask>"}) add(special);
    for (int byte = 0; byte < 256; ++byte) add(letter(static_cast<char>(byte)));
  }

  void learn(const std::string& word) {
    std::vector<std::string> symbols;
    for (const char byte : word) symbols.push_back(letter(byte));
    while (symbols.size() > 1) {
      size_t best = 0;
      size_t best_rank = ranks_.size();
      for (size_t i = 0; i + 1 < symbols.size(); ++i) {
        const auto rank = ranks_.find({symbols[i], symbols[i + 1]});
        if (rank != ranks_.end() && rank->second < best_rank) {
          best_rank = rank->second;
          best = i;
        }
      }
      // No merge fits: a new one, at the end, where words are alike least.
      if (best_rank == ranks_.size()) {
        best = symbols.size() - 2;
        ranks_[{symbols[best], symbols[best + 1]}] = best_rank;
        merges_ += symbols[best] + " " + symbols[best + 1] + "\n";
      }
      symbols[best] += symbols[best + 1];
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
      add(symbols[best]);
    }
  }

  [[nodiscard]] std::map<std::string, std::string> files() const {
    return {{"vocab.json", json(vocabulary_).dump()},
            {"merges.txt", merges_},
            {"config.json", R"({"model_type": "roberta"})"}};
  }

 private:
  static std::string letter(char byte) {
    std::string text;
    append_utf8(byte_level_character(byte), &text);
    return text;
  }
  void add(const std::string& token) { vocabulary_.try_emplace(token, vocabulary_.size()); }

  std::map<std::string, size_t> vocabulary_;
  std::map<std::pair<std::string, std::string>, size_t> ranks_;
  std::string merges_ = "#version: 0.2\n";
};

// ---- measuring ---------------------------------------------------------------------------

struct Candidate {
  std::string name;
  std::vector<std::byte> tables;
  std::unique_ptr<Tokenizer> tokenizer;
  size_t tokens = 0;
  std::vector<double> lines_rates;
  std::vector<double> long_rates;
};

Candidate open(const std::string& name, const FileReader& files) {
  Candidate candidate;
  candidate.name = name;
  const Result<TokenizerConfig> config = load_tokenizer_config(files);
  require(config.status());
  require(Tokenizer::compile(*config, &candidate.tables));
  Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::open(candidate.tables);
  require(tokenizer.status());
  candidate.tokenizer = std::move(*tokenizer);
  return candidate;
}

std::vector<Candidate> open_all(const fs::path& vocabularies, const fs::path& references) {
  const std::vector<std::string> cased = read_lines(vocabularies / "bert-base-cased.vocab.txt");
  const std::vector<std::string> uncased = read_lines(vocabularies / "bert-base-uncased.vocab.txt");
  const auto file = [](const fs::path& path) {
    std::string content;
    for (const std::string& line : read_lines(path)) content += line + "\n";
    return content;
  };
  const auto enlarged = [&](const char* name, const std::vector<std::string>& words) {
    json tokenizer = json::parse(file(references / name / "tokenizer.json"));
    tokenizer["model"] = unigram_model(tokenizer["model"], words);
    return LayeredReader({{"tokenizer.json", tokenizer.dump()}}, references / name);
  };
  MergeMaker merges;
  for (const std::string& word : cased) {
    if (!word.starts_with("##") && !word.starts_with("[") && is_ascii(word)) merges.learn(" " + word);
  }
  std::vector<Candidate> candidates;
  candidates.push_back(open("WordPiece, BERT's vocabulary",
                            LayeredReader({{"vocab.txt", file(vocabularies / "bert-base-uncased.vocab.txt")},
                                           {"config.json", R"({"model_type": "bert"})"},
                                           {"tokenizer_config.json", R"({"do_lower_case": true})"}},
                                          "")));
  candidates.push_back(open("byte-level BPE (RoBERTa), BERT's words", LayeredReader(merges.files(), "")));
  candidates.push_back(open("unigram (XLM-RoBERTa), BERT's words", enlarged("xlm-roberta-json-early", cased)));
  candidates.push_back(open("unigram (ALBERT), BERT's words", enlarged("albert-json", uncased)));
  for (const char* name : {"roberta", "bpe-fallback", "xlm-roberta", "xlm-roberta-json-early", "albert-json", "albert",
                           "camembert", "mpnet-json", "wordlevel"}) {
    candidates.push_back(open(std::string(name) + ", tiny", DirectoryReader(references / name)));
  }
  return candidates;
}

// Processor time: it does not count what else runs.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

double megabytes_per_second(size_t bytes, const std::function<void()>& work) {
  const double start = thread_seconds();
  work();
  return static_cast<double>(bytes) / 1e6 / (thread_seconds() - start);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) fail("usage: tokenizer_bench TEXT VOCABULARIES REFERENCES");
  std::vector<std::string> lines;
  std::string long_text;
  for (const std::string& line : read_lines(argv[1])) {
    if (line.size() < 100 || line.size() > 500 || !is_ascii(line)) continue;
    lines.push_back(line);
    long_text += line + "\n";
    if (long_text.size() >= kTextBytes) break;
  }
  const size_t line_bytes = long_text.size() - lines.size();
  if (long_text.size() < kTextBytes / 2) fail("there is too little text");
  std::vector<Candidate> candidates = open_all(argv[2], argv[3]);
  const std::string only = argc > 4 ? argv[4] : "";
  std::erase_if(candidates, [&](const Candidate& c) { return c.name.find(only) == std::string::npos; });

  for (int round = 0; round < kRounds; ++round) {
    for (Candidate& candidate : candidates) {
      candidate.lines_rates.push_back(megabytes_per_second(line_bytes, [&] {
        for (const std::string& line : lines) candidate.tokenizer->tokenize(line);
      }));
      candidate.long_rates.push_back(megabytes_per_second(
          long_text.size(), [&] { candidate.tokens = candidate.tokenizer->tokenize(long_text).size(); }));
    }
  }
  std::printf("%-44s %12s %12s %12s\n", "MB/s, one core", "lines", "one text", "bytes/token");
  for (const Candidate& candidate : candidates) {
    std::printf("%-44s %12.1f %12.1f %12.2f\n", candidate.name.c_str(), median(candidate.lines_rates),
                median(candidate.long_rates),
                static_cast<double>(long_text.size()) / static_cast<double>(candidate.tokens));
  }
  return 0;
}
