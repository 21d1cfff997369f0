# Sourced by tests: a model that runs in milliseconds, and checks.
mkdir -p configs/models
cat >configs/models/tiny.yaml <<'YAML'
extends: llama
base_model:
  hidden_size: 32
  embeddings: {vocab_size: 64}
  decoder:
    block:
      mixer: {heads: 2, head_groups: 1, head_size: 16}
      mlp: {intermediate_size: 64}
groups: {basic: main, distributed: normal, convert: broken}
YAML

fail() {
    echo "FAILED: $*" >&2
    exit 1
}
# expect CODE COMMAND...: runs it into the files out and err, and checks its exit code.
expect() {
    local code=$1 status=0
    shift
    "$@" >out 2>err || status=$?
    [ "$status" = "$code" ] || fail "exit code $status, not $code: $*" "$(cat out err)"
}
# has FILE REGEX, has_not FILE REGEX
has() { grep -Eq -- "$2" "$1" || fail "$1 lacks \"$2\": $(cat "$1")"; }
has_not() { ! grep -Eq -- "$2" "$1" || fail "$1 has \"$2\": $(cat "$1")"; }
