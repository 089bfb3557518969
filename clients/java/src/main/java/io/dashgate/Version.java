package io.dashgate;

/** This library's version; a test holds it equal to the package's. */
final class Version {
  static final String NUMBER = "0.1.0";

  private Version() {}
}
