/**
 * A client of dashgate: the layer written by hand above the generated {@code io.dashgate.v1}.
 *
 * <p>Begin at {@link io.dashgate.DashgateClient}.
 */
package io.dashgate;
