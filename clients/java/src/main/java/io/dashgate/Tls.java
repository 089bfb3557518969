package io.dashgate;

import io.grpc.ChannelCredentials;
import io.grpc.TlsChannelCredentials;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Objects;

/**
 * How to make sure of the gateway, and how the gateway makes sure of this client. A value: each
 * method gives another one. All certificates and keys are PEM.
 *
 * <pre>{@code
 * Tls.create().certificateAuthority(Path.of("ca.pem"))
 * }</pre>
 */
public final class Tls {
  private static final Tls SYSTEM = new Tls(null, null, null, null);

  private final byte[] authority;
  private final byte[] certificate;
  private final byte[] key;
  private final String serverName;

  private Tls(byte[] authority, byte[] certificate, byte[] key, String serverName) {
    this.authority = authority;
    this.certificate = certificate;
    this.key = key;
    this.serverName = serverName;
  }

  /**
   * TLS with the system's roots, and without a certificate of the client's.
   *
   * @return the settings to begin with
   */
  public static Tls create() {
    return SYSTEM;
  }

  /**
   * Whom to trust, instead of the system's roots.
   *
   * @param file the certificates of the authorities
   * @return these settings with the authorities
   */
  public Tls certificateAuthority(Path file) {
    return certificateAuthority(read(file));
  }

  /**
   * Whom to trust, instead of the system's roots.
   *
   * @param pem the certificates of the authorities
   * @return these settings with the authorities
   */
  public Tls certificateAuthority(byte[] pem) {
    return new Tls(pem.clone(), certificate, key, serverName);
  }

  /**
   * Who this client is, for a gateway that asks.
   *
   * @param certificateFile the certificate, with those between it and the root
   * @param keyFile its key, unencrypted PKCS #8
   * @return these settings with the certificate
   */
  public Tls clientCertificate(Path certificateFile, Path keyFile) {
    return clientCertificate(read(certificateFile), read(keyFile));
  }

  /**
   * Who this client is, for a gateway that asks.
   *
   * @param certificatePem the certificate, with those between it and the root
   * @param keyPem its key, unencrypted PKCS #8
   * @return these settings with the certificate
   */
  public Tls clientCertificate(byte[] certificatePem, byte[] keyPem) {
    return new Tls(authority, certificatePem.clone(), keyPem.clone(), serverName);
  }

  /**
   * The name that the gateway's certificate must have, where the address has another.
   *
   * @param name a DNS name
   * @return these settings with the name
   */
  public Tls serverName(String name) {
    return new Tls(authority, certificate, key, Objects.requireNonNull(name, "name"));
  }

  /** Null if it is the target's. */
  String serverName() {
    return serverName;
  }

  ChannelCredentials credentials() {
    try {
      TlsChannelCredentials.Builder credentials = TlsChannelCredentials.newBuilder();
      if (authority != null) {
        credentials.trustManager(new ByteArrayInputStream(authority));
      }
      if (certificate != null) {
        credentials.keyManager(
            new ByteArrayInputStream(certificate), new ByteArrayInputStream(key));
      }
      return credentials.build();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static byte[] read(Path file) {
    try {
      return Files.readAllBytes(file);
    } catch (IOException e) {
      throw new UncheckedIOException("cannot read " + file + " for TLS", e);
    }
  }

  @Override
  public String toString() {
    return "Tls{serverName=" + serverName + ", ownAuthority=" + (authority != null)
        + ", clientCertificate=" + (certificate != null) + "}";
  }
}
