import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.StringTokenizer;
import java.util.concurrent.Callable;
import java.util.concurrent.CopyOnWriteArrayList;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.api.java.Optional;
import org.apache.spark.streaming.Durations;
import org.apache.spark.streaming.api.java.JavaDStream;
import org.apache.spark.streaming.api.java.JavaDStreamLike;
import org.apache.spark.streaming.api.java.JavaPairDStream;
import org.apache.spark.streaming.api.java.JavaStreamingContext;
import org.apache.spark.streaming.dstream.ConstantInputDStream;
import scala.Tuple2;

/**
 * The jobs. Each is built on a streaming context, and each batch of it ends in an action that
 * forces the whole evaluation and gives one count.
 *
 * <p>What else the result is checked by is worked out after the last batch from {@link #check}, so
 * that it takes no part in the measured time.
 */
final class Jobs {
    private final Options options;
    private final JavaStreamingContext streaming;

    /** The cached inputs, so that their presence can be checked after the run. */
    final List<JavaRDD<?>> inputs = new ArrayList<>();

    /** The count each batch gave. Static, for a checkpoint would write what an output operation holds. */
    static final List<Long> counts = new CopyOnWriteArrayList<>();

    /** Describes the last batch's result as the fields of a JSON object. */
    static volatile Callable<String> check;

    Jobs(Options options, JavaStreamingContext streaming) {
        this.options = options;
        this.streaming = streaming;
    }

    void build() throws Exception {
        switch (options.job) {
            case "wordcount", "tiny_wordcount" -> wordCount();
            case "grep" -> grep();
            case "reduce_by_key" -> reduceByKey();
            case "join" -> join();
            case "update_state", "tiny_update_state" -> updateState();
            case "inverse_window", "tiny_inverse_window" -> inverseWindow();
            default -> throw new IllegalArgumentException("unknown job " + options.job);
        }
    }

    private void wordCount() {
        JavaPairDStream<String, Integer> words =
                lines().flatMap(Jobs::words)
                        .mapToPair(word -> new Tuple2<>(word, 1))
                        .reduceByKey(Integer::sum, options.partitions);
        wanted(words)
                .foreachRDD(
                        rdd -> {
                            List<Tuple2<String, Integer>> counted = rdd.collect();
                            record(counted.size(), () -> sums(counted));
                        });
    }

    /** The words of each batch with their counts. */
    private JavaPairDStream<String, Integer> counted() {
        return lines().flatMap(Jobs::words)
                .mapToPair(word -> new Tuple2<>(word, 1))
                .reduceByKey(Integer::sum, options.partitions);
    }

    private void updateState() throws Exception {
        streaming.checkpoint(Files.createTempDirectory("checkpoint").toString());
        JavaPairDStream<String, Long> sums =
                counted().updateStateByKey(
                        (List<Integer> values, Optional<Long> state) -> {
                            long sum = state.isPresent() ? state.get() : 0L;
                            for (int value : values) {
                                sum += value;
                            }
                            return Optional.of(sum);
                        },
                        options.partitions);
        wanted(sums).foreachRDD(Jobs::recordCount);
    }

    private void inverseWindow() throws Exception {
        streaming.checkpoint(Files.createTempDirectory("checkpoint").toString());
        JavaPairDStream<String, Integer> sums =
                counted().reduceByKeyAndWindow(
                        Integer::sum,
                        (a, b) -> a - b,
                        Durations.milliseconds(10 * options.intervalMs),
                        Durations.milliseconds(options.intervalMs),
                        options.partitions,
                        pair -> true);
        wanted(sums).foreachRDD(Jobs::recordCount);
    }

    private static void recordCount(JavaRDD<?> rdd) {
        long count = rdd.count();
        record(count, () -> "\"count\":" + count);
    }

    private void grep() {
        String pattern = options.pattern;
        JavaDStream<String> found = lines().filter(line -> line.contains(pattern));
        wanted(found)
                .foreachRDD(
                        rdd -> {
                            long count = rdd.count();
                            record(count, () -> "\"count\":" + count);
                        });
    }

    private void reduceByKey() {
        JavaPairDStream<Long, Long> sums =
                pairs(options.input).reduceByKey(Long::sum, options.partitions);
        wanted(sums).foreachRDD(rdd -> record(rdd.count(), () -> sums(rdd.collect())));
    }

    private void join() {
        JavaPairDStream<Long, Tuple2<Long, Long>> joined =
                pairs(options.input).join(pairs(options.input2), options.partitions);
        wanted(joined)
                .foreachRDD(
                        rdd -> {
                            long count = rdd.count();
                            record(count, () -> products(count, rdd));
                        });
    }

    private <T> JavaDStream<T> wanted(JavaDStreamLike<T, ?, ?> results) {
        return FirstBatches.of(results, options.totalBatches());
    }

    private static void record(long count, Callable<String> describe) {
        counts.add(count);
        check = describe;
    }

    /** Cuts a line at runs of ASCII whitespace, without making a regular expression do it. */
    @SuppressWarnings({"unchecked", "rawtypes"})
    private static Iterator<String> words(String line) {
        return (Iterator) new StringTokenizer(line).asIterator();
    }

    private static <K, V extends Number> String sums(List<Tuple2<K, V>> results) {
        long total = 0;
        long max = Long.MIN_VALUE;
        for (Tuple2<K, V> result : results) {
            long value = result._2().longValue();
            total += value;
            max = Math.max(max, value);
        }
        return fields(results.size(), total, max);
    }

    private static String products(long count, JavaRDD<Tuple2<Long, Tuple2<Long, Long>>> rdd) {
        JavaRDD<Long> products = rdd.map(row -> row._2()._1() * row._2()._2());
        long total = products.fold(0L, Long::sum);
        long max = products.fold(Long.MIN_VALUE, Math::max);
        return fields(count, total, max);
    }

    private static String fields(long count, long total, long max) {
        return String.format(
                Locale.ROOT, "\"count\":%d,\"total\":%d,\"max\":%d", count, total, max);
    }

    private JavaDStream<String> lines() {
        JavaRDD<String> rdd =
                Inputs.lines(
                        context(), options.input, options.linesPerBatch, options.partitions);
        inputs.add(rdd);
        return repeat(rdd);
    }

    private JavaPairDStream<Long, Long> pairs(String file) {
        JavaRDD<Tuple2<Long, Long>> rdd =
                Inputs.pairs(context(), file, options.linesPerBatch, options.partitions);
        inputs.add(rdd);
        return JavaPairDStream.fromJavaDStream(repeat(rdd));
    }

    /** A stream whose every batch is the same RDD. */
    private <T> JavaDStream<T> repeat(JavaRDD<T> rdd) {
        return JavaDStream.fromDStream(
                new ConstantInputDStream<>(streaming.ssc(), rdd.rdd(), rdd.classTag()),
                rdd.classTag());
    }

    private JavaSparkContext context() {
        return streaming.sparkContext();
    }
}
