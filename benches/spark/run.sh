#!/usr/bin/env bash
# Runs one job on Spark: run.sh JOB --input FILE [OPTIONS]. The last line on stdout is the result.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
if [[ $# -lt 1 || "$1" == -* ]]; then
    echo "usage: run.sh wordcount|grep|reduce_by_key|join|update_state|inverse_window|tiny_wordcount|tiny_update_state|tiny_inverse_window --input FILE [OPTIONS]" >&2
    exit 2
fi
job=$1
shift

classpath=$("$here/setup.sh")
mapfile -t module_options <"${classpath%%:*}/java-options"

# Without this Spark looks the host's name up and warns when it finds a loopback address.
export SPARK_LOCAL_IP=127.0.0.1

exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" \
    "${module_options[@]}" \
    -Xmx"${TIDEMILL_BENCH_HEAP:-4g}" \
    -Djava.io.tmpdir="${TMPDIR:-/tmp}" \
    -Dlog4j2.configurationFile="$here/log4j2.properties" \
    -cp "$classpath" \
    SparkBench --job "$job" "$@"
