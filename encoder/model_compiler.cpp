// compile_model() of model.h: a Hugging Face directory becomes a model file.
//
// Everything that can be checked without reading weights is checked first; the
// weights then pass through once, a piece at a time: read, checked, digested,
// written.
#include <unistd.h>

#include <cmath>
#include <exception>
#include <memory>
#include <vector>

#include "encoder/file_reader.h"
#include "encoder/late_interaction.h"
#include "encoder/model.h"
#include "encoder/model_directory.h"
#include "encoder/model_file.h"
#include "encoder/model_names.h"
#include "encoder/model_tensors.h"
#include "encoder/safetensors.h"
#include "encoder/sha256.h"
#include "encoder/tokenizer_config.h"

namespace pg_semantic::encoder {

namespace {

// A tensor of the file to be and where its values come from.
struct SourcedTensor {
  TensorSpec spec;
  const TensorStore* store = nullptr;  // nullptr: computed (sinusoidal positions)
  std::vector<std::string> names;
};

// What goes into a fingerprint, each part with its length, so that no two
// contents read the same.  The fingerprint identifies a model across versions of
// the file format: a field that a later version adds must not be digested while
// it has the value that models had before.
class Fingerprint {
 public:
  Fingerprint() { text("pg_semantic model"); }

  void number(int64_t value) { digest_.update(std::as_bytes(std::span(&value, 1))); }
  void text(std::string_view value) {
    number(static_cast<int64_t>(value.size()));
    digest_.update(value);
  }
  void values(std::span<const float> numbers) { digest_.update(std::as_bytes(numbers)); }

  void tokenizer(const TokenizerConfig& config) {
    number(static_cast<int64_t>(config.vocabulary.size()));
    for (const std::string& piece : config.vocabulary) text(piece);
    number(static_cast<int64_t>(config.added_tokens.size()));
    for (const AddedToken& token : config.added_tokens) {
      text(token.content);
      number(token.id);
      for (const bool flag : {token.special, token.normalized, token.single_word, token.lstrip, token.rstrip}) {
        number(flag ? 1 : 0);
      }
    }
    for (const std::string* special : {&config.continuing_prefix, &config.unknown_token, &config.cls_token,
                                       &config.sep_token, &config.pad_token, &config.mask_token}) {
      text(*special);
    }
    number(config.max_input_chars_per_word);
    for (const bool flag : {config.clean_text, config.handle_chinese_chars, config.strip_accents, config.lowercase}) {
      number(flag ? 1 : 0);
    }
    for (const auto& [name, flag] : {std::pair("separates_pairs_twice", config.separates_pairs_twice),
                                     std::pair("pairs_are_one_segment", config.pairs_are_one_segment),
                                     std::pair("truncates_left", config.truncates_left)}) {
      if (flag) text(name);
    }
    if (config.pipeline) {
      text(config.pipeline->components);
      number(static_cast<int64_t>(config.pipeline->merges.size()));
      for (const auto& [left, right] : config.pipeline->merges) {
        text(left);
        text(right);
      }
      number(static_cast<int64_t>(config.pipeline->scores.size()));
      digest_.update(std::as_bytes(std::span(config.pipeline->scores)));
    }
  }

  void tensor(const TensorSpec& spec) {
    for (const int64_t value :
         {static_cast<int64_t>(spec.role), static_cast<int64_t>(spec.index), spec.rows, spec.columns}) {
      number(value);
    }
  }

  Sha256Digest finish() { return digest_.finish(); }

 private:
  Sha256 digest_;
};

// LayerNorm's members under TensorFlow's names, as the oldest checkpoints have
// them; the bias over the vocabulary under its own name, which most have.
std::string present_name(const TensorStore& store, const std::string& name) {
  static constexpr std::pair<std::string_view, std::string_view> kOldNames[] = {
      {".weight", ".gamma"}, {".bias", ".beta"}, {".decoder.bias", ".bias"}};
  if (store.contains(name)) return name;
  for (const auto& [member, old] : kOldNames) {
    if (!name.ends_with(member)) continue;
    std::string candidate = name.substr(0, name.size() - member.size()) + std::string(old);
    if (store.contains(candidate)) return candidate;
  }
  return name;
}

class ModelCompiler {
 public:
  ModelCompiler(const CompileOptions& options, ModelDirectory directory)
      : options_(options), directory_(std::move(directory)), config_(directory_.config) {}

  // Reads headers and small files, and checks them against each other.
  Status prepare() {
    config_.model_precision = options_.model_precision;
    PG_SEMANTIC_RETURN_IF_ERROR(load_tokenizer());
    PG_SEMANTIC_RETURN_IF_ERROR(open_weights());
    return Status::ok();
  }

