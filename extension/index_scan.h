// ORDER BY <distance>: the scan.
#ifndef PG_SEMANTIC_EXTENSION_INDEX_SCAN_H
#define PG_SEMANTIC_EXTENSION_INDEX_SCAN_H

#include "extension/server.h"

namespace pg_semantic {

IndexScanDesc begin_scan(Relation index, int keys, int order_bys);
void restart_scan(IndexScanDesc scan, ScanKey keys, int key_count, ScanKey order_bys, int order_by_count);
bool next_tuple(IndexScanDesc scan, ScanDirection direction);
void end_scan(IndexScanDesc scan);

}  // namespace pg_semantic

#endif  // PG_SEMANTIC_EXTENSION_INDEX_SCAN_H
