package io.dashgate;

import java.io.IOException;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** Tests of a client with a gateway of their own. */
abstract class GatewayTest {
  FakeGateway gateway;
  DashgateClient client;

  @BeforeEach
  void start() throws IOException {
    gateway = new FakeGateway();
    client = gateway.client().build();
  }

  @AfterEach
  void stop() {
    client.close();
    gateway.close();
  }
}
