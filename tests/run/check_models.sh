#!/usr/bin/env bash
# Loads downloaded models and compares them with published values
# (tests/tap/published_values.json): `check_models.sh DIRECTORY`, where
# DIRECTORY/NAME, DIRECTORY/ORGANISATION__NAME or DIRECTORY/ORGANISATION/NAME are
# models as Hugging Face publishes them.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ -n "${1:-}" ] || die "say where the models are: make check-models MODELS=/path/to/models"
models=$(realpath -e "$1") || die "there is no directory $1"

make_scratch
if [ -n "$(as_server_user find -L "$models" ! -readable -print -quit 2>&1)" ]; then
  say "the server's user cannot read all of $models; copying it"
  cp -RL "$models" "$scratch/models"
  chmod -R a+rX "$scratch/models"
  models=$scratch/models
fi
prepare_tap
as_server_user prove --verbose check_models.pl :: published_values.json "$models"
