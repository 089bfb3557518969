import io.dashgate.Conversation;
import io.dashgate.DashgateClient;
import io.dashgate.Tls;
import java.nio.file.Path;

/** Connects with TLS: {@code secure HOST:PORT CA CERTIFICATE KEY}, all PEM. */
public final class Secure {
  private Secure() {}

  /** Prints the answer. */
  public static void main(String[] args) {
    if (args.length != 4) {
      System.err.println("secure HOST:PORT CA CERTIFICATE KEY");
      System.exit(2);
    }
    String address = args[0];
    Path authority = Path.of(args[1]);
    Path certificate = Path.of(args[2]);
    Path key = Path.of(args[3]);
    // region secure
    Tls tls =
        Tls.create()
            .certificateAuthority(authority) // Default: the system's.
            .clientCertificate(certificate, key); // For mutual TLS.
    try (DashgateClient client = DashgateClient.builder().target(address).tls(tls).build()) {
      System.out.println(client.converse(new Conversation("qwen3.6-plus").user("Hello")).text());
    }
    // endregion
  }
}
