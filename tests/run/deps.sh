#!/usr/bin/env bash
# Installs the Debian packages that pg_semantic needs: `deps.sh build` for
# building and running it, `deps.sh all` for the tests and for lint, too.
# Works on a bare machine, as root or with sudo; does nothing where all is there.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PG_MAJOR=${PG_MAJOR:-15}
export DEBIAN_FRONTEND=noninteractive

# g++, make: the build.  libfaiss, librocksdb, libopenblas, libicu, libssl,
# nlohmann-json3: linked or included.  procps, util-linux, perl: the scripts.
packages=(g++ make "postgresql-$PG_MAJOR" "postgresql-server-dev-$PG_MAJOR" libfaiss-dev librocksdb-dev libopenblas-pthread-dev
          libicu-dev libssl-dev nlohmann-json3-dev perl procps util-linux)
case ${1:-all} in
  build) ;;
  all) packages+=(libgtest-dev python3 libipc-run-perl clang-format clang-tidy cppcheck shellcheck) ;;
  *) die "usage: deps.sh [build|all]" ;;
esac

command -v apt-get >/dev/null || die "this installs Debian packages, and there is no apt-get here; needed: ${packages[*]}"

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done

# The quickstart searches apt's package descriptions, so apt must know some.
known=$(apt-cache pkgnames 2>/dev/null | wc -l)
if [ ${#missing[@]} -gt 0 ] || [ "$known" -lt 10000 ]; then
  say "asking apt for its package lists"
  as_root apt-get update -q || say "apt-get update had trouble; going on with the lists there are"
fi
if [ ${#missing[@]} -eq 0 ]; then
  say "every package needed is installed"
  exit 0
fi

# Installing PostgreSQL makes and starts a server for the machine, unless told
# otherwise.  Nothing here uses one, so none is made; one that exists is left alone.
no_cluster=/etc/postgresql-common/createcluster.d/pg_semantic-no-cluster.conf
if [ ! -e "/usr/lib/postgresql/$PG_MAJOR/bin/postgres" ]; then
  as_root mkdir -p "$(dirname "$no_cluster")"
  trap 'as_root rm -f "$no_cluster"' EXIT
  echo 'create_main_cluster = false' | as_root tee "$no_cluster" >/dev/null
fi

say "installing: ${missing[*]}"
as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}" </dev/null
