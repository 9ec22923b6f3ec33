// SQL functions that load and drop models.
#include "extension/server.h"

#include "extension/guard.h"
#include "extension/model_store.h"
#include "extension/models.h"

namespace pg_semantic {
namespace {

constexpr char kShippedDirectory[] = "extension/pg_semantic/default";  // below the share directory

const char* required_text(FunctionCallInfo fcinfo, int number, const char* name) {
  if (PG_ARGISNULL(number))
    ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("%s must not be NULL", name)));
  return text_to_cstring(PG_GETARG_TEXT_PP(number));
}

// The directory is read by the server, and a model is everyone's.
void check_may_manage_models(const char* action) {
  if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
    ereport(ERROR,
            (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("permission denied to %s a model", action),
             errdetail("Only a superuser or a member of the role pg_read_server_files may %s a model.", action)));
}

}  // namespace
}  // namespace pg_semantic

using namespace pg_semantic;

PG_SEMANTIC_FUNCTION(pg_semantic_load_model) {
  PreventCommandIfReadOnly("semantic_load_model()");
  check_may_manage_models("load");
  const char* name = required_text(fcinfo, 0, "name");
  const char* path = required_text(fcinfo, 1, "path");
  const char* precision = required_text(fcinfo, 2, "model_precision");
  store_model(name, path, precision, false);
  PG_RETURN_VOID();
}

PG_SEMANTIC_FUNCTION(pg_semantic_drop_model) {
  PreventCommandIfReadOnly("semantic_drop_model()");
  check_may_manage_models("drop");
  remove_stored_model(required_text(fcinfo, 0, "name"));
  PG_RETURN_VOID();
}

// Called by the extension's script only, which drops it again.
PG_SEMANTIC_FUNCTION(pg_semantic_load_shipped_model) {
  check_may_manage_models("load");
  char share_directory[MAXPGPATH];
  get_share_path(my_exec_path, share_directory);
  char* directory = psprintf("%s/%s", share_directory, kShippedDirectory);
  store_model(required_text(fcinfo, 0, "name"), directory, "fp32", true);
  PG_RETURN_VOID();
}

// Trigger on the catalog table: rows that come or go by COPY or DML (a restored
// dump) are seen at once, as those of the functions above.
PG_SEMANTIC_FUNCTION(pg_semantic_models_changed) {
  if (!CALLED_AS_TRIGGER(fcinfo))
    ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
                    errmsg("function \"semantic_models_changed\" was not called by trigger manager")));
  invalidate_models(RelationGetRelid(reinterpret_cast<TriggerData*>(fcinfo->context)->tg_relation));
  PG_RETURN_POINTER(nullptr);
}
