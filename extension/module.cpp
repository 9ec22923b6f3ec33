// What PostgreSQL looks for in the library: the magic block and _PG_init.
//
// Under shared_preload_libraries this runs in the postmaster, which must keep
// exactly one thread: nothing here touches the encoder.
#include "extension/server.h"

#include "extension/filter_scan.h"
#include "extension/index_init.h"
#include "extension/settings.h"

extern "C" {
PG_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);
}

void _PG_init(void) {
  pg_semantic::define_settings();
  pg_semantic::initialize_index();
  pg_semantic::initialize_filter_scan();
}
