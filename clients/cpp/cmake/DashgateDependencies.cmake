# Finds protobuf and gRPC, as targets protobuf::libprotobuf and gRPC::grpc++. Used by the build and by
# the installed package, so that both find the same.
#
# Uses targets that the project already has (for example by FetchContent), then the CMake files of
# the packages, then CMake's module and pkg-config.
include(CMakeFindDependencyMacro)
find_dependency(Threads)

if(NOT TARGET protobuf::libprotobuf)
  find_package(Protobuf CONFIG QUIET)
  if(NOT TARGET protobuf::libprotobuf)
    find_package(Protobuf REQUIRED)
  endif()
endif()

if(NOT TARGET gRPC::grpc++)
  find_package(gRPC CONFIG QUIET)
  if(NOT TARGET gRPC::grpc++)
    find_package(PkgConfig REQUIRED)
    pkg_check_modules(GRPCPP REQUIRED IMPORTED_TARGET GLOBAL grpc++)
    add_library(gRPC::grpc++ INTERFACE IMPORTED GLOBAL)
    target_link_libraries(gRPC::grpc++ INTERFACE PkgConfig::GRPCPP)
  endif()
endif()
