package io.dashgate;

/** The version of this library; a test compares it with the package's. */
final class Version {
  static final String NUMBER = "0.1.0";

  private Version() {}
}
