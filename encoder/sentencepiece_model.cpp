// See sentencepiece_model.h.  The wire format is that of
// https://protobuf.dev/programming-guides/encoding/.
#include "encoder/sentencepiece_model.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "encoder/tokenizer_tables.h"
#include "encoder/unicode.h"

namespace pg_semantic::encoder {

namespace {

enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

// One field of a message: a number, or bytes.
struct Field {
  uint32_t number = 0;
  WireType type = kVarint;
  uint64_t value = 0;
  std::string_view bytes;
};

class MessageReader {
 public:
  explicit MessageReader(std::string_view bytes) : rest_(bytes) {}

  [[nodiscard]] bool at_end() const { return rest_.empty(); }

  // The next field; false when the bytes are not a message.
  bool read(Field* field) {
    uint64_t key = 0;
    if (!read_varint(&key) || key >> 3 == 0 || key >> 3 > UINT32_MAX) return false;
    field->number = static_cast<uint32_t>(key >> 3);
    field->type = static_cast<WireType>(key & 7);
    switch (field->type) {
      case kVarint:
        return read_varint(&field->value);
      case kFixed64:
        return read_fixed(8, field);
      case kFixed32:
        return read_fixed(4, field);
      case kLengthDelimited: {
        uint64_t length = 0;
        if (!read_varint(&length) || length > rest_.size()) return false;
        field->bytes = take(length);
        return true;
      }
    }
    return false;
  }

 private:
  bool read_varint(uint64_t* value) {
    *value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return false;
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      *value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }

  bool read_fixed(size_t size, Field* field) {
    if (rest_.size() < size) return false;
    field->value = 0;
    memcpy(&field->value, take(size).data(), size);
    return true;
  }

  std::string_view take(size_t count) {
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }

  std::string_view rest_;
};

// Calls handle(field) for each field; false when the bytes are not a message.
template <typename Handle>
bool for_each_field(std::string_view bytes, const Handle& handle) {
  MessageReader reader(bytes);
  while (!reader.at_end()) {
    Field field;
    if (!reader.read(&field)) return false;
    handle(field);
  }
  return true;
}

bool is(const Field& field, uint32_t number, WireType type) { return field.number == number && field.type == type; }

// ModelProto.SentencePiece: piece = 1, score = 2, type = 3.
bool parse_piece(std::string_view bytes, SentencePiece* piece) {
  return for_each_field(bytes, [&](const Field& field) {
    if (is(field, 1, kLengthDelimited)) piece->text = field.bytes;
    if (is(field, 2, kFixed32)) memcpy(&piece->score, &field.value, sizeof(float));
    if (is(field, 3, kVarint)) piece->type = static_cast<int32_t>(field.value);
  });
}

// TrainerSpec: model_type = 3, unk_id = 40.
bool parse_trainer(std::string_view bytes, SentencePieceModel* model) {
  return for_each_field(bytes, [&](const Field& field) {
    if (is(field, 3, kVarint)) model->type = static_cast<int32_t>(field.value);
    if (is(field, 40, kVarint)) model->unknown_id = static_cast<int32_t>(field.value);
  });
}

// NormalizerSpec: precompiled_charsmap = 2.
bool parse_normalizer(std::string_view bytes, SentencePieceModel* model) {
  return for_each_field(bytes, [&](const Field& field) {
    if (is(field, 2, kLengthDelimited)) model->precompiled_charsmap = field.bytes;
  });
}

}  // namespace

// ModelProto: pieces = 1, trainer_spec = 2, normalizer_spec = 3.
Result<SentencePieceModel> parse_sentencepiece_model(std::string_view bytes) {
  const auto wrong = [](const char* detail) {
    return Status(StatusCode::kCorrupt, "SentencePiece model is not valid", detail);
  };
  SentencePieceModel model;
  bool is_sound = true;
  bool has_room = true;
  const bool is_message = for_each_field(bytes, [&](const Field& field) {
    if (is(field, 1, kLengthDelimited)) {
      if (model.pieces.size() >= kMaxTokens) {
        has_room = false;
        return;
      }
      is_sound &= parse_piece(field.bytes, &model.pieces.emplace_back());
    } else if (is(field, 2, kLengthDelimited)) {
      is_sound &= parse_trainer(field.bytes, &model);
    } else if (is(field, 3, kLengthDelimited)) {
      is_sound &= parse_normalizer(field.bytes, &model);
    }
  });
  if (!is_message || !is_sound) return wrong("It is not a message of the protocol.");
  if (!has_room) return wrong("It has too many pieces.");
  if (model.pieces.empty()) return wrong("It has no pieces.");
  for (const SentencePiece& piece : model.pieces) {
    if (!is_valid_utf8(piece.text) || !std::isfinite(piece.score)) return wrong("A piece is not valid.");
  }
  if (model.unknown_id < 0 || static_cast<size_t>(model.unknown_id) >= model.pieces.size()) {
    return wrong("The unknown piece is out of range.");
  }
  return model;
}

}  // namespace pg_semantic::encoder
