import static org.apache.spark.sql.functions.*;

import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.streaming.StreamingQuery;
import org.apache.spark.sql.streaming.Trigger;

/**
 * The job of the Kafka bench in Structured Streaming: counts by key in windows of 10 s, updated after each batch.
 *
 * <p>{@code KafkaPeer latency BROKERS} writes to the topic "out" until it is killed, and says "started" when its first batch is over.
 * {@code KafkaPeer throughput BROKERS RUNS} counts all that is in the topic "in", RUNS times after one to warm up, and prints the
 * milliseconds of each.
 */
public final class KafkaPeer {
    public static void main(String[] arguments) throws Exception {
        String brokers = arguments[1];
        SparkSession spark = SparkSession.builder()
                .master("local[2]")
                .appName("kafka")
                .config("spark.ui.enabled", "false")
                .config("spark.sql.shuffle.partitions", "2")
                .config("spark.sql.streaming.noDataMicroBatches.enabled", "false")
                .getOrCreate();
        if (arguments[0].equals("latency")) {
            StreamingQuery query = counts(spark, brokers, "latest")
                    .writeStream()
                    .format("kafka")
                    .option("kafka.bootstrap.servers", brokers)
                    .option("topic", "out")
                    .option("checkpointLocation", folder())
                    .outputMode("update")
                    .trigger(Trigger.ProcessingTime(0))
                    .start();
            while (query.lastProgress() == null) {
                Thread.sleep(10);
            }
            System.out.println("started");
            query.awaitTermination();
        } else {
            for (int run = 0; run <= Integer.parseInt(arguments[2]); run++) {
                long began = System.nanoTime();
                StreamingQuery query = counts(spark, brokers, "earliest")
                        .writeStream()
                        .format("noop")
                        .option("checkpointLocation", folder())
                        .outputMode("update")
                        .trigger(Trigger.AvailableNow())
                        .start();
                query.awaitTermination();
                if (run > 0) {
                    System.out.println((System.nanoTime() - began) / 1_000_000);
                }
            }
            spark.stop();
        }
    }

    private static Dataset<Row> counts(SparkSession spark, String brokers, String from) {
        return spark.readStream()
                .format("kafka")
                .option("kafka.bootstrap.servers", brokers)
                .option("subscribe", "in")
                .option("startingOffsets", from)
                .load()
                .select(col("key").cast("string").as("key"), col("timestamp"), length(col("value")).as("bytes"))
                .groupBy(window(col("timestamp"), "10 seconds"), col("key"))
                .agg(count(lit(1)).as("count"), max("timestamp").as("newest"), sum("bytes").as("bytes"))
                .select(
                        col("key"),
                        concat_ws(
                                        " ",
                                        unix_millis(col("window.start")),
                                        col("count"),
                                        unix_millis(col("newest")))
                                .as("value"));
    }

    private static String folder() throws Exception {
        Path folder = Files.createTempDirectory("kafka-peer");
        folder.toFile().deleteOnExit();
        return folder.toString();
    }
}
