// The settings (GUCs) of pg_semantic.
#include "extension/settings.h"

#include <sched.h>

#include <algorithm>
#include <cfloat>

namespace pg_semantic {

Settings settings = {nullptr, nullptr, 0, 0.95, 0, 256, true};

namespace {

constexpr int kMaxThreads = 256;
constexpr int kMaxChosenThreads = 16;

int available_processors() {
  cpu_set_t processors;
  CPU_ZERO(&processors);
  if (sched_getaffinity(0, sizeof(processors), &processors) != 0) return 1;
  return std::max(1, CPU_COUNT(&processors));
}

}  // namespace

void define_settings() {
  DefineCustomStringVariable("semantic.model", "Model of calls that name none.",
                             "The view semantic_models lists the models there are.", &settings.model, "default",
                             PGC_USERSET, 0, nullptr, nullptr, nullptr);
  DefineCustomStringVariable("semantic.rerank_model", "Model of reranking calls that name none.",
                             "Empty: such a call is an error.", &settings.rerank_model, "", PGC_USERSET, 0, nullptr,
                             nullptr, nullptr);
  DefineCustomIntVariable("semantic.threads", "Threads that one call may use.",
                          "0: as many as there are processors, up to 16.", &settings.threads, 0, 0, kMaxThreads,
                          PGC_USERSET, 0, nullptr, nullptr, nullptr);
  DefineCustomRealVariable("semantic.recall", "Recall@10 that an index scan aims at.", "1: exact search.",
                           &settings.recall, 0.95, 0.1, 1.0, PGC_USERSET, 0, nullptr, nullptr, nullptr);
  DefineCustomIntVariable("semantic.max_candidates",
                          "Candidates of an index scan whose exact distance is computed, at most.",
                          "0: as many as semantic.recall takes.", &settings.max_candidates, 0, 0, INT_MAX / 2,
                          PGC_USERSET, 0, nullptr, nullptr, nullptr);
  DefineCustomBoolVariable("semantic.enable_filter_scan", "Enables the planner's use of semantic filter scans.",
                           nullptr, &settings.enable_filter_scan, true, PGC_USERSET, GUC_EXPLAIN, nullptr, nullptr,
                           nullptr);
  // A PGC_POSTMASTER variable can be defined at no other time.
  if (process_shared_preload_libraries_in_progress)
    DefineCustomIntVariable("semantic.index_memory", "Memory of the index worker for caches and write buffers.",
                            nullptr, &settings.index_memory, 256, 16, 1 << 20, PGC_POSTMASTER, GUC_UNIT_MB, nullptr,
                            nullptr, nullptr);
  MarkGUCPrefixReserved("semantic");
}

int choose_threads(int want_at_most) {
  if (IsParallelWorker() || IsInParallelMode()) return 1;
  const int allowed = settings.threads > 0 ? settings.threads : std::min(available_processors(), kMaxChosenThreads);
  return std::clamp(want_at_most, 1, allowed);
}

int choose_build_threads() {
  if (IsParallelWorker() || IsInParallelMode()) return 1;
  const int helpers = std::min(max_parallel_maintenance_workers, max_parallel_workers);
  return std::clamp(1 + helpers, 1, available_processors());
}

}  // namespace pg_semantic
