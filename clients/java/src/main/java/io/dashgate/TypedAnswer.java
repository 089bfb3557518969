package io.dashgate;

/**
 * The value of a structured answer, see {@link DashgateClient#converseAs}.
 *
 * @param <T> the value
 */
public final class TypedAnswer<T> {
  private final T value;
  private final Answer answer;

  TypedAnswer(T value, Answer answer) {
    this.value = value;
    this.answer = answer;
  }

  /**
   * Returns the value.
   *
   * @return the value
   */
  public T value() {
    return value;
  }

  /**
   * Returns the answer that the value was made of, for {@link Conversation#append(Answer)}.
   *
   * @return the answer
   */
  public Answer answer() {
    return answer;
  }

  @Override
  public String toString() {
    return "TypedAnswer{" + answer + "}";
  }
}
