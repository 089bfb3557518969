package io.dashgate;

/** Passes exceptions on as they are. */
final class Throwables {
  private Throwables() {}

  /**
   * Throws anything, also what Java would have a method declare: a function that was written in
   * another language, or with a trick, throws it too.
   *
   * @return never
   */
  static RuntimeException raise(Throwable fault) {
    throw Throwables.<RuntimeException>unchecked(fault);
  }

  @SuppressWarnings("unchecked") // The type does not exist at run time.
  private static <E extends Throwable> E unchecked(Throwable fault) throws E {
    throw (E) fault;
  }
}
