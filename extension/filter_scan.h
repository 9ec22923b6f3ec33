// WHERE first, ORDER BY <distance> after: the plan node "Semantic Filter Scan".
//
// Its child is any plain scan of the table, which decides which rows there are
// (every condition, row security, visibility) and gives their TIDs.  The index
// worker gives those rows' distances, so that no text is embedded again; the node
// sorts by them and fetches the rows as they are asked for.  The result is exact.
//
//   Custom Scan (Semantic Filter Scan) on docs      filter_scan.cpp
//     ->  Bitmap Heap Scan on docs                  chosen in filter_path.cpp
#ifndef PG_SEMANTIC_EXTENSION_FILTER_SCAN_H
#define PG_SEMANTIC_EXTENSION_FILTER_SCAN_H

#include "extension/server.h"

namespace pg_semantic {

// Called once by _PG_init, after the settings are defined.
void initialize_filter_scan();

// filter_path.cpp: the planner's half.
void register_filter_path();

// What the planner leaves in CustomScan: custom_exprs holds the ORDER BY
// expression (the index's column on its left), then the list of conditions;
// custom_private these OIDs.
enum FilterScanOids { kFilterIndex = 0, kFilterQueryType = 1 };
inline constexpr const char* kFilterScanName = "Semantic Filter Scan";
extern const CustomScanMethods filter_scan_methods;

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_FILTER_SCAN_H
