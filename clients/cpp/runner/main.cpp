// The conformance runner: one job on standard input, one result on standard output.
#include <exception>
#include <iostream>
#include <iterator>
#include <string>

#include "job.h"

int main() {
  try {
    const std::string job{std::istreambuf_iterator<char>(std::cin), {}};
    std::cout << runner::play(job) << '\n';
    return std::cout.flush() ? 0 : 2;
  } catch (const std::exception& fault) {
    std::cerr << "runner: " << fault.what() << '\n';
    return 2;
  }
}
