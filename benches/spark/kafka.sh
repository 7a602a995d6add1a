#!/usr/bin/env bash
# Runs the Kafka job on Spark Structured Streaming: kafka.sh latency BROKERS, or kafka.sh throughput BROKERS RUNS. See KafkaPeer.java.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
export TIDEMILL_BENCH_KAFKA=1
classpath=$("$here/setup.sh")
mapfile -t module_options <"${classpath%%:*}/java-options"
export SPARK_LOCAL_IP=127.0.0.1
exec "${JAVA_HOME:+$JAVA_HOME/bin/}java" "${module_options[@]}" -Xmx"${TIDEMILL_BENCH_HEAP:-4g}" \
    -Djava.io.tmpdir="${TMPDIR:-/tmp}" -Dlog4j2.configurationFile="$here/log4j2.properties" -cp "$classpath" KafkaPeer "$@"
