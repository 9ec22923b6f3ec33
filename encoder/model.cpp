// Model of model.h: a mapped model file and the work of turning texts into
// embeddings, spread over threads.
#include "encoder/model.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "encoder/head.h"
#include "encoder/job_runner.h"
#include "encoder/model_file.h"
#include "encoder/model_tensors.h"
#include "encoder/pooling.h"
#include "encoder/sparse_pooling.h"
#include "encoder/thread_pool.h"
#include "encoder/transformer.h"

namespace pg_semantic::encoder {

namespace {

// Tokens of a batch of short texts: enough for the products to run at full
// speed, few enough for the activations to stay near the cache.
constexpr size_t kBatchTokens = 512;
// Texts whose tokens are held at a time.
constexpr size_t kWaveTexts = 2048;

// A read-only, shared mapping of a whole file.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  MappedFile& operator=(MappedFile&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() {
    if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }

  static Result<MappedFile> map(const std::string& path) {
    const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0) return error("open", path, errno);
    struct stat found {};
    const int stat_error = fstat(descriptor, &found) != 0 ? errno : 0;
    if (stat_error != 0 || !S_ISREG(found.st_mode) || found.st_size == 0) {
      close(descriptor);
      if (stat_error != 0) return error("examine", path, stat_error);
      return Status(StatusCode::kCorrupt, "\"" + path + "\" is not a model file");
    }
    const auto size = static_cast<size_t>(found.st_size);
    void* memory = mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
    const int map_error = memory == MAP_FAILED ? errno : 0;
    close(descriptor);
    if (map_error != 0) return error("map", path, map_error);
    // Where the kernel keeps files in huge pages: 1 to 5 % for short texts (tests/bench/RESULTS.md).
    madvise(memory, size, MADV_HUGEPAGE);
    MappedFile file;
    file.bytes_ = {static_cast<const std::byte*>(memory), size};
    return file;
  }

  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  static Status error(const char* action, const std::string& path, int number) {
    const StatusCode code = number == ENOENT   ? StatusCode::kNotFound
                            : number == ENOMEM ? StatusCode::kOutOfMemory
                                               : StatusCode::kIoError;
    return {code, std::string("could not ") + action + " file \"" + path + "\": " + std::strerror(number)};
  }

  std::span<const std::byte> bytes_;
};

// The working memory of one thread; kept from call to call.
struct Scratch {
  TransformerState state;
  TokenBatch batch;
  std::vector<float> pooling;
  HeadState head;
};

// Of the process: thread i of a call uses the i-th.  Never freed, as the pool's
// threads may still be there when the process exits.
Scratch& scratch_of(size_t worker) {
  static auto* const all = new std::vector<Scratch>(kMaxThreads);
  return (*all)[worker];
}

ModelInfo describe(const ModelFileView& view, size_t bytes) {
  const ModelConfig& config = view.config;
  ModelInfo info;
  info.architecture = config.architecture_name;
  info.task = config.task;
  info.dimensions = static_cast<int32_t>(embedding_dimensions(config));
  info.max_tokens = static_cast<int32_t>(config.max_tokens);
  info.vocabulary_size = static_cast<int32_t>(config.transformer.vocabulary_size);
  info.layers = static_cast<int32_t>(config.transformer.layers);
  info.parameters = view.parameters;
  info.pooling = pooling_name(config.pooling);
  info.normalized = ends_normalized(config);
  info.model_precision = config.model_precision;
  info.bytes = static_cast<int64_t>(bytes);
  info.labels = config.labels;
  info.fingerprint = to_hex(view.fingerprint);
  return info;
}

class MappedModel final : public Model {
 public:
  static Result<std::unique_ptr<Model>> create(MappedFile file, std::span<const std::byte> bytes,
                                               const std::string& name) {
    try {
      Result<ModelFileView> view = view_model_file(bytes, name);
      if (!view) return view.status();
      Result<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::open(view->tokenizer);
      if (!tokenizer) return tokenizer.status();
      if ((*tokenizer)->vocabulary_size() > view->config.transformer.vocabulary_size) {
        return Status(StatusCode::kCorrupt, "model file \"" + name + "\" is damaged",
                      "Its tokenizer has more tokens than its embedding has rows.");
      }
      // What reads a sequence relies on there being a token in it, whatever the text; compile_model() refuses others.
      if ((*tokenizer)->single_frame().size() == 0 || (*tokenizer)->pair_frame().size() == 0) {
        return Status(StatusCode::kCorrupt, "model file \"" + name + "\" is damaged",
                      "Its tokenizer puts no special tokens around texts.");
      }
      std::unique_ptr<MappedModel> model(new MappedModel());
      model->file_ = std::move(file);
      model->config_ = view->config;
      model->weights_ = weights_of(view->config, view->tensors);
      model->tokenizer_ = std::move(*tokenizer);
      model->info_ = describe(*view, bytes.size());
      return std::unique_ptr<Model>(std::move(model));
    } catch (const std::bad_alloc&) {
      return Status(StatusCode::kOutOfMemory, "out of memory");
    }
  }

