package io.dashgate;

import io.dashgate.v1.ListModelsResponse;
import io.dashgate.v1.Model;
import java.util.Collections;
import java.util.Iterator;
import java.util.NoSuchElementException;
import java.util.function.Function;

/** Models from pages, each of which is fetched when its first model is needed. */
final class ModelPages implements Iterable<Model> {
  private final Function<String, ListModelsResponse> fetch;

  /**
   * Models of these pages.
   *
   * @param fetch returns the page of a token, which is empty for the first page
   */
  ModelPages(Function<String, ListModelsResponse> fetch) {
    this.fetch = fetch;
  }

  @Override
  public Iterator<Model> iterator() {
    return new Models();
  }

  private final class Models implements Iterator<Model> {
    private Iterator<Model> page = Collections.emptyIterator();
    /** The token of the next page; null after the last one. */
    private String token = "";

    @Override
    public boolean hasNext() {
      while (!page.hasNext() && token != null) {
        String asked = token;
        // It stays so if the call fails.
        token = null;
        ListModelsResponse response = fetch.apply(asked);
        page = response.getModelsList().iterator();
        token = response.getNextPageToken().isEmpty() ? null : response.getNextPageToken();
      }
      return page.hasNext();
    }

    @Override
    public Model next() {
      if (!hasNext()) {
        throw new NoSuchElementException("there are no more models");
      }
      return page.next();
    }
  }
}
