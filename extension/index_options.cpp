#include "extension/index_options.h"

extern "C" {
#include "access/amvalidate.h"
}

#include <cstddef>
#include <cstring>

namespace pg_semantic {
namespace {

enum class CodecOption { kAuto, kF32, kF16, kSq8, kBit };
enum class EmbedOption { kImmediate, kDeferred };

relopt_kind options_kind;

relopt_enum_elt_def codec_names[] = {
    {"auto", static_cast<int>(CodecOption::kAuto)}, {"f32", static_cast<int>(CodecOption::kF32)},
    {"f16", static_cast<int>(CodecOption::kF16)},   {"sq8", static_cast<int>(CodecOption::kSq8)},
    {"bit", static_cast<int>(CodecOption::kBit)},   {nullptr, 0},
};
relopt_enum_elt_def embed_names[] = {
    {"immediate", static_cast<int>(EmbedOption::kImmediate)},
    {"deferred", static_cast<int>(EmbedOption::kDeferred)},
    {nullptr, 0},
};

[[noreturn]] void refuse_option(const char* option, const char* hint) {
  ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED), errmsg("index option \"%s\" is not supported yet", option),
                  errhint("%s", hint)));
}

const IndexOptions* options_of(Relation index) { return reinterpret_cast<const IndexOptions*>(index->rd_options); }

}  // namespace

void define_index_options() {
  const LOCKMODE lock = AccessExclusiveLock;
  options_kind = add_reloption_kind();
  add_string_reloption(options_kind, "model", "Model that embeds the indexed text", nullptr, nullptr, lock);
  add_enum_reloption(options_kind, "codec", "Form in which vectors are scanned", codec_names,
                     static_cast<int>(CodecOption::kAuto),
                     "Valid values are \"auto\", \"f32\", \"f16\", \"sq8\" and \"bit\".", lock);
  add_int_reloption(options_kind, "chunk_tokens", "Tokens of a chunk; 0: one vector a row", 0, 0, 8192, lock);
  add_int_reloption(options_kind, "chunk_overlap", "Tokens that consecutive chunks share", 0, 0, 8192, lock);
  add_enum_reloption(options_kind, "embed", "When rows are embedded", embed_names,
                     static_cast<int>(EmbedOption::kImmediate), "Valid values are \"immediate\" and \"deferred\".",
                     lock);
  add_int_reloption(options_kind, "dimensions", "Leading dimensions of an embedding that are kept; 0: all", 0, 0,
                    static_cast<int>(index::kMaxDimensions), lock);
}

bytea* parse_index_options(Datum reloptions, bool validate) {
  static const relopt_parse_elt table[] = {
      {"model", RELOPT_TYPE_STRING, offsetof(IndexOptions, model_offset)},
      {"codec", RELOPT_TYPE_ENUM, offsetof(IndexOptions, codec)},
      {"chunk_tokens", RELOPT_TYPE_INT, offsetof(IndexOptions, chunk_tokens)},
      {"chunk_overlap", RELOPT_TYPE_INT, offsetof(IndexOptions, chunk_overlap)},
      {"embed", RELOPT_TYPE_ENUM, offsetof(IndexOptions, embed)},
      {"dimensions", RELOPT_TYPE_INT, offsetof(IndexOptions, dimensions)},
  };
  auto* options = static_cast<IndexOptions*>(
      build_reloptions(reloptions, validate, options_kind, sizeof(IndexOptions), table, lengthof(table)));
  if (validate && options != nullptr) {
    if (options->chunk_tokens != 0 || options->chunk_overlap != 0) {
      refuse_option("chunk_tokens", "Store chunks as rows: INSERT … SELECT chunk FROM semantic_chunk(body).");
    }
    if (options->embed != static_cast<int>(EmbedOption::kImmediate))
      refuse_option("embed = deferred", "Use embed = immediate.");
  }
  return reinterpret_cast<bytea*>(options);
}

const char* model_option(Relation index) {
  const IndexOptions* options = options_of(index);
  if (options == nullptr || options->model_offset == 0) return nullptr;
  const char* name = reinterpret_cast<const char*>(options) + options->model_offset;
  return name[0] == '\0' ? nullptr : name;
}

index::Codec codec_option(Relation index) {
  const IndexOptions* options = options_of(index);
  switch (options == nullptr ? CodecOption::kAuto : static_cast<CodecOption>(options->codec)) {
    case CodecOption::kF32:
      return index::Codec::kF32;
    case CodecOption::kF16:
      return index::Codec::kF16;
    case CodecOption::kSq8:
      return index::Codec::kSq8;
    default:
      return index::Codec::kBit;
  }
}

int dimensions_option(Relation index) {
  const IndexOptions* options = options_of(index);
  return options == nullptr ? 0 : options->dimensions;
}

OpclassKind opclass_kind(Relation index) {
  FmgrInfo* procedure = index_getprocinfo(index, 1, kKindProcedure);
  return static_cast<OpclassKind>(DatumGetInt32(FunctionCall0Coll(procedure, InvalidOid)));
}

bool column_is_readable(OpclassKind kind, Oid type, Oid conversion) {
  if (kind == OpclassKind::kText) return type == TEXTOID;
  if (!OidIsValid(conversion)) return type == FLOAT4ARRAYOID;
  return check_amproc_signature(conversion, FLOAT4ARRAYOID, true, 1, 3, type, INT4OID, BOOLOID);
}

index::Metric metric_of(OpclassKind kind) {
  switch (kind) {
    case OpclassKind::kVectorL2:
      return index::Metric::kL2;
    case OpclassKind::kVectorInnerProduct:
      return index::Metric::kInnerProduct;
    default:
      return index::Metric::kCosine;
  }
}

FloatView vector_of_value(Relation index, Datum value) {
  if (!OidIsValid(index_getprocid(index, 1, kVectorProcedure))) return vector_from_array(DatumGetArrayTypeP(value));
  FmgrInfo* procedure = index_getprocinfo(index, 1, kVectorProcedure);
  const Datum typmod = Int32GetDatum(-1);
  Datum array = 0;
  switch (procedure->fn_nargs) {
    case 1:
      array = FunctionCall1Coll(procedure, InvalidOid, value);
      break;
    case 2:
      array = FunctionCall2Coll(procedure, InvalidOid, value, typmod);
      break;
    default:
      array = FunctionCall3Coll(procedure, InvalidOid, value, typmod, BoolGetDatum(false));
      break;
  }
  return vector_from_array(DatumGetArrayTypeP(array));
}

Oid semantic_access_method() { return get_am_oid("semantic", true); }

bool is_semantic_index(Oid relation) {
  HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(relation));
  if (!HeapTupleIsValid(tuple)) return false;
  const auto* form = reinterpret_cast<Form_pg_class>(GETSTRUCT(tuple));
  const bool is_index = form->relkind == RELKIND_INDEX && OidIsValid(form->relam);
  const Oid method = form->relam;
  ReleaseSysCache(tuple);
  return is_index && method == semantic_access_method();
}

}  // namespace pg_semantic
