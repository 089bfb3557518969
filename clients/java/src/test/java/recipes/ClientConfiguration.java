package recipes;

import io.dashgate.DashgateClient;
import org.springframework.beans.factory.annotation.Value;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;

// region configuration
/** One client for all controllers and services. */
@Configuration
public class ClientConfiguration {
  /** Closed with the application, which cancels the calls that are left. */
  @Bean(destroyMethod = "close")
  public DashgateClient dashgateClient(@Value("${dashgate.target}") String target) {
    return DashgateClient.builder().target(target).build();
  }
}
// endregion
