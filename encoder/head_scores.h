// What the functions of heads.h share: logits to scores, and their order.
//
// Thread safety: pure functions.
#ifndef PG_SEMANTIC_ENCODER_HEAD_SCORES_H
#define PG_SEMANTIC_ENCODER_HEAD_SCORES_H

#include <span>
#include <string_view>
#include <vector>

#include "encoder/heads.h"
#include "encoder/status.h"

namespace pg_semantic::encoder {

// kUnsupported unless the model has a head for the task.
Status require_task(const Model& model, std::string_view task);

// In double precision, without overflow.
std::vector<double> softmax(std::span<const float> logits);
double sigmoid(double logit);

// A strict weak order, best first, that NaN does not break: it comes last.
bool is_better(double a, double b);

// scores[i] with its index, best first, equal ones in the order of their indexes.
std::vector<Ranked> rank(std::span<const double> scores);

}  // namespace pg_semantic::encoder

#endif  // PG_SEMANTIC_ENCODER_HEAD_SCORES_H
