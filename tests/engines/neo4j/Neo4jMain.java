import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.neo4j.dbms.api.DatabaseManagementService;
import org.neo4j.dbms.api.DatabaseManagementServiceBuilder;

/** A real Neo4j Community server, by its public builder: HOME CONF, and NEO4J_PASSWORD. */
public class Neo4jMain {
  public static void main(String[] given) throws Exception {
    boolean first = Files.notExists(Path.of(given[0], "data", "databases"));
    DatabaseManagementService service =
        new DatabaseManagementServiceBuilder(Path.of(given[0]))
            .loadPropertiesFromFile(Path.of(given[1]))
            .build();
    Runtime.getRuntime().addShutdownHook(new Thread(service::shutdown));
    if (!service.database("neo4j").isAvailable(60_000)) {
      throw new IllegalStateException("the database did not come up");
    }
    if (first) {
      service
          .database("system")
          .executeTransactionally(
              "ALTER USER neo4j SET PLAINTEXT PASSWORD $password CHANGE NOT REQUIRED",
              Map.of("password", System.getenv("NEO4J_PASSWORD")));
    }
    Files.writeString(Path.of(given[0], "ready"), "");
    Thread.currentThread().join();
  }
}
