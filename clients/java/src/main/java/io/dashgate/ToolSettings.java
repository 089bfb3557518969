package io.dashgate;

import java.util.Objects;

/**
 * Options of a tool loop, see {@link DashgateClient#runTools}. Immutable: each method returns a
 * copy.
 */
public final class ToolSettings {
  private static final ToolSettings DEFAULTS = new ToolSettings(8, false, CallSettings.create());

  private final int maxRounds;
  private final boolean parallel;
  private final CallSettings calls;

  private ToolSettings(int maxRounds, boolean parallel, CallSettings calls) {
    this.maxRounds = maxRounds;
    this.parallel = parallel;
    this.calls = calls;
  }

  /**
   * Creates settings with the defaults.
   *
   * @return the settings
   */
  public static ToolSettings create() {
    return DEFAULTS;
  }

  /**
   * Sets the maximum number of rounds of tool calls. If the model requests functions after that,
   * none is run, and the loop fails with {@code FAILED_PRECONDITION} and {@code TOOL_ROUNDS}.
   * Default: 8.
   *
   * @param maxRounds 1 or more
   * @return these settings with the number
   */
  public ToolSettings maxRounds(int maxRounds) {
    if (maxRounds < 1) {
      throw new IllegalArgumentException("maxRounds must be 1 or more, not " + maxRounds);
    }
    return new ToolSettings(maxRounds, parallel, calls);
  }

  /**
   * Sets whether the functions of a round run at the same time, each in its own thread, at most 16
   * of them. Results keep the order of the calls. Default: false.
   *
   * @param parallel true for functions that may run at the same time
   * @return these settings with the choice
   */
  public ToolSettings parallel(boolean parallel) {
    return new ToolSettings(maxRounds, parallel, calls);
  }

  /**
   * Sets the options of each call.
   *
   * @param calls the options, without a request id, because there are several calls
   * @return these settings with the options
   */
  public ToolSettings calls(CallSettings calls) {
    if (Objects.requireNonNull(calls, "calls").requestId() != null) {
      throw new IllegalArgumentException(
          "a request id names one call, and a tool loop makes several: leave it out");
    }
    return new ToolSettings(maxRounds, parallel, calls);
  }

  int maxRounds() {
    return maxRounds;
  }

  boolean parallel() {
    return parallel;
  }

  CallSettings calls() {
    return calls;
  }

  @Override
  public String toString() {
    return "ToolSettings{maxRounds=" + maxRounds + ", parallel=" + parallel + ", calls=" + calls
        + "}";
  }
}
