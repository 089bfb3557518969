package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.grpc.Status;
import io.grpc.TlsServerCredentials;
import java.io.IOException;
import java.io.InputStream;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.time.Duration;
import java.util.Base64;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;

/** Server and mutual TLS, and a Unix socket. */
@Timeout(120)
class TransportTest {
  private static final String NAME = "gateway.example";
  private static final char[] PASSWORD = "only for a test".toCharArray();

  @TempDir static Path folder;
  private static Path certificate;
  private static Path key;

  @BeforeAll
  static void makeCertificate() throws Exception {
    Path store = folder.resolve("store.p12");
    Process keytool =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "keytool").toString(),
                "-genkeypair", "-alias", "it", "-keyalg", "EC", "-dname", "CN=" + NAME,
                "-ext", "SAN=dns:" + NAME, "-ext", "BC=ca:true", "-validity", "2",
                "-storetype", "PKCS12", "-keystore", store.toString(),
                "-storepass", new String(PASSWORD))
            .redirectErrorStream(true)
            .redirectOutput(ProcessBuilder.Redirect.DISCARD)
            .start();
    assertTrue(keytool.waitFor(60, TimeUnit.SECONDS));
    assertEquals(0, keytool.exitValue());
    KeyStore keys = KeyStore.getInstance("PKCS12");
    try (InputStream in = Files.newInputStream(store)) {
      keys.load(in, PASSWORD);
    }
    certificate = pem("CERTIFICATE", keys.getCertificate("it").getEncoded());
    key = pem("PRIVATE KEY", keys.getKey("it", PASSWORD).getEncoded());
  }

  @Test
  void aGatewayThatIsDownIsUnavailableInEveryForm() throws Exception {
    CallSettings brief = CallSettings.create().timeout(Duration.ofMillis(400));
    for (int round = 0; round < 20; round++) {
      try (DashgateClient client = DashgateClient.builder().target("127.0.0.1:9").build()) {
        for (int call = 0; call < 10; call++) {
          List<Executable> forms =
              List.of(
                  () -> client.converse(question(), brief),
                  () -> client.stream(question(), brief).finalAnswer());
          for (Executable form : forms) {
            DashgateException down = assertThrows(DashgateException.class, form);
            assertEquals(Status.Code.UNAVAILABLE, down.code());
          }
          CompletableFuture<Answer> later = client.converseAsync(question(), brief);
          Throwable fault = assertThrows(ExecutionException.class, later::get).getCause();
          assertEquals(DashgateException.class, fault.getClass());
        }
      }
    }
  }

  @Test
  void makesSureOfTheGateway() throws Exception {
    try (FakeGateway gateway = new FakeGateway(server().build())) {
      Tls tls = Tls.create().certificateAuthority(certificate).serverName(NAME);
      try (DashgateClient client = gateway.client().apiKey("k").tls(tls).build()) {
        client.converse(question());
      }
      assertEquals(1, gateway.requests.size());
      // Another server name than the certificate's, and untrusted roots.
      fails(gateway, Tls.create().certificateAuthority(certificate));
      fails(gateway, Tls.create().serverName(NAME));
      assertEquals(1, gateway.requests.size());
    }
  }

  @Test
  void showsItsOwnCertificate() throws Exception {
    TlsServerCredentials.Builder demanding =
        server()
            .trustManager(certificate.toFile())
            .clientAuth(TlsServerCredentials.ClientAuth.REQUIRE);
    try (FakeGateway gateway = new FakeGateway(demanding.build())) {
      Tls without = Tls.create().certificateAuthority(certificate).serverName(NAME);
      fails(gateway, without);
      Tls with = without.clientCertificate(certificate, key);
      assertFalse(with.toString().contains("BEGIN"));
      try (DashgateClient client = gateway.client().tls(with).build()) {
        client.converse(question());
      }
      assertEquals(1, gateway.requests.size());
    }
  }

  @Test
  void saysWhichFileCannotBeRead() {
    Exception fault =
        assertThrows(
            RuntimeException.class, () -> Tls.create().certificateAuthority(Path.of("no.pem")));
    assertTrue(fault.getMessage().contains("no.pem"), fault::getMessage);
  }

  /** A proxy that forwards bytes to a gateway. */
  @Test
  void reachesASocketOfTheMachine() throws Exception {
    Path path = folder.resolve("s");
    try (FakeGateway gateway = new FakeGateway();
        ServerSocketChannel listener = ServerSocketChannel.open(StandardProtocolFamily.UNIX)) {
      listener.bind(UnixDomainSocketAddress.of(path));
      CompletableFuture<Void> relay = CompletableFuture.runAsync(() -> relay(listener, gateway));
      DashgateClientBuilder builder = gateway.client().target("unix:" + path);
      try (DashgateClient client = builder.build()) {
        client.converse(question(), CallSettings.create().timeout(Duration.ofSeconds(20)));
      }
      relay.get(20, TimeUnit.SECONDS);
      assertEquals(1, gateway.requests.size());
    }
  }

  private static void relay(ServerSocketChannel listener, FakeGateway gateway) {
    String[] place = gateway.target().split(":");
    try (SocketChannel near = listener.accept();
        SocketChannel far =
            SocketChannel.open(
                new java.net.InetSocketAddress(place[0], Integer.parseInt(place[1])))) {
      CompletableFuture<Void> back = CompletableFuture.runAsync(() -> copy(far, near));
      copy(near, far);
      far.shutdownOutput();
      back.join();
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }

  private static void copy(SocketChannel from, SocketChannel to) {
    ByteBuffer buffer = ByteBuffer.allocate(64 * 1024);
    try {
      while (from.read(buffer) >= 0) {
        buffer.flip();
        while (buffer.hasRemaining()) {
          to.write(buffer);
        }
        buffer.clear();
      }
    } catch (IOException e) {
      // One of both was closed, which ends it.
    }
  }

  private static void fails(FakeGateway gateway, Tls tls) {
    CallSettings once = CallSettings.create().timeout(Duration.ofSeconds(20));
    try (DashgateClient client = gateway.client().tls(tls).build()) {
      DashgateException fault =
          assertThrows(DashgateException.class, () -> client.converse(question(), once));
      assertEquals(Status.Code.UNAVAILABLE, fault.code());
    }
  }

  private static TlsServerCredentials.Builder server() throws IOException {
    return TlsServerCredentials.newBuilder().keyManager(certificate.toFile(), key.toFile());
  }

  private static Path pem(String kind, byte[] content) throws IOException {
    String text =
        "-----BEGIN " + kind + "-----\n"
            + Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(content)
            + "\n-----END " + kind + "-----\n";
    return Files.write(
        folder.resolve(kind + ".pem"), text.getBytes(StandardCharsets.US_ASCII));
  }

  private static Conversation question() {
    return new Conversation("qwen3.6-plus").user("Hello?");
  }
}
