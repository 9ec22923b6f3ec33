// What the files of SQL functions share: arguments that may be NULL, rows of a
// set, and copies of C++ results that outlive the frame which owned them.
#ifndef PG_SEMANTIC_EXTENSION_FUNCTION_SUPPORT_H
#define PG_SEMANTIC_EXTENSION_FUNCTION_SUPPORT_H

#include "extension/server.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "extension/guard.h"

namespace pg_semantic {

inline const char* optional_text(FunctionCallInfo fcinfo, int number) {
  return PG_ARGISNULL(number) ? nullptr : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

// 22004 when it is NULL; `name` is the argument's.
inline void require_argument(FunctionCallInfo fcinfo, int number, const char* name) {
  if (PG_ARGISNULL(number))
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be NULL", name)));
}

inline int32 required_int(FunctionCallInfo fcinfo, int number, const char* name) {
  require_argument(fcinfo, number, name);
  return PG_GETARG_INT32(number);
}

inline ReturnSetInfo* begin_rows(FunctionCallInfo fcinfo) {
  InitMaterializedSRF(fcinfo, 0);
  return reinterpret_cast<ReturnSetInfo*>(fcinfo->resultinfo);
}

inline void add_row(ReturnSetInfo* rows, Datum* values, bool* nulls) {
  tuplestore_putvalues(rows->setResult, rows->setDesc, values, nulls);
}

inline MemoryContext make_row_context() {
  return AllocSetContextCreate(CurrentMemoryContext, "pg_semantic row", ALLOCSET_DEFAULT_SIZES);
}

// The elements of a text[].
struct TextArray {
  Datum* values;
  bool* nulls;
  int count;
};

inline TextArray get_text_array(FunctionCallInfo fcinfo, int number) {
  TextArray array;
  deconstruct_array(PG_GETARG_ARRAYTYPE_P(number), TEXTOID, -1, false, TYPALIGN_INT, &array.values, &array.nulls,
                    &array.count);
  return array;
}

// A C++ vector's elements in the current memory context.
template <typename T>
struct CopiedList {
  T* elements;
  size_t count;

  T* begin() const { return elements; }
  T* end() const { return elements + count; }
};

// The two below throw, for the inside of guarded().
template <typename T>
CopiedList<T> copy_list(const std::vector<T>& elements) {
  T* copy = allocate_in_context<T>(elements.size());
  std::copy(elements.begin(), elements.end(), copy);
  return {copy, elements.size()};
}

inline std::string_view copy_text(std::string_view value) {
  char* copy = allocate_in_context<char>(value.size());
  std::copy(value.begin(), value.end(), copy);
  return {copy, value.size()};
}

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_FUNCTION_SUPPORT_H
