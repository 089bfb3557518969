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
 * TLS settings. Immutable: each method returns a copy. All certificates and keys are PEM.
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
   * Creates settings with the system's root certificates and without a client certificate.
   *
   * @return the settings
   */
  public static Tls create() {
    return SYSTEM;
  }

  /**
   * Sets the root certificates, instead of the system's.
   *
   * @param file the CA certificates
   * @return these settings with the certificates
   */
  public Tls certificateAuthority(Path file) {
    return certificateAuthority(read(file));
  }

  /**
   * Sets the root certificates, instead of the system's.
   *
   * @param pem the CA certificates
   * @return these settings with the certificates
   */
  public Tls certificateAuthority(byte[] pem) {
    return new Tls(pem.clone(), certificate, key, serverName);
  }

  /**
   * Sets the client certificate, for mutual TLS.
   *
   * @param certificateFile the certificate and its intermediates
   * @param keyFile its key, unencrypted PKCS #8
   * @return these settings with the certificate
   */
  public Tls clientCertificate(Path certificateFile, Path keyFile) {
    return clientCertificate(read(certificateFile), read(keyFile));
  }

  /**
   * Sets the client certificate, for mutual TLS.
   *
   * @param certificatePem the certificate and its intermediates
   * @param keyPem its key, unencrypted PKCS #8
   * @return these settings with the certificate
   */
  public Tls clientCertificate(byte[] certificatePem, byte[] keyPem) {
    return new Tls(authority, certificatePem.clone(), keyPem.clone(), serverName);
  }

  /**
   * Sets the name to verify in the gateway's certificate. Default: the target's host.
   *
   * @param name a DNS name
   * @return these settings with the name
   */
  public Tls serverName(String name) {
    return new Tls(authority, certificate, key, Objects.requireNonNull(name, "name"));
  }

  /** Null for the target's host. */
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
      throw LocalFiles.unreadable(file, e);
    }
  }

  @Override
  public String toString() {
    return "Tls{serverName=" + serverName + ", ownAuthority=" + (authority != null)
        + ", clientCertificate=" + (certificate != null) + "}";
  }
}
