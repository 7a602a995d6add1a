import java.util.LinkedHashMap;
import java.util.Map;

/** The command line. */
final class Options {
    String job;
    String input;
    String input2;
    String pattern = "ERROR";
    int batches = 20;
    int warmup = 5;
    int cores = 2;
    int partitions = 0;
    long linesPerBatch = 0;
    long intervalMs = 100;
    final Map<String, String> conf = new LinkedHashMap<>();

    static Options parse(String[] args) {
        Options o = new Options();
        for (int i = 0; i < args.length; i += 2) {
            if (i + 1 == args.length) {
                throw new IllegalArgumentException(args[i] + " needs a value");
            }
            String value = args[i + 1];
            switch (args[i]) {
                case "--job" -> o.job = value;
                case "--input" -> o.input = value;
                case "--input2" -> o.input2 = value;
                case "--pattern" -> o.pattern = value;
                case "--batches" -> o.batches = Integer.parseInt(value);
                case "--warmup" -> o.warmup = Integer.parseInt(value);
                case "--cores" -> o.cores = Integer.parseInt(value);
                case "--partitions" -> o.partitions = Integer.parseInt(value);
                case "--lines-per-batch" -> o.linesPerBatch = Long.parseLong(value);
                case "--interval-ms" -> o.intervalMs = Long.parseLong(value);
                case "--conf" -> {
                    String[] pair = value.split("=", 2);
                    if (pair.length != 2) {
                        throw new IllegalArgumentException("--conf takes KEY=VALUE, not " + value);
                    }
                    o.conf.put(pair[0], pair[1]);
                }
                default -> throw new IllegalArgumentException("unknown option " + args[i]);
            }
        }
        o.check();
        return o;
    }

    private void check() {
        if (job == null || input == null) {
            throw new IllegalArgumentException("--job and --input are needed");
        }
        if (job.equals("join") != (input2 != null)) {
            throw new IllegalArgumentException("--input2 goes with the job join, and only with it");
        }
        if (batches < 1 || warmup < 0 || cores < 1 || partitions < 0 || linesPerBatch < 0
                || intervalMs < 1) {
            throw new IllegalArgumentException("a number is out of its range");
        }
        if (partitions == 0) {
            partitions = cores;
        }
        if (linesPerBatch == 0 && job.startsWith("tiny_")) {
            linesPerBatch = 1000;
        }
    }

    int totalBatches() {
        return warmup + batches;
    }
}
