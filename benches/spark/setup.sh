#!/usr/bin/env bash
# Installs Spark's jars into the bench cache and compiles the Java side against them.
#
# The script may be run any number of times: finished steps are skipped. Progress goes to stderr,
# and the only line on stdout is the Java classpath, so that run.sh can capture it.
set -euo pipefail

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
cache="${TIDEMILL_BENCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tidemill/bench}/spark"
version="${TIDEMILL_BENCH_PYSPARK:-4.0.1}"
python="${PYTHON:-python3}"
java_bin="${JAVA_HOME:+$JAVA_HOME/bin/}"

venv="$cache/pyspark-$version"
classes="$cache/classes-$version"

for tool in "$python" "${java_bin}java" "${java_bin}javac"; do
    if ! command -v "$tool" >/dev/null; then
        echo "setup.sh: $tool is not installed; Python 3.9+ and a JDK 17+ are needed" >&2
        exit 1
    fi
done

# The mark is written last, so an interrupted installation is started afresh rather than trusted.
if [[ ! -e "$venv/.complete" ]]; then
    echo "setup.sh: installing pyspark $version (several hundred megabytes) into $venv" >&2
    rm -rf -- "$venv"
    mkdir -p -- "$cache"
    "$python" -m venv "$venv" >&2
    # Only the jars inside the package are used, so its Python dependencies are left out.
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps "pyspark==$version" >&2
    touch -- "$venv/.complete"
fi

jars=$(echo "$venv"/lib/python*/site-packages/pyspark/jars)
if ! compgen -G "$jars/spark-streaming_*.jar" >/dev/null; then
    echo "setup.sh: pyspark $version has no spark-streaming jar in $jars" >&2
    exit 1
fi

# The connector is only needed by the Kafka bench; it compiles against Spark's jars all the same.
kafka="$cache/kafka"
if [[ -n "${TIDEMILL_BENCH_KAFKA:-}" && ! -e "$kafka/.complete" ]]; then
    echo "setup.sh: fetching Spark's Kafka connector into $kafka" >&2
    rm -rf -- "$kafka"
    mvn -q -B -f "$here/kafka-pom.xml" dependency:copy-dependencies -DoutputDirectory="$kafka" >&2
    touch -- "$kafka/.complete"
fi

stale=false
for source in "$here"/*.java; do
    if [[ ! -e "$classes/java-options" || "$source" -nt "$classes/java-options" ]]; then
        stale=true
    fi
done
if "$stale"; then
    echo "setup.sh: compiling the Java side into $classes" >&2
    rm -rf -- "$classes"
    mkdir -p -- "$classes"
    # Spark marks the whole of its DStream API as deprecated, which is no news to this bench.
    "${java_bin}javac" -XDsuppressNotes -encoding UTF-8 -d "$classes" -cp "$jars/*" "$here"/*.java >&2
    # Spark itself says which JVM options it needs on this version of Java; asking it keeps the
    # list right for whichever version is installed. The rename makes this the mark of a finished
    # compilation.
    "${java_bin}java" -cp "$classes:$jars/*" ModuleOptions >"$classes/java-options.new"
    mv -- "$classes/java-options.new" "$classes/java-options"
fi

echo "$classes:$jars/*${TIDEMILL_BENCH_KAFKA:+:$kafka/*}"
