// See head_scores.h.
#include "encoder/head_scores.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "encoder/model_config.h"

namespace pg_semantic::encoder {

Status require_task(const Model& model, std::string_view task) {
  if (model.info().task == task && model.head().outputs > 0) return Status::ok();
  return {StatusCode::kUnsupported, "the model has no head for " + std::string(task),
          "Its task is " + model.info().task + "."};
}

std::vector<double> softmax(std::span<const float> logits) {
  std::vector<double> scores(logits.begin(), logits.end());
  if (scores.empty()) return scores;
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - largest);
  for (double& score : scores) score /= sum;
  return scores;
}

double sigmoid(double logit) { return 1.0 / (1.0 + std::exp(-logit)); }

bool is_better(double a, double b) { return a > b || (std::isnan(b) && !std::isnan(a)); }

std::vector<Ranked> rank(std::span<const double> scores) {
  std::vector<Ranked> ranked;
  ranked.reserve(scores.size());
  for (size_t i = 0; i < scores.size(); ++i) ranked.push_back({i, static_cast<float>(scores[i])});
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const Ranked& a, const Ranked& b) { return is_better(a.score, b.score); });
  return ranked;
}

}  // namespace pg_semantic::encoder
