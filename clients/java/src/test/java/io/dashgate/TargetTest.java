package io.dashgate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class TargetTest {
  private static final String FORMS =
      "host, host:port, http://host:port, https://host:port, dns:///host:port and unix:/path";

  @Test
  void takesAddresses() {
    assertEquals("localhost 50051", place("localhost:50051"));
    assertEquals("my_service 1", place("my_service:1"));
    assertEquals("[::1] 50051", place("[::1]:50051"));
    assertEquals("localhost 50051", place("localhost"));
    assertEquals("[::1] 50051", place("[::1]"));
    assertEquals("a.example 50051", place("http://a.example"));
    assertEquals("a.example 50051", place("dns:///a.example"));
    assertEquals("a.example 50051", place("HTTP://a.example:50051/"));
    assertEquals("a.example 443", place("https://a.example"));
    assertTrue(Target.parse("https://a.example").saysTls());
    assertTrue(Target.parse("http://a.example").saysPlaintext());
    assertFalse(Target.parse("a.example:1").saysTls());
    assertTrue(Target.parse("unix:/run/dashgate").isUnix());
    assertEquals("a.example 1", place("dns:///a.example:1"));
    assertEquals("a.example 1", place("dns:a.example:1"));
    assertEquals("10.0.0.1 1", place("ipv4:10.0.0.1:1"));
    assertEquals("[::1] 1", place("ipv6:[::1]:1"));
    assertTrue(Target.parse("dns:///a.example:1").isSpread());
    assertFalse(Target.parse("a.example:1").isSpread());
  }

  @Test
  void knowsLoopback() {
    for (String here : List.of("127.0.0.1:1", "http://LOCALHOST:1", "[::1]:1", "unix:/s")) {
      assertTrue(Target.parse(here).isLoopback(), here);
    }
    for (String away : List.of("a.example:1", "127.0.0.1.example:1", "10.0.0.1:1")) {
      assertFalse(Target.parse(away).isLoopback(), away);
    }
  }

  @Test
  void saysWhatIsWrongWithAnAddress() {
    Map<String, String> wrong =
        Map.of(
            "ftp://a:1", "has an unknown scheme; accepted are " + FORMS,
            "a:70000", "has a port that is no number up to 65535",
            "a:b", "has a port that is no number up to 65535",
            "https://[::1]:", "has a port that is no number up to 65535",
            "unix:", "has no path; write unix:/path/to/socket",
            "dns://server/a:1", "is not one address; for many write dns:///host:port",
            "ipv4:1.1.1.1:1,1.1.1.2:1", "is not one address; for many write dns:///host:port",
            "xds:///a:1", "has an unknown scheme; accepted are " + FORMS);
    wrong.forEach((text, what) -> assertEquals("the target \"" + text + "\" " + what, fault(text)));
    for (String text :
        List.of("", "https://a/path", "https://a?x=1", "::1:50051", "a:1,b:1", "a,b", "[::1")) {
      assertTrue(fault(text).contains("none of the accepted forms " + FORMS), text);
    }
    for (String text :
        List.of("a:-1", "a:+1", "a:123456", "a:0x1", "dns:///a:", "unix-abstract:x")) {
      assertTrue(fault(text).endsWith("has a port that is no number up to 65535"), text);
    }
    assertTrue(fault("unix://a").endsWith("has no path; write unix:/path/to/socket"));
  }

  @Test
  void refusesSpacesAndLineEnds() {
    List<String> wrong =
        List.of(
            "a b:1", "a:1 ", " a:1", "a:1\n", "a:1\r\n", "http://a:1\t", "a\u00a0:1", "a\u2028:1",
            "a\0:1", "dns:///a:1 ", "unix:/run/s\n", "unix:/run/\0s");
    for (String text : wrong) {
      String fault = fault(text);
      assertTrue(
          fault.endsWith("\" holds a space, a line end or another control character"), fault);
      assertTrue(fault.codePoints().noneMatch(Character::isISOControl), fault);
    }
    assertTrue(Target.parse("unix:/run/my socket").isUnix());
    assertTrue(Target.parse("unix:///run/me@here").isUnix());
  }

  @Test
  void quotesNoPassword() {
    for (String text :
        List.of(
            "https://me:secret@a", "me:secret@a:1", "secret@a", "ftp://me:secret@a",
            "http://me:secret@a/path", "me:secret@a,b", "me:secret@a:1\n", "dns:///me:secret@a",
            "dns://me:secret@a/b", "ipv4:me:secret@a,b")) {
      assertEquals("the target holds a user or a password; use apiKey", fault(text));
    }
  }

  @Test
  void refusesWhatContradictsItself() {
    DashgateClientBuilder plain =
        DashgateClient.builder().target("http://localhost:1").tls(Tls.create());
    assertTrue(
        assertThrows(IllegalArgumentException.class, plain::build)
            .getMessage()
            .contains("write https"));
    DashgateClientBuilder socket =
        DashgateClient.builder().target("unix:/run/s").tls(Tls.create());
    assertThrows(IllegalArgumentException.class, socket::build);
  }

  private static String place(String text) {
    Target target = Target.parse(text);
    return target.host() + " " + target.port();
  }

  private static String fault(String text) {
    return assertThrows(IllegalArgumentException.class, () -> Target.parse(text)).getMessage();
  }
}
