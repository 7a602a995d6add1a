import java.io.BufferedReader;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.api.java.function.Function;
import org.apache.spark.storage.StorageLevel;
import scala.Tuple2;

/** Loads input files into cached RDDs, so that no batch reads or parses anything. */
final class Inputs {
    private Inputs() {}

    static long countLines(String file) throws IOException {
        try (Stream<String> lines = Files.lines(Path.of(file), StandardCharsets.UTF_8)) {
            return lines.count();
        }
    }

    static JavaRDD<String> lines(JavaSparkContext sc, String file, long lines, int partitions) {
        return load(sc, file, lines, partitions, line -> line);
    }

    static JavaRDD<Tuple2<Long, Long>> pairs(
            JavaSparkContext sc, String file, long lines, int partitions) {
        return load(sc, file, lines, partitions, Inputs::parsePair);
    }

    private static Tuple2<Long, Long> parsePair(String line) {
        int space = line.indexOf(' ');
        if (space < 0) {
            throw new IllegalArgumentException("not a key and a value: " + line);
        }
        return new Tuple2<>(
                Long.parseLong(line, 0, space, 10),
                Long.parseLong(line, space + 1, line.length(), 10));
    }

    /**
     * Caches the first {@code lines} lines of {@code file} in equal contiguous parts.
     *
     * <p>The lines are read by the tasks that fill the cache. Handing them to {@code parallelize}
     * would be shorter, but the partitions of such an RDD carry their elements, and Spark would
     * then serialise the whole input into the tasks of every batch. {@code textFile} would cut the
     * file by bytes, which neither gives exact numbers of lines nor keeps to the number of
     * partitions.
     */
    private static <T> JavaRDD<T> load(
            JavaSparkContext sc,
            String file,
            long lines,
            int partitions,
            Function<String, T> parse) {
        List<Integer> indices = IntStream.range(0, partitions).boxed().collect(Collectors.toList());
        JavaRDD<T> rdd =
                sc.parallelize(indices, partitions)
                        .mapPartitionsWithIndex(
                                (index, ignored) -> {
                                    long from = lines * index / partitions;
                                    long until = lines * (index + 1) / partitions;
                                    return slice(file, from, until, parse);
                                },
                                true)
                        .persist(StorageLevel.MEMORY_ONLY());
        long loaded = rdd.count();
        if (loaded != lines) {
            throw new IllegalArgumentException(
                    file + " has " + loaded + " lines where " + lines + " are wanted");
        }
        return rdd;
    }

    private static <T> Iterator<T> slice(
            String file, long from, long until, Function<String, T> parse) throws Exception {
        List<T> slice = new ArrayList<>(Math.toIntExact(until - from));
        try (BufferedReader reader =
                Files.newBufferedReader(Path.of(file), StandardCharsets.UTF_8)) {
            String line;
            for (long at = 0; at < until && (line = reader.readLine()) != null; at++) {
                if (at >= from) {
                    slice.add(parse.call(line));
                }
            }
        }
        return slice.iterator();
    }
}