  const ModelInfo& info() const override { return info_; }
  const Tokenizer& tokenizer() const override { return *tokenizer_; }

  std::string prompt_prefix(const std::string* prompt) const override {
    const std::string* name = prompt;
    if (name == nullptr && config_.default_prompt_name) name = &*config_.default_prompt_name;
    if (name == nullptr) return "";
    const auto found = config_.prompts.find(*name);
    return found != config_.prompts.end() ? found->second : *name;
  }

  Status embed(std::span<const std::string_view> contents, std::string_view prefix, const EmbedOptions& options,
               std::span<float> out) const override {
    const auto dimensions = static_cast<size_t>(info_.dimensions);
    if (out.size() / dimensions != contents.size() || out.size() % dimensions != 0) {
      return {StatusCode::kInvalidArgument, "the space for the embeddings has a wrong size"};
    }
    try {
      const size_t skipped = skipped_tokens(prefix);
      for (size_t first = 0; first < contents.size(); first += kWaveTexts) {
        const size_t count = std::min(kWaveTexts, contents.size() - first);
        PG_SEMANTIC_RETURN_IF_ERROR(embed_wave(contents.subspan(first, count), prefix, skipped, options,
                                               out.subspan(first * dimensions, count * dimensions)));
      }
      return Status::ok();
    } catch (const std::bad_alloc&) {
      return {StatusCode::kOutOfMemory, "out of memory"};
    }
  }

  Result<TokenEmbeddings> token_embeddings(std::string_view content, const EmbedOptions& options) const override {
    try {
      TokenEmbeddings result;
      result.tokens = tokenizer_->add_special_tokens(leading_tokens(*tokenizer_, content, token_limit()));
      result.width = static_cast<int32_t>(config_.transformer.width);
      Scratch& scratch = scratch_of(0);
      PG_SEMANTIC_RETURN_IF_ERROR(forward_text(result.tokens, options, &scratch));
      const float* hidden = scratch.state.hidden();
      result.states.assign(hidden, hidden + result.tokens.size() * static_cast<size_t>(result.width));
      return result;
    } catch (const std::bad_alloc&) {
      return Status(StatusCode::kOutOfMemory, "out of memory");
    }
  }

  const HeadConfig& head() const override { return config_.head; }

  Status head_logits(std::span<const TokenSequence> sequences, const EmbedOptions& options,
                     std::vector<std::vector<float>>* logits) const override {
    if (config_.head.outputs == 0) {
      return {StatusCode::kUnsupported, "the model has no head", "Its task is " + config_.task + "."};
    }
    return run_sequences(sequences, static_cast<size_t>(config_.head.outputs), options, logits,
                         [&](size_t tokens, Scratch* scratch) {
                           compute_logits(config_.head, weights_.head, tokens, &scratch->head);
                           return static_cast<const float*>(scratch->head.logits.data());
                         });
  }

  Status vocabulary_weights(std::string_view content, const EmbedOptions& options,
                            std::vector<float>* weights) const override {
    if (config_.head.outputs != config_.transformer.vocabulary_size || config_.task != kFillMask) {
      return {StatusCode::kUnsupported, "the model has no masked-LM head", "Its task is " + config_.task + "."};
    }
    try {
      const std::vector<Token> tokens =
          tokenizer_->add_special_tokens(leading_tokens(*tokenizer_, content, token_limit()));
      Scratch& scratch = scratch_of(0);
      PG_SEMANTIC_RETURN_IF_ERROR(forward_text(tokens, options, &scratch));
      const float* hidden = scratch.state.hidden();
      scratch.head.hidden.assign(hidden, hidden + tokens.size() * static_cast<size_t>(config_.transformer.width));
      hidden = transform_hidden(config_.head, weights_.head, tokens.size(), &scratch.head);
      return pool_logits(config_.sparse_pooling, weights_.head, tokens.size(), hidden, options, weights);
    } catch (const std::bad_alloc&) {
      return {StatusCode::kOutOfMemory, "out of memory"};
    }
  }

  const LateInteractionConfig& late_interaction() const override { return config_.late_interaction; }

  Status token_vectors(std::span<const TokenSequence> sequences, const EmbedOptions& options,
                       std::vector<std::vector<float>>* vectors) const override {
    const std::vector<ModuleConfig>& projections = config_.late_interaction.projections;
    const size_t dimensions = projections.empty() ? width() : static_cast<size_t>(projections.back().outputs);
    return run_sequences(sequences, dimensions, options, vectors, [&](size_t tokens, Scratch* scratch) {
      project_tokens(config_, weights_, tokens, &scratch->head.hidden, &scratch->pooling);
      return static_cast<const float*>(scratch->head.hidden.data());
    });
  }