  Status write(const std::string& output_path) {
    ModelFileHeader header;
    ModelFileWriter file;
    PG_SEMANTIC_RETURN_IF_ERROR(file.create(output_path));

    const std::string config_text = to_json(config_).dump();
    fingerprint_.text(config_text);
    fingerprint_.tokenizer(tokenizer_config_);
    PG_SEMANTIC_RETURN_IF_ERROR(
        write_section(std::as_bytes(std::span(config_text.data(), config_text.size())), &file, &header.config));
    PG_SEMANTIC_RETURN_IF_ERROR(write_section(tokenizer_tables_, &file, &header.tokenizer));

    // The table's size is known, and every tensor's place follows from the plan.
    std::vector<TensorEntry> table;
    const uint64_t table_bytes = tensors_.size() * sizeof(TensorEntry);
    PG_SEMANTIC_RETURN_IF_ERROR(file.align());
    uint64_t next = aligned(file.offset() + table_bytes);
    header.data.offset = next;
    for (const SourcedTensor& tensor : tensors_) {
      const TensorSpec& spec = tensor.spec;
      table.push_back({static_cast<uint32_t>(spec.role), spec.index, spec.rows, spec.columns, next});
      header.parameters += spec.rows * spec.columns;
      next = aligned(next + spec.bytes());
    }
    PG_SEMANTIC_RETURN_IF_ERROR(write_section(std::as_bytes(std::span(table)), &file, &header.table));

    for (const SourcedTensor& tensor : tensors_) {
      PG_SEMANTIC_RETURN_IF_ERROR(file.align());
      PG_SEMANTIC_RETURN_IF_ERROR(write_tensor(tensor, &file));
    }
    header.data.bytes = file.offset() - header.data.offset;
    header.fingerprint = fingerprint_.finish();
    return file.finish(header);
  }

 private:
  static uint64_t aligned(uint64_t offset) {
    return (offset + kModelFileAlignment - 1) / kModelFileAlignment * kModelFileAlignment;
  }

  Status load_tokenizer() {
    Result<TokenizerConfig> loaded = load_tokenizer_config(DirectoryReader(directory_.encoder_directory));
    if (!loaded) return loaded.status();
    tokenizer_config_ = std::move(*loaded);
    if (directory_.lower_case) PG_SEMANTIC_RETURN_IF_ERROR(lower_case_texts(&tokenizer_config_));
    PG_SEMANTIC_RETURN_IF_ERROR(Tokenizer::compile(tokenizer_config_, &tokenizer_tables_));
    const Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::open(tokenizer_tables_);
    if (!tokenizer) return tokenizer.status();
    if ((*tokenizer)->single_frame().size() == 0 || (*tokenizer)->pair_frame().size() == 0) {
      return {StatusCode::kUnsupported, "tokenizer without special tokens around texts is not supported",
              "File \"tokenizer.json\" has no post-processor that puts them there."};
    }
    const int64_t size = (*tokenizer)->vocabulary_size();
    if (size <= config_.transformer.vocabulary_size) {
      return LateInteractionTokens::resolve(config_.late_interaction, **tokenizer).status();
    }
    return {StatusCode::kCorrupt, "the vocabulary in \"" + directory_.encoder_directory + "\" is too large",
            "The tokenizer has " + std::to_string(size) + " tokens, but config.json gives a vocab_size of " +
                std::to_string(config_.transformer.vocabulary_size) + "."};
  }

  Status open_weights() {
    Result<std::unique_ptr<TensorStore>> encoder = TensorStore::open(directory_.encoder_directory);
    if (!encoder) return encoder.status();
    encoder_store_ = std::move(*encoder);
    for (const std::string& path : directory_.dense_directories) {
      Result<std::unique_ptr<TensorStore>> dense = TensorStore::open(path);
      if (!dense) return dense.status();
      dense_stores_.push_back(std::move(*dense));
    }
    std::string prefix = published_prefix(config_.transformer.architecture);
    if (!encoder_store_->contains(prefix + "embeddings.word_embeddings.weight")) prefix.clear();
    if (config_.head.outputs > 0 && config_.task == kFillMask) {
      config_.head.tied = !encoder_store_->contains(published_vocabulary_projection(config_.transformer.architecture));
    }
    for (const TensorSpec& spec : tensor_plan(config_)) {
      PG_SEMANTIC_RETURN_IF_ERROR(find_source(spec, prefix));
    }
    return Status::ok();
  }

