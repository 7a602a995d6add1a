import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Locale;
import org.apache.spark.SparkConf;
import org.apache.spark.api.java.JavaRDD;
import org.apache.spark.api.java.JavaSparkContext;
import org.apache.spark.storage.RDDInfo;
import org.apache.spark.streaming.Durations;
import org.apache.spark.streaming.api.java.JavaStreamingContext;

/** Runs one job over cached input as DStream batches and prints its times as a line of JSON. */
public final class SparkBench {
    private SparkBench() {}

    public static void main(String[] args) {
        Options options;
        try {
            options = Options.parse(args);
        } catch (IllegalArgumentException e) {
            System.err.println("SparkBench: " + e.getMessage());
            System.exit(2);
            return;
        }
        try {
            System.out.println(run(options));
        } catch (Exception e) {
            e.printStackTrace();
            System.exit(1);
        }
    }

    private static String run(Options options) throws Exception {
        if (options.linesPerBatch == 0) {
            options.linesPerBatch = Inputs.countLines(options.input);
        }
        try (JavaSparkContext spark = new JavaSparkContext(conf(options))) {
            JavaStreamingContext streaming =
                    new JavaStreamingContext(spark, Durations.milliseconds(options.intervalMs));
            long loadStart = System.nanoTime();
            Jobs jobs = new Jobs(options, streaming);
            jobs.build();
            long loadMs = (System.nanoTime() - loadStart) / 1_000_000;

            BatchTimes times = new BatchTimes();
            streaming.addStreamingListener(times);
            streaming.start();
            while (times.completed() < options.totalBatches()) {
                // This throws what a failed batch threw.
                streaming.awaitTerminationOrTimeout(20);
            }
            long peakRss = peakRssMb();
            streaming.stop(false, false);

            checkCached(spark, jobs);
            if (new HashSet<>(Jobs.counts).size() != 1) {
                throw new IllegalStateException("the batches differ: " + Jobs.counts);
            }
            return report(options, times, loadMs, peakRss, spark.version(), Jobs.check.call());
        }
    }

    private static SparkConf conf(Options options) {
        SparkConf conf =
                new SparkConf()
                        .setAppName("tidemill-bench-" + options.job)
                        .setMaster("local[" + options.cores + "]")
                        .set("spark.default.parallelism", Integer.toString(options.partitions))
                        .set("spark.ui.enabled", "false")
                        // Spark falls back to Java's serialisation for shuffles of the Java API,
                        // whose types it does not see; Kryo is what its tuning guide asks for.
                        .set("spark.serializer", "org.apache.spark.serializer.KryoSerializer")
                        // A stream unpersists the RDDs of batches it forgets. Here every batch has
                        // the same RDD, which would fall out of the cache after a few batches.
                        .set("spark.streaming.unpersist", "false");
        options.conf.forEach(conf::set);
        return conf;
    }

    /** Fails if an input is no longer whole in memory, for batches would then have read files. */
    private static void checkCached(JavaSparkContext spark, Jobs jobs) {
        for (JavaRDD<?> input : jobs.inputs) {
            boolean whole = false;
            for (RDDInfo info : spark.sc().getRDDStorageInfo()) {
                if (info.id() == input.id()) {
                    whole = info.numCachedPartitions() == input.getNumPartitions();
                }
            }
            if (!whole) {
                throw new IllegalStateException("the input did not stay in memory");
            }
        }
    }

    private static String report(
            Options options,
            BatchTimes times,
            long loadMs,
            long peakRss,
            String version,
            String result) {
        long[] counted = times.counted(options.warmup, options.batches);
        double median = BatchTimes.median(counted);
        // A join reads as many lines of its second input as of its first.
        long lines = options.linesPerBatch * (options.job.equals("join") ? 2 : 1);
        long jvmStart = ManagementFactory.getRuntimeMXBean().getStartTime();
        return String.format(
                Locale.ROOT,
                "{\"engine\":\"spark\",\"version\":\"%s\",\"job\":\"%s\",\"cores\":%d,"
                        + "\"partitions\":%d,\"interval_ms\":%d,\"warmup\":%d,\"batches\":%d,"
                        + "\"lines_per_batch\":%d,\"median_ms\":%.1f,\"min_ms\":%d,\"max_ms\":%d,"
                        + "\"lines_per_s\":%s,\"peak_rss_mb\":%d,\"load_ms\":%d,"
                        + "\"first_batch_ms\":%d,\"start_to_first_batch_ms\":%d,\"result\":{%s}}",
                version,
                options.job,
                options.cores,
                options.partitions,
                options.intervalMs,
                options.warmup,
                options.batches,
                lines,
                median,
                counted[0],
                counted[counted.length - 1],
                // Spark's clock counts whole milliseconds, so a median of none says nothing.
                median == 0 ? "null" : String.format(Locale.ROOT, "%.0f", lines * 1000 / median),
                peakRss,
                loadMs,
                times.firstDelay(),
                times.firstEnd() - jvmStart,
                result);
    }

    /** The largest resident size the process has had. */
    private static long peakRssMb() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("\\D", "")) / 1024;
            }
        }
        throw new IOException("/proc/self/status has no VmHWM");
    }
}
