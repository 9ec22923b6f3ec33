// The one place that includes PostgreSQL's headers.
//
// Include it first: PostgreSQL's headers define macros (Min, Abs, snprintf, _ …)
// that break C++ headers read after them; they are taken back at the end here.
//
// Convention of extension/: a function declared in one of its headers reports
// failure with ereport, as PostgreSQL's own do, unless its comment says that it
// throws.  ereport leaves by longjmp, so a frame that owns C++ objects calls such
// functions through call_server() (extension/guard.h).
#ifndef PG_SEMANTIC_EXTENSION_SERVER_H
#define PG_SEMANTIC_EXTENSION_SERVER_H

extern "C" {
#include "postgres.h"

#include "access/amapi.h"
#include "access/detoast.h"
#include "access/generic_xlog.h"
#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/parallel.h"
#include "access/reloptions.h"
#include "access/relation.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/index.h"
#include "catalog/indexing.h"
#include "catalog/namespace.h"
#include "catalog/objectaddress.h"
#include "catalog/pg_am.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_type.h"
#include "catalog/storage.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "commands/progress.h"
#include "commands/trigger.h"
#include "commands/vacuum.h"
#include "common/file_perm.h"
#include "executor/executor.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "nodes/extensible.h"
#include "nodes/makefuncs.h"
#include "nodes/pathnodes.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "postmaster/bgworker.h"
#include "storage/bufmgr.h"
#include "storage/fd.h"
#include "storage/indexfsm.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lwlock.h"
#include "storage/pmsignal.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/procsignal.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/fmgroids.h"
#include "utils/guc.h"
#include "utils/index_selfuncs.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/ps_status.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/selfuncs.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif
}

// Empty in PostgreSQL 15; with -fvisibility=hidden nothing would be exported.
#undef PGDLLEXPORT
#define PGDLLEXPORT __attribute__((visibility("default")))

#undef Min
#undef Max
#undef Abs
#undef _
#undef printf
#undef fprintf
#undef sprintf
#undef snprintf
#undef vprintf
#undef vfprintf
#undef vsprintf
#undef vsnprintf
#undef strerror
#undef strerror_r
#undef gettext
#undef dgettext
#undef ngettext
#undef dngettext

// A function that SQL calls.
#define PG_SEMANTIC_FUNCTION(name)                                  \
  extern "C" {                                                      \
  PG_FUNCTION_INFO_V1(name);                                        \
  PGDLLEXPORT Datum name([[maybe_unused]] FunctionCallInfo fcinfo); \
  }                                                                 \
  Datum name([[maybe_unused]] FunctionCallInfo fcinfo)

#endif  // PG_SEMANTIC_EXTENSION_SERVER_H
