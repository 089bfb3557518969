// Connects with TLS: tls TARGET CA_FILE [CERTIFICATE_FILE KEY_FILE].
#include <dashgate/dashgate.h>

#include <exception>
#include <iostream>

int main(int count, char** arguments) try {
  if (count != 3 && count != 5) {
    std::cerr << "usage: tls TARGET CA_FILE [CERTIFICATE_FILE KEY_FILE]\n";
    return 2;
  }
  const char* ca_file = arguments[2];
  const char* certificate_file = count > 3 ? arguments[3] : "";
  const char* key_file = count > 3 ? arguments[4] : "";

  // region tls
  dashgate::ClientOptions options;
  options.target = "https://gateway.example";  // the system's root certificates, or:
  options.tls = dashgate::TlsOptions::from_files(ca_file, certificate_file, key_file);
  options.api_key = "your-api-key";  // or DASHGATE_API_KEY
  // endregion
  options.target = arguments[1];
  options.api_key.reset();

  const dashgate::Client client(options);
  dashgate::Conversation conversation("qwen-audio-turbo");
  conversation.user("Say hello to a harbour.");
  std::cout << client.converse(conversation).text() << '\n';
} catch (const std::exception& error) {
  std::cerr << error.what() << '\n';
  return 1;
}
