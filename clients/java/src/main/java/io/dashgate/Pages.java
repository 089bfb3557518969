package io.dashgate;

import io.grpc.Context;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import java.util.function.Function;

/**
 * The items of pages, each of which is fetched when its first item is needed.
 *
 * @param <R> the response with a page
 * @param <T> the items
 */
final class Pages<R, T> implements Iterable<T> {
  private final Function<String, CompletableFuture<R>> fetch;
  private final Function<R, List<T>> items;
  private final Function<R, String> nextToken;

  /**
   * Items of these pages.
   *
   * @param fetch fetches the page of a token, which is empty for the first page
   * @param items returns the items of a page
   * @param nextToken returns the token of the next page, empty after the last one
   */
  Pages(
      Function<String, CompletableFuture<R>> fetch,
      Function<R, List<T>> items,
      Function<R, String> nextToken) {
    this.fetch = fetch;
    this.items = items;
    this.nextToken = nextToken;
  }

  @Override
  public Iterator<T> iterator() {
    return new Items();
  }

  /** Passes the items to a consumer, in the context of this thread. */
  CompletableFuture<Void> forEachAsync(Consumer<? super T> consumer) {
    Objects.requireNonNull(consumer, "consumer");
    Passing passing = new Passing(consumer);
    passing.fetch("");
    return passing.end;
  }

  private final class Passing {
    final CompletableFuture<Void> end = new CompletableFuture<>();
    private final Consumer<? super T> consumer;
    private final Context context = Context.current();
    private volatile CompletableFuture<R> page;

    Passing(Consumer<? super T> consumer) {
      this.consumer = consumer;
      end.whenComplete((none, fault) -> cancel());
    }

    void fetch(String token) {
      page = fetch.apply(token);
      page.whenComplete(
          (response, fault) -> {
            if (fault != null) {
              end.completeExceptionally(fault);
            } else {
              context.run(() -> pass(response));
            }
          });
      if (end.isDone()) {
        cancel();
      }
    }

    private void cancel() {
      CompletableFuture<R> current = page;
      if (current != null) {
        current.cancel(false);
      }
    }

    private void pass(R response) {
      try {
        for (T item : items.apply(response)) {
          if (end.isDone()) {
            return;
          }
          consumer.accept(item);
        }
        String next = nextToken.apply(response);
        if (next.isEmpty()) {
          end.complete(null);
        } else if (!end.isDone()) {
          fetch(next);
        }
      } catch (Throwable e) {
        end.completeExceptionally(e);
      }
    }
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
        R response = UnaryExchange.await(fetch.apply(requested));
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
