import java.util.Collections;
import org.apache.spark.rdd.RDD;
import org.apache.spark.streaming.Duration;
import org.apache.spark.streaming.Time;
import org.apache.spark.streaming.api.java.JavaDStream;
import org.apache.spark.streaming.api.java.JavaDStreamLike;
import org.apache.spark.streaming.dstream.DStream;
import scala.Option;
import scala.collection.immutable.List;
import scala.jdk.javaapi.CollectionConverters;
import scala.reflect.ClassTag;

/**
 * Passes a set number of its parent's batches on, and nothing after them.
 *
 * <p>Batches fall due every interval no matter how long one takes, so behind a slow job Spark would
 * go on preparing batches that nobody waits for, on the cores that are being measured. For a batch
 * without an RDD it makes no job. The limit stands at the end of the job and not at its input
 * because Spark takes a join with nothing on either side for an error.
 */
final class FirstBatches<T> extends DStream<T> {
    private final DStream<T> parent;
    private int left;

    private FirstBatches(DStream<T> parent, ClassTag<T> tag, int batches) {
        super(parent.ssc(), tag);
        this.parent = parent;
        this.left = batches;
    }

    static <T> JavaDStream<T> of(JavaDStreamLike<T, ?, ?> stream, int batches) {
        ClassTag<T> tag = stream.classTag();
        return new JavaDStream<>(new FirstBatches<>(stream.dstream(), tag, batches), tag);
    }

    @Override
    public List<DStream<?>> dependencies() {
        java.util.List<DStream<?>> parents = Collections.singletonList(parent);
        return CollectionConverters.asScala(parents).toList();
    }

    @Override
    public Duration slideDuration() {
        return parent.slideDuration();
    }

    @Override
    public Option<RDD<T>> compute(Time time) {
        if (left == 0) {
            return Option.empty();
        }
        left--;
        return parent.getOrCompute(time);
    }
}
