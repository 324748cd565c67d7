import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.opensearch.common.settings.Settings;
import org.opensearch.core.common.transport.TransportAddress;
import org.opensearch.http.HttpServerTransport;
import org.opensearch.node.InternalSettingsPreparer;
import org.opensearch.node.Node;

/**
 * One OpenSearch node for the tests: {@code OpenSearchNode HOME DATA}. The server's own start refuses to run as
 * root, which is what a container of a CI often is.
 *
 * <p>Prints its URL once it serves, and ends when standard input does: whoever holds the other end of that pipe
 * takes the node with it, however it ends. DATA is removed then.
 */
public class OpenSearchNode {
    public static void main(String[] arguments) throws Exception {
        Thread.setDefaultUncaughtExceptionHandler((thread, error) -> {
            error.printStackTrace();
            // After an Error, such as a native library that is not there, requests would wait for ever.
            if (error instanceof Error) Runtime.getRuntime().halt(1);
        });
        Path home = Path.of(arguments[0]).toAbsolutePath(), data = Path.of(arguments[1]).toAbsolutePath();
        Map<String, String> settings = Map.of(
            "path.home", home.toString(),
            "path.data", data.resolve("data").toString(),
            "path.logs", data.resolve("logs").toString(),
            "discovery.type", "single-node",
            // What is used is counted, not what the collector has yet to free: a small heap is full of that.
            "indices.breaker.total.use_real_memory", "false",
            "http.host", "127.0.0.1",
            "http.port", "0",
            "transport.host", "127.0.0.1",
            "transport.port", "0",
            // On a disk that is nearly full it would refuse to write.
            "cluster.routing.allocation.disk.threshold_enabled", "false");
        Path config = home.resolve("config");
        Node node = new Node(
            InternalSettingsPreparer.prepareEnvironment(Settings.EMPTY, settings, config, () -> "tests"));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> end(node, data)));
        node.start();
        TransportAddress address =
            node.injector().getInstance(HttpServerTransport.class).boundAddress().publishAddress();
        System.out.println("http://" + address);
        while (System.in.read() >= 0) {}
        System.exit(0);
    }

    private static void end(Node node, Path data) {
        try {
            node.close();
            try (Stream<Path> all = Files.walk(data)) {
                List<Path> innerFirst = all.sorted(Comparator.reverseOrder()).toList();
                for (Path path : innerFirst) Files.delete(path);
            }
        } catch (IOException error) {
            error.printStackTrace();
        }
    }
}
