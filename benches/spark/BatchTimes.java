import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.apache.spark.streaming.scheduler.BatchInfo;
import org.apache.spark.streaming.scheduler.StreamingListener;
import org.apache.spark.streaming.scheduler.StreamingListenerBatchCompleted;

/** Collects the processing time of every batch, as Spark reports it in whole milliseconds. */
final class BatchTimes implements StreamingListener {
    private final List<Long> delays = new ArrayList<>();
    private long firstEnd;

    @Override
    public synchronized void onBatchCompleted(StreamingListenerBatchCompleted event) {
        BatchInfo info = event.batchInfo();
        if (delays.isEmpty()) {
            firstEnd = (Long) info.processingEndTime().get();
        }
        delays.add((Long) info.processingDelay().get());
    }

    synchronized int completed() {
        return delays.size();
    }

    /** When the first batch ended, in milliseconds of the system's clock. */
    synchronized long firstEnd() {
        return firstEnd;
    }

    synchronized long firstDelay() {
        return delays.get(0);
    }

    /** The times of the counted batches, from the shortest to the longest. */
    synchronized long[] counted(int warmup, int batches) {
        long[] counted =
                delays.subList(warmup, warmup + batches).stream().mapToLong(d -> d).toArray();
        Arrays.sort(counted);
        return counted;
    }

    static double median(long[] sorted) {
        int half = sorted.length / 2;
        return sorted.length % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2.0;
    }
}
