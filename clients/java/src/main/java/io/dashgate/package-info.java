/**
 * Client for dashgate, a gRPC gateway for DashScope's multimodal models.
 *
 * <p>Start with {@link io.dashgate.DashgateClient}. The generated code is in {@code
 * io.dashgate.v1}.
 */
package io.dashgate;
