package io.dashgate;

import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.function.Function;

/**
 * The items of pages, each of which is fetched when its first item is needed.
 *
 * @param <R> the response with a page
 * @param <T> the items
 */
final class Pages<R, T> implements Iterable<T> {
  private final Function<String, R> fetch;
  private final Function<R, List<T>> items;
  private final Function<R, String> nextToken;

  /**
   * Items of these pages.
   *
   * @param fetch returns the page of a token, which is empty for the first page
   * @param items returns the items of a page
   * @param nextToken returns the token of the next page, empty after the last one
   */
  Pages(Function<String, R> fetch, Function<R, List<T>> items, Function<R, String> nextToken) {
    this.fetch = fetch;
    this.items = items;
    this.nextToken = nextToken;
  }

  @Override
  public Iterator<T> iterator() {
    return new Items();
  }

  private final class Items implements Iterator<T> {
    private Iterator<T> page = Collections.emptyIterator();
    /** The token of the next page; null after the last one. */
    private String token = "";

    @Override
    public boolean hasNext() {
      while (!page.hasNext() && token != null) {
        String requested = token;
        // It stays so if the call fails.
        token = null;
        R response = fetch.apply(requested);
        page = items.apply(response).iterator();
        String next = nextToken.apply(response);
        token = next.isEmpty() ? null : next;
      }
      return page.hasNext();
    }

    @Override
    public T next() {
      if (!hasNext()) {
        throw new NoSuchElementException("there are no more pages");
      }
      return page.next();
    }
  }
}