  Status find_source(const TensorSpec& spec, const std::string& prefix) {
    SourcedTensor tensor{spec, encoder_store_.get(), {}};
    if (spec.role == TensorRole::kDenseWeight || spec.role == TensorRole::kDenseBias) {
      tensor.store = dense_store(spec.index);
    }
    const TensorSource source = published_source(config_, spec, prefix);
    for (const std::string& published : source.names) {
      const std::string name = present_name(*tensor.store, published);
      if (spec.role == TensorRole::kPositionEmbeddings && config_.transformer.sinusoidal_positions &&
          !tensor.store->contains(name)) {
        tensor.store = nullptr;
        break;
      }
      PG_SEMANTIC_RETURN_IF_ERROR(tensor.store->check(name, source.shape));
      tensor.names.push_back(name);
    }
    tensors_.push_back(std::move(tensor));
    return Status::ok();
  }

  // Of the module with this index; dense_stores_ counts dense modules only.
  const TensorStore* dense_store(uint32_t module) const {
    size_t number = 0;
    for (uint32_t i = 0; i < module; ++i) {
      if (dense_module(config_, i).kind == ModuleConfig::Kind::kDense) ++number;
    }
    return dense_stores_[number].get();
  }

  static Status write_section(std::span<const std::byte> bytes, ModelFileWriter* file, FileSection* section) {
    PG_SEMANTIC_RETURN_IF_ERROR(file->align());
    *section = {file->offset(), bytes.size()};
    return file->append(bytes);
  }

  Status write_tensor(const SourcedTensor& tensor, ModelFileWriter* file) {
    fingerprint_.tensor(tensor.spec);
    TensorEncoder encoder(tensor.spec.storage, static_cast<size_t>(tensor.spec.rows),
                          static_cast<size_t>(tensor.spec.columns),
                          [&](std::span<const std::byte> bytes) { return file->append(bytes); });
    const auto sink = [&](std::span<const float> values) {
      if (options_.interrupted && options_.interrupted()) return Status::cancelled();
      fingerprint_.values(values);
      return encoder.append(values);
    };
    if (tensor.store == nullptr) {
      PG_SEMANTIC_RETURN_IF_ERROR(sink(sinusoidal_positions(tensor.spec)));
    }
    for (const std::string& name : tensor.names) {
      PG_SEMANTIC_RETURN_IF_ERROR(tensor.store->read(name, sink));
    }
    return encoder.finish();
  }

  // Vaswani et al., arXiv 1706.03762, section 3.5, sines and cosines interleaved.
  static std::vector<float> sinusoidal_positions(const TensorSpec& spec) {
    std::vector<float> values;
    values.reserve(static_cast<size_t>(spec.rows * spec.columns));
    for (int64_t position = 0; position < spec.rows; ++position) {
      for (int64_t i = 0; i < spec.columns; ++i) {
        const double exponent = static_cast<double>(i - i % 2) / static_cast<double>(spec.columns);
        const double angle = static_cast<double>(position) / std::pow(10000.0, exponent);
        values.push_back(static_cast<float>(i % 2 == 0 ? std::sin(angle) : std::cos(angle)));
      }
    }
    return values;
  }

  const CompileOptions& options_;
  ModelDirectory directory_;
  ModelConfig config_;
  TokenizerConfig tokenizer_config_;
  std::vector<std::byte> tokenizer_tables_;
  std::unique_ptr<TensorStore> encoder_store_;
  std::vector<std::unique_ptr<TensorStore>> dense_stores_;
  std::vector<SourcedTensor> tensors_;
  Fingerprint fingerprint_;
};

Result<ModelInfo> compile(const std::string& directory, const std::string& output_path, const CompileOptions& options) {
  if (!is_model_precision(options.model_precision)) {
    return Status(StatusCode::kInvalidArgument, "model precision \"" + options.model_precision + "\" does not exist",
                  "", "There are \"fp32\", \"fp16\" and \"int8\".");
  }
  Result<ModelDirectory> read = read_model_directory(directory);
  if (!read) return read.status();
  ModelCompiler compiler(options, std::move(*read));
  PG_SEMANTIC_RETURN_IF_ERROR(compiler.prepare());
  PG_SEMANTIC_RETURN_IF_ERROR(compiler.write(output_path));
  const Result<std::unique_ptr<Model>> model = Model::open(output_path);
  if (model) return (*model)->info();
  unlink(output_path.c_str());
  return model.status();
}

}  // namespace

Result<ModelInfo> compile_model(const std::string& directory, const std::string& output_path,
                                const CompileOptions& options) {
  try {
    return compile(directory, output_path, options);
  } catch (const std::bad_alloc&) {
    return Status(StatusCode::kOutOfMemory, "out of memory");
  } catch (const std::exception& e) {
    return Status(StatusCode::kInternal, "could not load the model",
                  "An exception says: " + std::string(e.what()) + ".");
  }
}

}  // namespace pg_semantic::encoder
