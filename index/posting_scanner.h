// First pass over posting codes: a FAISS inverted-list scanner that keeps, next
// to FAISS's heap, every row that the codes cannot rule out.
//
// The heap holds upper bounds of distances.  A row is a candidate while its
// lower bound is no greater than the k-th least upper bound; so the k nearest
// rows of the scanned lists are among the candidates, whatever the codec lost.
//
// Thread safety: one scanner, one thread.
#ifndef PG_SEMANTIC_INDEX_POSTING_SCANNER_H
#define PG_SEMANTIC_INDEX_POSTING_SCANNER_H

#include <faiss/IndexIVF.h>

#include <vector>

#include "index/codec.h"
#include "index/records.h"

namespace pg_semantic::index {

class PostingScanner final : public faiss::InvertedListScanner {
 public:
  struct Candidate {
    float lower_bound;
    float estimate;
    RowId row;
  };

  PostingScanner(const CodecLayout& layout, Metric metric);

  // Of length 1 under cosine; lives as long as the scanning.
  void set_query(const float* query) override;
  void set_list(idx_t list, float coarse_distance) override { list_no = list; }
  [[nodiscard]] float distance_to_code(const uint8_t* code) const override;
  size_t scan_codes(size_t count, const uint8_t* codes, const idx_t* ids, float* distances, idx_t* labels,
                    size_t k) const override;

  void scan(const BlockView& block, std::vector<float>* heap_distances, std::vector<idx_t>* heap_labels);
  // Those whose lower bound is within `bound`, the most promising first.
  std::vector<Candidate> take_candidates(float bound);

 private:
  void estimate(const uint8_t* codes, size_t count, float* estimates) const;

  const CodecLayout& layout_;
  Metric metric_;
  QueryVector query_;
  float query_norm_ = 0;
  float rounding_ = 0;
  mutable std::vector<float> estimates_;
  mutable std::vector<Candidate> candidates_;
  std::vector<idx_t> ids_;
};

}  // namespace pg_semantic::index

#endif  // PG_SEMANTIC_INDEX_POSTING_SCANNER_H
