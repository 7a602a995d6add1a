import org.apache.spark.launcher.JavaModuleOptions;

/** Prints the JVM options that Spark needs on this version of Java, one to a line. */
public final class ModuleOptions {
    private ModuleOptions() {}

    public static void main(String[] args) {
        for (String option : JavaModuleOptions.defaultModuleOptionArray()) {
            System.out.println(option);
        }
    }
}
