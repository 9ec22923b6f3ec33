# pg_semantic: semantic search inside PostgreSQL.
#
#   make quickstart   from a bare Debian machine to ranked rows
#   make check        every test
#   make help         the other targets

BUILD ?= build
SANITIZE ?=

EXTENSION = extension/pg_semantic
EXTENSION_VERSION = 1.0
MODULE_big = pg_semantic
DATA = $(wildcard sql/pg_semantic--*.sql)

PG_CONFIG ?= pg_config

# ---- sources -----------------------------------------------------------------

encoder_sources := $(wildcard encoder/*.cpp)
index_sources := $(wildcard index/*.cpp)
# extension/worker*.cpp: the index worker, a library of its own, loaded only in
# the worker's process (FAISS, RocksDB and OpenBLAS never enter a backend's
# address space, nor the postmaster's).
worker_sources := $(wildcard extension/worker*.cpp)
extension_sources := $(filter-out $(worker_sources),$(wildcard extension/*.cpp))
unit_sources := $(wildcard tests/unit/*.cpp)
support_sources := $(wildcard tests/support/*.cpp)
fuzz_sources := $(filter-out tests/fuzz/libfuzzer_entry.cpp,$(wildcard tests/fuzz/*.cpp)) $(support_sources)
bench_sources := $(wildcard tests/bench/*.cpp)

object = $(patsubst %.cpp,$(BUILD)/%.o,$(1))
encoder_objects := $(call object,$(encoder_sources))
index_objects := $(call object,$(index_sources))
# The encoder's matrix products serve the index, too.
worker_objects := $(call object,$(worker_sources)) $(index_objects) $(filter $(BUILD)/encoder/kernels% $(BUILD)/encoder/cpu_features.o,$(encoder_objects))
fuzz_objects := $(call object,$(fuzz_sources))
unit_objects := $(call object,$(unit_sources)) $(fuzz_objects)

OBJS = $(call object,$(extension_sources)) $(encoder_objects) $(BUILD)/index/change.o $(filter $(BUILD)/index/vector_sums%,$(index_objects))

worker_library := $(BUILD)/pg_semantic_worker.so
model_files := $(shell cd extension/models/default && find . -type f)

# ---- flags -------------------------------------------------------------------

override with_llvm = no   # the bitcode step compiles C++ as gnu++14 and fails
override enable_coverage = no

export_flags = -Wl,--exclude-libs,ALL -Wl,--version-script=extension/exports.map
SHLIB_LINK = $(export_flags) -lstdc++ -lm -licui18n -licuuc -lcrypto -ldl -lpthread $(SANITIZE)
EXTRA_CLEAN = $(BUILD)

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifneq ($(wildcard $(PGXS)),)
# PGXS, but for its rule for `check`, which only says that it cannot.
define newline


endef
$(eval $(subst $(newline)check:,$(newline)pgxs-check:,$(file <$(PGXS))))
else
# Before `make deps` there is no server to build for; deps, help and quickstart work all the same.
.PHONY: no-server
no-server:
	@echo "pg_semantic: PostgreSQL's development files are not installed; run 'make deps' first" >&2; exit 1
all install check sanitize bench lint: no-server
clean:
	rm -rf $(BUILD)
endif

# No -march=native and no -ffast-math: what is installed runs on any x86-64 and
# leaves the rounding state alone.  Files named *_avx2.cpp, *_avx512.cpp and *_vnni.cpp
# hold kernels that are chosen at run time.
common_flags = -std=c++20 -O2 -g -fPIC -fvisibility=hidden -fno-strict-aliasing -fno-math-errno -Wall -Wextra -Wpointer-arith \
	-Wno-unused-parameter -I. -MMD -MP $(SANITIZE) $(EXTRA_CXXFLAGS)
server_flags = -I$(shell $(PG_CONFIG) --includedir-server 2>/dev/null) -Wno-register -Wno-sign-compare -Wno-volatile -Wno-clobbered -D_GNU_SOURCE
avx2_flags = -mavx2 -mfma -mf16c
avx512_flags = $(avx2_flags) -mavx512f -mavx512bw -mavx512dq -mavx512vl
vnni_flags = $(avx512_flags) -mavx512vnni

# The same sums on every processor: none fuses a product with its sum.
$(BUILD)/index/vector_sums%.o: common_flags += -ffp-contract=off

$(BUILD)/%_avx2.o: %_avx2.cpp
	@mkdir -p $(@D)
	$(CXX) $(common_flags) $(avx2_flags) -c $< -o $@

$(BUILD)/%_avx512.o: %_avx512.cpp
	@mkdir -p $(@D)
	$(CXX) $(common_flags) $(avx512_flags) -c $< -o $@

$(BUILD)/%_vnni.o: %_vnni.cpp
	@mkdir -p $(@D)
	$(CXX) $(common_flags) $(vnni_flags) -c $< -o $@

# encoder/, index/ and the unit tests compile without the server's headers.
$(BUILD)/encoder/%.o $(BUILD)/index/%.o: common_extra =
$(BUILD)/tests/%.o: common_extra = $(TEST_CXXFLAGS)
$(BUILD)/extension/%.o: common_extra = $(server_flags)

$(BUILD)/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(common_flags) $(common_extra) -c $< -o $@

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)

# ---- what is built and installed ---------------------------------------------

all: $(worker_library)

$(worker_library): $(worker_objects)
	$(CXX) -shared -o $@ $^ $(export_flags) -lfaiss -lrocksdb -lopenblas -lgomp -lcrypto -lpthread -ldl $(SANITIZE)

install: install-worker

.PHONY: install-worker
install-worker: $(worker_library)
	$(MKDIR_P) '$(DESTDIR)$(pkglibdir)' '$(DESTDIR)$(datadir)/extension/pg_semantic/default'
	$(INSTALL_SHLIB) $(worker_library) '$(DESTDIR)$(pkglibdir)/pg_semantic_worker.so'
	for file in $(model_files); do \
	  $(INSTALL) -D -m 644 extension/models/default/$$file '$(DESTDIR)$(datadir)/extension/pg_semantic/default/'$$file || exit 1; \
	done

uninstall: uninstall-worker

.PHONY: uninstall-worker
uninstall-worker:
	rm -f '$(DESTDIR)$(pkglibdir)/pg_semantic_worker.so'
	rm -rf '$(DESTDIR)$(datadir)/extension/pg_semantic'

# ---- unit tests ---------------------------------------------------------------

# Small checkpoints, made from nothing by the generators that lie beside the
# numbers expected of them.
reference_generators := $(wildcard tests/reference/*/checkpoints.py)
reference_checkpoints := $(reference_generators:tests/reference/%/checkpoints.py=$(BUILD)/reference/%/made)
$(BUILD)/reference/%/made: tests/reference/%/checkpoints.py $(wildcard tests/reference/*.py tests/reference/*/*.py tests/reference/tokenizers/*/*)
	rm -rf $(@D)
	PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/reference python3 $< $(@D)
	touch $@

.PHONY: reference-checkpoints
reference-checkpoints: $(reference_checkpoints)

unit_tests := $(BUILD)/tests/unit_tests
unit_inputs := $(unit_objects) $(encoder_objects) $(index_objects)
# What they were linked from: another list is a reason to link again, older objects or not.
unit_list := $(BUILD)/tests/unit_tests.objects
ifneq ($(file <$(unit_list)),$(unit_inputs))
.PHONY: $(unit_list)
endif
$(unit_list):
	@mkdir -p $(@D)
	@echo '$(unit_inputs)' >$@

$(unit_tests): | $(reference_checkpoints)
$(unit_tests): $(unit_inputs) $(unit_list)
	$(CXX) -o $@ $(unit_inputs) -lgtest -lgtest_main -lfaiss -lrocksdb -lopenblas -lgomp -licui18n -licuuc -lcrypto -lpthread -ldl $(SANITIZE)

# ---- benchmarks outside the server ------------------------------------------------

$(patsubst %.cpp,$(BUILD)/%,$(bench_sources)): %: %.o $(call object,$(support_sources)) $(encoder_objects) $(index_objects)
	$(CXX) -o $@ $^ -lfaiss -lrocksdb -lopenblas -lgomp -licui18n -licuuc -lcrypto -lpthread -ldl

# What tests/run/fuzz.sh links libFuzzer's entries with.
$(BUILD)/tests/fuzz.a: $(fuzz_objects) $(encoder_objects)
	rm -f $@
	ar rcs $@ $^

# ---- everything else is a script ------------------------------------------------
# They build what they need, say what they do, and take BUILD and PG_CONFIG from here.

export BUILD PG_CONFIG

.PHONY: deps check check-structure check-unit check-regress check-isolation check-tap check-sanitize sanitize sanitize-server \
	check-models fuzz sqlsmith bench bench-index lint format quickstart quickstart-stop help

deps:
	@tests/run/deps.sh all

check:
	@tests/run/check.sh

check-structure:
	@tests/run/structure.sh

check-unit:
	@tests/run/unit.sh

# The parts that need a server run what is installed: `make install` first.
check-regress:
	@tests/run/regress.sh regress

check-isolation:
	@tests/run/regress.sh isolation

# TESTS='050_smoke 060_crash' runs only those.
check-tap:
	@tests/run/tap.sh $(TESTS)

check-sanitize sanitize:
	@tests/run/sanitize.sh address
	@tests/run/sanitize.sh thread

# No part of check: TESTS='load/server 060_crash' runs those instead of the load test alone.
sanitize-server:
	@tests/run/sanitize_server.sh address $(TESTS)
	@tests/run/sanitize_server.sh thread $(TESTS)

# MODELS=DIRECTORY: compares downloaded models with published values; no part of check.
check-models:
	@tests/run/check_models.sh "$(MODELS)"

# TARGETS='safetensors model_file' FUZZ_SECONDS=60: only those, that long each.
fuzz:
	@tests/run/fuzz.sh $(or $(FUZZ_SECONDS),600) $(TARGETS)

# SECONDS=60: that long instead of half an hour.
sqlsmith:
	@tests/run/sqlsmith.sh $(or $(SECONDS),1800)

bench:
	@tests/bench/bench.sh

bench-index:
	@tests/bench/index/bench.sh

lint:
	@tests/run/lint.sh

format:
	clang-format -i $$(find encoder index extension tests -name '*.cpp' -o -name '*.h')

quickstart:
	@tests/quickstart/start.sh

quickstart-stop:
	@tests/quickstart/stop.sh

# A running quickstart has its files under $(BUILD).
clean: stop-quickstart-server
.PHONY: stop-quickstart-server
stop-quickstart-server:
	@tests/quickstart/stop.sh --quiet

help:
	@echo "make deps             install the Debian packages needed (root or sudo)"
	@echo "make                  build the extension"
	@echo "make install          install it into the server that PG_CONFIG names ($(PG_CONFIG))"
	@echo "make quickstart       from a bare machine to ranked rows: packages, build, install, a throwaway server, real text"
	@echo "make quickstart-stop  stop that server"
	@echo "make check            build, install and run every test"
	@echo "make check-unit       one part of it; also check-structure, check-regress, check-isolation, check-tap, check-sanitize"
	@echo "make check-models MODELS=DIRECTORY  compare downloaded models with published values"
	@echo "make sanitize         the unit tests under AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer"
	@echo "make sanitize-server  the same sanitizers in servers under load, primary and standby"
	@echo "make fuzz             libFuzzer over everything that parses, ten minutes each (FUZZ_SECONDS, TARGETS)"
	@echo "make sqlsmith         random SQL by sqlsmith against a server with the extension, half an hour (SECONDS)"
	@echo "make bench            measure"
	@echo "make bench-index      measure the index, beside pgvector where it is installed"
	@echo "make lint             clang-format, clang-tidy, cppcheck, shellcheck, include rules"
	@echo "make format           format the C++ sources"
	@echo "make clean            remove what was built"