 private:
  MappedModel() = default;

  // Tokens of a text without special ones around it.
  [[nodiscard]] size_t token_limit() const { return single_room(*tokenizer_, static_cast<size_t>(config_.max_tokens)); }

  // [CLS] and the prompt's tokens, as the prompt alone is tokenized and cut.
  [[nodiscard]] size_t skipped_tokens(std::string_view prefix) const {
    if (config_.pooling.include_prompt || prefix.empty()) return 0;
    return tokenizer_->single_frame().before.size() + leading_tokens(*tokenizer_, prefix, token_limit()).size();
  }

  [[nodiscard]] std::vector<int32_t> token_ids(std::string_view content, std::string_view prefix) const {
    std::string joined;
    if (!prefix.empty()) content = joined.append(prefix).append(content);
    return single_sequence(*tokenizer_, leading_tokens(*tokenizer_, content, token_limit())).ids;
  }

  // Texts small enough in number for their tokens to be held.
  Status embed_wave(std::span<const std::string_view> contents, std::string_view prefix, size_t skipped,
                    const EmbedOptions& options, std::span<float> out) const {
    std::vector<std::vector<int32_t>> ids(contents.size());
    JobRunner tokenizing(options, contents.size());
    PG_SEMANTIC_RETURN_IF_ERROR(tokenizing.run([&](size_t i, size_t, const Interrupted&) {
      ids[i] = token_ids(contents[i], prefix);
      return Status::ok();
    }));

    const auto length = [&](size_t i) { return ids[i].size(); };
    return run_batches(ids.size(), length, options,
                       [&](size_t begin, size_t end, Scratch* scratch, const ForwardOptions& forward_options) {
                         return embed_batch(std::span(ids).subspan(begin, end - begin), skipped, forward_options,
                                            scratch, out.data() + begin * static_cast<size_t>(info_.dimensions));
                       });
  }

  // Cuts texts 0 … count - 1 of length(i) tokens into batches and runs
  // job(begin, end, scratch, forward_options) for each: on a thread of its own where
  // that keeps all threads busy, else one after the other with all threads together.
  template <typename Length, typename Job>
  static Status run_batches(size_t count, const Length& length, const EmbedOptions& options, const Job& job) {
    const auto threads = static_cast<size_t>(std::clamp(options.threads, 1, kMaxThreads));
    Batches batches = cut_batches(count, length, threads);
    const bool together = threads > 1 && !keeps_busy(batches, threads);
    if (together) batches = cut_batches(count, length, 1);
    const auto run = [&](size_t batch, Scratch* scratch, const ForwardOptions& forward_options) {
      return job(batch == 0 ? 0 : batches.ends[batch - 1], batches.ends[batch], scratch, forward_options);
    };
    for (size_t batch = 0; together && batch < batches.ends.size(); ++batch) {
      PG_SEMANTIC_RETURN_IF_ERROR(run(batch, &scratch_of(0), {options.threads, options.interrupted}));
    }
    if (together) return Status::ok();
    JobRunner runner(options, batches.ends.size());
    return runner.run([&](size_t batch, size_t worker, const Interrupted& interrupted) {
      return run(batch, &scratch_of(worker), {1, interrupted});
    });
  }

  struct Batches {
    std::vector<size_t> ends;    // where each ends among the texts
    std::vector<size_t> tokens;  // of each
  };

  // Consecutive texts of kBatchTokens tokens at most (or one longer text), and no
  // more than each thread's share.
  template <typename Length>
  static Batches cut_batches(size_t count, const Length& length, size_t threads) {
    size_t total = 0;
    for (size_t i = 0; i < count; ++i) total += length(i);
    const size_t limit = std::min(kBatchTokens, total / threads + 1);
    Batches batches;
    size_t tokens = 0;
    for (size_t i = 0; i < count; ++i) {
      if (tokens > 0 && tokens + length(i) > limit) {
        batches.ends.push_back(i);
        batches.tokens.push_back(std::exchange(tokens, 0));
      }
      tokens += length(i);
    }
    if (count == 0) return batches;
    batches.ends.push_back(count);
    batches.tokens.push_back(tokens);
    return batches;
  }

  // Whether threads that each take the next of the batches have nearly nothing
  // to wait for in the end.
  static bool keeps_busy(const Batches& batches, size_t threads) {
    std::vector<size_t> loads(threads);
    size_t total = 0;
    for (const size_t tokens : batches.tokens) {
      *std::min_element(loads.begin(), loads.end()) += tokens;
      total += tokens;
    }
    return *std::max_element(loads.begin(), loads.end()) * threads <= total + total / 8;
  }

  Status embed_batch(std::span<const std::vector<int32_t>> texts, size_t skipped, const ForwardOptions& options,
                     Scratch* scratch, float* out) const {
    TokenBatch& batch = scratch->batch;
    batch.clear();
    for (const std::vector<int32_t>& ids : texts) {
      batch.ids.insert(batch.ids.end(), ids.begin(), ids.end());
      batch.begins.push_back(batch.ids.size());
    }
    PG_SEMANTIC_RETURN_IF_ERROR(forward(config_.transformer, weights_, batch, options, &scratch->state));
    const auto width = static_cast<size_t>(config_.transformer.width);
    for (size_t i = 0; i < texts.size(); ++i) {
      const TextStates text{scratch->state.hidden() + batch.begins[i] * width, batch.length(i), width, skipped};
      sentence_embedding(config_, weights_, text, &scratch->pooling, out + i * static_cast<size_t>(info_.dimensions));
    }
    return Status::ok();
  }

  // The hidden states of one text.
  Status forward_text(const std::vector<Token>& tokens, const EmbedOptions& options, Scratch* scratch) const {
    TokenBatch& batch = scratch->batch;
    batch.clear();
    for (const Token& token : tokens) batch.ids.push_back(token.id);
    batch.begins.push_back(batch.ids.size());
    return forward(config_.transformer, weights_, batch, {options.threads, options.interrupted}, &scratch->state);
  }

  // Batches sequences.  (*results)[i] are the rows, of `columns` numbers, of what
  // compute(tokens, scratch) makes of the wanted tokens' states in scratch->head.hidden.
  template <typename Compute>
  Status run_sequences(std::span<const TokenSequence> sequences, size_t columns, const EmbedOptions& options,
                       std::vector<std::vector<float>>* results, const Compute& compute) const {
    try {
      results->assign(sequences.size(), {});
      const auto length = [&](size_t i) { return sequences[i].ids.size(); };
      return run_batches(sequences.size(), length, options,
                         [&](size_t begin, size_t end, Scratch* scratch, const ForwardOptions& forward_options) {
                           PG_SEMANTIC_RETURN_IF_ERROR(
                               forward_sequences(sequences.subspan(begin, end - begin), forward_options, scratch));
                           const float* next = compute(scratch->head.hidden.size() / width(), scratch);
                           for (size_t i = begin; i < end; ++i) {
                             const size_t count = sequences[i].wanted.size() * columns;
                             (*results)[i].assign(next, next + count);
                             next += count;
                           }
                           return Status::ok();
                         });
    } catch (const std::bad_alloc&) {
      return {StatusCode::kOutOfMemory, "out of memory"};
    }
  }

  // The states of the wanted tokens of one batch, into scratch->head.hidden.
  Status forward_sequences(std::span<const TokenSequence> sequences, const ForwardOptions& options,
                           Scratch* scratch) const {
    TokenBatch& batch = scratch->batch;
    batch.clear();
    for (const TokenSequence& sequence : sequences) {
      batch.ids.insert(batch.ids.end(), sequence.ids.begin(), sequence.ids.end());
      batch.begins.push_back(batch.ids.size());
      batch.first_segments.push_back(sequence.first_segment);
      batch.attended.push_back(sequence.attended == 0 ? sequence.ids.size() : sequence.attended);
    }
    PG_SEMANTIC_RETURN_IF_ERROR(forward(config_.transformer, weights_, batch, options, &scratch->state));

    std::vector<float>& states = scratch->head.hidden;
    states.clear();
    for (size_t i = 0; i < sequences.size(); ++i) {
      for (const size_t token : sequences[i].wanted) {
        const float* hidden = scratch->state.hidden() + (batch.begins[i] + token) * width();
        states.insert(states.end(), hidden, hidden + width());
      }
    }
    return Status::ok();
  }

  [[nodiscard]] size_t width() const { return static_cast<size_t>(config_.transformer.width); }

  MappedFile file_;
  ModelConfig config_;
  ModelWeights weights_;
  std::unique_ptr<Tokenizer> tokenizer_;
  ModelInfo info_;
};

}  // namespace

Result<std::unique_ptr<Model>> Model::open(const std::string& path) {
  Result<MappedFile> file = MappedFile::map(path);
  if (!file) return file.status();
  const std::span<const std::byte> bytes = file->bytes();
  return MappedModel::create(std::move(*file), bytes, path);
}

Result<std::unique_ptr<Model>> Model::open_bytes(std::span<const std::byte> bytes) {
  return MappedModel::create({}, bytes, "in memory");
}

}  // namespace pg_semantic::encoder
